"""The update: state, one step, one epoch. Jit and donation happen here, once.

An epoch is a single compiled `lax.scan` over a data set that lives on the device. Which of the
paper's objectives is trained (`Corner`) is data, not code: one compiled program trains all of them,
and `jax.vmap` over keys and states trains several seeds in it at once.
"""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from hcl_jax import pairs as pairing
from hcl_jax.augmentation import Augmentation, identity, views
from hcl_jax.data import Split
from hcl_jax.hardening import Hardening, exponential
from hcl_jax.losses import AnchorLosses, Average
from hcl_jax.models import Model, Variables
from hcl_jax.normalization import Normalization, unit_ball
from hcl_jax.pairs import Pairs, Rows
from hcl_jax.placement import ALONE, Placement
from hcl_jax.psi import Psi
from hcl_jax.validation import check_choice, check_count


class Corner(NamedTuple):
    """Which objective is trained; all of it may be traced.

    Attributes:
        supervised: whether negatives are of other classes (SCL, HSCL) or everyone (UCL, HUCL).
        hardening: how hard negatives weigh; `exponential` of 0 is none.
    """

    supervised: Bool[Array, ""] | bool
    hardening: Hardening


class Program(NamedTuple):
    """What is fixed when training is compiled.

    Attributes:
        model: the network.
        optimizer: of the parameters.
        batch_size: images in a step; the last, incomplete batch of an epoch is dropped.
        normalization: of the projections.
        augmentation: makes views of images.
        positives: "class" for positives that share the latent class (one view of each image), or
            "views" for two views of each image that are each other's positives (SimCLR).
        self_positives: as in `hcl_jax.objectives.Options`.
        self_negatives: likewise.
        stop_gradient_hardening: likewise.
        average: likewise.
        psi: likewise; None is InfoNCE.
        num_negatives: likewise; None is the weights estimator.
        placement: one device, or one of several that share the batch (`hcl_jax.placement.across`).
    """

    model: Model
    optimizer: optax.GradientTransformation
    batch_size: int
    normalization: Normalization = unit_ball
    augmentation: Augmentation = identity
    positives: Literal["class", "views"] = "class"
    self_positives: bool = False
    self_negatives: bool = False
    stop_gradient_hardening: bool = True
    average: Average = "pairs"
    psi: Psi | None = None
    num_negatives: int | None = None
    placement: Placement = ALONE


class TrainState(NamedTuple):
    """What is carried from step to step."""

    variables: Variables
    optimizer_state: optax.OptState
    step: Int[Array, ""]
    key: PRNGKeyArray


class StepInfo(NamedTuple):
    """What is looked at after a step, and dropped."""

    loss: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    undefined: Int[Array, ""]


def corner(*, supervised: bool, beta: Float[Array, ""] | float = 0.0) -> Corner:
    """The corner of one of the paper's objectives.

    Args:
        supervised: True for SCL and HSCL, False for UCL and HUCL.
        beta: the hardness; 0 for SCL and UCL.

    Returns:
        A pytree of two arrays, the same for all objectives.

    Example:
        >>> bool(corner(supervised=True, beta=5.0).supervised)
        True
    """
    return Corner(jnp.asarray(supervised), exponential(jnp.asarray(beta, jnp.float32)))


def init_state(key: PRNGKeyArray, program: Program) -> TrainState:
    """The state before the first step.

    Args:
        key: draws the parameters and everything in training.
        program: what will be trained.

    Returns:
        The state.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.models import mlp
        >>> program = Program(mlp(4, 2, depth=1, width=8), optax.adam(1e-3), batch_size=8)
        >>> int(init_state(jax.random.key(0), program).step)
        0
    """
    init_key, train_key = jax.random.split(key)
    variables = program.model.init(init_key)
    return TrainState(
        variables, program.optimizer.init(variables.params), jnp.zeros((), jnp.int32), train_key
    )


