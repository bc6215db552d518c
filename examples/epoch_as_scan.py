"""An epoch as one compiled program: the steps are a scan over shuffled batches, in Flax NNX."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

import hcl_jax
from hcl_jax import data, geometry
from hcl_jax.normalization import unit_ball


def make_epoch(graph, images, labels, batch_size):
    """A jitted function from (state, key) to (state, losses), over all whole batches."""
    batches = len(images) // batch_size

    @jax.jit
    def epoch(state, key):
        order = jax.random.permutation(key, len(images))[: batches * batch_size]

        def step(state, rows):
            model, optimizer = nnx.merge(graph, state)

            def loss(model):
                return hcl_jax.hscl(unit_ball(model(images[rows])), labels[rows], beta=5.0)

            value, gradient = nnx.value_and_grad(loss)(model)
            optimizer.update(model, gradient)
            return nnx.state((model, optimizer)), value

        return jax.lax.scan(step, state, order.reshape(batches, batch_size))

    return epoch


def main(epochs: int = 40, batch_size: int = 256) -> int:
    """Trains, and returns how many of 9 directions the class means use."""
    train = data.digits().train
    images, labels = train.images.reshape(-1, 64), train.labels
    layers = nnx.Rngs(0)
    model = nnx.Sequential(
        nnx.Linear(64, 128, rngs=layers), nnx.relu, nnx.Linear(128, 9, rngs=layers)
    )
    optimizer = nnx.Optimizer(model, optax.adam(3e-3), wrt=nnx.Param)
    graph, state = nnx.split((model, optimizer))
    epoch = make_epoch(graph, images, labels, batch_size)
    for key in jax.random.split(jax.random.key(1), epochs):
        state, losses = epoch(state, key)

    model, _ = nnx.merge(graph, state)
    found = geometry.measure(unit_ball(model(images)), labels, num_classes=10)
    print(f"loss {jnp.mean(losses):.4f}, {found.directions} of 9 directions")
    return int(found.directions)


if __name__ == "__main__":
    main()
