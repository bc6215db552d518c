"""Two encoders, a learned temperature and hard negatives, over all devices of the machine."""

import jax
import jax.numpy as jnp
import optax

import hcl_jax
from hcl_jax.normalization import unit_sphere


def draw_pairs(key, n):
    """Images (n, 32) and texts (n, 24) of the same six topics, with noise."""
    topics = jax.random.normal(key, (n, 6)) @ jax.random.normal(jax.random.key(0), (6, 56))
    both = topics + jax.random.normal(jax.random.fold_in(key, 1), (n, 56))
    return both[:, :32], both[:, 32:]


def loss(parameters, images, texts):
    """The loss of the batch of all devices; images and texts are those of one device."""
    return hcl_jax.clip(
        unit_sphere(images @ parameters["image"]),
        unit_sphere(texts @ parameters["text"]),
        hardening=hcl_jax.hardening.exponential(2.0),  # acts on similarities
        temperature=jnp.exp(-parameters["log_scale"]),
        collectives=hcl_jax.parallel.over_axis("devices"),
    )


def main(steps: int = 200, batch_size: int = 256) -> None:
    """Trains, and shows how often the nearest text of an image is its own, of 100."""
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
    images, texts = draw_pairs(jax.random.key(4), 100)
    nearest = (images @ parameters["image"] @ unit_sphere(texts @ parameters["text"]).T).argmax(1)
    found, temperature = (nearest == jnp.arange(100)).mean(), jnp.exp(-parameters["log_scale"])
    print(f"loss {value:.4f}, temperature {temperature:.3f}, found {found:.2f} of the texts")


if __name__ == "__main__":
    main()  # XLA_FLAGS=--xla_force_host_platform_device_count=8 makes eight devices of a CPU
