"""The default loss does the work that its mathematics asks for: an option that adds some is seen.

What XLA counts of the compiled program of a value and a gradient is compared with multiplications
and exponentials by formula, and what it counts besides with an allowance for every pair. XLA
counts a loop once, so that a form in tiles has the cost of one tile of each pass.
"""

import jax
import jax.numpy as jnp
import pytest

from hcl_jax import hscl, with_statistics
from hcl_jax.losses._blockwise import one_tile
from hcl_jax.losses._blockwise.positives import band_block
from hcl_jax.losses._blockwise.runs import AT_ONCE
from hcl_jax.losses._blockwise.tiles import tile_length

DIM = 128

ELEMENTWISE = 80
"""Additions, comparisons, choices and the like that a pair may take in all passes together.

Two masks, two sums of exponentials with their maxima, the loss of the pair, and the derivatives of
these take about 70.
"""

FLOATS = 30
"""Numbers of 32 bits that may be read or written for a pair: about 28 in loops that XLA fuses."""

ONE_TILE = one_tile.ONE_TILE

SHAPES = ((2, jnp.float32), (1, jnp.int32))
"""Dimensions and types of embeddings and labels."""


def cost(rows, loss=hscl, **options):
    """Flops, transcendental functions and bytes, as XLA counts them."""

    def step(z, labels, beta):
        return jax.value_and_grad(loss, has_aux=loss is not hscl)(z, labels, beta=beta, **options)

    z, labels = (jax.ShapeDtypeStruct((rows, DIM)[:k], dtype) for k, dtype in SHAPES)
    found = jax.jit(step).lower(z, labels, 5.0).compile().cost_analysis()
    return [found[name] for name in ("flops", "transcendentals", "bytes accessed")]


def allowed(rows, pairs, *, products, transcendentals, arrays):
    """The least and the most that `cost` may be, by multiplications and functions of pairs.

    `arrays` is how often rows and their gradients may be read or written.
    """
    flops = 2 * DIM * products
    least = (flops, transcendentals, 4 * pairs)
    floats = FLOATS * pairs + arrays * rows * DIM
    return least, (flops + ELEMENTWISE * pairs, transcendentals + 32 * rows, 4 * floats)


def within(least, found, most):
    return all(a <= b <= c for a, b, c in zip(least, found, most, strict=True))


MATRICES = allowed(128, 128**2, products=3 * 128**2, transcendentals=5 * 128**2, arrays=10)
"""S, G Z and G^T Z; exponentials of k, log eta and the loss, its logarithm and its slope."""


def test_matrices():
    least, most = MATRICES
    assert within(least, cost(128), most)


def test_tiles():
    """A tile of each pass, and a step of each band.

    Tiles: S twice forward, less a constant and with a running maximum, and S, G Z and G^T Z
    backward; two exponentials, two and one. Bands: S forward, S and G Z backward; exponential,
    logarithm and slope, and two slopes. Loops are said to read all rows of which they take some.
    """
    rows = 1024
    tile, band = tile_length(rows) ** 2, rows * band_block()
    least, most = allowed(
        rows,
        tile + band,
        products=5 * tile + 3 * band,
        transcendentals=5 * tile + 5 * band,
        arrays=40,
    )
    assert within(least, cost(rows), most)


def of_one_tile():
    """What all similarities at once may cost, and a step of each run.

    S, shared by both passes, and (G + G^T) Z; S once more in a loop that is there for sums out of
    range. Two exponentials of a pair in each pass, and in that loop. Runs: exponential, logarithm
    and slopes.
    """
    pairs, run = ONE_TILE**2, ONE_TILE * AT_ONCE
    return allowed(
        ONE_TILE,
        pairs + run,
        products=3 * pairs,
        transcendentals=6 * pairs + 4 * run,
        arrays=10,
    )


@pytest.fixture
def as_users_have_it(monkeypatch):
    """One tile, which the tests of this folder do without."""
    monkeypatch.setattr(one_tile, "ONE_TILE", ONE_TILE)


def test_one_tile(as_users_have_it):
    least, most = of_one_tile()
    assert within(least, cost(ONE_TILE), most)


@pytest.mark.parametrize(
    ("rows", "options"),
    [
        (128, {"normalize": "unit_sphere"}),
        (128, {"loss": with_statistics(hscl)}),
        (ONE_TILE, {"loss": with_statistics(hscl)}),
    ],
)
def test_more_work_is_seen(rows, options, as_users_have_it):
    """The control: what is asked for is above the allowance."""
    least, most = MATRICES if rows == 128 else of_one_tile()
    assert not within(least, cost(rows, **options), most)
