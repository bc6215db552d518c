r"""The weights estimator of InfoNCE in memory linear in the batch, with a hand-written gradient.

**The loss.** With similarities ``s_ij = x_i . y_j``, ``k_ij = log eta(s_ij) + s_ij / t`` for the
temperature t, negatives N_i and positives P_i of anchor i,

    a_i = logsumexp_{j in N_i} k_ij        b_i = logsumexp_{j in N_i} log eta(s_ij)
    m_i = a_i - b_i                        L_i = sum_{p in P_i} link(m_i - s_ip / t)

where ``link(x) = log(alpha + q e^x)``. Only a, b and two sums over positives are kept: O(rows).

**The gradient.** Let ``g_i`` be the derivative of the final scalar by ``L_i``. Write

    r_ip = link'(m_i - s_ip / t) for p in P_i, else 0          R_i  = sum_p r_ip
    u_ij = exp(k_ij - a_i)       for j in N_i, else 0          w_ij = exp(log eta(s_ij) - b_i)

so that u and w are the softmax weights: ``d a_i = sum_j u_ij d k_ij``, ``d b_i = sum_j w_ij d log
eta(s_ij)``. Since ``d L_i = R_i d m_i - (1/t) sum_p r_ip d s_ip``, the derivative by ``s_ij`` is

    G_ij = g_i ( R_i [ u_ij (1/t + D_ij) - w_ij D_ij ]  -  r_ij / t ),   D_ij = (log eta)'(s_ij),

and D = 0 where the weights eta are constants to differentiation. Every entry follows from ``s_ij``
and row statistics, so the backward pass computes the tiles again:

    dX = G Y,      dY = G^T X,      and if candidates are the anchors   dZ = (G + G^T) Z.

**Work**, in units of one (rows, rows, dim) multiplication: for different sets 1 forward and 3
backward. If candidates are the anchors, S is symmetric and only tiles (I, J) with I <= J are
visited: 1/2 forward, 1/2 + 1 backward. There the shift of the exponentials is one constant c, so
``exp(k_ij - c)`` is symmetric as well and serves both ``u_ij = e^{c - a_i} exp(k_ij - c)`` and
``u_ji``. Should a sum leave the range of floating point, a running maximum takes over.

**Positives** are looked for only where groups can match (`hcl_jax.losses._blockwise.positives`):
the rows are sorted by group first.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hcl_jax.losses._blockwise.block import Side, Slopes
from hcl_jax.losses._blockwise.gradients import pull_apart, triangle_pull
from hcl_jax.losses._blockwise.negatives import (
    absorb,
    bounds,
    count_negatives,
    cut,
    in_range,
    is_flat,
    nothing_absorbed,
    statistics,
    triangle_sums,
)
from hcl_jax.losses._blockwise.positives import positive_pull, positive_sums
from hcl_jax.losses._blockwise.tiles import unless
from hcl_jax.losses._blockwise.vjp import (
    POSITIVE_BLOCK,
    Settings,
    cotangent_of_totals,
    finish,
    offsets,
    once_differentiable,
    ranks_of,
    sort_rows,
    unwrap,
    weigh,
    whole_blocks,
)
from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.losses.law import Law
from hcl_jax.pairs import Pairs


def blockwise_losses(
    law: Law,
    anchors: Float[Array, "anchors dim"],
    pairs: Pairs,
    candidates: Float[Array, "candidates dim"] | None,
    settings: Settings = Settings(),  # noqa: B008  (immutable)
) -> AnchorLosses:
    """The losses of anchors, tile by tile; without `candidates` these are the anchors.

    Memory: the tiles (a few ``block^2`` floats, a few ``64 rows``) and copies of the embeddings and
    their gradients.

    Args:
        law: parts of a product hardening and of InfoNCE.
        anchors: embeddings whose losses are wanted.
        pairs: which candidate is what to which anchor.
        candidates: their positives and negatives, or None.
        settings: see `Settings`.

    Returns:
        The losses.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.pairs import rows, supervised
        >>> from hcl_jax.losses.law import law_of
        >>> embeddings = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> everyone = supervised(rows(jnp.array([0, 0, 1, 1])))
        >>> blockwise_losses(law_of(), embeddings, everyone, None).total.round(4).tolist()
        [0.12690000236034393, 0.12690000236034393, 0.12690000236034393, 0.12690000236034393]
    """
    if candidates is None:
        return _one_set(settings, law, anchors, pairs)
    return _two_sets(settings, law, anchors, candidates, pairs)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _one_set(settings, law, features, pairs):
    return _one_set_forward(settings, law, features, pairs)[0]


def _one_set_fwd(settings, *arguments):
    law, features, pairs = unwrap(arguments)
    losses, memory = _one_set_forward(settings, law, features, pairs)
    return losses, (law, features, pairs, memory)


def _one_set_bwd(settings, residuals, cotangents):
    memory = residuals[-1]
    weight = cotangent_of_totals(cotangents, memory.slope)
    return None, _one_set_backward(settings, *residuals, weight), None


_one_set.defvjp(_one_set_fwd, _one_set_bwd, symbolic_zeros=True)


@once_differentiable
def _one_set_forward(settings, law, features, pairs):
    order, ranks, rows = sort_rows(features, pairs)
    count = count_negatives(*pairs)[order]

    def with_running_maximum():
        return statistics(law, _sums(settings, law, rows, rows), count)

    if settings.kernels is not None:
        constant, stats = jnp.array(False), with_running_maximum()
    else:
        flat = is_flat(law, features, features) | law.has_no_hardening
        padded, block = whole_blocks(rows, settings)
        sums = cut(triangle_sums(law, padded, block, settings.precision), len(order))
        constant = in_range(sums, count, flat)
        stats = unless(constant, with_running_maximum, statistics(law, sums, count, flat))
    losses, memory = _with_positives(settings, law, rows, rows, stats, constant)
    return jax.tree.map(lambda values: values[ranks], losses), memory


@once_differentiable
def _one_set_backward(settings, law, features, pairs, memory, weight):
    order, ranks, rows = sort_rows(features, pairs)
    rows = weigh(rows, memory, weight[order])
    if settings.kernels is not None:
        gradient = _pull_in_kernel(settings, law, rows, rows)
    else:
        gradient = _triangle_pull(settings, law, rows, memory.constant)
    gradient += positive_pull(law, rows, rows, POSITIVE_BLOCK, settings.precision)
    return gradient[ranks].astype(features.dtype)


def _triangle_pull(settings, law, rows, constant):
    shift = bounds(law, rows.features, rows.features)
    padded, block = whole_blocks(rows, settings)

    def pull(constants):
        side = padded._replace(slopes=_less_constants(padded.slopes, constants))
        return triangle_pull(
            law,
            side,
            block,
            detached=settings.detached,
            constants=constants,
            precision=settings.precision,
        )

    nothing = jnp.zeros(padded.features.shape, shift[0].dtype)
    gradient = unless(~constant, lambda: pull(shift), nothing)
    return unless(constant, lambda: pull(None), gradient)[: rows.features.shape[0]]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _two_sets(settings, law, anchors, candidates, pairs):
    return _two_sets_forward(settings, law, anchors, candidates, pairs)[0]


def _two_sets_fwd(settings, *arguments):
    arguments = unwrap(arguments)
    losses, memory = _two_sets_forward(settings, *arguments)
    return losses, (*arguments, memory)


def _two_sets_bwd(settings, residuals, cotangents):
    weight = cotangent_of_totals(cotangents, residuals[-1].slope)
    return None, *_two_sets_backward(settings, *residuals, weight), None


_two_sets.defvjp(_two_sets_fwd, _two_sets_bwd, symbolic_zeros=True)


@once_differentiable
def _two_sets_forward(settings, law, anchors, candidates, pairs):
    orders = [jnp.argsort(keys.group) for keys in pairs]
    rows, columns = _sorted_sides(anchors, candidates, pairs, orders)
    count = count_negatives(*pairs)[orders[0]]
    stats = statistics(law, _sums(settings, law, rows, columns), count)
    losses, memory = _with_positives(settings, law, rows, columns, stats, jnp.array(False))
    return jax.tree.map(lambda values: values[ranks_of(orders[0])], losses), memory


@once_differentiable
def _two_sets_backward(settings, law, anchors, candidates, pairs, memory, weight):
    orders = [jnp.argsort(keys.group) for keys in pairs]
    rows, columns = _sorted_sides(anchors, candidates, pairs, orders)
    rows = weigh(rows, memory, weight[orders[0]])
    if settings.kernels is not None:
        of_negatives = (
            _pull_in_kernel(settings, law, rows, columns),
            _pull_in_kernel(settings, law, columns, rows),
        )
    else:
        (x, block_x), (y, block_y) = (whole_blocks(side, settings) for side in (rows, columns))
        options = {"detached": settings.detached, "precision": settings.precision}
        of_negatives = pull_apart(law, x, y, (block_x, block_y), **options)
    of_positives = (
        positive_pull(law, rows, columns, POSITIVE_BLOCK, settings.precision),
        positive_pull(law, columns, rows, POSITIVE_BLOCK, settings.precision),
    )
    sums = [n[: p.shape[0]] + p for n, p in zip(of_negatives, of_positives, strict=True)]
    return tuple(
        gradient[ranks_of(order)].astype(features.dtype)
        for gradient, order, features in zip(sums, orders, (anchors, candidates), strict=True)
    )


def _sums(settings, law, rows, columns):
    """Sums over the negatives with a running maximum."""
    if settings.kernels is not None:
        return settings.kernels.sums(law, rows, columns, settings.precision)
    (x, block_x), (y, block_y) = (whole_blocks(side, settings) for side in (rows, columns))
    start = nothing_absorbed(x.features)
    sums = absorb(start, law, x, y, (block_x, block_y), settings.precision)
    return cut(sums, rows.features.shape[0])


def _pull_in_kernel(settings, law, rows, columns):
    options = {"detached": settings.detached, "precision": settings.precision}
    return settings.kernels.pull(law, rows, columns, **options)


def _with_positives(settings, law, rows, columns, stats, constant):
    anchors = rows._replace(offsets=offsets(stats))
    sums = positive_sums(law, anchors, columns, POSITIVE_BLOCK, settings.precision)
    return finish(stats, sums, constant)


def _sorted_sides(anchors, candidates, pairs, orders):
    rows = Side(anchors, as_anchor=pairs.anchors)
    columns = Side(candidates, as_candidate=pairs.candidates)
    return [
        jax.tree.map(lambda values, order=order: values[order], side)
        for side, order in zip((rows, columns), orders, strict=True)
    ]


def _less_constants(slopes, constants):
    """Slopes for tiles of ``exp(k - c)``: the rest of the shift goes into the factors."""
    if constants is None:
        return slopes

    def rest(factor, constant, shift):
        return jnp.where(
            factor == 0, 0, factor * jnp.exp(jnp.where(factor == 0, 0, constant - shift))
        )

    return Slopes(
        rest(slopes.tilted, constants[0], slopes.tilted_shift),
        rest(slopes.plain, constants[1], slopes.plain_shift),
    )
