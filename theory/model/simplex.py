"""The simplex ETF of neural collapse (NC) in exact rational numbers, and its gap."""

from fractions import Fraction
from math import isqrt

from hcl_jax.validation.numbers import check_count
from theory.model.latent_classes import Matrix

ETF_DIGITS = 80
"""Decimals of the coordinates of a simplex ETF, truncated towards zero."""


def nc_gap(num_classes: int) -> Fraction:
    """``C / (C - 1)``: similarity within a class minus between classes at neural collapse.

    Raises unless there are at least two classes.
    """
    num_classes = check_count("num_classes", num_classes, minimum=2)
    return Fraction(num_classes, num_classes - 1)


def exact_simplex(num_classes: int) -> Matrix:
    """C vectors in C - 1 dimensions with inner products ``-1/(C-1)``, as long decimals.

    Entries are truncated towards zero, so that no norm exceeds one. Raises as `nc_gap`.
    """
    gap = nc_gap(num_classes)
    rows = [[Fraction(0)] * (num_classes - 1) for _ in range(num_classes)]
    for column in range(num_classes - 1):
        left = num_classes - 1 - column
        height = Fraction(left, left + 1) * gap
        rows[column][column] = square_root(height)
        for row in rows[column + 1 :]:
            row[column] = -square_root(height / left**2)
    return tuple(map(tuple, rows))


def square_root(square: Fraction, digits: int = ETF_DIGITS) -> Fraction:
    """The square root to `digits` decimals, rounded down."""
    scale = 10**digits
    return Fraction(isqrt(square.numerator * scale**2 // square.denominator), scale)
