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
    """Reads a number exactly.

    Args:
        name: what the number is, for the error message.
        value: an integer, a fraction, a decimal, a finite float (its binary value), or a string
            such as "1/3", "0.25" or "1e-3".

    Returns:
        The number as a fraction.

    Raises:
        ValueError: if it is not a finite number.

    Example:
        >>> exact("beta", "1/3") + exact("beta", "0.5")
        Fraction(5, 6)
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
    """Reads a sequence of numbers exactly; see `exact`.

    Example:
        >>> exact_vector("prior", ["1/3", "2/3"])
        (Fraction(1, 3), Fraction(2, 3))
    """
    return tuple(exact(f"{name}[{i}]", value) for i, value in enumerate(sequence(name, values)))


def sequence(name: str, values: object) -> Sequence[object]:
    """Returns `values` if it is a list or tuple, and raises ValueError otherwise.

    Example:
        >>> sequence("prior", [1, 2])
        [1, 2]
    """
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"{name} must be a list, got {values!r}")
    return values


def rational(number: Fraction) -> fmpq:
    """The same number in the arithmetic of python-flint.

    Example:
        >>> rational(Fraction(1, 3))
        1/3
    """
    return fmpq(number.numerator, number.denominator)


def ball(number: Fraction) -> arb:
    """The smallest ball around the same number at the working precision.

    Example:
        >>> ball(Fraction(1, 4))
        0.250000000000000
    """
    return arb(rational(number))


def random_thousandths(rng: Random, low: int, high: int) -> Fraction:
    """A random number of thousandths from `low` to `high`, both included."""
    return Fraction(rng.randint(low, high), 1000)


def log_probabilities(probabilities: object) -> Float[np.ndarray, "..."]:
    """The logs, in float64, of a law, a matrix or a table of fractions; ``-inf`` at zero."""
    with np.errstate(divide="ignore"):
        return np.log(np.array(probabilities, dtype=object).astype(np.float64))
