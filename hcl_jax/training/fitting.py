"""Training on arrays of one's own: some epochs in one call, which stops where a number is wrong."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int, PRNGKeyArray, Shaped

from hcl_jax.conventions import Objective
from hcl_jax.data import Split, place_split
from hcl_jax.data.balanced_batches import check_enough_of_every_class
from hcl_jax.data.splits import NO_CLASS
from hcl_jax.data.streaming import BUDGET_BYTES
from hcl_jax.training.epochs import run_epoch
from hcl_jax.training.non_finite import first_non_finite
from hcl_jax.training.program import Program, check_batch, check_pairs
from hcl_jax.training.runner import DataParallel, Runner, SingleDevice
from hcl_jax.training.states import TrainState
from hcl_jax.training.targets import ClassTargets, Target
from hcl_jax.training.updates import StepInfo
from hcl_jax.validation.arrays import (
    check_array,
    check_finite_rows,
    check_integers,
    check_key,
    fits_int32,
)
from hcl_jax.validation.batches import check_classes, check_no_negative_labels
from hcl_jax.validation.images import check_unit_interval
from hcl_jax.validation.numbers import check_count
from hcl_jax.validation.options import check_function, check_kind

AfterEpoch = Callable[[int, TrainState, StepInfo], object]


class Fitted(NamedTuple):
    """What `fit` leaves.

    Attributes:
        state: the state after the last step, with the variables of the network.
        infos: losses and norms (epoch, step) of all steps, as NumPy arrays.
    """

    state: TrainState
    infos: StepInfo


def fit(
    key: PRNGKeyArray,
    images: Shaped[Any, "n *image"],
    labels: Int[Any, " n"] | None,
    target: Target,
    program: Program,
    *,
    epochs: int,
    devices: Sequence[Any] | None = None,
    resident_bytes: int = BUDGET_BYTES,
    after_epoch: AfterEpoch | None = None,
) -> Fitted:
    """Trains a network on arrays for some epochs.

    Args:
        key: randomness of the first parameters, the order of images, views and draws. The same key
            gives the same numbers.
        images: training images, uint8 or floats in [0, 1], or vectors of floats.
        labels: the class of each; None, or -1 for some, where no label is needed: with
            ``positives="views"`` and an unsupervised objective.
        target: what is minimised: an objective, see `traced_objective`, or class targets.
        program: the network, the optimizer, the batch size and how a batch is made.
        epochs: passes over the images.
        devices: the devices of this host that share each batch; by default one device alone.
        resident_bytes: images and labels up to this size live on the devices; more stream from the
            host.
        after_epoch: called after each epoch with its number, counted from 1, the state and the
            infos of its steps: to measure, print or save. What it raises ends training.

    Returns:
        The state, and the infos of all steps.

    Raises:
        ValueError, TypeError: on images, labels, options or a key that do not fit, named with what
            was found; if no image of the first epoch had a positive and a negative.
        FloatingPointError: at the end of the epoch in which a loss, gradient, parameter or
            projection is NaN or infinite.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.data import gaussian_classes
        >>> from hcl_jax.networks import mlp
        >>> from hcl_jax.training import traced_objective
        >>> classes = gaussian_classes(jax.random.key(0), num_classes=4, train_per_class=8)
        >>> images, labels = classes.train
        >>> program = Program(mlp(64, 3, depth=1, width=8), optax.adam(1e-3), batch_size=16)
        >>> objective = traced_objective(supervised=True, beta=5.0)
        >>> fitted = fit(jax.random.key(1), images, labels, objective, program, epochs=2)
        >>> fitted.infos.loss.shape
        (2, 2)
    """
    check_key("key", key)
    check_count("epochs", epochs)
    check_count("resident_bytes", resident_bytes, minimum=0)
    if after_epoch is not None:
        check_function("after_epoch", after_epoch)
    split = _checked_split(images, labels, target, program)
    runner = _runner(split, program, devices)
    if isinstance(target, Objective):
        check_pairs(np.asarray(split.labels), program, supervised=bool(target.supervised))
    placed = place_split(split, budget_bytes=resident_bytes, put=runner.replicate)
    states, seen = runner.init(key[None]), []
    for epoch in range(1, epochs + 1):
        states, infos = run_epoch(runner, states, placed, target)
        wrong = first_non_finite(infos, runner.fetch(runner.all_finite(states)))
        if wrong is not None:
            raise FloatingPointError(f"{wrong.what} at step {wrong.step + 1} of epoch {epoch}")
        seen.append(jax.tree.map(lambda leaf: np.asarray(leaf)[0], infos))
        if epoch == 1:
            _check_pairs(seen[0], split, program)
        if after_epoch is not None:
            after_epoch(epoch, _only(runner, states), seen[-1])
    return Fitted(_only(runner, states), jax.tree.map(lambda *parts: np.stack(parts), *seen))


def _only(runner: Runner, states: TrainState) -> TrainState:
    """The state of the only seed, in buffers of its own."""
    return jax.tree.map(lambda leaf: leaf[0], runner.fetch(states))


def _runner(split: Split, program: Program, devices: Sequence[Any] | None) -> Runner:
    """The runner on these devices, once the batches are known to fit them."""
    count = 1 if devices is None else len(devices)
    if devices is not None and len(set(devices)) < count:
        raise ValueError(f"devices must be different, got {list(devices)}")
    check_count("the number of devices", count)
    check_batch(
        program.batch_size,
        num_images=len(split.labels),
        num_devices=count,
        positives=program.positives,
        parts=program.parts,
    )
    return SingleDevice(program) if devices is None else DataParallel(program, devices=devices)


def _checked_split(images: Any, labels: Any, target: Target, program: Program) -> Split:
    """Images and labels, if a program can train on them."""
    if not isinstance(target, (Objective, ClassTargets)):
        kinds = "an Objective, as of traced_objective, or ClassTargets"
        raise TypeError(f"target must be {kinds}, got a {type(target).__name__}")
    check_kind("program", program, Program, "Program(model, optimizer, batch_size=256)")
    _check_images(images)
    size = len(images)
    needed = (
        isinstance(target, ClassTargets) or program.positives == "class" or bool(target.supervised)
    )
    without = 'positives="views" with an unsupervised objective trains without labels'
    if labels is None:
        if needed:
            raise ValueError(f"labels must be given; {without}")
        labels = np.full(size, NO_CLASS, np.int32)
    check_integers("labels", labels)
    if np.shape(labels) != (size,):
        raise ValueError(
            f"labels must have shape ({size},), one for each image, got shape {np.shape(labels)}"
        )
    if not fits_int32(labels):
        raise ValueError(
            "labels must fit in int32, the integers of JAX; numpy.unique(labels, "
            "return_inverse=True)[1] are classes from 0 on"
        )
    if needed:
        check_no_negative_labels("labels", labels, without)
    if isinstance(target, ClassTargets):
        check_classes("labels", labels, len(target.points))
    if program.balance is not None:
        check_enough_of_every_class(labels, program.balance.num_classes, program.balance.per_class)
    return Split(images, labels)


def _check_images(images: Any) -> None:
    """Raises unless there are images, or vectors, of numbers that mean what they should."""
    check_array("images", images)
    dtype, shape = jnp.result_type(images), np.shape(images)
    if len(shape) < 2 or 0 in shape:
        raise ValueError(f"images must have shape (n, *image), none of it 0, got shape {shape}")
    if dtype == jnp.uint8:
        return
    if not jnp.issubdtype(dtype, jnp.floating):
        raise TypeError(f"images must be uint8 or floating point, got dtype {dtype}")
    check_finite_rows("images", images)
    if len(shape) > 2:
        check_unit_interval("images", images)


def _check_pairs(infos: StepInfo, split: Split, program: Program) -> None:
    """Raises ValueError if an epoch had no loss at all."""
    if not np.any(infos.pairs):
        raise ValueError(
            "no image of the first epoch had a positive and a negative: "
            f"{len(split.labels)} images of {len(np.unique(split.labels))} classes in batches of "
            f"{program.batch_size}"
        )
