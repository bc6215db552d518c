r"""The samples estimator: K negatives drawn for every (anchor, positive) pair.

Each pair gets K fresh draws with replacement from the anchor's negatives in the batch, with
probabilities proportional to eta, and pays ``psi_K`` of the draws. This is what the reference code
does; its expectation tends to the weights estimator of `hcl_jax.losses` as K grows, from below.

A few anchors at a time meet all candidates. Their pairs are packed: the positives of an anchor are
neighbours once the candidates are sorted by group, so pair number q of a portion is found from
cumulative counts, and no work is spent on pairs that do not exist.

**The gradient.** With ``v_k = s_{i n_k} - s_ip`` for the draws ``n_k`` of the pair (i, p) and
``g_i`` the derivative of the final loss by the total of anchor i,

    G_in = g_i sum_p sum_k [n_k = n] d psi / d v_k          (n != p)
    G_ip = - g_i sum_k d psi / d v_k

are histograms of the draws, made again by the backward pass from the same counters, and
``dX = G Y``, ``dY = G^T X``. If the law of the draws is to be differentiated, the score function
adds ``g_i sum_p psi_ip sum_k (d/ds_in) log p_i(n_k)
= g_i (log eta)'(s_in) (sum_p psi_ip #{k : n_k = n} - K p_i(n) sum_p psi_ip)``.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import PrecisionLike
from jaxtyping import Array, Float, PRNGKeyArray

from hcl_jax.hardening import Hardening, no_hardening
from hcl_jax.losses._blockwise.block import Side, negatives
from hcl_jax.losses._blockwise.tiles import inner_products
from hcl_jax.losses._blockwise.vjp import cotangent_of_totals, once_differentiable, unwrap
from hcl_jax.losses._checks import check_product_hardening, check_psi, check_rows
from hcl_jax.losses._guide_tables import guide, look_up, random_bits
from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.losses.law import log_factor_of
from hcl_jax.padding import pad_rows, padding, varying_like
from hcl_jax.pairs import Keys, Pairs
from hcl_jax.psi import Psi, infonce
from hcl_jax.validation import check_count

ENTRIES = 2**19
"""About how many (anchor, candidate) entries are in memory at once."""

DRAWS = 2**16
"""About how many draws are made at once."""


class Draws(NamedTuple):
    """What is fixed when the estimator is traced."""

    num_negatives: int
    detached: bool
    rows: int
    precision: PrecisionLike


class Setting(NamedTuple):
    """What draws and losses depend on besides the embeddings; a pytree without gradients."""

    log_factor: Any
    psi: Psi
    key: PRNGKeyArray
    pairs: Pairs


def sampled_contrastive_loss(
    key: PRNGKeyArray,
    anchors: Float[Array, "anchors dim"],
    pairs: Pairs,
    candidates: Float[Array, "candidates dim"] | None = None,
    *,
    num_negatives: int,
    psi: Psi | None = None,
    hardening: Hardening | None = None,
    stop_gradient_hardening: bool = True,
    precision: PrecisionLike = lax.Precision.HIGHEST,
) -> AnchorLosses:
    """The samples estimator of the loss of every anchor.

    Args:
        key: draws the negatives; the same key gives the same draws.
        anchors: embeddings whose losses are wanted.
        pairs: which candidate is what to which anchor.
        candidates: embeddings that are their positives and negatives; by default the anchors.
        num_negatives: K, the number of draws for each (anchor, positive) pair.
        psi: the loss function; by default InfoNCE with alpha = q = temperature = 1.
        hardening: a product hardening function; by default none.
        stop_gradient_hardening: whether the law of the draws is a constant to differentiation, as
            in the reference code. If not, the score function of the draws is added, so that the
            gradient is an unbiased estimate of the gradient of the expected loss.
        precision: precision of the matrix multiplications, by default full, see
            `jax.lax.Precision`.

    Returns:
        The loss of every anchor, as in `hcl_jax.losses.contrastive_loss`. Memory is bounded: a few
        times `ENTRIES` and `DRAWS`, and the embeddings. It can be differentiated once, in reverse
        mode, with respect to the embeddings.

    Raises:
        ValueError, TypeError: on wrong shapes or dtypes, a joint hardening, or K < 1.
        NotImplementedError: if differentiated twice, or with respect to a number of psi or
            hardening.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from hcl_jax import pairs
        >>> embeddings = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> everyone = pairs.supervised(pairs.rows(jnp.array([0, 0, 1, 1])))
        >>> losses = sampled_contrastive_loss(
        ...     jax.random.key(0), embeddings, everyone, num_negatives=8
        ... )
        >>> losses.total.round(4).tolist()
        [0.12690000236034393, 0.12690000236034393, 0.12690000236034393, 0.12690000236034393]
    """
    psi = infonce() if psi is None else psi
    hardening = no_hardening() if hardening is None else hardening
    check_samples_estimator(psi, hardening, num_negatives)
    check_rows(anchors, pairs, candidates)
    return samples_estimator(
        key,
        anchors,
        pairs,
        candidates,
        num_negatives=num_negatives,
        psi=psi,
        hardening=hardening,
        stop_gradient_hardening=stop_gradient_hardening,
        precision=precision,
    )


def check_samples_estimator(psi: Psi, hardening: Hardening, num_negatives: int) -> None:
    """Raises unless `samples_estimator` is defined for these options."""
    check_count("num_negatives", num_negatives)
    check_psi(psi)
    check_product_hardening(
        hardening,
        "the samples estimator needs a product hardening: under a joint one the draws of a "
        "tuple are not independent",
    )


def samples_estimator(
    key: PRNGKeyArray,
    anchors: Float[Array, "anchors dim"],
    pairs: Pairs,
    candidates: Float[Array, "candidates dim"] | None,
    *,
    num_negatives: int,
    psi: Psi,
    hardening: Hardening,
    stop_gradient_hardening: bool,
    precision: PrecisionLike,
) -> AnchorLosses:
    """`sampled_contrastive_loss` of arguments that have been checked."""
    candidates = anchors if candidates is None else candidates
    rows = max(1, min(len(anchors), ENTRIES // len(candidates)))
    draws = Draws(num_negatives, stop_gradient_hardening, rows, precision)
    setting = Setting(log_factor_of(hardening), psi, key, pairs)
    losses: Any = _sampled(draws, setting, anchors, candidates)
    return losses


class Portion(NamedTuple):
    """A few anchors: features, keys, numbers in the batch, and where their positives stand."""

    features: Float[Array, "rows dim"]
    keys: Keys
    number: Array
    start: Array
    positives: Array
    weight: Array


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sampled(draws: Draws, setting: Setting, anchors: Array, candidates: Array) -> Any:
    return _forward(draws, setting, anchors, candidates)


def _sampled_fwd(draws, *arguments):
    setting, anchors, candidates = unwrap(arguments)
    losses = _forward(draws, setting, anchors, candidates)
    return losses, (setting, anchors, candidates, losses)


def _sampled_bwd(draws, residuals, cotangents):
    setting, anchors, candidates, losses = residuals
    weight = jnp.where(losses.defined, cotangent_of_totals(cotangents, losses.total), 0)
    return None, *_backward(draws, setting, anchors, candidates, weight)


_sampled.defvjp(_sampled_fwd, _sampled_bwd, symbolic_zeros=True)


@once_differentiable
def _forward(draws, setting, anchors, candidates):
    columns, portions = _portions(draws, setting, anchors, candidates, None)

    def losses_of(_, portion):
        law = _law(setting, portion, columns, draws.precision)
        defined = (portion.positives > 0) & law.live.any(axis=1)

        def add(state, block):
            total, number = state
            values = setting.psi.of_differences(block.differences)
            total = total.at[block.row].add(jnp.where(block.valid, values, 0))
            return total, number.at[block.row].add(block.valid.astype(jnp.int32))

        zeros = jnp.zeros(draws.rows, law.similarities.dtype)
        total, number = _over_pairs(
            draws, setting, portion, columns, law, add, (zeros, zeros.astype(jnp.int32))
        )
        defined &= number > 0
        return None, AnchorLosses(
            jnp.where(defined, total, 0), jnp.where(defined, number, 0), defined
        )

    _, losses = lax.scan(losses_of, None, portions)
    return jax.tree.map(lambda values: values.reshape(-1)[: len(anchors)], losses)


@once_differentiable
def _backward(draws, setting, anchors, candidates, weight):
    columns, portions = _portions(draws, setting, anchors, candidates, weight)

    def gradients_of(of_columns, portion):
        law = _law(setting, portion, columns, draws.precision)
        tile = _portion_gradient(draws, setting, portion, columns, law)
        tile *= portion.weight[:, None]
        product = partial(jnp.matmul, precision=draws.precision)
        of_columns += product(tile.T, portion.features.astype(tile.dtype))
        return of_columns, product(tile, columns.features.astype(tile.dtype))

    start = jnp.zeros(candidates.shape, jnp.promote_types(candidates.dtype, jnp.float32))
    start = varying_like(start, (columns, portions))
    of_columns, of_rows = lax.scan(gradients_of, start, portions)
    of_rows = of_rows.reshape(-1, anchors.shape[1])[: len(anchors)]
    back = jnp.zeros_like(of_columns).at[columns.order].set(of_columns)
    return of_rows.astype(anchors.dtype), back.astype(candidates.dtype)


def _portion_gradient(draws, setting, portion, columns, law):
    """``G / g`` of a few anchors, as histograms of their draws."""
    width = columns.features.shape[0]
    attached = not draws.detached
    empty = jnp.zeros(draws.rows * width, law.similarities.dtype)
    zeros = jnp.zeros(draws.rows, law.similarities.dtype)

    def add(state, block):
        histogram, scores, total = state
        values, pull = jax.vjp(setting.psi.of_differences, block.differences)
        values = jnp.where(block.valid, values, 0)
        (slopes,) = pull(jnp.where(block.valid, jnp.ones_like(values), 0))
        at = block.row[:, None] * width + block.draws
        histogram = histogram.at[at].add(slopes, mode="promise_in_bounds")
        histogram = histogram.at[block.row * width + block.positive].add(-slopes.sum(axis=1))
        if attached:
            scores = scores.at[at].add(jnp.broadcast_to(values[:, None], at.shape))
            total = total.at[block.row].add(values)
        return histogram, scores, total

    start = (empty, empty if attached else zeros, zeros)
    histogram, scores, total = _over_pairs(draws, setting, portion, columns, law, add, start)
    gradient = histogram.reshape(draws.rows, width)
    if not attached:
        return gradient
    share = law.weights / jnp.maximum(law.weights.sum(axis=1, keepdims=True), 1e-30)
    expected = draws.num_negatives * share * total[:, None]
    _, derivative = jax.jvp(
        setting.log_factor, (law.similarities,), (jnp.ones_like(law.similarities),)
    )
    surplus = scores.reshape(draws.rows, width) - expected
    return gradient + jnp.where(law.live, surplus * derivative, 0)


class Columns(NamedTuple):
    """The candidates sorted by group, and the order that sorts them."""

    features: Array
    keys: Keys
    order: Array


class Law(NamedTuple):
    """The law of the draws of a few anchors, unnormalised."""

    similarities: Array
    live: Array
    weights: Array


class Block(NamedTuple):
    """Some (anchor, positive) pairs of a portion with their draws."""

    row: Array
    positive: Array
    valid: Array
    draws: Array
    differences: Array


def _portions(draws, setting, anchors, candidates, weight):
    """The candidates sorted by group, and the anchors likewise, in portions of a few rows."""
    order = jnp.argsort(setting.pairs.candidates.group)
    take = partial(jax.tree.map, lambda values: values[order])
    columns = Columns(take(candidates), take(setting.pairs.candidates), order)
    group = setting.pairs.anchors.group
    start = jnp.searchsorted(columns.keys.group, group, side="left").astype(jnp.int32)
    end = jnp.searchsorted(columns.keys.group, group, side="right").astype(jnp.int32)
    number = jnp.arange(len(anchors), dtype=jnp.uint32)
    weight = jnp.zeros(len(anchors)) if weight is None else weight
    rows = Portion(anchors, setting.pairs.anchors, number, start, end - start, weight)
    rows = pad_rows(rows, padding(len(anchors), draws.rows))
    portions = jax.tree.map(lambda v: v.reshape(-1, draws.rows, *v.shape[1:]), rows)
    return columns, varying_like(portions, (portions, columns))


def _law(setting, portion, columns, precision):
    similarities = inner_products(portion.features, columns.features, precision)
    log_eta = setting.log_factor(similarities)
    rows = Side(portion.features, as_anchor=portion.keys)
    live = negatives(rows, Side(columns.features, as_candidate=columns.keys))
    live &= log_eta > -jnp.inf
    largest = jnp.max(jnp.where(live, log_eta, -jnp.inf), axis=1, keepdims=True)
    largest = jnp.where(largest > -jnp.inf, largest, 0)
    return Law(similarities, live, jnp.where(live, jnp.exp(jnp.minimum(log_eta - largest, 0)), 0))


def _over_pairs(draws, setting, portion, columns, law, add, state):
    """Runs `add` over the pairs of a portion, `DRAWS` draws at a time."""
    width = columns.features.shape[0]
    tables = guide(law.weights, jnp.minimum(portion.start, width - 1))
    ends = jnp.cumsum(portion.positives)
    size = max(1, min(DRAWS // draws.num_negatives, draws.rows * width))
    similarities = law.similarities.reshape(-1)
    half = (draws.num_negatives + 1) // 2

    def step(at, state):
        pair = at * size + jnp.arange(size, dtype=jnp.int32)
        row = jnp.searchsorted(ends, pair, side="right", method="scan_unrolled").astype(jnp.int32)
        row = jnp.minimum(row, draws.rows - 1)
        slot = pair - (ends[row] - portion.positives[row])
        positive = jnp.minimum(portion.start[row] + slot, width - 1)
        other = columns.keys.instance[positive] != portion.keys.instance[row]
        valid = (pair < ends[-1]) & other
        number = slot.astype(jnp.uint32)[:, None] * half + jnp.arange(half, dtype=jnp.uint32)
        words = random_bits(setting.key, portion.number[row][:, None], number)
        bits = jnp.concatenate(words, axis=1)[:, : draws.num_negatives]
        drawn = look_up(tables, jnp.broadcast_to(row[:, None], bits.shape), bits)
        of_drawn = similarities.at[row[:, None] * width + drawn].get(mode="promise_in_bounds")
        of_positive = similarities[row * width + positive]
        return add(state, Block(row, positive, valid, drawn, of_drawn - of_positive[:, None]))

    count = (ends[-1] + size - 1) // size
    return lax.fori_loop(0, count, step, varying_like(state, (portion, columns)))
