"""An epoch as a host runs it, wherever the data live."""

import contextlib

import jax
import numpy as np

from hcl_jax.data import PlacedSplit, chunks
from hcl_jax.training.batch_order import epoch_batches
from hcl_jax.training.runner import Runner
from hcl_jax.training.states import TrainState
from hcl_jax.training.targets import Target
from hcl_jax.training.updates import StepInfo

STREAMED_BYTES = 2**27
"""At most so much of a streamed set is in a chunk: 128 MiB."""


def run_epoch(
    runner: Runner, states: TrainState, placed: PlacedSplit, target: Target
) -> tuple[TrainState, StepInfo]:
    """One epoch on a split that lives on the devices, or streams from the host.

    Both take the same steps on the same batches.

    Args:
        runner: trains a program on one device or on many.
        states: the states of its seeds; their buffers are used up.
        placed: the split, put by `hcl_jax.data.place_split` where `runner.replicate` puts it.
        target: what is minimised.

    Returns:
        The states after the epoch, on the devices, and the infos (seed, step) of its steps.

    Raises:
        ValueError: if the split streams and there are several seeds, whose batches differ.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.data import gaussian_classes, place_split
        >>> from hcl_jax.networks import mlp
        >>> from hcl_jax.training import Program, SingleDevice, traced_objective
        >>> train = gaussian_classes(jax.random.key(0), num_classes=4, train_per_class=8).train
        >>> runner = SingleDevice(Program(mlp(64, 3, depth=1, width=8), optax.adam(1e-3), 16))
        >>> states = runner.init(jax.random.split(jax.random.key(1), 1))
        >>> placed = place_split(train, budget_bytes=0)
        >>> states, infos = run_epoch(runner, states, placed, traced_objective(supervised=True))
        >>> infos.loss.shape, int(states.step[0])
        ((1, 2), 2)
    """
    split, resident = placed
    if resident is not None:
        states, infos = runner.train_epoch(states, resident, target)
        return states, runner.fetch(infos)
    on_host = runner.fetch(states)
    if len(on_host.step) > 1:
        raise ValueError(f"seeds of a streamed split train one by one, got {len(on_host.step)}")
    state = jax.tree.map(lambda leaf: leaf[0], on_host)
    order = np.asarray(epoch_batches(state, split.labels, runner.program))
    steps = max(1, STREAMED_BYTES // (order.shape[1] * split.images[:1].nbytes))
    infos, put = [], runner.split_batches
    with contextlib.closing(chunks(split, order, steps_per_chunk=steps, put=put)) as coming:
        for batches in coming:
            states, info = runner.train_batches(states, batches, target)
            infos.append(jax.tree.map(np.asarray, runner.fetch(info)))
    return states, jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *infos)
