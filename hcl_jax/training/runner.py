"""Training as a host calls it: the same methods for one device and for many.

The functions of `hcl_jax.training` are those of one device. A `Runner` compiles them, puts states
and data on the devices and brings results back. `SingleDevice` runs them as they are.
`DataParallel` runs them with `jax.pmap` on many devices, of several hosts too if each runs this
code with its own devices: parameters and data set are copied to every device, batches are split.

Compiled functions are kept for the life of the process by program (and devices), so that runners
of equal programs compile once.
"""

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Key

from hcl_jax import parallel
from hcl_jax.collectives import over_axis
from hcl_jax.data import Split
from hcl_jax.training.embedding import embed
from hcl_jax.training.program import Program
from hcl_jax.training.states import TrainState, all_finite, init_state, restart
from hcl_jax.training.targets import Target
from hcl_jax.training.updates import StepInfo, each_seed, train_batches, train_epoch_of_seeds

AXIS = "devices"
"""The axis over which `DataParallel` splits a batch; synchronised batch norm averages over it."""

Seeds = Key[Array, " seed"]
Features = Float[Array, "*devices seed n feature"]
Embeddings = Float[Array, "*devices seed n dim"]


class Runner(Protocol):
    """The calls of a host that trains one program, with several seeds side by side.

    States, splits, batches and results live on the devices, with whatever leading axes the runner
    needs for them; only `fetch` and `as_global_arrays` take these axes away again.

    Attributes:
        program: what is fixed.
    """

    program: Program

    def init(self, keys: Seeds) -> TrainState:
        """The states before the first step, one for each key."""
        ...

    def abstract_states(self, keys: Seeds) -> TrainState:
        """Shapes, dtypes and shardings of `as_global_arrays` of the states, for restoring them."""
        ...

    def train_epoch(
        self, states: TrainState, split: Split, target: Target
    ) -> tuple[TrainState, StepInfo]:
        """One epoch on a split from `replicate`; the memory of the old states is reused."""
        ...

    def train_batches(
        self, states: TrainState, batches: Split, target: Target
    ) -> tuple[TrainState, StepInfo]:
        """Steps on batches from `split_batches`; the memory of the old states is reused."""
        ...

    def all_finite(self, states: TrainState) -> Bool[Array, "*devices seed"]:
        """Whether the states are finite, of each seed."""
        ...

    def embed(self, states: TrainState, images: Array) -> tuple[Features, Embeddings]:
        """Encoder features and embeddings of images from `replicate`, in evaluation mode."""
        ...

    def restart(self, states: TrainState) -> TrainState:
        """States before the first step, with the networks of these states."""
        ...

    def replicate(self, tree: Any) -> Any:
        """Puts a tree of arrays on the devices, the same on each."""
        ...

    def split_batches(self, batches: Split) -> Split:
        """Puts host batches (step, batch, ..) on the devices, a part of every batch on each."""
        ...

    def fetch(self, tree: Any) -> Any:
        """One copy of what every device holds alike, on a device of this host."""
        ...

    def as_global_arrays(self, tree: Any) -> Any:
        """One copy of what every device holds alike, as arrays that all hosts share."""
        ...


class SingleDevice:
    """A `Runner` with everything on one device.

    Args:
        program: static configuration of training.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.networks import mlp
        >>> program = Program(mlp(4, 2, depth=1, width=8), optax.adam(1e-3), batch_size=8)
        >>> runner = SingleDevice(program)
        >>> states = runner.init(jax.random.split(jax.random.key(0), 3))
        >>> _, embeddings = runner.embed(states, runner.replicate(jax.numpy.ones((5, 4))))
        >>> embeddings.shape
        (3, 5, 2)
    """

    def __init__(self, program: Program) -> None:
        self.program = program

    def init(self, keys: Seeds) -> TrainState:
        return _init_jit(jax.default_backend())(self.program, keys)

    def abstract_states(self, keys: Seeds) -> TrainState:
        return _init_jit(jax.default_backend()).eval_shape(self.program, keys)

    def train_epoch(
        self, states: TrainState, split: Split, target: Target
    ) -> tuple[TrainState, StepInfo]:
        return train_epoch_of_seeds(states, split, target, program=self.program)

    def train_batches(
        self, states: TrainState, batches: Split, target: Target
    ) -> tuple[TrainState, StepInfo]:
        return _train_batches(self.program, states, batches, target)

    def all_finite(self, states: TrainState) -> Bool[Array, " seed"]:
        return _all_finite_jit(self.program, states)

    def embed(self, states: TrainState, images: Array) -> tuple[Features, Embeddings]:
        return _embed_jit(self.program, states, images)

    def restart(self, states: TrainState) -> TrainState:
        return _restart_jit(self.program, states)

    def replicate(self, tree: Any) -> Any:
        return jax.tree.map(jnp.asarray, tree)

    def split_batches(self, batches: Split) -> Split:
        return jax.tree.map(jnp.asarray, batches)

    def fetch(self, tree: Any) -> Any:
        return tree

    def as_global_arrays(self, tree: Any) -> Any:
        return tree


