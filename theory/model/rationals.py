"""Exact rational numbers: how the models are written down, so that nothing is lost before balls."""

import re
from collections.abc import Sequence
from decimal import Context, Decimal
from fractions import Fraction
from random import Random

import numpy as np
from flint import arb, fmpq
from jaxtyping import Float

Number = int | float | str | Fraction | Decimal

MAX_EXPONENT = 5000
"""Decimals beyond ``1e5000`` are refused, or below ``1e-5000``: as fractions they fill memory."""

MAX_LENGTH = 4000
"""Numbers of more characters are refused; Python reads no integers of more than 4300 digits."""


def exact(name: str, value: object) -> Fraction:
    """Reads a finite number exactly; strings may be such as "1/3", "0.25" or "1e-3".

    Raises ValueError, by the name of the number, for anything else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str, Fraction, Decimal)):
        raise ValueError(f"{name} must be a number or a string such as '1/3', got {shown(value)}")
    if isinstance(value, Fraction):
        return value
    if isinstance(value, int):
        return Fraction(value)
    text = str(value)
    if len(text) > MAX_LENGTH:
        raise ValueError(
            f"{name} must have at most {MAX_LENGTH} characters, got {len(text)}: {shown(value)}"
        )
    exponent = re.search(r"[eE]([+-]?\d+)\s*$", text)
    if exponent is not None and abs(int(exponent[1])) > MAX_EXPONENT:
        raise ValueError(
            f"{name} must have an exponent of at most {MAX_EXPONENT}, got {shown(value)}"
        )
    try:
        return Fraction(value)
    except (ValueError, OverflowError, ZeroDivisionError):
        raise ValueError(f"{name} must be a finite number, got {shown(value)}") from None


def check_exact(name: str, value: object) -> None:
    """Raises TypeError unless a value is a fraction or an integer: floats are rounded."""
    if isinstance(value, bool) or not isinstance(value, (int, Fraction)):
        raise TypeError(f"{name} must be an exact number, a Fraction, got {shown(value)}")


def exact_vector(name: str, values: object) -> tuple[Fraction, ...]:
    """Reads a sequence of numbers exactly; see `exact`."""
    return tuple(exact(f"{name}[{i}]", value) for i, value in enumerate(sequence(name, values)))


def sequence(name: str, values: object) -> Sequence[object]:
    """Returns `values` if it is a list or tuple, and raises ValueError otherwise."""
    if not isinstance(values, (list, tuple)):
        raise ValueError(f"{name} must be a list, got {shown(values)}")
    return values


def shown(value: object) -> str:
    """A value in a message, in at most sixty characters; a long fraction by its first digits."""
    if isinstance(value, (Fraction, int)) and not isinstance(value, bool):
        fraction = Fraction(value)
        if max(abs(fraction.numerator), fraction.denominator) >= 10**28:
            parts = (Decimal(fraction.numerator), Decimal(fraction.denominator))
            return f"about {Context(prec=6).divide(*parts).normalize()}"
        return str(value)
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


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
