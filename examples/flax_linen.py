"""Flax Linen with batch norm: the state of the network travels beside the parameters."""

import flax.linen as nn
import jax
import optax
from flax.training.train_state import TrainState

import hcl_jax
from hcl_jax import data, geometry
from hcl_jax.normalization import unit_ball


class Encoder(nn.Module):
    """64 -> 128 -> 9, with batch norm."""

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Embeddings of images (n, 64), in the unit ball."""
        hidden = nn.Dense(128)(images)
        hidden = nn.relu(nn.BatchNorm(use_running_average=not train)(hidden))
        return unit_ball(nn.Dense(9)(hidden))


class State(TrainState):
    batch_stats: dict


@jax.jit
def step(state: State, images: jax.Array, labels: jax.Array) -> tuple[State, jax.Array]:
    """One update by HSCL."""

    def loss(params):
        variables = {"params": params, "batch_stats": state.batch_stats}
        embeddings, new = state.apply_fn(variables, images, True, mutable=["batch_stats"])
        return hcl_jax.hscl(embeddings, labels, beta=5.0), new["batch_stats"]

    (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(state.params)
    return state.apply_gradients(grads=gradient, batch_stats=stats), value


def main(steps: int = 200, batch_size: int = 256) -> int:
    """Trains, and returns how many of 9 directions the class means use."""
    train = data.digits().train
    images, labels = train.images.reshape(-1, 64), train.labels
    model = Encoder()
    variables = model.init(jax.random.key(0), images[:2], True)
    state = State.create(apply_fn=model.apply, tx=optax.adam(3e-3), **variables)
    for key in jax.random.split(jax.random.key(1), steps):
        rows = jax.random.choice(key, len(images), (batch_size,), replace=False)
        state, value = step(state, images[rows], labels[rows])

    variables = {"params": state.params, "batch_stats": state.batch_stats}
    found = geometry.measure(model.apply(variables, images, False), labels, num_classes=10)
    print(f"loss {value:.4f}, {found.directions} of 9 directions")
    return int(found.directions)


if __name__ == "__main__":
    main()
