r"""The samples estimator a few anchors at a time, with a hand-written gradient.

A few anchors at a time meet all candidates. Their pairs are packed: the positives of an anchor are
neighbours once the candidates are sorted by group, so pair number q of a portion is found from
cumulative counts, and no work is spent on pairs that do not exist.

**The gradient.** With ``v_k = s_{i n_k} - s_ip`` for the draws ``n_k`` of the pair (i, p) and
``g_i`` the derivative of the final scalar with respect to the total of anchor i,

    G_in = g_i sum_p sum_k [n_k = n] d psi / d v_k          (n != p)
    G_ip = - g_i sum_k d psi / d v_k

are histograms of the draws, made again by the backward pass from the same counters, and
``dX = G Y``, ``dY = G^T X``. If the law of the draws is to be differentiated, the score function
adds ``g_i sum_p psi_ip sum_k (d/ds_in) log p_i(n_k)
= g_i (log eta)'(s_in) (sum_p psi_ip #{k : n_k = n} - K p_i(n) sum_p psi_ip)``.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import PrecisionLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, UInt32

from hcl_jax.losses import _guide_tables
from hcl_jax.losses._differentiable_once import Embeddings, differentiable_once
from hcl_jax.losses._guide_tables import random_bits
from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.losses.tilted_infonce import LogFactor
from hcl_jax.padding import pad_rows, padding, varying_like
from hcl_jax.pairs import Keys, Pairs, is_positive, masks
from hcl_jax.precision import inner_products, weighted_sums, wide_dtype
from hcl_jax.psi import Psi

State = TypeVar("State")

ENTRIES = 2**19
"""About how many (anchor, candidate) entries are in memory at once."""

DRAWS = 2**16
"""About how many draws are made at once."""

SMALLEST_TOTAL = 1e-30
"""Sums of weights are at least one where an anchor has negatives; this keeps 0 / 0 away."""


class SamplingOptions(NamedTuple):
    """What is fixed when the estimator is traced.

    Attributes:
        num_negatives: K.
        detached: whether the law of the draws is a constant to differentiation.
        rows: the number of anchors that meet all candidates at a time.
        precision: precision of the matrix multiplications.
    """

    num_negatives: int
    detached: bool
    rows: int
    precision: PrecisionLike


class SamplingInputs(NamedTuple):
    """What draws and losses depend on besides the embeddings; a pytree without gradients."""

    log_factor: LogFactor
    psi: Psi
    key: PRNGKeyArray
    pairs: Pairs


class Portion(NamedTuple):
    """A few anchors.

    Attributes:
        features: their embeddings.
        keys: their keys.
        number: their numbers in the batch, which count the random bits.
        start: where their positives begin among the sorted candidates.
        positives: the number of candidates of their group.
        weight: the derivative of the final scalar with respect to their totals.
    """

    features: Float[Array, "*portions rows dim"]
    keys: Keys
    number: UInt32[Array, "*portions rows"]
    start: Int[Array, "*portions rows"]
    positives: Int[Array, "*portions rows"]
    weight: Float[Array, "*portions rows"]


class SortedCandidates(NamedTuple):
    """The candidates sorted by group, and the order that sorts them."""

    features: Float[Array, "candidates dim"]
    keys: Keys
    order: Int[Array, " candidates"]


class NegativeWeights(NamedTuple):
    """The law of the draws of a few anchors.

    Attributes:
        similarities: similarities to all candidates.
        drawable: the negatives of positive weight.
        weights: weights proportional to the probabilities, 0 elsewhere.
    """

    similarities: Float[Array, "rows candidates"]
    drawable: Bool[Array, "rows candidates"]
    weights: Float[Array, "rows candidates"]


class PairBlock(NamedTuple):
    """Some (anchor, positive) pairs of a portion with their draws.

    Attributes:
        row: the anchor's row in the portion.
        positive: the positive's row among the sorted candidates.
        valid: False where the block has more places than there are pairs.
        draws: the negatives' rows among the sorted candidates.
        differences: ``v``.
    """

    row: Int[Array, " pairs"]
    positive: Int[Array, " pairs"]
    valid: Bool[Array, " pairs"]
    draws: Int[Array, "pairs k"]
    differences: Float[Array, "pairs k"]


Totals = tuple[Float[Array, " rows"], Int[Array, " rows"]]
"""Losses and numbers of positives of a few anchors."""

Histograms = tuple[Float[Array, " entries"], Float[Array, " _"], Float[Array, " rows"]]
"""Slopes and losses of draws by (anchor, candidate), and losses by anchor."""


def rows_at_once(anchors: int, candidates: int) -> int:
    """The number of anchors that meet all candidates at a time."""
    return max(1, min(anchors, ENTRIES // candidates))


def _forward(
    options: SamplingOptions, inputs: SamplingInputs, embeddings: Embeddings
) -> tuple[AnchorLosses, None]:
    """The losses; the backward pass makes the draws again, so nothing is kept."""
    candidates, portions = _portions(options, inputs, embeddings, None)

    def losses_of(_: None, portion: Portion) -> tuple[None, AnchorLosses]:
        law = _negative_weights(options, inputs, portion, candidates)

        def add(state: Totals, block: PairBlock) -> Totals:
            total, number = state
            values = inputs.psi.of_differences(block.differences)
            total = total.at[block.row].add(jnp.where(block.valid, values, 0))
            return total, number.at[block.row].add(block.valid.astype(jnp.int32))

        zeros = jnp.zeros(options.rows, law.similarities.dtype)
        start = (zeros, zeros.astype(jnp.int32))
        total, number = _over_pairs(options, inputs, portion, candidates, law, add, start)
        defined = (portion.positives > 0) & law.drawable.any(axis=1) & (number > 0)
        return None, AnchorLosses(
            jnp.where(defined, total, 0), jnp.where(defined, number, 0), defined
        )

    _, losses = lax.scan(losses_of, None, portions)
    count = len(embeddings[0])
    return jax.tree.map(lambda values: values.reshape(-1)[:count], losses), None


def _backward(
    options: SamplingOptions,
    inputs: SamplingInputs,
    embeddings: Embeddings,
    residuals: None,
    weight: Float[Array, " anchors"],
) -> Embeddings:
    """``G Y`` and ``G^T X``."""
    anchors, others = embeddings
    candidates, portions = _portions(options, inputs, embeddings, weight)

    def gradients_of(
        of_candidates: Float[Array, "candidates dim"], portion: Portion
    ) -> tuple[Float[Array, "candidates dim"], Float[Array, "rows dim"]]:
        law = _negative_weights(options, inputs, portion, candidates)
        tile = _portion_gradient(options, inputs, portion, candidates, law)
        tile *= portion.weight[:, None]
        of_candidates += weighted_sums(tile.T, portion.features, options.precision)
        return of_candidates, weighted_sums(tile, candidates.features, options.precision)

    start = jnp.zeros(others.shape, wide_dtype(others))
    start = varying_like(start, (candidates, portions))
    of_candidates, of_anchors = lax.scan(gradients_of, start, portions)
    of_anchors = of_anchors.reshape(-1, anchors.shape[1])[: len(anchors)]
    of_candidates = jnp.zeros_like(of_candidates).at[candidates.order].set(of_candidates)
    return of_anchors.astype(anchors.dtype), of_candidates.astype(others.dtype)


sampled_losses = differentiable_once(_forward, _backward)
"""The losses of (options, inputs, (anchors, candidates))."""


def _portion_gradient(
    options: SamplingOptions,
    inputs: SamplingInputs,
    portion: Portion,
    candidates: SortedCandidates,
    law: NegativeWeights,
) -> Float[Array, "rows candidates"]:
    """``G / g`` of a few anchors, as histograms of their draws."""
    width = candidates.features.shape[0]
    attached = not options.detached
    empty = jnp.zeros(options.rows * width, law.similarities.dtype)
    zeros = jnp.zeros(options.rows, law.similarities.dtype)

    def add(state: Histograms, block: PairBlock) -> Histograms:
        histogram, scores, total = state
        values, vjp = jax.vjp(inputs.psi.of_differences, block.differences)
        values = jnp.where(block.valid, values, 0)
        (slopes,) = vjp(jnp.where(block.valid, jnp.ones_like(values), 0))
        at = block.row[:, None] * width + block.draws
        histogram = histogram.at[at].add(slopes, mode="promise_in_bounds")
        histogram = histogram.at[block.row * width + block.positive].add(-slopes.sum(axis=1))
        if attached:
            scores = scores.at[at].add(jnp.broadcast_to(values[:, None], at.shape))
            total = total.at[block.row].add(values)
        return histogram, scores, total

    start = (empty, empty if attached else zeros, zeros)
    histogram, scores, total = _over_pairs(options, inputs, portion, candidates, law, add, start)
    gradient = histogram.reshape(options.rows, width)
    if not attached:
        return gradient
    sums = law.weights.sum(axis=1, keepdims=True)
    share = law.weights / jnp.maximum(sums, SMALLEST_TOTAL)
    expected = options.num_negatives * share * total[:, None]
    ones = jnp.ones_like(law.similarities)
    _, derivative = jax.jvp(inputs.log_factor, (law.similarities,), (ones,))
    surplus = scores.reshape(options.rows, width) - expected
    return gradient + jnp.where(law.drawable, surplus * derivative, 0)


def _portions(
    options: SamplingOptions,
    inputs: SamplingInputs,
    embeddings: Embeddings,
    weight: Float[Array, " anchors"] | None,
) -> tuple[SortedCandidates, Portion]:
    """The candidates sorted by group, and the anchors in portions of a few rows."""
    anchors, others = embeddings
    order = jnp.argsort(inputs.pairs.candidates.group)
    take = partial(jax.tree.map, lambda values: values[order])
    candidates = SortedCandidates(take(others), take(inputs.pairs.candidates), order)
    group = inputs.pairs.anchors.group
    start = jnp.searchsorted(candidates.keys.group, group, side="left").astype(jnp.int32)
    end = jnp.searchsorted(candidates.keys.group, group, side="right").astype(jnp.int32)
    number = jnp.arange(len(anchors), dtype=jnp.uint32)
    weight = jnp.zeros(len(anchors)) if weight is None else weight
    rows = Portion(anchors, inputs.pairs.anchors, number, start, end - start, weight)
    rows = pad_rows(rows, padding(len(anchors), options.rows))
    portions = jax.tree.map(lambda v: v.reshape(-1, options.rows, *v.shape[1:]), rows)
    return candidates, varying_like(portions, (portions, candidates))


def _negative_weights(
    options: SamplingOptions, inputs: SamplingInputs, portion: Portion, candidates: SortedCandidates
) -> NegativeWeights:
    """The law of the draws: eta of the negatives, less the largest of each anchor."""
    similarities = inner_products(portion.features, candidates.features, options.precision)
    log_eta = inputs.log_factor(similarities)
    drawable = masks(Pairs(portion.keys, candidates.keys))[1] & (log_eta > -jnp.inf)
    largest = jnp.max(jnp.where(drawable, log_eta, -jnp.inf), axis=1, keepdims=True)
    largest = jnp.where(largest > -jnp.inf, largest, 0)
    weights = jnp.where(drawable, jnp.exp(jnp.minimum(log_eta - largest, 0)), 0)
    return NegativeWeights(similarities, drawable, weights)


def _over_pairs(
    options: SamplingOptions,
    inputs: SamplingInputs,
    portion: Portion,
    candidates: SortedCandidates,
    law: NegativeWeights,
    add: Callable[[State, PairBlock], State],
    state: State,
) -> State:
    """Runs `add` over the pairs of a portion, `DRAWS` draws at a time."""
    width = candidates.features.shape[0]
    tables = _guide_tables.build(law.weights, jnp.minimum(portion.start, width - 1))
    ends = jnp.cumsum(portion.positives)
    size = max(1, min(DRAWS // options.num_negatives, options.rows * width))
    similarities = law.similarities.reshape(-1)
    half = (options.num_negatives + 1) // 2

    def step(at: Int[Array, ""] | int, state: State) -> State:
        pair = at * size + jnp.arange(size, dtype=jnp.int32)
        row = jnp.searchsorted(ends, pair, side="right", method="scan_unrolled").astype(jnp.int32)
        row = jnp.minimum(row, options.rows - 1)
        slot = pair - (ends[row] - portion.positives[row])
        positive = jnp.minimum(portion.start[row] + slot, width - 1)
        anchor_keys = Keys(*(key[row] for key in portion.keys))
        positive_keys = Keys(*(key[positive] for key in candidates.keys))
        valid = (pair < ends[-1]) & is_positive(anchor_keys, positive_keys)
        number = slot.astype(jnp.uint32)[:, None] * half + jnp.arange(half, dtype=jnp.uint32)
        words = random_bits(inputs.key, portion.number[row][:, None], number)
        bits = jnp.concatenate(words, axis=1)[:, : options.num_negatives]
        rows = jnp.broadcast_to(row[:, None], bits.shape)
        drawn = _guide_tables.sample(tables, rows, bits)
        of_drawn = similarities.at[row[:, None] * width + drawn].get(mode="promise_in_bounds")
        of_positive = similarities[row * width + positive]
        return add(state, PairBlock(row, positive, valid, drawn, of_drawn - of_positive[:, None]))

    count = (ends[-1] + size - 1) // size
    return lax.fori_loop(0, count, step, varying_like(state, (portion, candidates)))
