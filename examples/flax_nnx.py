"""Flax NNX: two noisy views of every image as an axis of the embeddings, no labels."""

import jax
import optax
from flax import nnx

import hcl_jax
from hcl_jax import data, evaluation
from hcl_jax.normalization import unit_sphere


class Encoder(nnx.Module):
    """64 -> 128 -> 16."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.hidden = nnx.Linear(64, 128, rngs=rngs)
        self.out = nnx.Linear(128, 16, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Embeddings of images (.., 64), on the unit sphere."""
        return unit_sphere(self.out(nnx.relu(self.hidden(images))))


@nnx.jit
def step(model: Encoder, optimizer: nnx.Optimizer, images: jax.Array, key: jax.Array) -> jax.Array:
    """One update by NT-Xent with hard negatives; every image is a class of its own."""

    def loss(model):
        noise = 0.2 * jax.random.normal(key, (len(images), 2, 64))
        views = model(images[:, None] + noise)  # (batch, views, dim)
        return hcl_jax.nt_xent(views, hardening=hcl_jax.hardening.exponential(1.0), temperature=0.5)

    value, gradient = nnx.value_and_grad(loss)(model)
    optimizer.update(model, gradient)
    return value


def main(steps: int = 300, batch_size: int = 256) -> float:
    """Trains without labels, and returns the accuracy of 20 nearest neighbours."""
    digits = data.digits()
    train, test = digits.train.images.reshape(-1, 64), digits.test.images.reshape(-1, 64)
    model = Encoder(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)
    for key in jax.random.split(jax.random.key(1), steps):
        rows = jax.random.choice(key, len(train), (batch_size,), replace=False)
        value = step(model, optimizer, train[rows], key)
    print(f"loss {value:.4f}")

    accuracy = evaluation.knn_accuracy(
        model(train), digits.train.labels, model(test), digits.test.labels
    )
    print(f"accuracy of 20 nearest neighbours {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
