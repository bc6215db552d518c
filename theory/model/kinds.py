"""What the theory has to know of a loss function psi and of a hardening function eta.

A kind of psi or eta is a frozen dataclass in `psi_kinds` or `eta_kinds` whose fields are its exact
parameters, under their names in model files. It knows itself in balls, names the function that the
library ships, and draws random parameters. Whatever reads, draws or evaluates kinds derives from
that class.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from fractions import Fraction
from random import Random
from typing import ClassVar, NamedTuple, Self

from flint import arb, arb_series, fmpq
from jaxtyping import Array, Float

from hcl_jax.hardening import Hardening
from hcl_jax.psi import Psi
from hcl_jax.validation.numbers import check_count
from theory.model.rationals import ball, check_exact, rational

Ball = arb | arb_series
ZERO, ONE = Fraction(0), Fraction(1)


class Notation(NamedTuple):
    """How a parameter is written in model files, where it is not just one number.

    Attributes:
        places: what messages call the numbers, where there is one for each of the k negatives; a
            single number then stands for k equal ones.
        none: the text that stands for None.
        synonyms: other names of the parameter.
    """

    places: str | None = None
    none: str | None = None
    synonyms: tuple[str, ...] = ()


def written(
    *, places: str | None = None, none: str | None = None, synonyms: tuple[str, ...] = ()
) -> dict[str, Notation]:
    """The metadata of a field of a kind that has a notation of its own."""
    return {"notation": Notation(places, none, synonyms)}


@dataclass(frozen=True)
class _Kind:
    """What psi and eta share."""

    kind: ClassVar[str]
    role: ClassVar[str]

    def __post_init__(self) -> None:
        for name in self.notations():
            numbers = getattr(self, name)
            if numbers is not None:
                for number in numbers if isinstance(numbers, tuple) else (numbers,):
                    check_exact(f"{name} of {self.kind}", number)

    @property
    def legal(self) -> bool:
        """Whether it satisfies the hypotheses of the theorems."""
        return True

    @classmethod
    def random(cls, rng: Random, k: int) -> tuple[Self, ...]:
        """Legal instances for k negatives with random parameters; none of a control."""
        return ()

    @classmethod
    def notations(cls) -> dict[str, Notation]:
        """The parameters, in order, and how they are written."""
        return {f.name: f.metadata.get("notation", Notation()) for f in fields(cls)}

    def places(self) -> Iterator[tuple[str, int]]:
        """What is given for each negative, and how many there are."""
        for name, notation in self.notations().items():
            numbers = getattr(self, name)
            if notation.places is not None and numbers is not None:
                yield notation.places, len(numbers)

    def check_negatives(self, k: int) -> None:
        """Raises unless there is a negative, and a parameter of places for each of the k."""
        check_count("k", k)
        for numbers, count in self.places():
            if count != k:
                raise ValueError(
                    f"the {numbers} of {self.role} must number {k}, one for each of the negatives "
                    f"(k), got {count}"
                )

    def without_shift(self) -> tuple[Fraction, Self]:
        """A number and the kind that takes similarities (or differences) increased by it.

        In float64 a margin or threshold is added in exact arithmetic, before anything is rounded.
        """
        return ZERO, self


class PsiKind(_Kind):
    """One loss function psi_k.

    It has the form ``finisher(k)(each(v_1) + .. + each(v_k))``, or the same with the maximum in
    place of the sum. `legal` means convex and argument-wise non-decreasing.

    Attributes:
        kind: its name in model files.
        separable: whether it is a sum of terms of one v each (times `place_weights`).
        of_maximum: whether the largest `each` takes the place of the sum.
    """

    role: ClassVar[str] = "psi"
    separable: ClassVar[bool] = False
    of_maximum: ClassVar[bool] = False

    def check_legal(self) -> None:
        """Raises ValueError unless it is convex and argument-wise non-decreasing."""
        if not self.legal:
            raise ValueError(f"psi must be convex and non-decreasing, got {self}")

    @property
    def strict(self) -> bool:
        """Whether it is strictly convex and strictly increasing."""
        return False

    @property
    def kink(self) -> Fraction | None:
        """The v at which it is not smooth, if there is one."""
        return None

    @property
    def has_limit(self) -> bool:
        """Whether it has a limit for infinitely many negatives: ``finisher(1)(E each(v))``."""
        return False

    def place_weights(self, k: int) -> tuple[Fraction, ...]:
        """The weights of the k places of a separable loss."""
        return (ONE,) * k

    def each(self, v: fmpq) -> arb:
        """What one negative contributes."""
        raise NotImplementedError

    def finisher(self, k: int) -> Callable[[arb], arb]:
        """The function that makes the loss of the sum of `each`, or of its maximum."""
        return _unchanged

    def collapsed(self, delta: Ball, different: int, k: int, *, live: bool) -> Ball:
        """psi_k with `different` arguments ``-delta`` and the others 0.

        `live` tells, for a loss with a kink, whether ``-delta`` lies above it.
        """
        raise NotImplementedError

    def shipped(self) -> Psi:
        """The loss function of the library, without weights of places."""
        raise NotImplementedError

    def float64(self) -> tuple[Fraction, Psi]:
        """A number to be added to every v before it is rounded, and the loss of the sums."""
        shift, unshifted = self.without_shift()
        return shift, unshifted.shipped()


class SeparablePsi(PsiKind):
    """A sum over the negatives of one term each."""

    separable: ClassVar[bool] = True

    def term(self, v: Ball, *, live: bool) -> Ball:
        """The term of one negative; `live` tells whether v lies above the kink."""
        raise NotImplementedError

    def each(self, v: fmpq) -> arb:
        live = self.kink is None or v > rational(self.kink)
        value = self.term(arb(v), live=live)
        assert isinstance(value, arb)
        return value

    def collapsed(self, delta: Ball, different: int, k: int, *, live: bool) -> Ball:
        share = sum(self.place_weights(k), ZERO) / k
        moved = self.term(-delta, live=live) * ball(share * different)
        return moved + self.each(fmpq(0)) * ball(share * (k - different))


def unweighted(psi: Psi, differences: Float[Array, "*n k"]) -> Float[Array, "*n"]:
    """What the weights of places multiply: the sum of the terms of a separable loss, or psi."""
    return psi.of_differences(differences) if psi.term is None else psi.term(differences).sum(-1)


class EtaForm(Enum):
    """How eta depends on the places of the tuple, which decides how it is averaged.

    PRODUCT: the same factor for every negative; tilted negatives stay iid.
    PLACES: a factor for each place of the tuple; tilted negatives stay independent.
    JOINT: a symmetric function of the whole tuple.
    """

    PRODUCT = "product"
    PLACES = "places"
    JOINT = "joint"


class EtaKind(_Kind):
    """One hardening function; `legal` means argument-wise non-decreasing.

    Attributes:
        kind: its name in model files.
        form: see `EtaForm`.
        of_sum: whether it is a function of the sum of the t_i.
    """

    role: ClassVar[str] = "eta"
    form: ClassVar[EtaForm]
    of_sum: ClassVar[bool] = False

    @property
    def rises_and_falls(self) -> bool:
        """Whether it increases in one negative and decreases in another."""
        return False

    def factor(self, t: fmpq, place: int) -> arb:
        """The factor of one negative; an exact zero where it vanishes."""
        raise TypeError(f"{self} is not a product")

    def of_tuple(self, ts: Sequence[fmpq]) -> arb:
        """eta of a whole tuple."""
        product = arb(1)
        for place, t in enumerate(ts):
            product *= self.factor(t, place)
        return product

    def shipped(self) -> Hardening:
        """The hardening function of the library."""
        raise NotImplementedError

    def float64(self) -> tuple[Fraction, Hardening]:
        """A number to be added to every t (or to their sum) before it is rounded, and the rest."""
        shift, unshifted = self.without_shift()
        return shift, unshifted.shipped()


def _unchanged(total: arb) -> arb:
    """The sum itself."""
    return total