def train_step(
    state: TrainState,
    batch: Split,
    corner: Corner,
    program: Program,
) -> tuple[TrainState, StepInfo]:
    """One update of the parameters; pure, not jitted.

    Args:
        state: the state before the step.
        batch: images and labels; on several devices, those of this device.
        corner: the objective.
        program: what is fixed.

    Returns:
        The state after the step, the same on every device, and what there is to look at, of the
        global batch.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.data import gaussian_classes
        >>> from hcl_jax.models import mlp
        >>> batch = gaussian_classes(jax.random.key(0), num_classes=4, train_per_class=4).train
        >>> program = Program(mlp(64, 3, depth=1, width=8), optax.adam(1e-3), batch_size=16)
        >>> state = init_state(jax.random.key(1), program)
        >>> scl = corner(supervised=True)
        >>> state, info = jax.jit(train_step, static_argnums=3)(state, batch, scl, program)
        >>> int(state.step), int(info.undefined)
        (1, 0)
    """
    placement = program.placement
    view_key, draw_key, _ = _keys(state)
    images, rows = _rows_of_views(view_key, batch, program)
    variables = state.variables
    own = Variables(*placement.apart(tuple(variables), images))

    def loss_of(params):
        outputs, batch_stats = program.model.apply(Variables(params, own.batch_stats), images, True)
        embeddings = program.normalization(outputs.projections)
        losses = _losses(draw_key, embeddings, rows, corner, program)
        undefined = jnp.sum(~losses.defined, dtype=jnp.int32)
        return placement.mean_loss(losses, program.average), (batch_stats, undefined)

    value_and_gradient = jax.value_and_grad(loss_of, has_aux=True)
    (loss, (batch_stats, undefined)), gradient = value_and_gradient(own.params)
    gradient = placement.add(gradient)
    updates, optimizer_state = program.optimizer.update(
        gradient, state.optimizer_state, variables.params
    )
    params = jax.tree.map(jnp.add, variables.params, updates)
    info = StepInfo(loss, optax.tree.norm(gradient), placement.add(undefined))
    variables = Variables(params, placement.mean(batch_stats))
    return TrainState(variables, optimizer_state, state.step + 1, state.key), info


@functools.partial(jax.jit, static_argnames="program", donate_argnames="state")
def train_epoch(
    state: TrainState, split: Split, corner: Corner, program: Program
) -> tuple[TrainState, StepInfo]:
    """One pass over a shuffled split, as one compiled program; the state is donated.

    Args:
        state: the state before; its buffers are used up.
        split: images and labels, on the device.
        corner: the objective.
        program: what is fixed.

    Returns:
        The state after the epoch, and the infos of its steps along a leading axis.

    Raises:
        ValueError: if the batch size is below 2 or above the size of the split.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.data import gaussian_classes
        >>> from hcl_jax.models import mlp
        >>> data = gaussian_classes(jax.random.key(0), num_classes=4, train_per_class=8)
        >>> program = Program(mlp(64, 3, depth=1, width=8), optax.adam(1e-3), batch_size=16)
        >>> state = init_state(jax.random.key(1), program)
        >>> state, infos = train_epoch(state, data.train, corner(supervised=True), program)
        >>> infos.loss.shape
        (2,)
    """
    batches = epoch_batches(state, split, program.batch_size)

    def step(state, indices):
        batch = Split(split.images[indices], split.labels[indices])
        return train_step(state, batch, corner, program)

    return jax.lax.scan(step, state, batches)


@functools.partial(jax.jit, static_argnames="program", donate_argnames="states")
def train_epoch_of_seeds(
    states: TrainState, split: Split, corner: Corner, program: Program
) -> tuple[TrainState, StepInfo]:
    """`train_epoch` of several seeds at once.

    Args:
        states: states along a leading axis; their buffers are used up.
        split: images and labels, shared by the seeds.
        corner: the objective, shared too.
        program: what is fixed.

    Returns:
        States and infos, with the seeds along the leading axis.

    Raises:
        ValueError: as `train_epoch`.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.data import gaussian_classes
        >>> from hcl_jax.models import mlp
        >>> data = gaussian_classes(jax.random.key(0), num_classes=4, train_per_class=8)
        >>> program = Program(mlp(64, 3, depth=1, width=8), optax.adam(1e-3), batch_size=16)
        >>> keys = jax.random.split(jax.random.key(1), 3)
        >>> states = jax.vmap(lambda key: init_state(key, program))(keys)
        >>> scl = corner(supervised=True)
        >>> states, infos = train_epoch_of_seeds(states, data.train, scl, program)
        >>> infos.loss.shape
        (3, 2)
    """
    return jax.vmap(lambda state: train_epoch(state, split, corner, program))(states)


