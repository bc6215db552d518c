"""A batch whose features do not fit: parts of it go through the network one at a time.

The loss is that of the whole batch. Embeddings of all parts come first, then the loss and its
gradient with respect to them, then each part again, with its share of that gradient.
"""

import jax
import jax.numpy as jnp
from flax import nnx

import hcl_jax
from hcl_jax.normalization import unit_sphere


def loss_and_gradient(graph, parameters, parts, labels):
    """The loss of the batch parts (parts, n, ..) and its gradient with respect to parameters."""

    def embed(parameters, images):
        return unit_sphere(nnx.merge(graph, parameters)(images))

    embeddings = jax.lax.map(lambda images: embed(parameters, images), parts)
    flat = embeddings.reshape(-1, embeddings.shape[-1])
    value, of_embeddings = jax.value_and_grad(hcl_jax.hscl)(flat, labels, beta=5.0)

    def accumulate(total, part):
        images, cotangent = part
        _, pull_back = jax.vjp(lambda parameters: embed(parameters, images), parameters)
        return jax.tree.map(jnp.add, total, pull_back(cotangent)[0]), None

    zeros = jax.tree.map(jnp.zeros_like, parameters)
    cotangents = of_embeddings.reshape(embeddings.shape)
    return value, jax.lax.scan(accumulate, zeros, (parts, cotangents))[0]


def main(rows: int = 1024, parts: int = 8) -> float:
    """Returns the largest difference to the gradient of the whole batch at once."""
    layers = nnx.Rngs(0)
    model = nnx.Sequential(
        nnx.Linear(64, 128, param_dtype=float, rngs=layers),
        nnx.relu,
        nnx.Linear(128, 9, param_dtype=float, rngs=layers),
    )
    graph, parameters = nnx.split(model)
    images = jax.random.normal(jax.random.key(1), (rows, 64))
    labels = jnp.arange(rows) % 10
    value, gradient = jax.jit(loss_and_gradient, static_argnums=0)(
        graph, parameters, images.reshape(parts, -1, 64), labels
    )
    at_once, expected = jax.value_and_grad(
        lambda p: hcl_jax.hscl(unit_sphere(nnx.merge(graph, p)(images)), labels, beta=5.0)
    )(parameters)
    differences = jax.tree.map(lambda x, y: jnp.abs(x - y).max(), gradient, expected)
    largest = float(jax.tree.reduce(jnp.maximum, differences))
    print(f"loss {value:.6f}, at once {at_once:.6f}; gradients differ by at most {largest:.1e}")
    return largest


if __name__ == "__main__":
    main()