class DataParallel:
    """A `Runner` that splits each batch over devices with `jax.pmap`.

    Args:
        program: static configuration of training; its collectives are replaced.
        devices: devices of this host; by default all devices of all hosts, which is the only way
            to train over several hosts.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.networks import mlp
        >>> program = Program(mlp(4, 2, depth=1, width=8), optax.adam(1e-3), batch_size=8)
        >>> runner = DataParallel(program, devices=jax.devices()[:1])
        >>> states = runner.init(jax.random.split(jax.random.key(0), 3))
        >>> _, embeddings = runner.embed(states, runner.replicate(jax.numpy.ones((5, 4))))
        >>> runner.fetch(embeddings).shape
        (3, 5, 2)
    """

    def __init__(self, program: Program, *, devices: Sequence[Any] | None = None) -> None:
        self.program = program._replace(collectives=over_axis(AXIS))
        self._devices = None if devices is None else tuple(devices)
        self._local_count = jax.local_device_count() if devices is None else len(devices)
        self._count = jax.device_count() if devices is None else len(devices)
        mesh = Mesh(np.asarray(jax.devices() if devices is None else devices), AXIS)
        self._replicated = NamedSharding(mesh, PartitionSpec())

    def init(self, keys: Seeds) -> TrainState:
        return self._pmap(_init)(self.replicate(keys))

    def abstract_states(self, keys: Seeds) -> TrainState:
        shapes = _init_jit(jax.default_backend()).eval_shape(self.program, keys)
        return jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self._replicated),
            shapes,
        )

    def train_epoch(
        self, states: TrainState, split: Split, target: Target
    ) -> tuple[TrainState, StepInfo]:
        return self._pmap(_train_epoch, donate=(0,))(states, split, self.replicate(target))

    def train_batches(
        self, states: TrainState, batches: Split, target: Target
    ) -> tuple[TrainState, StepInfo]:
        return self._pmap(_train_batches, donate=(0,))(states, batches, self.replicate(target))

    def all_finite(self, states: TrainState) -> Bool[Array, "devices seed"]:
        return self._pmap(_all_finite)(states)

    def embed(self, states: TrainState, images: Array) -> tuple[Features, Embeddings]:
        return self._pmap(_embed)(states, images)

    def restart(self, states: TrainState) -> TrainState:
        return self._pmap(_restart)(states)

    def replicate(self, tree: Any) -> Any:
        return self._copy(jax.tree.map(lambda leaf: _stacked(leaf, self._local_count), tree))

    def split_batches(self, batches: Split) -> Split:
        first = jax.process_index() * self._local_count if self._devices is None else 0
        own = slice(first, first + self._local_count)
        return self._copy(jax.tree.map(lambda leaf: _parts(leaf, self._count)[own], batches))

    def fetch(self, tree: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf.addressable_shards[0].data[0], tree)

    def as_global_arrays(self, tree: Any) -> Any:
        def global_array(leaf: Array) -> Array:
            copies = [shard.data[0] for shard in leaf.addressable_shards]
            return jax.make_array_from_single_device_arrays(
                copies[0].shape, self._replicated, copies
            )

        return jax.tree.map(global_array, tree)

    def _pmap(self, function: Callable[..., Any], donate: tuple[int, ...] = ()) -> Any:
        return _pmapped(function, self.program, self._devices, donate)

    def _copy(self, tree: Any) -> Any:
        """Moves the parts along the leading axis of a tree to the devices."""
        return self._pmap(_unchanged)(tree)


def _init(program: Program, keys: Seeds) -> TrainState:
    return jax.vmap(lambda key: init_state(key, program))(keys)


def _train_epoch(
    program: Program, states: TrainState, split: Split, target: Target
) -> tuple[TrainState, StepInfo]:
    return train_epoch_of_seeds(states, split, target, program=program)


def _train_batches(
    program: Program, states: TrainState, batches: Split, target: Target
) -> tuple[TrainState, StepInfo]:
    return each_seed(lambda state: train_batches(state, batches, target, program))(states)


def _all_finite(program: Program, states: TrainState) -> Bool[Array, " seed"]:
    return jax.vmap(all_finite)(states)


def _embed(program: Program, states: TrainState, images: Array) -> tuple[Features, Embeddings]:
    return each_seed(lambda state: embed(state.variables, images, program))(states)


def _restart(program: Program, states: TrainState) -> TrainState:
    return jax.vmap(lambda state: restart(state, program))(states)


def _unchanged(program: Program, tree: Any) -> Any:
    return tree


@functools.cache
def _init_jit(platform: str) -> Any:
    """`_init`, compiled on CPUs with few optimisations unless `XLA_FLAGS` says how many.

    It runs once for milliseconds and draws the same bits; LLVM would take seconds to optimise what
    draws random numbers, a copy of which is there for every layer.
    """
    settled = "xla_backend_optimization_level" in os.environ.get("XLA_FLAGS", "")
    few = {"xla_backend_optimization_level": 1} if platform == "cpu" and not settled else None
    return jax.jit(_init, static_argnums=0, compiler_options=few)


_all_finite_jit = jax.jit(_all_finite, static_argnums=0)
_embed_jit = jax.jit(_embed, static_argnums=0)
_restart_jit = jax.jit(_restart, static_argnums=0)


@functools.cache
def _pmapped(
    function: Callable[..., Any],
    program: Program,
    devices: tuple[Any, ...] | None,
    donate: tuple[int, ...],
) -> Callable[..., Any]:
    """A function of a program and one device's trees, over devices."""
    return parallel.launch(
        functools.partial(function, program), axis_name=AXIS, devices=devices, donate=donate
    )


def _stacked(leaf: Any, copies: int) -> Any:
    """Copies along a new axis; of host arrays without taking memory for them."""
    if isinstance(leaf, jax.Array):
        leaf = leaf.addressable_data(0)
    if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
        data = _stacked(np.asarray(jax.random.key_data(leaf)), copies)
        return jax.random.wrap_key_data(jnp.asarray(data), impl=jax.random.key_impl(leaf))
    return np.broadcast_to(leaf, (copies, *np.shape(leaf)))


def _parts(leaf: Any, count: int) -> np.ndarray:
    """Batches (step, batch, ..) as the parts (device, step, batch / count, ..) of all devices."""
    steps, size, *rest = leaf.shape
    return np.moveaxis(np.reshape(leaf, (steps, count, size // count, *rest)), 1, 0)
