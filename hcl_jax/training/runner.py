"""Training as a host calls it: the same calls for one device and for many.

Functions of `hcl_jax.training` are those of one device. A `Launcher` compiles them, puts states and
data where they belong, and brings results back. On many devices, and over several hosts that each
run this code with their own devices, it runs them with `jax.pmap`: parameters and data set are on
every device, batches are spread.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray

from hcl_jax import parallel
from hcl_jax.collectives import over_axis
from hcl_jax.data import Split
from hcl_jax.training.embedding import embed
from hcl_jax.training.program import Program
from hcl_jax.training.targets import Target
from hcl_jax.training.updates import (
    StepInfo,
    TrainState,
    each_seed,
    init_state,
    restart,
    train_batches,
    train_epoch_of_seeds,
)

AXIS = "devices"
"""The axis over which `over_devices` spreads a batch; for batch norm that is to be synchronised."""


class Launcher(NamedTuple):
    """What a host does with a program. Trees that it places carry whatever axes it needs.

    Attributes:
        devices: how many there are, over all hosts.
        init: keys (seed,) to placed states.
        like: keys (seed,) to the shapes of what `share` makes of the states.
        epoch: (states, placed split, target) to (states, infos); the old states are used up.
        batches: (states, placed batches, target) to (states, infos), for one seed.
        embed: (states, placed images) to embeddings (seed, n, dim).
        features: (states, placed images) to features of the encoder (seed, n, feature).
        restart: states to states before the first step with the same network.
        place: a tree of one copy to the placed tree, the same on every device.
        place_batches: host batches with axes (step, batch) to placed ones, spread over devices.
        fetch: a placed tree, or infos, to one copy, on a device of this host.
        share: a placed tree to one copy that is the same array on all hosts, as checkpoints need.
    """

    devices: int
    init: Callable[[PRNGKeyArray], TrainState]
    like: Callable[[PRNGKeyArray], Any]
    epoch: Callable[[TrainState, Split, Target], tuple[TrainState, StepInfo]]
    batches: Callable[[TrainState, Split, Target], tuple[TrainState, StepInfo]]
    embed: Callable[[TrainState, Array], Float[Array, "seed n dim"]]
    features: Callable[[TrainState, Array], Float[Array, "seed n feature"]]
    restart: Callable[[TrainState], TrainState]
    place: Callable[[Any], Any]
    place_batches: Callable[[Split], Split]
    fetch: Callable[[Any], Any]
    share: Callable[[Any], Any]


def alone(program: Program) -> Launcher:
    """Everything on one device.

    Args:
        program: what is fixed.

    Returns:
        The launcher.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.networks import mlp
        >>> program = Program(mlp(4, 2, depth=1, width=8), optax.adam(1e-3), batch_size=8)
        >>> launcher = alone(program)
        >>> states = launcher.init(jax.random.split(jax.random.key(0), 3))
        >>> launcher.embed(states, launcher.place(jax.numpy.ones((5, 4)))).shape
        (3, 5, 2)
    """
    return Launcher(
        devices=1,
        init=functools.partial(_init_alone, program),
        like=functools.partial(jax.eval_shape, functools.partial(_init, program)),
        epoch=functools.partial(train_epoch_of_seeds, program=program),
        batches=functools.partial(_batches, program),
        embed=functools.partial(_embed_alone, program, 1),
        features=functools.partial(_embed_alone, program, 0),
        restart=functools.partial(_restart_alone, program),
        place=lambda tree: jax.tree.map(jnp.asarray, tree),
        place_batches=lambda batches: jax.tree.map(jnp.asarray, batches),
        fetch=lambda tree: tree,
        share=lambda tree: tree,
    )


def over_devices(program: Program, *, devices: Sequence[Any] | None = None) -> Launcher:
    """A batch spread over devices with `jax.pmap`.

    Args:
        program: what is fixed; its collectives are replaced.
        devices: of this host; by default all devices of all hosts. To spread over hosts, leave it
            out.

    Returns:
        The launcher.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.networks import mlp
        >>> program = Program(mlp(4, 2, depth=1, width=8), optax.adam(1e-3), batch_size=8)
        >>> launcher = over_devices(program, devices=jax.devices()[:1])
        >>> states = launcher.init(jax.random.split(jax.random.key(0), 3))
        >>> launcher.fetch(launcher.embed(states, launcher.place(jax.numpy.ones((5, 4))))).shape
        (3, 5, 2)
    """
    program = program._replace(collectives=over_axis(AXIS))
    local = jax.local_devices() if devices is None else list(devices)
    count = jax.device_count() if devices is None else len(local)
    mesh = Mesh(np.asarray(jax.devices() if devices is None else local), AXIS)
    everywhere = NamedSharding(mesh, PartitionSpec())
    launch = functools.partial(parallel.launch, axis_name=AXIS, devices=devices)
    copy = launch(lambda tree: tree)

    def place(tree):
        return copy(jax.tree.map(lambda leaf: _stack(leaf, len(local)), tree))

    def place_batches(batches):
        first = jax.process_index() * len(local) if devices is None else 0
        return copy(jax.tree.map(lambda leaf: _cut(leaf, first, len(local), count), batches))

    epoch = launch(lambda *a: train_epoch_of_seeds(*a, program=program), donate=(0,))
    batches = launch(functools.partial(_batches, program), donate=(0,))
    init = launch(functools.partial(_init, program))
    return Launcher(
        devices=count,
        init=lambda keys: init(place(keys)),
        like=functools.partial(_like, program, everywhere),
        epoch=lambda states, split, target: epoch(states, split, place(target)),
        batches=lambda states, split, target: batches(states, split, place(target)),
        embed=launch(functools.partial(_embed, program, 1)),
        features=launch(functools.partial(_embed, program, 0)),
        restart=launch(functools.partial(_restart, program)),
        place=place,
        place_batches=place_batches,
        fetch=functools.partial(jax.tree.map, lambda leaf: leaf.addressable_shards[0].data[0]),
        share=functools.partial(jax.tree.map, functools.partial(_one_array, everywhere)),
    )


def _init(program, keys):
    return jax.vmap(lambda key: init_state(key, program))(keys)


def _batches(program, states, batches, target):
    return each_seed(lambda state: train_batches(state, batches, target, program))(states)


def _embed(program, which, states, images):
    return each_seed(lambda state: embed(state.variables, images, program)[which])(states)


def _restart(program, states):
    return jax.vmap(lambda state: restart(state, program))(states)


# Compiled once for a program, however many launchers it is given to.
_init_alone = jax.jit(_init, static_argnums=0)
_embed_alone = jax.jit(_embed, static_argnums=(0, 1))
_restart_alone = jax.jit(_restart, static_argnums=0)


def _like(program, sharding, keys):
    shapes = jax.eval_shape(functools.partial(_init, program), keys)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes
    )


def _one_array(everywhere, leaf):
    """The copies of all devices as the one array that they are."""
    copies = [shard.data[0] for shard in leaf.addressable_shards]
    return jax.make_array_from_single_device_arrays(copies[0].shape, everywhere, copies)


def _stack(leaf, copies):
    """Copies along a new axis; of host arrays without taking memory for them."""
    if isinstance(leaf, jax.Array):
        leaf = leaf.addressable_data(0)
    if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
        data = _stack(np.asarray(jax.random.key_data(leaf)), copies)
        return jax.random.wrap_key_data(jnp.asarray(data), impl=jax.random.key_impl(leaf))
    return np.broadcast_to(leaf, (copies, *np.shape(leaf)))


def _cut(leaf, first, local, count):
    """The parts (device, step, batch / count, ..) of the devices of this host."""
    steps, size, *rest = leaf.shape
    parts = np.moveaxis(np.reshape(leaf, (steps, count, size // count, *rest)), 1, 0)
    return parts[first : first + local]
