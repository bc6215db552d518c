"""The update: one step, one epoch, compiled for one device with the state donated.

An epoch is a single compiled `lax.scan` over a data set that lives on the device. Which of the
paper's objectives is trained (`hcl_jax.training.targets`) is data, not code: one compiled program
trains all of them, and `jax.vmap` over keys and states trains several seeds in it at once. All
functions here are those of one device, which may be one of several: `hcl_jax.training.runner` runs
them, and compiles them for several, and what comes before and after an epoch.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from hcl_jax.data import Split
from hcl_jax.losses import AnchorLosses, average_loss, sum_and_weight
from hcl_jax.networks import Variables
from hcl_jax.training.batch_loss import rows_of_views, target_losses
from hcl_jax.training.batch_order import epoch_batches
from hcl_jax.training.microbatches import loss_and_gradient
from hcl_jax.training.program import Program
from hcl_jax.training.states import TrainState, step_keys
from hcl_jax.training.targets import Target

Function = TypeVar("Function", bound=Callable[..., Any])


class StepInfo(NamedTuple):
    """Diagnostics of a step; not carried to the next.

    Attributes:
        loss: mean loss of the global batch.
        gradient_norm: norm of the gradient with respect to all parameters.
        parameter_norm: norm of all parameters after the step.
        projection_norm: the largest of a row of projections.
        pairs: over how many the loss is a mean: (anchor, positive) pairs, or anchors.
        undefined: anchors without a positive or a negative.
        non_finite: anchors whose loss is NaN or infinite.
    """

    loss: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    parameter_norm: Float[Array, ""]
    projection_norm: Float[Array, ""]
    pairs: Array
    undefined: Int[Array, ""]
    non_finite: Int[Array, ""]


def _compiled(**options: Any) -> Callable[[Function], Function]:
    """`jax.jit` with options, which for type checkers leaves a function of the same types."""
    return cast(Callable[[Function], Function], functools.partial(jax.jit, **options))


def train_step(
    state: TrainState,
    batch: Split,
    target: Target,
    program: Program,
) -> tuple[TrainState, StepInfo]:
    """One update of the parameters; pure, not jitted.

    Args:
        state: the state before the step.
        batch: images and labels; on several devices, those of this device.
        target: what is minimised.
        program: what is fixed.

    Returns:
        The state after the step, the same on every device, and what there is to look at, of the
        global batch.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.training import init_state, traced_objective
        >>> from hcl_jax.data import gaussian_classes
        >>> from hcl_jax.networks import mlp
        >>> batch = gaussian_classes(jax.random.key(0), num_classes=4, train_per_class=4).train
        >>> program = Program(mlp(64, 3, depth=1, width=8), optax.adam(1e-3), batch_size=16)
        >>> state = init_state(jax.random.key(1), program)
        >>> scl = traced_objective(supervised=True)
        >>> state, info = jax.jit(train_step, static_argnums=3)(state, batch, scl, program)
        >>> int(state.step), int(info.undefined)
        (1, 0)
    """
    collectives = program.collectives
    view_key, draw_key, _ = step_keys(state)
    images, rows = rows_of_views(view_key, batch, program)
    variables = state.variables
    own = Variables(*collectives.as_varying(tuple(variables), images))

    def loss_of(projections):
        embeddings = program.normalization(projections)
        losses = target_losses(draw_key, embeddings, rows, target, program)
        average = program.conventions.average
        loss = average_loss(losses, average, axis_name=collectives.axis_name)
        return loss, _diagnostics(losses, projections, program)

    loss, diagnostics, gradient, batch_stats = loss_and_gradient(
        program.model, own, images, loss_of, parts=program.parts
    )
    gradient = collectives.sum(gradient)
    with jax.numpy_dtype_promotion("standard"):  # which Optax and the schedules rely on
        updates, optimizer_state = program.optimizer.update(
            gradient, state.optimizer_state, variables.params
        )
    params = jax.tree.map(jnp.add, variables.params, updates)
    norms = optax.tree.norm(gradient), optax.tree.norm(params)
    variables = Variables(params, collectives.mean(batch_stats))
    after = TrainState(variables, optimizer_state, state.step + 1, state.key)
    return after, StepInfo(loss, *norms, *diagnostics)


@_compiled(static_argnames="program", donate_argnames="state")
def train_epoch(
    state: TrainState, split: Split, target: Target, program: Program
) -> tuple[TrainState, StepInfo]:
    """One pass over a shuffled split, as one compiled program; the state is donated.

    Args:
        state: the state before; its buffers are used up.
        split: images and labels, on the device.
        target: what is minimised.
        program: what is fixed.

    Returns:
        The state after the epoch, and the infos of its steps along a leading axis.

    Raises:
        ValueError: as `epoch_batches`.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.training import init_state, traced_objective
        >>> from hcl_jax.data import gaussian_classes
        >>> from hcl_jax.networks import mlp
        >>> data = gaussian_classes(jax.random.key(0), num_classes=4, train_per_class=8)
        >>> program = Program(mlp(64, 3, depth=1, width=8), optax.adam(1e-3), batch_size=16)
        >>> state = init_state(jax.random.key(1), program)
        >>> scl = traced_objective(supervised=True)
        >>> state, infos = train_epoch(state, data.train, scl, program)
        >>> infos.loss.shape
        (2,)
    """
    batches = epoch_batches(state, split.labels, program)

    def step(state, indices):
        batch = Split(split.images[indices], split.labels[indices])
        return train_step(state, batch, target, program)

    return jax.lax.scan(step, state, program.collectives.part(batches, 1))


@_compiled(static_argnames="program", donate_argnames="state")
def train_batches(
    state: TrainState, batches: Split, target: Target, program: Program
) -> tuple[TrainState, StepInfo]:
    """Steps on batches that are given, for data sets too large for the device.

    Args:
        state: the state before; its buffers are used up.
        batches: images (step, batch, ..) and labels (step, batch), of this device.
        target: what is minimised.
        program: what is fixed.

    Returns:
        The state after the last batch, and the infos of the steps along a leading axis.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.training import init_state, traced_objective
        >>> from hcl_jax.networks import mlp
        >>> program = Program(mlp(4, 3, depth=1, width=8), optax.adam(1e-3), batch_size=6)
        >>> state = init_state(jax.random.key(1), program)
        >>> labels = jax.numpy.zeros((2, 6), int)
        >>> batches = Split(jax.numpy.ones((2, 6, 4)), labels)
        >>> _, infos = train_batches(state, batches, traced_objective(supervised=False), program)
        >>> infos.loss.shape
        (2,)
    """
    return jax.lax.scan(
        lambda state, batch: train_step(state, batch, target, program), state, batches
    )


@_compiled(static_argnames="program", donate_argnames="states")
def train_epoch_of_seeds(
    states: TrainState, split: Split, target: Target, program: Program
) -> tuple[TrainState, StepInfo]:
    """`train_epoch` of several seeds at once.

    Args:
        states: states along a leading axis; their buffers are used up.
        split: images and labels, shared by the seeds.
        target: what is minimised, the same for all seeds.
        program: what is fixed.

    Returns:
        States and infos, with the seeds along the leading axis.

    Raises:
        ValueError: as `train_epoch`.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.training import init_state, traced_objective
        >>> from hcl_jax.data import gaussian_classes
        >>> from hcl_jax.networks import mlp
        >>> data = gaussian_classes(jax.random.key(0), num_classes=4, train_per_class=8)
        >>> program = Program(mlp(64, 3, depth=1, width=8), optax.adam(1e-3), batch_size=16)
        >>> keys = jax.random.split(jax.random.key(1), 3)
        >>> states = jax.vmap(lambda key: init_state(key, program))(keys)
        >>> scl = traced_objective(supervised=True)
        >>> states, infos = train_epoch_of_seeds(states, data.train, scl, program)
        >>> infos.loss.shape
        (3, 2)
    """
    return each_seed(lambda state: train_epoch(state, split, target, program))(states)


def each_seed(function: Callable[..., Any]) -> Callable[..., Any]:
    """Maps over the leading axis of the arguments; a single seed runs as if alone.

    Args:
        function: function of trees of arrays.

    Returns:
        The function of trees with a leading axis over seeds.

    Example:
        >>> import jax.numpy as jnp
        >>> [each_seed(jnp.sum)(jnp.ones((seeds, 3))).tolist() for seeds in (1, 2)]
        [[3.0], [3.0, 3.0]]
    """

    def call(*trees):
        if len(jax.tree.leaves(trees)[0]) > 1:
            return jax.vmap(function)(*trees)
        result = function(*jax.tree.map(lambda leaf: leaf[0], trees))
        return jax.tree.map(lambda leaf: leaf[None], result)

    return call


def _diagnostics(
    losses: AnchorLosses, projections: Float[Array, "n dim"], program: Program
) -> tuple[Array, ...]:
    """The rest of `StepInfo`, over all devices."""
    losses, projections = jax.lax.stop_gradient((losses, projections))
    collectives = program.collectives
    norm = jnp.sqrt(jnp.max(jnp.sum(jnp.square(projections), axis=1)))
    counts = (
        sum_and_weight(losses, program.conventions.average)[1],
        ~losses.defined,
        ~jnp.isfinite(losses.total),
    )
    return collectives.max(norm), *(
        collectives.sum(jnp.sum(count, dtype=jnp.int32)) for count in counts
    )