def epoch_batches(state: TrainState, split: Split, batch_size: int) -> Int[Array, "steps batch"]:
    """The shuffled indices of the batches of the epoch that begins at this state.

    Args:
        state: its key and step decide the order, so that a resumed run shuffles as the first.
        split: what is shuffled.
        batch_size: indices in each row; the rest of the split is dropped.

    Returns:
        One row of indices for each step.

    Raises:
        ValueError: if the batch size is below 2 or above the size of the split.

    Example:
        >>> import jax
        >>> split = Split(jax.numpy.ones((7, 1)), jax.numpy.zeros(7, int))
        >>> state = TrainState(None, None, jax.numpy.zeros((), int), jax.random.key(0))
        >>> epoch_batches(state, split, 3).shape
        (2, 3)
    """
    check_count("batch_size", batch_size, minimum=2)
    size = len(split.labels)
    if batch_size > size:
        raise ValueError(f"batch_size must be at most the {size} training images, got {batch_size}")
    steps = size // batch_size
    _, _, order_key = _keys(state)
    order = jax.random.permutation(order_key, size)
    return order[: steps * batch_size].reshape(steps, batch_size)


def embed(
    variables: Variables,
    images: Float[Array, "n *image"],
    model: Model,
    normalization: Normalization,
    *,
    batch_size: int = 1024,
) -> tuple[Float[Array, "n feature"], Float[Array, "n dim"]]:
    """Features and embeddings in evaluation mode, a batch at a time.

    Args:
        variables: of the network.
        images: of a whole split.
        model: the network.
        normalization: of the projections.
        batch_size: how many images are in memory at once.

    Returns:
        Encoder features and embeddings of every image.

    Example:
        >>> import jax
        >>> from hcl_jax.models import mlp
        >>> model = mlp(4, 2, depth=1, width=8)
        >>> variables = model.init(jax.random.key(0))
        >>> features, embeddings = embed(variables, jax.numpy.ones((5, 4)), model, unit_ball)
        >>> features.shape, embeddings.shape
        ((5, 8), (5, 2))
    """
    check_count("batch_size", batch_size)

    def embed_one(image):
        outputs, _ = model.apply(variables, image[None], False)
        return outputs.features[0], normalization(outputs.projections)[0]

    return jax.lax.map(embed_one, images, batch_size=min(batch_size, len(images)))


def _keys(state: TrainState) -> PRNGKeyArray:
    """Keys for the views and the draws of this step, and for the order of an epoch begun here."""
    return jax.random.split(jax.random.fold_in(state.key, state.step), 3)


def _rows_of_views(key, batch: Split, program: Program) -> tuple[Array, Rows]:
    check_choice("positives", program.positives, ("class", "views"))
    index, size = program.placement.device(), len(batch.labels)
    num_views = 2 if program.positives == "views" else 1
    key = jax.random.fold_in(key, index)
    images = views(key, batch.images, program.augmentation, num_views)
    images = images.reshape(-1, *batch.images.shape[1:])
    labels = jnp.tile(batch.labels, num_views)
    numbers = jnp.tile(jnp.arange(size, dtype=jnp.int32) + index * size, num_views)
    groups = numbers if program.positives == "views" else None
    return images, pairing.rows(labels, groups=groups, first=index * num_views * size)


def _losses(key, embeddings, rows: Rows, corner: Corner, program: Program) -> AnchorLosses:
    pairs = _pairs(rows, corner.supervised, program)
    options = {
        "psi": program.psi,
        "hardening": corner.hardening,
        "stop_gradient_hardening": program.stop_gradient_hardening,
    }
    if program.num_negatives is None:
        return program.placement.weights_loss(embeddings, pairs, **options)
    return program.placement.samples_loss(
        key, embeddings, pairs, num_negatives=program.num_negatives, **options
    )


def _pairs(rows: Rows, supervised, program: Program) -> Pairs:
    """Supervised or unsupervised pairs, chosen by a number that may be traced."""
    yes = pairing.supervised(rows, self_positives=program.self_positives)
    no = pairing.unsupervised(
        rows, self_positives=program.self_positives, self_negatives=program.self_negatives
    )
    return jax.tree.map(lambda a, b: jnp.where(supervised, a, b), yes, no)
