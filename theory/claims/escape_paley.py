"""Escape rates at Paley frames: certified against S itself, growing for HSCL and dying for HUCL."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

from flint import arb

from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.escape.matrix import EscapeProblem, escape_matrix, guaranteed, slopes
from theory.escape.paley import PRIMES, paley_gram, paley_signs, paley_spectrum
from theory.model.psi_kinds import InfoNCE
from theory.model.rationals import ball

BETAS = (Fraction(0), Fraction(1), Fraction(5), Fraction(30))
LOSSES = (InfoNCE(), InfoNCE(Fraction(1, 3), Fraction(2), Fraction(1, 4)))
GRID = tuple(Fraction(n, 2) for n in range(25))
"""Hardnesses from 0 to 12."""


@in_balls()
def closed_form(effort: Effort) -> Measurement:
    """S against the closed form of its entries, for all losses and gradients; and S F = 0."""
    return _compare_spectra(effort, PRIMES[: effort.choose(2, 6, 6)], lambda problem: problem)


@in_balls()
def closed_form_of_the_other_gradient(effort: Effort) -> Measurement:
    """Asks the closed form of detached weights of the full gradient."""
    return _compare_spectra(effort, PRIMES[:2], lambda problem: replace(problem, detached=True))


@in_balls()
def closed_form_of_the_population(effort: Effort) -> Measurement:
    """Asks the closed form of the population of batches without self negatives."""
    whole = Fraction(1)
    return _compare_spectra(effort, PRIMES[:2], lambda one: replace(one, own_weight=whole))


@in_balls()
def bound_is_attained(effort: Effort) -> Measurement:
    """Theorem A (iii): ``-lambda_min = (C - 1) / (C - 1 - r) B`` for SCL and HSCL."""
    return _compare_bounds(effort, lambda prime: (prime - 1) // 2)


@in_balls()
def bound_without_the_rank(effort: Effort) -> Measurement:
    """Asks -lambda_min to be B, as for a frame of which S F = 0 is not known."""
    return _compare_bounds(effort, lambda prime: 0)


@in_balls()
def supervised_rate_grows(effort: Effort) -> Measurement:
    """The rate of HSCL with detached weights at growing hardness."""
    return _compare_growth(supervised=True, detached=True)


@in_balls()
def unsupervised_rate_grows(effort: Effort) -> Measurement:
    """Asks the same of HUCL, whose rate dies."""
    return _compare_growth(supervised=False, detached=True)


@in_balls()
def full_gradient_rate_grows(effort: Effort) -> Measurement:
    """Asks the same of the full gradient, whose rate falls back to that of detached weights."""
    return _compare_growth(supervised=True, detached=False)


@in_balls()
def hucl_peak(effort: Effort) -> Measurement:
    """HUCL's rate at the hardness of the Lambert form, at none, and at four times it.

    The leading order without P is largest there: it is smaller 1 % to either side.
    """
    return _compare_peaks(effort, supervised=False)


@in_balls()
def hscl_peak(effort: Effort) -> Measurement:
    """Asks the same of HSCL."""
    return _compare_peaks(effort, supervised=True)


def lambert_kappa(prime: int, own_weight: Fraction = Fraction(1)) -> arb:
    """``(1 + W(rho / e)) / d0``, where the leading order of HUCL's rate is largest."""
    rho, gap = (prime - 1) / ball(own_weight), arb(prime) / (prime - 1)
    return (1 + (rho / arb(1).exp()).lambertw()) / gap


def leading_order(prime: int, kappa: arb, *, supervised: bool) -> arb:
    """``kappa / (1 + e^{kappa d0} / rho)``; supervised, ``kappa``."""
    odds = (kappa * prime / (prime - 1)).exp() / (prime - 1)
    return kappa if supervised else kappa / (1 + odds)


def _compare_spectra(
    effort: Effort, primes: Sequence[int], asked: Callable[[EscapeProblem], EscapeProblem]
) -> Measurement:
    """Records whether a row of S is that of the matrix with the eigenvalues asked for, and S G = 0.

    S is a matrix of differences modulo p, so a row says all.
    """
    tally = Tally()
    for prime in primes:
        gram, signs = paley_gram(prime), paley_signs(prime)
        root = arb(prime).sqrt()
        for problem in _problems(effort):
            matrix = escape_matrix(gram, slopes(gram, problem))
            spectrum = paley_spectrum(prime, asked(problem))
            for c, (found, sign) in enumerate(zip(matrix[0], signs, strict=True)):
                # The projections: J/p on the offset, and (I - J/p - Q/sqrt p)/2 on what is new.
                new = (int(c == 0) - 1 / arb(prime) - sign / root) / 2
                tally.equal(found, spectrum.offset / prime + spectrum.new * new)
            image = sum((s * t for s, t in zip(matrix[0], gram[1], strict=True)), arb(0))
            tally.equal(image, spectrum.old)
            tally.models += 1
    return tally.measurement()


def _problems(effort: Effort) -> list[EscapeProblem]:
    """Losses, hardnesses, gradients, populations and batches of two members a class."""
    cases = itertools.product(BETAS[1 : effort.choose(2, 4, 4)], LOSSES, (True, False))
    return [
        EscapeProblem(supervised, beta, psi, detached, own)
        for beta, psi, detached in cases
        for supervised, own in ((True, Fraction(1)), (False, Fraction(1)), (False, Fraction(1, 2)))
    ]


