"""A run of one's own that may be killed at any moment: start it again and it goes on.

python examples/resumable_run.py DIRECTORY
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import optax

import hcl_jax
from hcl_jax import data
from hcl_jax.checkpoints import Checkpoints
from hcl_jax.normalization import unit_sphere

OPTIMIZER = optax.adam(3e-3)


@jax.jit
def step(state: dict, images: jax.Array, labels: jax.Array) -> tuple[dict, jax.Array]:
    """One update; all that the next one needs is in the state, the key too."""
    key, draw = jax.random.split(state["key"])
    rows = jax.random.choice(draw, len(images), (256,), replace=False)

    def loss(matrix):
        return hcl_jax.hscl(unit_sphere(images[rows] @ matrix), labels[rows], beta=5.0)

    value, gradient = jax.value_and_grad(loss)(state["matrix"])
    updates, optimizer = OPTIMIZER.update(gradient, state["optimizer"])
    matrix = optax.apply_updates(state["matrix"], updates)
    return {"matrix": matrix, "optimizer": optimizer, "key": key}, value


def main(directory: str, steps: int = 200, every: int = 50) -> jax.Array:
    """Trains up to `steps`, from the latest checkpoint that is whole; returns the matrix."""
    train = data.digits().train
    images = train.images.reshape(-1, 64)
    matrix = jax.random.normal(jax.random.key(0), (64, 9)) / 8
    state = {"matrix": matrix, "optimizer": OPTIMIZER.init(matrix), "key": jax.random.key(1)}
    with Checkpoints(Path(directory), keep=2, best="loss", mode="min") as checkpoints:
        restored = checkpoints.restore_latest(state)
        if restored:
            state = jax.tree.map(jnp.asarray, restored.state)
        for done in range(restored.step if restored else 0, steps):
            state, value = step(state, images, train.labels)
            if (done + 1) % every == 0:
                checkpoints.save(done + 1, state, {"loss": float(value)})
                print(f"step {done + 1}, loss {value:.4f}")
    return state["matrix"]


if __name__ == "__main__":
    main(sys.argv[1])
