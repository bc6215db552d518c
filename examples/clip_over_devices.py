"""Two encoders, a learned temperature and hard negatives, over all devices of the machine.

On a CPU, eight devices to try it with: XLA_FLAGS=--xla_force_host_platform_device_count=8
"""

import jax
import jax.numpy as jnp
import optax

import hcl_jax
from hcl_jax import parallel
from hcl_jax.hardening import exponential
from hcl_jax.normalization import unit_sphere


def draw_pairs(key: jax.Array, n: int) -> tuple[jax.Array, jax.Array]:
    """Images (n, 32) and texts (n, 24) of the same six topics, with noise."""
    topics = jax.random.normal(key, (n, 6))
    frame = jax.random.normal(jax.random.key(0), (6, 56))
    both = topics @ frame + jax.random.normal(jax.random.fold_in(key, 1), (n, 56))
    return both[:, :32], both[:, 32:]


def embed(parameters: dict, images: jax.Array, texts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both on the unit sphere of eight dimensions."""
    return unit_sphere(images @ parameters["image"]), unit_sphere(texts @ parameters["text"])


def loss(parameters: dict, images: jax.Array, texts: jax.Array) -> jax.Array:
    """The loss of the batch of all devices; images and texts are those of one device."""
    return hcl_jax.clip(
        *embed(parameters, images, texts),
        hardening=exponential(2.0),  # acts on similarities
        temperature=jnp.exp(-parameters["log_scale"]),
        collectives=parallel.over_axis("devices"),
    )


def main(steps: int = 200, batch_size: int = 256) -> float:
    """Trains, and returns how often the nearest text of an image is its own, of 100."""
    mesh, split = jax.make_mesh((jax.device_count(),), ("devices",)), jax.P("devices")
    of_batch = jax.shard_map(  # which adds the gradients of the devices
        jax.value_and_grad(loss), mesh=mesh, in_specs=(jax.P(), split, split), out_specs=jax.P()
    )
    matrix = jax.random.normal(jax.random.key(1), (56, 8)) / 6
    parameters = {"image": matrix[:32], "text": matrix[32:], "log_scale": jnp.log(1 / 0.07)}
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(parameters, state, batch):
        value, gradient = of_batch(parameters, *batch)
        updates, state = optimizer.update(gradient, state)
        parameters = optax.apply_updates(parameters, updates)
        parameters["log_scale"] = jnp.minimum(parameters["log_scale"], jnp.log(100.0))
        return parameters, state, value

    state = optimizer.init(parameters)
    for key in jax.random.split(jax.random.key(3), steps):
        batch = jax.device_put(draw_pairs(key, batch_size), jax.NamedSharding(mesh, split))
        parameters, state, value = step(parameters, state, batch)
        value.block_until_ready()  # devices of one CPU starve if steps pile up
    images, texts = embed(parameters, *draw_pairs(jax.random.key(4), 100))
    found = float(((images @ texts.T).argmax(axis=1) == jnp.arange(100)).mean())
    temperature = jnp.exp(-parameters["log_scale"])
    print(f"loss {value:.4f}, temperature {temperature:.3f}, found {found:.2f} of the texts")
    return found


if __name__ == "__main__":
    main()
