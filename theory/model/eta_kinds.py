"""The hardening functions eta(t_1, .., t_k) with exact parameters, for balls and for float64.

Three forms, since they decide how the hardened expectation is computed: the same factor for every
negative (`EtaForm.PRODUCT`: the negatives stay independent and identically distributed), a factor
for each place of the tuple (`EtaForm.PLACES`: independent), and symmetric functions of the whole
tuple (`EtaForm.JOINT`). Kinds that begin with BAD break a hypothesis and serve as controls.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from typing import ClassVar, Protocol

import jax.numpy as jnp
from flint import arb, fmpq

from hcl_jax import hardening as shipped
from theory.model.rationals import ball, rational


class EtaForm(Enum):
    """How eta depends on the places of the tuple."""

    PRODUCT = "product"
    PLACES = "places"
    JOINT = "joint"


class EtaKind(Protocol):
    """One hardening function.

    Attributes:
        kind: its name in model files.
        form: see `EtaForm`.
    """

    kind: ClassVar[str]
    form: ClassVar[EtaForm]

    @property
    def legal(self) -> bool:
        """Whether it is argument-wise non-decreasing."""
        ...

    def factor(self, t: fmpq, place: int) -> arb:
        """The factor of one negative; an exact zero where it vanishes."""
        ...

    def of_tuple(self, ts: Sequence[fmpq]) -> arb:
        """eta of a whole tuple."""
        ...

    def float64(self) -> tuple[Fraction, shipped.Hardening]:
        """The shipped hardening, and a number to be added to every t before it is rounded."""
        ...


class _Factors:
    """A product over the negatives."""

    form: ClassVar[EtaForm] = EtaForm.PRODUCT

    def factor(self, t: fmpq, place: int) -> arb:
        raise NotImplementedError

    def of_tuple(self, ts: Sequence[fmpq]) -> arb:
        product = arb(1)
        for place, t in enumerate(ts):
            product *= self.factor(t, place)
        return product


class _Joint:
    """A symmetric function of the tuple."""

    form: ClassVar[EtaForm] = EtaForm.JOINT

    def factor(self, t: fmpq, place: int) -> arb:
        raise TypeError(f"{self} is not a product")


@dataclass(frozen=True)
class Exponential(_Factors):
    """``exp(beta sum t_i)``; a hardening function for beta >= 0."""

    beta: Fraction
    kind: ClassVar[str] = "exp"

    @property
    def legal(self) -> bool:
        return self.beta >= 0

    def factor(self, t: fmpq, place: int) -> arb:
        return arb(t * rational(self.beta)).exp()

    def float64(self) -> tuple[Fraction, shipped.Hardening]:
        return Fraction(0), shipped.exponential(jnp.asarray(float(self.beta)))


@dataclass(frozen=True)
class DecreasingExponential(_Factors):
    """``exp(-beta sum t_i)``: softens instead of hardening; a control."""

    beta: Fraction
    kind: ClassVar[str] = "BAD_decreasing_exp"

    @property
    def legal(self) -> bool:
        return self.beta <= 0

    def factor(self, t: fmpq, place: int) -> arb:
        return arb(-t * rational(self.beta)).exp()

    def float64(self) -> tuple[Fraction, shipped.Hardening]:
        return Fraction(0), shipped.exponential(jnp.asarray(-float(self.beta)))


@dataclass(frozen=True)
class WeightedExponential(_Factors):
    """``exp(sum beta_i t_i)``: a hardness for each place of the tuple."""

    betas: tuple[Fraction, ...]
    kind: ClassVar[str] = "exp_weighted"
    form: ClassVar[EtaForm] = EtaForm.PLACES

    @property
    def legal(self) -> bool:
        return min(self.betas) >= 0

    def factor(self, t: fmpq, place: int) -> arb:
        return arb(t * rational(self.betas[place])).exp()

    def float64(self) -> tuple[Fraction, shipped.Hardening]:
        return Fraction(0), shipped.weighted_exponential(jnp.array([float(b) for b in self.betas]))


@dataclass(frozen=True)
class ReluPower(_Factors):
    """``prod max(0, t_i + c)^p``."""

    c: Fraction = Fraction(1)
    p: Fraction = Fraction(1)
    kind: ClassVar[str] = "relu_pow"

    @property
    def legal(self) -> bool:
        return True

    def __post_init__(self):
        _check_power(self.p)

    def factor(self, t: fmpq, place: int) -> arb:
        return _relu_power(t + rational(self.c), self.p)

    def float64(self) -> tuple[Fraction, shipped.Hardening]:
        return self.c, shipped.relu_power(0.0, jnp.asarray(float(self.p)))


@dataclass(frozen=True)
class SumReluPower(_Joint):
    """``max(0, c + sum t_i)^p``. Its float64 form takes the exact sum in place of the t_i."""

    c: Fraction
    p: Fraction = Fraction(1)
    kind: ClassVar[str] = "sum_relu_pow"

    @property
    def legal(self) -> bool:
        return True

    def __post_init__(self):
        _check_power(self.p)

    def of_tuple(self, ts: Sequence[fmpq]) -> arb:
        return _relu_power(sum(ts, rational(self.c)), self.p)

    def float64(self) -> tuple[Fraction, shipped.Hardening]:
        return self.c, shipped.relu_power(0.0, jnp.asarray(float(self.p)))


@dataclass(frozen=True)
class Threshold(_Factors):
    """``prod 1[t_i >= th]``."""

    th: Fraction
    kind: ClassVar[str] = "threshold"

    @property
    def legal(self) -> bool:
        return True

    def factor(self, t: fmpq, place: int) -> arb:
        return arb(int(t >= rational(self.th)))

    def float64(self) -> tuple[Fraction, shipped.Hardening]:
        return -self.th, shipped.threshold(jnp.asarray(0.0))


@dataclass(frozen=True)
class ThresholdAny(_Joint):
    """``1[max t_i >= th]``."""

    th: Fraction
    kind: ClassVar[str] = "threshold_any"

    @property
    def legal(self) -> bool:
        return True

    def of_tuple(self, ts: Sequence[fmpq]) -> arb:
        return arb(int(max(ts) >= rational(self.th)))

    def float64(self) -> tuple[Fraction, shipped.Hardening]:
        return -self.th, shipped.threshold_any(jnp.asarray(0.0))


@dataclass(frozen=True)
class Sigmoid(_Factors):
    """``prod 1 / (1 + exp(-beta (t_i - c)))``."""

    beta: Fraction
    c: Fraction = Fraction(0)
    kind: ClassVar[str] = "sigmoid"

    @property
    def legal(self) -> bool:
        return self.beta >= 0

    def factor(self, t: fmpq, place: int) -> arb:
        return 1 / (arb((rational(self.c) - t) * rational(self.beta)).exp() + 1)

    def float64(self) -> tuple[Fraction, shipped.Hardening]:
        return -self.c, shipped.sigmoid(jnp.asarray(float(self.beta)))


def _check_power(p: Fraction) -> None:
    if p <= 0:
        raise ValueError(f"the power p must be positive, got {p}")


def _relu_power(base: fmpq, p: Fraction) -> arb:
    if base <= 0:
        return arb(0)
    return arb(base) ** (int(p) if p.denominator == 1 else ball(p))
