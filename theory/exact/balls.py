"""Exact losses in ball arithmetic: every sum of the definitions, with a rigorous error bound.

For each anchor the negatives are grouped by their similarity t, and k-tuples by the multiset of
their t, weighted by the number of their orders. Numbers enter as exact rationals; similarities,
differences and every comparison (thresholds, kinks) stay rational, so that balls only carry
exponentials, logarithms, powers and sums of those. The precision is `flint.ctx.prec`.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from operator import add, mul
from typing import NamedTuple

from flint import arb, fmpq

from theory.model.kinds import EtaForm, EtaKind, PsiKind
from theory.model.latent_classes import LatentClassModel
from theory.model.multisets import multisets, over_multisets
from theory.model.rationals import rational

Pmf = Mapping[fmpq, fmpq]
"""Probabilities of the similarities of one negative with the anchor."""


class Losses(NamedTuple):
    """The four losses of one model, and how often eta had expectation zero.

    The `_joint` values take the positives from the joint law of the model and are None without one;
    SCL and HSCL always take it, UCL and HUCL never do.

    Attributes:
        zero_scl: number of (anchor, label) pairs of positive probability with E[eta] = 0 in HSCL,
            where the untilted law is used.
        zero_ucl: the same in HUCL.
    """

    scl: arb
    hscl: arb
    ucl: arb
    hucl: arb
    ucl_joint: arb | None
    hucl_joint: arb | None
    zero_scl: int
    zero_ucl: int


class Conditional(NamedTuple):
    """Expected losses given the anchor, for each similarity s with the positive."""

    plain: Mapping[fmpq, arb]
    hard: Mapping[fmpq, arb]
    eta_is_zero: bool


def exact_losses(model: LatentClassModel, *, limit: bool = False) -> Losses:
    """SCL, HSCL, UCL and HUCL of a finite model; with `limit`, for k to infinity.

    Raises ValueError where there is no such limit: it needs InfoNCE with a number q and a product
    eta.
    """
    averages = {"scl": [("scl", True)], "ucl": [("ucl", False)]}
    if model.joint is not None:
        averages["ucl"].append(("ucl_joint", True))
    totals: defaultdict[str, arb] = defaultdict(arb)
    zeros: Counter[str] = Counter()
    gram = [[rational(t) for t in row] for row in model.gram]
    for loss, anchor, label, given in _given_anchor_and_label(model, gram, limit):
        zeros[loss] += given.eta_is_zero
        for name, joint in averages[loss]:
            weights = _weights_of_positives(model, gram[anchor], anchor, label, joint=joint)
            totals[name] += _expectation(given.plain, weights)
            totals[f"h{name}"] += _expectation(given.hard, weights)
    return Losses(
        scl=totals["scl"],
        hscl=totals["hscl"],
        ucl=totals["ucl"],
        hucl=totals["hucl"],
        ucl_joint=totals.get("ucl_joint"),
        hucl_joint=totals.get("hucl_joint"),
        zero_scl=zeros["scl"],
        zero_ucl=zeros["ucl"],
    )


def _given_anchor_and_label(
    model: LatentClassModel, gram: list[list[fmpq]], limit: bool
) -> Iterator[tuple[str, int, int, Conditional]]:
    """Conditional losses with the negatives of SCL and of UCL: the loss, anchor, label, values."""
    for anchor, similarities in enumerate(gram):
        labels = [c for c, p in enumerate(model.prior) if p > 0 and model.class_laws[c][anchor] > 0]
        if not labels:
            continue
        everyone = conditional_losses(model, similarities, model.marginal, labels, limit=limit)
        for label in labels:
            law = model.other_classes(label)
            others = conditional_losses(model, similarities, law, [label], limit=limit)
            yield "scl", anchor, label, others
            yield "ucl", anchor, label, everyone


def _weights_of_positives(
    model: LatentClassModel, similarities: Sequence[fmpq], anchor: int, label: int, *, joint: bool
) -> list[tuple[fmpq, fmpq]]:
    """Similarities of the positives of one anchor and label, and ``P(y, x, x+)``."""
    prior = model.prior[label]
    law = model.positives(label, anchor, joint=joint)
    return [(s, rational(prior * p)) for s, p in zip(similarities, law, strict=True) if p > 0]


def _expectation(losses: Mapping[fmpq, arb], weights: Iterable[tuple[fmpq, fmpq]]) -> arb:
    """The weighted sum of conditional losses."""
    return sum((losses[s] * weight for s, weight in weights), arb(0))


def conditional_losses(
    model: LatentClassModel,
    similarities: Sequence[fmpq],
    negatives: Sequence[Fraction],
    labels: Iterable[int],
    *,
    limit: bool = False,
) -> Conditional:
    """Expected losses given an anchor, for every positive it may have under the given labels.

    `similarities` are those of the anchor with all points, `negatives` is the law of one negative.
    """
    law: defaultdict[fmpq, fmpq] = defaultdict(fmpq)
    for t, p in zip(similarities, negatives, strict=True):
        if p > 0:
            law[t] += rational(p)
    laws = [model.class_laws[label] for label in labels]
    positives = {s for i, s in enumerate(similarities) if any(c[i] > 0 for c in laws)}
    if limit:
        return limit_of_losses(law, positives, psi=model.psi, eta=model.eta)
    return expected_losses(law, positives, k=model.k, psi=model.psi, eta=model.eta)


def expected_losses(
    law: Pmf, positives: Iterable[fmpq], *, k: int, psi: PsiKind, eta: EtaKind
) -> Conditional:
    """``E psi_k(t - s)`` and ``E[psi_k(t - s) eta(t)] / E eta(t)`` with t_1 .. t_k iid from `law`.

    For every s among `positives`; where the expectation of eta is zero the plain law is used.
    """
    if psi.separable and eta.form is not EtaForm.JOINT:
        return _separable_losses(law, positives, k, psi, eta)
    ts = sorted(law)
    masses = [arb(law[t]) for t in ts]
    orders = [count for _, count in multisets(len(ts), k)]
    plain = [p * count for p, count in zip(over_multisets(masses, k, mul), orders, strict=True)]
    hard = _hardened_weights(ts, masses, plain, orders, k, eta)
    normaliser = _total(hard)
    zero = normaliser == 0
    plain_losses, hard_losses = {}, {}
    for s in positives:
        values = _psi_of_tuples(ts, s, k, psi)
        plain_losses[s] = _dot(plain, values)
        hard_losses[s] = plain_losses[s] if zero else _dot(hard, values) / normaliser
    return Conditional(plain_losses, hard_losses, zero)


def limit_of_losses(
    law: Pmf, positives: Iterable[fmpq], *, psi: PsiKind, eta: EtaKind
) -> Conditional:
    """`expected_losses` for k to infinity: ``log(alpha + q E e^{(t - s)/tau})`` under both laws.

    Raises ValueError unless psi is InfoNCE with a number q and eta a product.
    """
    if not psi.has_limit or eta.form is not EtaForm.PRODUCT:
        raise ValueError("only InfoNCE with a number q and a product eta has a limit in k")
    masses = [arb(p) for p in law.values()]
    tilted = [m * eta.factor(t, 0) for t, m in zip(law, masses, strict=True)]
    normaliser = _total(tilted)
    zero = normaliser == 0
    plain_losses, hard_losses = {}, {}
    for s in positives:
        each = [psi.each(t - s) for t in law]
        finish = psi.finisher(1)
        plain_losses[s] = finish(_dot(masses, each))
        hard_losses[s] = plain_losses[s] if zero else finish(_dot(tilted, each) / normaliser)
    return Conditional(plain_losses, hard_losses, zero)


def _separable_losses(
    law: Pmf, positives: Iterable[fmpq], k: int, psi: PsiKind, eta: EtaKind
) -> Conditional:
    """A separable psi under independent negatives: one sum for each place."""
    weights = psi.place_weights(k)
    if eta.form is EtaForm.PRODUCT:
        weights = (sum(weights, Fraction(0)),)
    plain_total = rational(sum(weights, Fraction(0)))
    ts, masses = list(law), [arb(p) for p in law.values()]
    tilted = [
        [m * eta.factor(t, place) for t, m in zip(ts, masses, strict=True)]
        for place in range(len(weights))
    ]
    normalisers = [_total(masses_here) for masses_here in tilted]
    zero = any(normaliser == 0 for normaliser in normalisers)
    plain_losses, hard_losses = {}, {}
    for s in positives:
        terms = [psi.each(t - s) for t in ts]
        plain_losses[s] = _dot(masses, terms) * plain_total
        hard_losses[s] = plain_losses[s] if zero else arb(0)
        for weight, here, normaliser in zip(weights, tilted, normalisers, strict=True):
            if not zero:
                hard_losses[s] += _dot(here, terms) / normaliser * rational(weight)
    return Conditional(plain_losses, hard_losses, zero)


def _hardened_weights(
    ts: Sequence[fmpq],
    masses: Sequence[arb],
    plain: Sequence[arb],
    orders: Sequence[int],
    k: int,
    eta: EtaKind,
) -> list[arb]:
    """Unnormalised probabilities of the multisets under the tilted law."""
    if eta.form is EtaForm.JOINT:
        tuples = multisets(len(ts), k)
        return [
            p * eta.of_tuple([ts[i] for i in places])
            for p, (places, _) in zip(plain, tuples, strict=True)
        ]
    factors = [
        [p * eta.factor(t, place) for t, p in zip(ts, masses, strict=True)]
        for place in range(k if eta.form is EtaForm.PLACES else 1)
    ]
    if eta.form is EtaForm.PLACES:
        return _sums_over_orders(factors)
    return [w * count for w, count in zip(over_multisets(factors[0], k, mul), orders, strict=True)]


def _sums_over_orders(factors: Sequence[Sequence[arb]]) -> list[arb]:
    """``sum over orders of prod_i factors[i][place_i]`` for every multiset, place after place."""
    weights: dict[tuple[int, ...], arb] = {(): arb(1)}
    for factor in factors:
        grown: defaultdict[tuple[int, ...], arb] = defaultdict(arb)
        for places, weight in weights.items():
            for i, f in enumerate(factor):
                grown[tuple(sorted((*places, i)))] += weight * f
        weights = grown
    return [weights[places] for places, _ in multisets(len(factors[0]), len(factors))]


def _psi_of_tuples(ts: Sequence[fmpq], s: fmpq, k: int, psi: PsiKind) -> list[arb]:
    """psi of every multiset; `ts` is sorted, so that the last of a multiset is its largest."""
    if psi.of_maximum:
        totals = over_multisets([psi.each(t - s) for t in ts], k, lambda _, last: last)
    else:
        # A weighted psi meets only symmetric laws here, under which its weights act by their mean.
        share = rational(sum(psi.place_weights(k), Fraction(0)) / k)
        totals = over_multisets([psi.each(t - s) * share for t in ts], k, add)
    return list(map(psi.finisher(k), totals))


def _total(numbers: Sequence[arb]) -> arb:
    """The sum of at least one ball."""
    result = numbers[0]
    for number in numbers[1:]:
        result = result + number
    return result


def _dot(left: Sequence[arb], right: Sequence[arb]) -> arb:
    """The inner product of at least one pair of balls."""
    return _total([a * b for a, b in zip(left, right, strict=True)])
