"""Equinox: a module is a pytree, so the loss is a function of it."""

import equinox as eqx
import jax
import optax

import hcl_jax
from hcl_jax import data, geometry
from hcl_jax.normalization import unit_ball


@eqx.filter_jit
def step(model, state, optimizer, images, labels):
    """One update by HSCL."""

    def loss(model):
        return hcl_jax.hscl(unit_ball(jax.vmap(model)(images)), labels, beta=5.0)

    value, gradient = eqx.filter_value_and_grad(loss)(model)
    updates, state = optimizer.update(gradient, state)
    return eqx.apply_updates(model, updates), state, value


add = eqx.filter_jit(lambda state, model, x, y: state.add(unit_ball(jax.vmap(model)(x)), y))


def main(steps: int = 200, batch_size: int = 256) -> int:
    """Trains, and returns how many of 9 directions the class means use."""
    train = data.digits().train
    images, labels = train.images.reshape(-1, 64), train.labels
    model = eqx.nn.MLP(64, 9, width_size=128, depth=1, key=jax.random.key(0))
    optimizer = optax.adam(3e-3)
    state = optimizer.init(eqx.filter(model, eqx.is_array))
    for key in jax.random.split(jax.random.key(1), steps):
        rows = jax.random.choice(key, len(images), (batch_size,), replace=False)
        model, state, value = step(model, state, optimizer, images[rows], labels[rows])

    accumulator = geometry.Accumulator.init(num_classes=10, dim=9)
    for start in range(0, len(images), 449):  # a third of them at a time
        part = slice(start, start + 449)
        accumulator = add(accumulator, model, images[part], labels[part])
    found = accumulator.finish()
    print(f"loss {value:.4f}, {found.directions} of 9 directions")
    return int(found.directions)


if __name__ == "__main__":
    main()
