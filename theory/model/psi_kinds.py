"""The loss functions psi_k(v_1, .., v_k) with exact parameters, for balls and for float64.

Every one has the form ``finisher(k)(each(v_1) + .. + each(v_k))``, or the same with the maximum in
place of the sum; `each` takes an exact rational, so that no kink is ever on the wrong side. The
kinds that begin with BAD break a hypothesis of the theorems and serve as controls.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Protocol

import jax.numpy as jnp
from flint import arb, arb_series, fmpq
from jax.tree_util import Partial

from hcl_jax import psi as shipped
from theory.model.rationals import ball, rational

ONE = Fraction(1)
Ball = arb | arb_series


class PsiKind(Protocol):
    """One loss function.

    Attributes:
        kind: its name in model files.
        separable: whether it is a sum of terms of one v each (times `place_weights`).
        of_maximum: whether the largest `each` takes the place of the sum.
        kink: the v at which it is not smooth, if there is one.
    """

    kind: ClassVar[str]
    separable: ClassVar[bool]
    of_maximum: ClassVar[bool]

    @property
    def kink(self) -> Fraction | None: ...

    @property
    def legal(self) -> bool:
        """Whether it is convex and argument-wise non-decreasing."""
        ...

    def place_weights(self, k: int) -> tuple[Fraction, ...]:
        """The weights of the k places of a separable loss."""
        ...

    def each(self, v: fmpq) -> arb:
        """What one negative contributes."""
        ...

    def finisher(self, k: int) -> Callable[[arb], arb]:
        """The function that makes the loss of the sum of `each`, or of its maximum."""
        ...

    def collapsed(self, delta: Ball, different: int, k: int, *, live: bool) -> Ball:
        """psi_k with `different` arguments ``-delta`` and the others 0.

        `live` tells, for a loss with a kink, whether ``-delta`` lies above it.
        """
        ...

    def float64(self) -> tuple[Fraction, shipped.Psi]:
        """The shipped loss, and a number to be added to every v before it is rounded."""
        ...


class _Smooth:
    of_maximum: ClassVar[bool] = False

    @property
    def kink(self) -> Fraction | None:
        return None


class _Terms(_Smooth):
    """A sum over the negatives of one term each."""

    separable: ClassVar[bool] = True

    def place_weights(self, k: int) -> tuple[Fraction, ...]:
        return (ONE,) * k

    def finisher(self, k: int) -> Callable[[arb], arb]:
        return _unchanged

    def term(self, v: Ball, *, live: bool) -> Ball:
        raise NotImplementedError

    def each(self, v: fmpq) -> arb:
        kink = self.kink
        live = kink is None or v > rational(kink)
        value = self.term(arb(v), live=live)
        assert isinstance(value, arb)
        return value

    def collapsed(self, delta: Ball, different: int, k: int, *, live: bool) -> Ball:
        share = rational(sum(self.place_weights(k), Fraction(0)) / k)
        moved = self.term(-delta, live=live) * arb(share * different)
        return moved + self.each(fmpq(0)) * arb(share * (k - different))


@dataclass(frozen=True)
class InfoNCE(_Smooth):
    """``log(alpha + (q/k) sum exp(v_i / tau))``; ``q = None`` stands for q = k."""

    alpha: Fraction = ONE
    q: Fraction | None = ONE
    tau: Fraction = ONE
    kind: ClassVar[str] = "infonce"
    separable: ClassVar[bool] = False

    def __post_init__(self):
        if self.alpha < 0 or (self.q is not None and self.q <= 0) or self.tau == 0:
            raise ValueError(
                "infonce needs alpha >= 0, q > 0 (or 'k') and tau not 0, "
                f"got alpha={self.alpha}, q={self.q}, tau={self.tau}"
            )

    @property
    def legal(self) -> bool:
        return self.tau > 0

    def place_weights(self, k: int) -> tuple[Fraction, ...]:
        return (ONE,) * k

    def weight(self, k: int) -> Fraction:
        """q, or k where q stands for it."""
        return Fraction(k) if self.q is None else self.q

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

    def float64(self) -> tuple[Fraction, shipped.Psi]:
        q = "k" if self.q is None else float(self.q)
        if self.tau > 0:
            return Fraction(0), shipped.infonce(
                alpha=float(self.alpha), q=q, temperature=float(self.tau)
            )
        flipped = shipped.infonce(alpha=float(self.alpha), q=q, temperature=-float(self.tau))
        return Fraction(0), shipped.Psi(Partial(_of_negated, flipped.of_differences))


@dataclass(frozen=True)
class TripletSum(_Terms):
    """``sum max(0, v_i + margin)``."""

    margin: Fraction = ONE
    kind: ClassVar[str] = "triplet_sum"
    power: ClassVar[int] = 1

    @property
    def legal(self) -> bool:
        return True

    @property
    def kink(self) -> Fraction | None:
        return -self.margin

    def term(self, v: Ball, *, live: bool) -> Ball:
        excess = v + ball(self.margin)
        return (excess if self.power == 1 else excess * excess) if live else v * 0

    def float64(self) -> tuple[Fraction, shipped.Psi]:
        return self.margin, shipped.triplet_sum(margin=0.0)


@dataclass(frozen=True)
class SquaredHinge(TripletSum):
    """``sum max(0, v_i + margin)^2``."""

    kind: ClassVar[str] = "squared_hinge"
    power: ClassVar[int] = 2

    def float64(self) -> tuple[Fraction, shipped.Psi]:
        return self.margin, shipped.squared_hinge(margin=0.0)


@dataclass(frozen=True)
class TripletMax(_Smooth):
    """``max(0, max v_i + margin)``."""

    margin: Fraction = ONE
    kind: ClassVar[str] = "triplet_max"
    separable: ClassVar[bool] = False
    of_maximum: ClassVar[bool] = True

    @property
    def legal(self) -> bool:
        return True

    @property
    def kink(self) -> Fraction | None:
        return -self.margin

    def place_weights(self, k: int) -> tuple[Fraction, ...]:
        return (ONE,) * k

    def each(self, v: fmpq) -> arb:
        return arb(max(fmpq(0), v + rational(self.margin)))

    def finisher(self, k: int) -> Callable[[arb], arb]:
        return _unchanged

    def collapsed(self, delta: Ball, different: int, k: int, *, live: bool) -> Ball:
        if different < k:
            return delta * 0 + self.each(fmpq(0))
        return ball(self.margin) - delta if live else delta * 0

    def float64(self) -> tuple[Fraction, shipped.Psi]:
        return self.margin, shipped.triplet_max(margin=0.0)


@dataclass(frozen=True)
class LogisticSum(_Terms):
    """``sum w_i log(1 + exp(a v_i))``; ``w = None`` stands for weights one."""

    a: Fraction = ONE
    w: tuple[Fraction, ...] | None = None
    kind: ClassVar[str] = "logistic_sum"

    @property
    def legal(self) -> bool:
        return self.a >= 0 and min(self.w or (ONE,)) >= 0

    def place_weights(self, k: int) -> tuple[Fraction, ...]:
        return (ONE,) * k if self.w is None else self.w

    def term(self, v: Ball, *, live: bool) -> Ball:
        return _log_of_one_plus((v * ball(self.a)).exp())

    def float64(self) -> tuple[Fraction, shipped.Psi]:
        if self.a > 0:
            return Fraction(0), shipped.logistic_sum(scale=float(self.a))
        return Fraction(0), _sum_of(Partial(_logistic_any_sign, float(self.a)))


@dataclass(frozen=True)
class Linear(_Terms):
    """``mean v_i``: convex, but not strictly."""

    kind: ClassVar[str] = "linear"

    @property
    def legal(self) -> bool:
        return True

    def place_weights(self, k: int) -> tuple[Fraction, ...]:
        return (Fraction(1, k),) * k

    def term(self, v: Ball, *, live: bool) -> Ball:
        return v

    def float64(self) -> tuple[Fraction, shipped.Psi]:
        return Fraction(0), _sum_of(Partial(jnp.positive))


@dataclass(frozen=True)
class BadSquare(_Terms):
    """``sum (v_i + shift)^2``: convex, but not monotone; a control."""

    shift: Fraction = ONE
    kind: ClassVar[str] = "BAD_square"

    @property
    def legal(self) -> bool:
        return False

    def term(self, v: Ball, *, live: bool) -> Ball:
        moved = v + ball(self.shift)
        return moved * moved

    def float64(self) -> tuple[Fraction, shipped.Psi]:
        return self.shift, _sum_of(Partial(jnp.square))


@dataclass(frozen=True)
class BadSigmoid(_Terms):
    """``sum 1 / (1 + exp(-a (v_i + c)))``: increasing, but not convex; a control."""

    a: Fraction = ONE
    c: Fraction = ONE
    kind: ClassVar[str] = "BAD_sigmoid"

    @property
    def legal(self) -> bool:
        return False

    def term(self, v: Ball, *, live: bool) -> Ball:
        return 1 / ((-(v + ball(self.c)) * ball(self.a)).exp() + 1)

    def float64(self) -> tuple[Fraction, shipped.Psi]:
        return self.c, _sum_of(Partial(_sigmoid, float(self.a)))


def _log_of_one_plus(x: Ball) -> Ball:
    """``log(1 + x)``; for a ball with as many digits as x has, however small x is."""
    return x.log1p() if isinstance(x, arb) else (x + 1).log()


def _unchanged(total: arb) -> arb:
    return total


def _sum_of(term: Callable) -> shipped.Psi:
    return shipped.Psi(Partial(_sum_terms, term), term=term)


def _sum_terms(term, differences):
    return jnp.sum(term(differences), axis=-1)


def _of_negated(of_differences, differences):
    return of_differences(-differences)


def _logistic_any_sign(scale, differences):
    return jnp.logaddexp(0.0, scale * differences)


def _sigmoid(scale, differences):
    return 1 / (1 + jnp.exp(-scale * differences))
