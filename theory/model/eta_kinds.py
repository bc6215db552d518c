"""The hardening functions eta(t_1, .., t_k) with exact parameters.

Factors take exact rationals, so that no threshold is ever on the wrong side. The kinds that begin
with BAD break a hypothesis and serve as controls. A new eta is one class here and its place in
`ETA_KINDS`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from random import Random
from typing import ClassVar, Self

import jax.numpy as jnp
from flint import arb, fmpq

from hcl_jax import hardening as library
from hcl_jax.hardening import Hardening
from theory.model.kinds import ONE, ZERO, EtaForm, EtaKind, written
from theory.model.rationals import ball, random_thousandths, rational, shown

POWERS = tuple(map(Fraction, ("1/2", "1", "2", "5/2")))
"""Random powers are one of these."""


@dataclass(frozen=True)
class Exponential(EtaKind):
    """``exp(beta sum t_i)``; a hardening function for beta >= 0."""

    beta: Fraction
    kind: ClassVar[str] = "exp"
    form: ClassVar[EtaForm] = EtaForm.PRODUCT

    @property
    def legal(self) -> bool:
        return self.beta >= 0

    @classmethod
    def random(cls, rng: Random, k: int) -> tuple[Self, ...]:
        return (cls(random_thousandths(rng, 100, 8000)),)

    def factor(self, t: fmpq, place: int) -> arb:
        return arb(t * rational(self.beta)).exp()

    def shipped(self) -> Hardening:
        return library.exponential(float(self.beta))


@dataclass(frozen=True)
class WeightedExponential(EtaKind):
    """``exp(sum beta_i t_i)``: a hardness for each place of the tuple."""

    betas: tuple[Fraction, ...] = field(
        metadata=written(places="betas", synonyms=("beta", "beta_i"))
    )
    kind: ClassVar[str] = "exp_weighted"
    form: ClassVar[EtaForm] = EtaForm.PLACES

    @property
    def legal(self) -> bool:
        return min(self.betas) >= 0

    @property
    def rises_and_falls(self) -> bool:
        return min(self.betas) < 0 < max(self.betas)

    @classmethod
    def random(cls, rng: Random, k: int) -> tuple[Self, ...]:
        return (cls(tuple(random_thousandths(rng, 0, 5000) for _ in range(k))),)

    def factor(self, t: fmpq, place: int) -> arb:
        return arb(t * rational(self.betas[place])).exp()

    def shipped(self) -> Hardening:
        return library.weighted_exponential(jnp.array([float(b) for b in self.betas]))


@dataclass(frozen=True)
class ReluPower(EtaKind):
    """``prod max(0, t_i + c)^p``."""

    c: Fraction = ONE
    p: Fraction = ONE
    kind: ClassVar[str] = "relu_pow"
    form: ClassVar[EtaForm] = EtaForm.PRODUCT

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_power(self.p)

    @classmethod
    def random(cls, rng: Random, k: int) -> tuple[Self, ...]:
        return (cls(random_thousandths(rng, 0, 1200), rng.choice(POWERS)),)

    def factor(self, t: fmpq, place: int) -> arb:
        return _relu_power(t + rational(self.c), self.p)

    def without_shift(self) -> tuple[Fraction, Self]:
        return self.c, replace(self, c=ZERO)

    def shipped(self) -> Hardening:
        return library.relu_power(float(self.c), float(self.p))


@dataclass(frozen=True)
class SumReluPower(EtaKind):
    """``max(0, c + sum t_i)^p``."""

    c: Fraction
    p: Fraction = ONE
    kind: ClassVar[str] = "sum_relu_pow"
    form: ClassVar[EtaForm] = EtaForm.JOINT
    of_sum: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_power(self.p)

    @classmethod
    def random(cls, rng: Random, k: int) -> tuple[Self, ...]:
        return (cls(random_thousandths(rng, -500, 1500), rng.choice(POWERS)),)

    def of_tuple(self, ts: Sequence[fmpq]) -> arb:
        return _relu_power(sum(ts, rational(self.c)), self.p)

    def without_shift(self) -> tuple[Fraction, Self]:
        return self.c, replace(self, c=ZERO)

    def shipped(self) -> Hardening:
        return library.sum_relu_power(float(self.c), float(self.p))


@dataclass(frozen=True)
class Threshold(EtaKind):
    """``prod 1[t_i >= th]``."""

    th: Fraction
    kind: ClassVar[str] = "threshold"
    form: ClassVar[EtaForm] = EtaForm.PRODUCT

    @classmethod
    def random(cls, rng: Random, k: int) -> tuple[Self, ...]:
        return (cls(random_thousandths(rng, -800, 800)),)

    def factor(self, t: fmpq, place: int) -> arb:
        return arb(int(t >= rational(self.th)))

    def without_shift(self) -> tuple[Fraction, Self]:
        return -self.th, replace(self, th=ZERO)

    def shipped(self) -> Hardening:
        return library.threshold(float(self.th))


@dataclass(frozen=True)
class ThresholdAny(EtaKind):
    """``1[max t_i >= th]``."""

    th: Fraction
    kind: ClassVar[str] = "threshold_any"
    form: ClassVar[EtaForm] = EtaForm.JOINT

    @classmethod
    def random(cls, rng: Random, k: int) -> tuple[Self, ...]:
        return (cls(random_thousandths(rng, -800, 800)),)

    def of_tuple(self, ts: Sequence[fmpq]) -> arb:
        return arb(int(max(ts) >= rational(self.th)))

    def without_shift(self) -> tuple[Fraction, Self]:
        return -self.th, replace(self, th=ZERO)

    def shipped(self) -> Hardening:
        return library.threshold_any(float(self.th))


@dataclass(frozen=True)
class Sigmoid(EtaKind):
    """``prod 1 / (1 + exp(-beta (t_i - c)))``."""

    beta: Fraction
    c: Fraction = ZERO
    kind: ClassVar[str] = "sigmoid"
    form: ClassVar[EtaForm] = EtaForm.PRODUCT

    @property
    def legal(self) -> bool:
        return self.beta >= 0

    @classmethod
    def random(cls, rng: Random, k: int) -> tuple[Self, ...]:
        return (cls(random_thousandths(rng, 100, 8000), random_thousandths(rng, -800, 800)),)

    def factor(self, t: fmpq, place: int) -> arb:
        return 1 / (arb((rational(self.c) - t) * rational(self.beta)).exp() + 1)

    def without_shift(self) -> tuple[Fraction, Self]:
        return -self.c, replace(self, c=ZERO)

    def shipped(self) -> Hardening:
        return library.sigmoid(float(self.beta), float(self.c))


@dataclass(frozen=True)
class DecreasingExponential(EtaKind):
    """``exp(-beta sum t_i)``: softens instead of hardening; a control."""

    beta: Fraction
    kind: ClassVar[str] = "BAD_decreasing_exp"
    form: ClassVar[EtaForm] = EtaForm.PRODUCT

    @property
    def legal(self) -> bool:
        return self.beta <= 0

    def factor(self, t: fmpq, place: int) -> arb:
        return arb(-t * rational(self.beta)).exp()

    def shipped(self) -> Hardening:
        return library.exponential(-float(self.beta))


ETA_KINDS: tuple[type[EtaKind], ...] = (
    Exponential,
    WeightedExponential,
    ReluPower,
    SumReluPower,
    Threshold,
    ThresholdAny,
    Sigmoid,
    DecreasingExponential,
)
"""Every eta that a model file may name."""


def _check_power(p: Fraction) -> None:
    """Refuses a power that is not positive."""
    if p <= 0:
        raise ValueError(f"the power p must be positive, got {shown(p)}")


def _relu_power(base: fmpq, p: Fraction) -> arb:
    """``max(0, base)^p``; zero exactly where it vanishes."""
    if base <= 0:
        return arb(0)
    return arb(base) ** (int(p) if p.denominator == 1 else ball(p))
