"""The (anchor, positive) pairs of a few anchors at a time, with the draws of each.

A few anchors at a time meet all candidates. Their pairs are packed: the positives of an anchor are
neighbours once the candidates are sorted by group, so pair number q of a portion is found from
cumulative counts, and no work is spent on pairs that do not exist.
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
from hcl_jax.losses._differentiable_once import Embeddings
from hcl_jax.losses._guide_tables import random_bits
from hcl_jax.losses.tilted_infonce import LogFactor, without_masked
from hcl_jax.padding import pad_rows, padding, varying_like
from hcl_jax.pairs import Keys, Pairs, is_positive, masks
from hcl_jax.precision import inner_products
from hcl_jax.psi import Psi, Scalar

State = TypeVar("State")

ENTRIES = 2**19
"""About how many (anchor, candidate) entries are in memory at once."""

DRAWS = 2**16
"""About how many draws are made at once."""


class SamplingOptions(NamedTuple):
    """What is fixed when the estimator is traced.

    Attributes:
        num_negatives: K.
        detached: whether the law of the draws takes similarities as constants.
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
    margin: Scalar | None = None


class Portion(NamedTuple):
    """A few anchors.

    Attributes:
        features: their embeddings.
        keys: their keys.
        indices: their indices in the batch, which count the random bits.
        start: where their positives begin among the sorted candidates.
        positives: the number of candidates of their group.
        weight: the derivative of the final scalar with respect to their totals.
    """

    features: Float[Array, "*portions rows dim"]
    keys: Keys
    indices: UInt32[Array, "*portions rows"]
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
        unknown: whether a similarity to a negative or its eta is NaN, and so the anchor's loss.
    """

    similarities: Float[Array, "rows candidates"]
    drawable: Bool[Array, "rows candidates"]
    weights: Float[Array, "rows candidates"]
    unknown: Bool[Array, " rows"]


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


def rows_at_once(anchors: int, candidates: int) -> int:
    """The number of anchors that meet all candidates at a time."""
    return max(1, min(anchors, ENTRIES // candidates))


def portions_of(
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
    indices = jnp.arange(len(anchors), dtype=jnp.uint32)
    weight = jnp.zeros(len(anchors)) if weight is None else weight
    rows = Portion(anchors, inputs.pairs.anchors, indices, start, end - start, weight)
    rows = pad_rows(rows, padding(len(anchors), options.rows))
    portions = jax.tree.map(lambda v: v.reshape(-1, options.rows, *v.shape[1:]), rows)
    return candidates, varying_like(portions, (portions, candidates))


def negative_weights(
    options: SamplingOptions, inputs: SamplingInputs, portion: Portion, candidates: SortedCandidates
) -> NegativeWeights:
    """The law of the draws: eta of the negatives, less the largest of each anchor."""
    similarities = inner_products(portion.features, candidates.features, options.precision)
    positives, negatives = masks(Pairs(portion.keys, candidates.keys))
    log_eta = inputs.log_factor(similarities)
    log_eta = without_masked(log_eta, similarities, positives, inputs.margin)
    unknown = negatives & (jnp.isnan(similarities) | jnp.isnan(log_eta))
    log_eta = jnp.where(unknown, -jnp.inf, log_eta)
    drawable = negatives & (log_eta != -jnp.inf)
    largest = jnp.max(jnp.where(drawable, log_eta, -jnp.inf), axis=1, keepdims=True)
    largest = jnp.where(largest > -jnp.inf, largest, 0)
    weights = jnp.where(drawable, jnp.exp(jnp.minimum(log_eta - largest, 0)), 0)
    return NegativeWeights(similarities, drawable, weights, unknown.any(axis=1))


def fold_pairs(
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
        anchor_keys: Keys = jax.tree.map(lambda key: key[row], portion.keys)
        positive_keys: Keys = jax.tree.map(lambda key: key[positive], candidates.keys)
        valid = (pair < ends[-1]) & is_positive(anchor_keys, positive_keys)
        halves = jnp.arange(half, dtype=jnp.uint32)[None]
        number = slot.astype(jnp.uint32)[:, None] * half + halves
        words = random_bits(inputs.key, portion.indices[row][:, None], number)
        bits = jnp.concatenate(words, axis=1)[:, : options.num_negatives]
        rows = jnp.broadcast_to(row[:, None], bits.shape)
        drawn = _guide_tables.sample(tables, rows, bits)
        of_drawn = similarities.at[row[:, None] * width + drawn].get(mode="promise_in_bounds")
        of_positive = similarities[row * width + positive]
        return add(state, PairBlock(row, positive, valid, drawn, of_drawn - of_positive[:, None]))

    count = (ends[-1] + size - 1) // size
    return lax.fori_loop(0, count, step, varying_like(state, (portion, candidates)))
