"""Plain functions with optax: a dictionary of parameters, one jitted step, digits."""

import jax
import jax.numpy as jnp
import optax

import hcl_jax
from hcl_jax import data, evaluation, geometry
from hcl_jax.normalization import unit_sphere


def init(key: jax.Array) -> dict[str, jax.Array]:
    """A multilayer perceptron, 64 -> 128 -> 9."""
    first, second = jax.random.split(key)
    return {
        "hidden": jax.random.normal(first, (64, 128)) / 8,
        "bias": jnp.zeros(128),
        "out": jax.random.normal(second, (128, 9)) / 11,
    }


def embed(parameters: dict[str, jax.Array], images: jax.Array) -> jax.Array:
    """Embeddings on the unit sphere."""
    hidden = jax.nn.relu(images.reshape(-1, 64) @ parameters["hidden"] + parameters["bias"])
    return unit_sphere(hidden @ parameters["out"])


def main(steps: int = 300, batch_size: int = 256) -> float:
    """Trains on a part of the digits, and returns the accuracy on the other."""
    digits = data.digits()
    parameters = init(jax.random.key(0))
    optimizer = optax.adam(3e-3)

    def loss(parameters, images, labels):
        return hcl_jax.hscl(embed(parameters, images), labels, beta=5.0, temperature=0.5)

    @jax.jit
    def step(parameters, state, key):
        rows = jax.random.choice(key, len(digits.train.labels), (batch_size,), replace=False)
        images, labels = digits.train.images[rows], digits.train.labels[rows]
        value, gradient = jax.value_and_grad(loss)(parameters, images, labels)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(parameters, updates), state, value

    state = optimizer.init(parameters)
    for key in jax.random.split(jax.random.key(1), steps):
        parameters, state, value = step(parameters, state, key)
    print(f"loss {value:.4f}")

    means = geometry.class_means(embed(parameters, digits.train.images), digits.train.labels, 10)
    scores = evaluation.nearest_mean_scores(embed(parameters, digits.test.images), means)
    accuracy = float(evaluation.top_k_accuracy(scores, digits.test.labels))
    print(f"accuracy by the nearest class mean {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
