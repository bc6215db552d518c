"""The parts of the blockwise loss, one at a time, against matrices written out."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references.loss_cases import batch, corner_pairs

from hcl_jax import hardening, pairs, psi
from hcl_jax.losses._blockwise import negatives
from hcl_jax.losses._blockwise.block import (
    AnchorTerms,
    RowBlock,
    SoftmaxCoefficients,
    along,
    negative_mask,
    positive_mask,
    rows_in_one_role,
)
from hcl_jax.losses._blockwise.counting import count_negatives
from hcl_jax.losses._blockwise.exchange import for_each_shard
from hcl_jax.losses._blockwise.options import TileOptions
from hcl_jax.losses._blockwise.pallas import kernels_for
from hcl_jax.losses._blockwise.pallas.forward import negative_sums
from hcl_jax.losses._blockwise.pallas.lanes import (
    in_lanes,
    padded_features,
    scalars_of,
    tile_rows,
)
from hcl_jax.losses._blockwise.positives import (
    over_positives,
    positive_sums,
    vjp_positives,
)
from hcl_jax.losses._blockwise.tiles import (
    add_to_block,
    block_of,
    compute_if,
    fold,
    rectangle,
    tile_length,
    triangle,
)
from hcl_jax.losses._blockwise.vjp import (
    inverse_permutation,
    sort_rows,
    take,
    weighted_blocks,
    whole_blocks,
)
from hcl_jax.losses.tilted_infonce import log_factor_of, tilted_infonce
from hcl_jax.precision import inner_products

EXPONENTIAL = tilted_infonce(psi.infonce(temperature=0.5), hardening.exponential(3.0))
CORNERS = list(itertools.product([True, False], repeat=2))


def corner_rows(count=53, *, supervised=True, reference=False, features=None):
    """Embeddings with the keys of a corner, unsorted."""
    embeddings, labels, _ = batch(count)
    keys = corner_pairs(pairs.rows(labels), None, supervised, reference)
    return RowBlock(embeddings if features is None else features, *keys)


def masks_of(rows):
    return pairs.masks(pairs.Pairs(rows.as_anchor, rows.as_candidate))


def test_tile_lengths():
    assert tile_length(8192, "cpu") == 1024
    assert tile_length(300, "cpu") == 300
    assert tile_length(131072, "tpu") == 2048
    assert tile_length(131072, "gpu") == 4096
    assert tile_length(6 * 504, "cpu") == 504  # no padding where a divisor is near
    assert tile_length(8191, "cpu") == 512


def test_blocks_are_read_and_added_to():
    assert block_of(jnp.arange(6), jnp.int32(1), 2).tolist() == [2, 3]
    assert add_to_block(jnp.zeros(4), jnp.int32(1), jnp.ones(2)).tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("count", [1, 4])
def test_a_fold_goes_over_all_indices(count):
    numbers = np.arange(count, dtype=np.int32)
    total = fold(lambda s, i, j: s + 10 * i + j, jnp.int32(0), (numbers, numbers), like=jnp.ones(1))
    assert total == 11 * numbers.sum()


def test_tiles_of_a_triangle_and_of_a_rectangle():
    assert [list(zip(*triangle(n), strict=True)) for n in (1, 2)] == [
        [(0, 0)],
        [(0, 0), (0, 1), (1, 1)],
    ]
    assert list(zip(*rectangle(2, 3), strict=True)) == list(itertools.product(range(2), range(3)))


def test_computed_only_if_needed():
    def either(needed, x):
        return compute_if(needed, lambda: 2 * x, -x)

    assert either(jnp.array(True), jnp.float32(3)) == 6
    assert either(jnp.array(False), jnp.float32(3)) == -3
    both = jax.vmap(either)(jnp.array([True, False]), jnp.array([1.0, 2.0]))
    assert both.tolist() == [2, -2]


def test_numbers_of_rows_run_down_or_across():
    assert along(jnp.zeros(3), 0).shape == (3, 1)
    assert along((jnp.zeros((2, 3)),), 1)[0].shape == (2, 1, 3)


@pytest.mark.parametrize(("supervised", "reference"), CORNERS)
def test_masks_of_tiles_are_those_of_the_pairs(supervised, reference):
    rows = corner_rows(11, supervised=supervised, reference=reference)
    rows = rows._replace(valid=jnp.arange(11) < 9)
    wanted = [mask & rows.valid for mask in masks_of(rows)]
    for axis, turn in ((0, lambda mask: mask), (1, jnp.transpose)):
        np.testing.assert_array_equal(positive_mask(rows, rows, axis), turn(wanted[0]))
        similarities = turn(inner_products(rows.features, rows.features, "highest"))
        found = negative_mask(rows, rows, similarities, axis)
        np.testing.assert_array_equal(found, turn(wanted[1]))
        bounded = rows._replace(bound=jnp.linspace(-1, 1, 11))
        within = turn(similarities) <= bounded.bound[:, None]
        found = negative_mask(bounded, rows, similarities, axis)
        np.testing.assert_array_equal(found, turn(wanted[1] & within))


@pytest.mark.parametrize(("supervised", "reference"), CORNERS)
def test_negatives_are_counted(supervised, reference):
    rows = corner_rows(supervised=supervised, reference=reference)
    found = count_negatives(rows.as_anchor, rows.as_candidate)
    np.testing.assert_array_equal(found, masks_of(rows)[1].sum(axis=1))


@jax.jit
def log_sums(rows):
    """``a`` and ``b``, with matrices."""
    similarities = rows.features @ rows.features.T
    return [
        jax.nn.logsumexp(exponents(similarities), axis=1, where=masks_of(rows)[1])
        for exponents in (EXPONENTIAL.log_tilted, EXPONENTIAL.log_factor)
    ]


def symmetric(rows):
    padded, block = whole_blocks(rows, TileOptions(block=16))
    return negatives.symmetric_sums(EXPONENTIAL, padded, block, None)


def in_portions(rows):
    """Candidates that come in two portions of different lengths."""
    padded, block = whole_blocks(rows, TileOptions(block=16))
    sums = negatives.empty_sums(padded.features)
    for part in (slice(0, 20), slice(20, None)):
        portion = jax.tree.map(lambda values, part=part: values[part], rows)
        others, length = whole_blocks(portion, TileOptions(block=8))
        sums = negatives.accumulate(sums, EXPONENTIAL, padded, others, (block, length), None)
    return sums


def in_kernel(rows):
    return negative_sums(EXPONENTIAL, rows, rows, None)


@pytest.mark.parametrize("form", [symmetric, in_portions, in_kernel])
def test_sums_over_negatives(form):
    rows = corner_rows(supervised=False)
    sums = jax.jit(lambda rows: negatives.drop_padding(form(rows), 53))(rows)
    assert sums.squares is sums.moments is None  # for statistics, which are not asked for
    for found, wanted in zip(sums[:2], log_sums(rows), strict=True):
        np.testing.assert_allclose(found.log(), wanted, rtol=1e-5)
    count = count_negatives(rows.as_anchor, rows.as_candidate)
    stats = negatives.softmax_statistics(EXPONENTIAL, sums, count)
    np.testing.assert_allclose(stats.tilted, log_sums(rows)[0], rtol=1e-5)
    assert stats.has_negatives.all()


def test_where_eta_is_constant_its_sum_is_the_number_of_negatives():
    rows = corner_rows()
    count = count_negatives(rows.as_anchor, rows.as_candidate)
    for infonce, flat in (
        (tilted_infonce(), None),
        (tilted_infonce(hardening=hardening.exponential(0.0)), jnp.array(True)),
    ):
        sums = negatives.symmetric_sums(infonce, rows, 53, None)
        assert not sums.plain.total.any()
        stats = negatives.softmax_statistics(infonce, sums, count, flat)
        np.testing.assert_allclose(stats.plain, np.log(count), rtol=1e-6)


def test_an_anchor_without_negatives_has_none_and_no_infinity():
    rows = rows_in_one_role(jnp.ones((3, 2)), pairs.Keys(*jnp.zeros((3, 3), int)))
    stats = negatives.softmax_statistics(
        EXPONENTIAL, negatives.symmetric_sums(EXPONENTIAL, rows, 3, None), jnp.zeros(3, int)
    )
    assert stats.tilted.tolist() == stats.plain.tolist() == [0, 0, 0]
    assert not stats.has_negatives.any()


def test_bounds_of_the_exponents_follow_from_norms():
    x, y = jnp.ones((1, 1)), 2 * jnp.ones((1, 1))
    infonce = tilted_infonce(hardening=hardening.exponential(5.0))
    assert [float(bound) for bound in negatives.exponent_bounds(infonce, x, y)] == [12, 10]
    never = tilted_infonce(hardening=hardening.threshold(9.0))
    assert [float(bound) for bound in negatives.exponent_bounds(never, x, y)] == [0, 0]
    for beta in (0.0, 5.0):
        infonce = tilted_infonce(hardening=hardening.exponential(beta))
        assert negatives.eta_is_constant(infonce, x, y) == (beta == 0)


def test_eta_is_constant_where_it_is_known_to_be_and_positive():
    x, y = jnp.ones((1, 1)), 2 * jnp.ones((1, 1))
    for eta, constant in (
        (hardening.threshold(-2.0), True),  # similarities lie in [-2, 2]
        (hardening.threshold(-1.9), False),
        (hardening.threshold(9.0), False),  # 0 everywhere
        (hardening.Hardening(jnp.square), False),  # alike at both ends
    ):
        found = negatives.eta_is_constant(tilted_infonce(hardening=eta), x, y)
        assert found == constant


def test_sums_out_of_range_are_noticed():
    rows = corner_rows()
    count = count_negatives(rows.as_anchor, rows.as_candidate)

    def fine(scale):
        far = rows._replace(features=scale * rows.features)
        sums = negatives.symmetric_sums(EXPONENTIAL, far, 53, None)
        return negatives.in_range(sums, count, jnp.array(False))

    assert fine(1.0)
    assert not fine(10.0)


def terms(count):
    keys = jax.random.split(jax.random.key(5), 2)
    return AnchorTerms(
        jax.random.normal(keys[0], (count,)),
        jnp.full(count, 3),
        jax.random.normal(keys[1], (count,)),
    )


@jax.jit
def positive_matrices(rows):
    """Losses and slopes of all pairs, 0 where they are not positive."""
    own = terms(len(rows.features))
    x = own.offset[:, None] - rows.features @ rows.features.T / EXPONENTIAL.temperature
    slopes = jax.vmap(jax.vmap(jax.grad(lambda x: EXPONENTIAL.link(x, jnp.ones(())))))(x)
    where = masks_of(rows)[0]
    return jnp.where(where, EXPONENTIAL.link(x, jnp.ones(())), 0), jnp.where(where, slopes, 0)


@partial(jax.jit, static_argnums=2)
def in_bands(rows, own, block):
    """Sums over positives, and gradients in the features as anchors, as candidates, as both."""
    as_anchors, as_candidates = (rows, own), (rows, None)
    roles = (as_anchors, as_candidates), (as_candidates, as_anchors), (as_anchors, as_anchors)
    gradients = [vjp_positives(EXPONENTIAL, x, y, None, block) for x, y in roles]
    return positive_sums(EXPONENTIAL, as_anchors, rows, None, block), gradients


@pytest.mark.parametrize("is_sorted", [True, False])
@pytest.mark.parametrize("block", [4, 7, 64])
def test_positives_are_found_in_bands(block, is_sorted):
    rows = corner_rows()
    if is_sorted:
        rows = sort_rows(rows.features, pairs.Pairs(rows.as_anchor, rows.as_candidate))[2]
    own = terms(53)
    sums, gradients = in_bands(rows, own, block)
    losses, slopes = positive_matrices(rows)
    np.testing.assert_allclose(sums.total, losses.sum(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(sums.slope, slopes.sum(axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(sums.number, masks_of(rows)[0].sum(axis=1))

    gradient = -own.weight[:, None] * slopes / EXPONENTIAL.temperature
    matrices = gradient, gradient.T, gradient + gradient.T
    for found, matrix in zip(gradients, matrices, strict=True):
        wanted = matrix @ rows.features
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("unlabelled", [-1, 3, 9])
def test_rows_that_pair_with_nobody_do_not_widen_the_band(unlabelled):
    """Classes of two blocks take two steps, wherever twice as many rows without a label stand."""
    labels = jnp.repeat(jnp.array([unlabelled, 0, 1, 2, unlabelled, 4, 5]), 8)
    keys = pairs.supervised(pairs.rows(labels, ignore_label=unlabelled))
    rows = sort_rows(jnp.ones((len(labels), 2)), keys)[2]

    def count(steps, *_):
        return steps + 1

    assert over_positives(count, jnp.int32(0), (rows, None), rows, None, block=4) == 2


def test_rows_are_padded_to_whole_tiles():
    rows = corner_rows(5)
    padded, block = whole_blocks(rows, TileOptions(block=2))
    assert padded.features.shape == (6, 5)
    assert block == 2
    assert padded.valid.tolist() == [True] * 5 + [False]
    ones = SoftmaxCoefficients(*jnp.ones((4, 5)))
    (again, coefficients), _ = weighted_blocks((rows, ones), TileOptions(block=2))
    assert again.features.shape == (6, 5)
    assert coefficients.tilted.tolist() == [1] * 5 + [0]
    assert whole_blocks(rows, TileOptions(block=5))[0].valid is None


def test_sorting_and_its_inverse():
    keys = pairs.supervised(pairs.rows(jnp.array([2, 0, 1])))
    order, ranks, rows = sort_rows(jnp.arange(3.0)[:, None], keys)
    assert order.tolist() == [1, 2, 0]
    assert ranks.tolist() == inverse_permutation(order).tolist() == [2, 0, 1]
    assert rows.as_candidate.group.tolist() == [0, 1, 2]
    assert take(rows.features, ranks).ravel().tolist() == [0, 1, 2]


@pytest.mark.parametrize("exchange", ["gather", "ring"])
def test_the_rows_of_every_device_come_once(exchange):
    own = jnp.array([[1.0], [10.0], [100.0]])

    def total(x):
        return for_each_shard(exchange, "devices", x, lambda s, other: s + other.sum(), 0.0 * x[0])

    assert jax.vmap(total, axis_name="devices")(own).tolist() == [111, 111, 111]


def test_numbers_of_a_loss_travel_into_a_kernel():
    infonce = tilted_infonce(hardening=hardening.exponential(5.0))
    numbers, rebuild = scalars_of(infonce, jnp.float32)
    assert numbers.tolist() == [5, 1]
    assert rebuild(2 * numbers).log_factor(jnp.ones(())) == 10


def test_tiles_of_a_kernel():
    assert [tile_rows(*shape) for shape in ((131072, 128), (131072, 768), (53, 5))] == [
        512,
        256,
        128,
    ]
    wide = padded_features(jnp.ones((53, 5)), 128, jnp.float32)
    assert wide.shape == (128, 128)
    assert wide.sum() == 53 * 5
    assert in_lanes([jnp.arange(3), jnp.arange(3)], 4).tolist() == 2 * [[0, 1, 2, 0]]
    ones = jnp.ones((2, 2))
    assert kernels_for(ones, ones, psi.infonce()).sums is negative_sums


def test_only_infonce_with_a_product_hardening_has_these_forms():
    with pytest.raises(ValueError, match="needs InfoNCE"):
        tilted_infonce(psi.linear())
    with pytest.raises(ValueError, match="needs a product hardening"):
        log_factor_of(hardening.threshold_any(0.0))
    assert tilted_infonce().has_no_hardening
    assert not EXPONENTIAL.has_no_hardening


def test_batches_of_inner_products():
    x, y = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
    np.testing.assert_allclose(
        inner_products(x, y, None), jnp.einsum("bnd,bmd->bnm", x, y), rtol=1e-5
    )
