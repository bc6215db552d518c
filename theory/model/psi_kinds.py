"""The loss functions psi_k(v_1, .., v_k) with exact parameters.

`each` takes an exact rational, so that no kink is ever on the wrong side. The kinds that begin with
BAD break a hypothesis of the theorems and serve as controls. A new psi is one class here and its
place in `PSI_KINDS`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from random import Random
from typing import Any, ClassVar, Self

import jax.numpy as jnp
from flint import arb, fmpq
from jax.tree_util import Partial
from jaxtyping import Array, Float

from hcl_jax import psi as library
from hcl_jax.psi import Psi
from theory.model.kinds import ONE, ZERO, Ball, PsiKind, SeparablePsi, written
from theory.model.rationals import ball, random_thousandths, rational, shown


@dataclass(frozen=True)
class InfoNCE(PsiKind):
    """``log(alpha + (q/k) sum exp(v_i / tau))``; ``q = None`` stands for q = k."""

    alpha: Fraction = ONE
    q: Fraction | None = field(default=ONE, metadata=written(none="k"))
    tau: Fraction = ONE
    kind: ClassVar[str] = "infonce"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha < 0 or (self.q is not None and self.q <= 0) or self.tau == 0:
            raise ValueError(
                "infonce needs alpha >= 0, q > 0 (or 'k') and tau not 0, "
                f"got alpha={shown(self.alpha)}, q={shown(self.q)}, tau={shown(self.tau)}"
            )

    @property
    def legal(self) -> bool:
        return self.tau > 0

    @property
    def strict(self) -> bool:
        return self.legal and self.alpha > 0

    @property
    def has_limit(self) -> bool:
        return self.q is not None

    @classmethod
    def random(cls, rng: Random, k: int) -> tuple[Self, ...]:
        q = rng.choice((ONE, Fraction(3, 2), None))
        alpha, tau = (Fraction(rng.choice(("1", "1/2", "2"))) for _ in range(2))
        return cls(alpha, q, tau), cls(alpha=ZERO)

    def weight(self, k: int) -> Fraction:
        """q, or k where q stands for it."""
        return Fraction(k) if self.q is None else self.q

    @property
    def limit_weight(self) -> Fraction:
        """q for infinitely many negatives; ValueError where it stands for their number."""
        if self.q is None:
            raise ValueError("InfoNCE with q = k has no limit for k to infinity")
        return self.q

    def each(self, v: fmpq) -> arb:
        return arb(v / rational(self.tau)).exp()

    def finisher(self, k: int) -> Callable[[arb], arb]:
        share = ball(self.weight(k) / k)
        return lambda total: self._log(share * total)

    def collapsed(self, delta: Ball, different: int, k: int, *, live: bool) -> Ball:
        decayed = (-delta / ball(self.tau)).exp()
        total = decayed * different + (k - different)
        return self._log(total * ball(self.weight(k) / k))

    def _log(self, weighted: Any) -> Any:
        """``log(alpha + weighted)``."""
        if self.alpha == 1:
            return _log_of_one_plus(weighted)
        return (weighted + ball(self.alpha)).log()

    def shipped(self) -> Psi:
        q = "k" if self.q is None else float(self.q)
        temperature = abs(float(self.tau))
        psi = library.infonce(alpha=float(self.alpha), q=q, temperature=temperature)
        return psi if self.tau > 0 else Psi(Partial(_of_negated, psi.of_differences))


@dataclass(frozen=True)
class TripletSum(SeparablePsi):
    """``sum max(0, v_i + margin)``."""

    margin: Fraction = ONE
    kind: ClassVar[str] = "triplet_sum"

    @property
    def kink(self) -> Fraction | None:
        return -self.margin

    @classmethod
    def random(cls, rng: Random, k: int) -> tuple[Self, ...]:
        return (cls(random_thousandths(rng, 0, 1500)),)

    def term(self, v: Ball, *, live: bool) -> Ball:
        return v + ball(self.margin) if live else v * 0

    def without_shift(self) -> tuple[Fraction, Self]:
        return self.margin, replace(self, margin=ZERO)

    def shipped(self) -> Psi:
        return library.triplet_sum(margin=float(self.margin))


@dataclass(frozen=True)
class TripletMax(PsiKind):
    """``max(0, max v_i + margin)``."""

    margin: Fraction = ONE
    kind: ClassVar[str] = "triplet_max"
    of_maximum: ClassVar[bool] = True

    @property
    def kink(self) -> Fraction | None:
        return -self.margin

    @classmethod
    def random(cls, rng: Random, k: int) -> tuple[Self, ...]:
        return (cls(random_thousandths(rng, 0, 1500)),)

    def each(self, v: fmpq) -> arb:
        return arb(max(fmpq(0), v + rational(self.margin)))

    def collapsed(self, delta: Ball, different: int, k: int, *, live: bool) -> Ball:
        if different < k:
            return delta * 0 + self.each(fmpq(0))
        return ball(self.margin) - delta if live else delta * 0

    def without_shift(self) -> tuple[Fraction, Self]:
        return self.margin, replace(self, margin=ZERO)

    def shipped(self) -> Psi:
        return library.triplet_max(margin=float(self.margin))


@dataclass(frozen=True)
class LogisticSum(SeparablePsi):
    """``sum w_i log(1 + exp(a v_i))``; ``w = None`` stands for weights one."""

    a: Fraction = ONE
    w: tuple[Fraction, ...] | None = field(
        default=None, metadata=written(places="weights w", synonyms=("w_i",))
    )
    kind: ClassVar[str] = "logistic_sum"

    @property
    def legal(self) -> bool:
        return self.a >= 0 and min(self.w or (ONE,)) >= 0

    @property
    def strict(self) -> bool:
        return self.a > 0 and min(self.w or (ONE,)) > 0

    @classmethod
    def random(cls, rng: Random, k: int) -> tuple[Self, ...]:
        return (cls(random_thousandths(rng, 200, 3000)),)

    def place_weights(self, k: int) -> tuple[Fraction, ...]:
        return super().place_weights(k) if self.w is None else self.w

    def term(self, v: Ball, *, live: bool) -> Ball:
        return _log_of_one_plus((v * ball(self.a)).exp())

    def shipped(self) -> Psi:
        if self.a > 0:
            return library.logistic_sum(scale=float(self.a))
        return _sum_of(Partial(_logistic_any_sign, float(self.a)))


@dataclass(frozen=True)
class SquaredHinge(TripletSum):
    """``sum max(0, v_i + margin)^2``."""

    kind: ClassVar[str] = "squared_hinge"

    def term(self, v: Ball, *, live: bool) -> Ball:
        excess = super().term(v, live=live)
        return excess * excess

    def shipped(self) -> Psi:
        return library.squared_hinge(margin=float(self.margin))


@dataclass(frozen=True)
class Linear(SeparablePsi):
    """``mean v_i``: convex, but not strictly."""

    kind: ClassVar[str] = "linear"

    @classmethod
    def random(cls, rng: Random, k: int) -> tuple[Self, ...]:
        return (cls(),)

    def place_weights(self, k: int) -> tuple[Fraction, ...]:
        return (Fraction(1, k),) * k

    def term(self, v: Ball, *, live: bool) -> Ball:
        return v

    def shipped(self) -> Psi:
        return library.linear()


@dataclass(frozen=True)
class BadSquare(SeparablePsi):
    """``sum (v_i + shift)^2``: convex, but not monotone; a control."""

    shift: Fraction = ONE
    kind: ClassVar[str] = "BAD_square"

    @property
    def legal(self) -> bool:
        return False

    def term(self, v: Ball, *, live: bool) -> Ball:
        moved = v + ball(self.shift)
        return moved * moved

    def without_shift(self) -> tuple[Fraction, Self]:
        return self.shift, replace(self, shift=ZERO)

    def shipped(self) -> Psi:
        return _sum_of(Partial(_square, float(self.shift)))


@dataclass(frozen=True)
class BadSigmoid(SeparablePsi):
    """``sum 1 / (1 + exp(-a (v_i + c)))``: increasing, but not convex; a control."""

    a: Fraction = ONE
    c: Fraction = ONE
    kind: ClassVar[str] = "BAD_sigmoid"

    @property
    def legal(self) -> bool:
        return False

    def term(self, v: Ball, *, live: bool) -> Ball:
        return 1 / ((-(v + ball(self.c)) * ball(self.a)).exp() + 1)

    def without_shift(self) -> tuple[Fraction, Self]:
        return self.c, replace(self, c=ZERO)

    def shipped(self) -> Psi:
        return _sum_of(Partial(_sigmoid, float(self.a), float(self.c)))


PSI_KINDS: tuple[type[PsiKind], ...] = (
    InfoNCE,
    TripletSum,
    TripletMax,
    LogisticSum,
    SquaredHinge,
    Linear,
    BadSquare,
    BadSigmoid,
)
"""Every psi that a model file may name."""


def _log_of_one_plus(x: Ball) -> Ball:
    """``log(1 + x)``; for a ball with as many digits as x has, however small x is."""
    return x.log1p() if isinstance(x, arb) else (x + 1).log()


def _sum_of(term: Callable) -> Psi:
    """A separable loss that the library does not ship."""
    return Psi(Partial(_sum_terms, term), term=term)


def _sum_terms(term: Callable, differences: Float[Array, "*n k"]) -> Float[Array, "*n"]:
    """The sum of a term over the negatives."""
    return jnp.sum(term(differences), axis=-1)


def _of_negated(of_differences: Callable, differences: Float[Array, "*n k"]) -> Float[Array, "*n"]:
    """A loss of the negated differences: a negative temperature."""
    return of_differences(-differences)


def _logistic_any_sign(scale: float, differences: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``log(1 + exp(scale v))``."""
    return jnp.logaddexp(0.0, scale * differences)


def _square(shift: float, differences: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``(v + shift)^2``."""
    return jnp.square(differences + shift)


def _sigmoid(scale: float, shift: float, differences: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``1 / (1 + exp(-scale (v + shift)))``."""
    return 1 / (1 + jnp.exp(-scale * (differences + shift)))
