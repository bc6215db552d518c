r"""The weights estimator of InfoNCE in memory linear in the batch, with a hand-written gradient.

**The loss.** With similarities ``s_ij = x_i . y_j``, ``k_ij = log eta(s_ij) + s_ij / t`` for the
temperature t, negatives N_i and positives P_i of anchor i,

    a_i = logsumexp_{j in N_i} k_ij        b_i = logsumexp_{j in N_i} log eta(s_ij)
    m_i = a_i - b_i                        L_i = sum_{p in P_i} link(m_i - s_ip / t)

where ``link(x) = log(alpha + q e^x)``. Only a, b and two sums over positives are kept: O(rows).

**The gradient.** Let ``g_i`` be the derivative of the final scalar with respect to ``L_i``. Write

    r_ip = link'(m_i - s_ip / t) for p in P_i, else 0          R_i  = sum_p r_ip
    u_ij = exp(k_ij - a_i)       for j in N_i, else 0          w_ij = exp(log eta(s_ij) - b_i)

so that u and w are the softmax weights: ``d a_i = sum_j u_ij d k_ij``, ``d b_i = sum_j w_ij d log
eta(s_ij)``. Since ``d L_i = R_i d m_i - (1/t) sum_p r_ip d s_ip``, the derivative with respect to
``s_ij`` is

    G_ij = g_i ( R_i [ u_ij (1/t + D_ij) - w_ij D_ij ]  -  r_ij / t ),   D_ij = (log eta)'(s_ij),

and D = 0 where eta takes similarities as constants. Every entry follows from ``s_ij``
and row statistics, so the backward pass computes the tiles again:

    dX = G Y,      dY = G^T X,      and if candidates are the anchors   dZ = (G + G^T) Z.

**Work**, in units of one (rows, rows, dim) multiplication: for different sets 1 forward and 3
backward. If candidates are the anchors, S is symmetric and only tiles (I, J) with I <= J are
visited: 1/2 forward, 1/2 + 1 backward. There the shift of the exponentials is one constant c, so
``exp(k_ij - c)`` is symmetric as well and serves both ``u_ij = e^{c - a_i} exp(k_ij - c)`` and
``u_ji``. Should a sum leave the range of floating point, a running maximum takes over.

One set of few rows takes the passes of `hcl_jax.losses._blockwise.one_tile`.

**Positives** are looked for only where groups can match (`hcl_jax.losses._blockwise.positives`):
the rows are sorted by group first. Gradients with respect to temperature, beta and the like
are in `hcl_jax.losses._blockwise.hyperparameters`.

**Other derivatives** are `jax.jvp` of these passes (`hcl_jax.losses._derivatives`). For one set
they are those of `hcl_jax.losses._blockwise.sharded` with one device, which visit all tiles and
take each anchor's own shift: nothing there is left out where hyperparameters such as beta are zero.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from hcl_jax.losses._blockwise.block import SoftmaxCoefficients
from hcl_jax.losses._blockwise.counting import count_negatives
from hcl_jax.losses._blockwise.gradients import WeightedRows, vjp_symmetric
from hcl_jax.losses._blockwise.negatives import exponent_bounds
from hcl_jax.losses._blockwise.one_tile import (
    in_one_tile,
    one_tile_backward,
    one_tile_forward,
    one_tile_hyperparameters,
)
from hcl_jax.losses._blockwise.options import TileOptions
from hcl_jax.losses._blockwise.positives import vjp_positives
from hcl_jax.losses._blockwise.sets import (
    bounded_by_positives,
    hyperparameters_of_sets,
    softmax_statistics_of_one_set,
    with_positives,
)
from hcl_jax.losses._blockwise.sharded import ShardOptions, sharded_passes
from hcl_jax.losses._blockwise.two_sets import (
    two_sets_backward,
    two_sets_forward,
    two_sets_hyperparameters,
)
from hcl_jax.losses._blockwise.vjp import (
    LossInputs,
    Residuals,
    anchor_terms,
    in_order,
    softmax_coefficients,
    sort_rows,
    weighted_blocks,
)
from hcl_jax.losses._derivatives import Embeddings, Passes, differentiable
from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.losses.tilted_infonce import TiltedInfoNCE
from hcl_jax.padding import varying_like
from hcl_jax.pairs import Pairs


def blockwise_losses(
    infonce: TiltedInfoNCE,
    anchors: Float[Array, "anchors dim"],
    pairs: Pairs,
    candidates: Float[Array, "candidates dim"] | None,
    options: TileOptions = TileOptions(),
) -> AnchorLosses:
    """The losses of anchors; without `candidates` these are the anchors.

    Memory: the tiles (a few ``block^2`` floats, a few ``64 rows``) and copies of the embeddings and
    their gradients.
    """
    inputs = LossInputs(varying_like(infonce, (anchors, candidates)), pairs).held(options)
    loops = options._replace(kernels=None, statistics=False)
    if candidates is None:
        passes = Passes(options, _one_set_forward, _one_set_backward, _one_set_hyperparameters)
        if in_one_tile(len(anchors), options):
            passes = Passes(options, one_tile_forward, one_tile_backward, one_tile_hyperparameters)
        return differentiable(passes, sharded_passes(ShardOptions(loops)), inputs, (anchors,))
    passes = Passes(options, two_sets_forward, two_sets_backward, two_sets_hyperparameters)
    plain = passes._replace(options=loops)
    return differentiable(passes, plain, inputs, (anchors, candidates))


def _one_set_forward(
    options: TileOptions, inputs: LossInputs, embeddings: Embeddings
) -> tuple[AnchorLosses, Residuals]:
    """Losses of anchors that are the candidates: less a constant, or with a running maximum."""
    (features,) = embeddings
    infonce, pairs = inputs
    order, ranks, rows = sort_rows(features, pairs)
    rows = bounded_by_positives(infonce, rows, rows, options)
    count = count_negatives(*pairs)[order]
    stats, common_shift, moments = softmax_statistics_of_one_set(infonce, rows, count, options)
    losses, residuals = with_positives(infonce, rows, rows, stats, common_shift, moments, options)
    return in_order(losses, ranks), residuals


def _one_set_backward(
    options: TileOptions,
    inputs: LossInputs,
    embeddings: Embeddings,
    residuals: Residuals,
    weight: Float[Array, " n"],
) -> Embeddings:
    """``(G + G^T) Z``."""
    (features,) = embeddings
    infonce, pairs = inputs
    order, ranks, rows = sort_rows(features, pairs)
    rows, weight = rows._replace(bound=residuals.bound), weight[order]
    weighted = (rows, softmax_coefficients(residuals, weight))
    if options.kernels is not None:
        gradient = options.kernels.vjp(infonce, weighted, weighted, options)
    else:
        gradient = _vjp_symmetric(infonce, weighted, residuals.common_shift, options)
    terms = anchor_terms(residuals.softmax, weight)
    gradient += vjp_positives(infonce, (rows, terms), (rows, terms), options.precision)
    return (gradient[ranks],)


def _one_set_hyperparameters(
    options: TileOptions,
    wanted: tuple[bool, ...],
    inputs: LossInputs,
    embeddings: Embeddings,
    residuals: Residuals,
    weight: Float[Array, " n"],
    gradients: Embeddings,
) -> LossInputs:
    """The gradient with respect to temperature, beta and the like."""
    order, _, rows = sort_rows(embeddings[0], inputs.pairs)
    both, weight = (rows, rows), weight[order]
    return hyperparameters_of_sets(
        options, wanted, inputs, both, embeddings, residuals, weight, gradients
    )


def _vjp_symmetric(
    infonce: TiltedInfoNCE, rows: WeightedRows, common_shift: Bool[Array, ""], options: TileOptions
) -> Float[Array, "n dim"]:
    """``(G + G^T) Z`` of the negatives, by whichever shifts the forward pass could use."""
    features, own = rows[0].features, rows[1]
    shifts = exponent_bounds(infonce, features, features)
    chosen = _with_common_shifts(own, shifts, common_shift)
    weighted, block = weighted_blocks((rows[0], chosen), options)
    return vjp_symmetric(infonce, weighted, block, options, common_shift)[: features.shape[0]]


def _with_common_shifts(
    coefficients: SoftmaxCoefficients,
    shifts: tuple[Float[Array, ""], Float[Array, ""]],
    wanted: Bool[Array, ""],
) -> SoftmaxCoefficients:
    """Coefficients with shifts common to all anchors where these are wanted.

    The rest of an anchor's own shift goes into its factor.
    """

    def factor(
        own: Float[Array, " n"], shift: Float[Array, " n"], common: Float[Array, ""]
    ) -> Float[Array, " n"]:
        return own * jnp.exp(jnp.where(wanted & (own != 0), common - shift, 0))

    c = coefficients
    return SoftmaxCoefficients(
        factor(c.tilted, c.tilted_shift, shifts[0]),
        factor(c.plain, c.plain_shift, shifts[1]),
        jnp.where(wanted, shifts[0], c.tilted_shift),
        jnp.where(wanted, shifts[1], c.plain_shift),
    )