def _compare_bounds(effort: Effort, rank: Callable[[int], int]) -> Measurement:
    """Records whether the least eigenvalue is -B times (C - 1) / (C - 1 - rank)."""
    tally = Tally()
    for prime in PRIMES[: effort.choose(3, 6, 6)]:
        gram = paley_gram(prime)
        for beta, psi in itertools.product(BETAS, LOSSES):
            problem = EscapeProblem(True, beta, psi)
            bound = (
                guaranteed(gram, slopes(gram, problem)) * (prime - 1) / (prime - 1 - rank(prime))
            )
            spectrum = paley_spectrum(prime, problem)
            for other in (spectrum.old, spectrum.offset):
                tally.above(other, spectrum.new)
            tally.equal(-spectrum.new, bound)
            tally.models += 1
    return tally.measurement()


def _compare_growth(*, supervised: bool, detached: bool) -> Measurement:
    """Records whether -lambda grows from one hardness of the grid to the next."""
    tally = Tally()
    for prime, psi in itertools.product(PRIMES, LOSSES):
        problems = [EscapeProblem(supervised, beta, psi, detached) for beta in GRID]
        rates = [-paley_spectrum(prime, problem).new for problem in problems]
        for before, after in itertools.pairwise(rates):
            tally.above(after, before)
        tally.models += 1
    return tally.measurement()


def _compare_peaks(effort: Effort, *, supervised: bool) -> Measurement:
    """Records a peak of the leading order, and the rates at, below and beyond its hardness."""
    tally, details = Tally(), {}
    for prime in PRIMES[1:]:
        kappa = lambert_kappa(prime)
        best = leading_order(prime, kappa, supervised=supervised)
        for factor in (arb("0.99"), arb("1.01")):
            tally.above(best, leading_order(prime, kappa * factor, supervised=supervised))
        beta = Fraction(round(float(kappa - 1) * 100), 100)
        at = {n: paley_spectrum(prime, EscapeProblem(supervised, n * beta)).new for n in (0, 1, 4)}
        tally.above(-at[1], -at[0])
        tally.above(-at[0], -at[4])
        details[f"$p = {prime}$"] = (
            rf"$\beta = {float(kappa - 1):.3f}$, rate {float(at[1] / at[0]):.3f} times that of UCL"
        )
        tally.models += 1
    return tally.measurement(**details)


CLAIMS = (
    Claim(
        name="escape rates at Paley frames",
        statement=r"$S$ has the eigenvalue $-2 \sigma b$ on the $(p-1)/2$ new dimensions, "
        r"$a \delta_0 - \sigma b$ on the vector of ones and 0 on the old ones",
        reference="docs/escape.md, section 4",
        hypotheses=r"$p$ in $\lbrace 5, 13, 17, 29, 37, 101 \rbrace$, SCL, HSCL, UCL and HUCL of "
        r"the population and of batches, both gradients, $\beta$ in $\lbrace 1, 5, 30 \rbrace$ "
        r"(quick runs: $p$ in $\lbrace 5, 13 \rbrace$, $\beta = 1$)",
        evidence=Evidence.PROVED,
        measure=closed_form,
        controls=(
            Control("the full gradient", "detached weights", closed_form_of_the_other_gradient),
            Control(
                "batches without self negatives",
                "the own class weighs 1",
                closed_form_of_the_population,
            ),
        ),
    ),
    Claim(
        name="Paley frames attain the bound of critical ones",
        statement=r"$-\lambda_{\min}(S) = ((C-1)/(C-1-r)) B$",
        reference="docs/escape.md, Theorem A (iii)",
        hypotheses="SCL and HSCL, detached weights, $p$ in "
        r"$\lbrace 5, 13, 17, 29, 37, 101 \rbrace$ (quick runs: 5, 13, 17)",
        evidence=Evidence.PROVED,
        measure=bound_is_attained,
        controls=(Control("rank 0", "$S F = 0$", bound_without_the_rank),),
    ),
    Claim(
        name="HSCL leaves Paley frames the faster the harder",
        statement=r"the rate $4 \sigma b / p$ of HSCL grows with $\beta$",
        reference="docs/escape.md, section 4",
        hypotheses=r"$\beta = 0, 1/2, \dots, 12$ are tried, detached weights",
        evidence=Evidence.PROVED,
        measure=supervised_rate_grows,
        controls=(
            Control("HUCL", "negatives of other classes", unsupervised_rate_grows),
            Control("the full gradient", "detached weights", full_gradient_rate_grows),
        ),
    ),
    Claim(
        name="HUCL's rate of escape rises and dies",
        statement=r"where $1/\tau + \beta = (1 + W((C-1)/e)) (C-1)/C$ HUCL leaves a Paley frame "
        r"faster than UCL, and at four times that $\beta$ more slowly; the leading order of the "
        "rate is larger there than 1 % to either side",
        reference="docs/escape.md, section 5",
        hypotheses=r"$p$ in $\lbrace 13, 17, 29, 37, 101 \rbrace$, population, detached weights, "
        r"$\tau = 1$, $\beta$ rounded to a hundredth",
        evidence=Evidence.CERTIFIED,
        measure=hucl_peak,
        controls=(Control("HSCL", "negatives of all classes", hscl_peak),),
    ),
)
