"""Exact rational numbers: how the models are written down, so that nothing is lost before balls."""

import re
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from random import Random

import numpy as np
from flint import arb, fmpq
from jaxtyping import Float

Number = int | float | str | Fraction | Decimal

MAX_EXPONENT = 5000
"""Decimals beyond ``1e5000`` are refused, or below ``1e-5000``: as fractions they fill memory."""


def exact(name: str, value: object) -> Fraction:
    """Reads a finite number exactly; strings may be such as "1/3", "0.25" or "1e-3".

    Raises ValueError, by the name of the number, for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Fraction, Decimal)):
        raise ValueError(f"{name} must be a number or a string such as '1/3', got {value!r}")
    exponent = re.search(r"[eE]([+-]?\d+)\s*$", str(value))
    if exponent is not None and abs(int(exponent[1])) > MAX_EXPONENT:
        raise ValueError(f"{name} must have an exponent of at most {MAX_EXPONENT}, got {value!r}")
    try:
        return Fraction(value)
    except (ValueError, OverflowError, ZeroDivisionError):
        raise ValueError(f"{name} must be a finite number, got {value!r}") from None


def exact_vector(name: str, values: object) -> tuple[Fraction, ...]:
    """Reads a sequence of numbers exactly; see `exact`."""
    return tuple(exact(f"{name}[{i}]", value) for i, value in enumerate(sequence(name, values)))


def sequence(name: str, values: object) -> Sequence[object]:
    """Returns `values` if it is a list or tuple, and raises ValueError otherwise."""
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"{name} must be a list, got {values!r}")
    return values


def rational(number: Fraction) -> fmpq:
    """The same number in the arithmetic of python-flint."""
    return fmpq(number.numerator, number.denominator)


def ball(number: Fraction) -> arb:
    """A ball around the same number, at the working precision."""
    return arb(rational(number))


def random_thousandths(rng: Random, low: int, high: int) -> Fraction:
    """A random number of thousandths from `low` to `high`, both included."""
    return Fraction(rng.randint(low, high), 1000)


def log_probabilities(probabilities: object) -> Float[np.ndarray, "..."]:
    """The logs, in float64, of a law, a matrix or a table of fractions; ``-inf`` at zero."""
    with np.errstate(divide="ignore"):
        return np.log(np.array(probabilities, dtype=object).astype(np.float64))
