"""The definitions of the four losses, written out over ordered tuples in mpmath: the reference.

Reads the JSON of a model and shares no code with `theory`.
"""

from fractions import Fraction
from itertools import product
from typing import Any

from mpmath import mp, mpf


def number(value):
    fraction = Fraction(value)
    return mpf(fraction.numerator) / mpf(fraction.denominator)


def psi(spec, v):
    k, kind = len(v), spec["type"]
    if kind == "infonce":
        q = k if spec["q"] == "k" else number(spec["q"])
        tau = number(spec.get("tau", 1))
        return mp.ln(number(spec["alpha"]) + q / k * sum(mp.exp(number(x) / tau) for x in v))
    if kind == "logistic_sum":
        weights = spec.get("w") or [1] * k
        a = number(spec["a"])
        return sum(
            number(w) * mp.ln(1 + mp.exp(a * number(x))) for w, x in zip(weights, v, strict=True)
        )
    if kind == "linear":
        return number(sum(v) / k)
    margin = Fraction(spec["margin"])
    if kind == "triplet_max":
        return number(max(Fraction(0), max(v) + margin))
    power = {"triplet_sum": 1, "squared_hinge": 2}[kind]
    return number(sum(max(Fraction(0), x + margin) ** power for x in v))


def eta(spec, t):
    kind = spec["type"]
    if kind in ("exp", "BAD_decreasing_exp"):
        sign = 1 if kind == "exp" else -1
        return mp.exp(sign * number(spec["beta"]) * number(sum(t)))
    if kind == "exp_weighted":
        return mp.exp(sum(number(b) * number(x) for b, x in zip(spec["betas"], t, strict=True)))
    if kind == "relu_pow":
        return mp.fprod(relu_power(x + Fraction(spec["c"]), spec["p"]) for x in t)
    if kind == "sum_relu_pow":
        return relu_power(sum(t) + Fraction(spec["c"]), spec["p"])
    if kind == "threshold":
        return mpf(all(x >= Fraction(spec["th"]) for x in t))
    if kind == "threshold_any":
        return mpf(any(x >= Fraction(spec["th"]) for x in t))
    assert kind == "sigmoid"
    beta, c = number(spec["beta"]), Fraction(spec["c"])
    return mp.fprod(1 / (1 + mp.exp(-beta * number(x - c))) for x in t)


def relu_power(base, power):
    return number(base) ** number(power) if base > 0 else mpf(0)


def losses(case, digits=50):
    """SCL, HSCL, UCL, HUCL (and the joint ones) and the counts of E[eta] = 0."""
    with mp.workdps(digits):
        return _losses(case)


def _losses(case):
    prior = [Fraction(p) for p in case["prior"]]
    law = [[Fraction(p) for p in row] for row in case["class_pmf"]]
    f = [[Fraction(x) for x in row] for row in case["features"]]
    points, classes = range(len(f)), range(len(prior))
    dot = [[sum(a * b for a, b in zip(f[i], f[j], strict=True)) for j in points] for i in points]
    iid = [[[law[c][i] * law[c][j] for j in points] for i in points] for c in classes]
    joint = iid
    if case["joint"] is not None:
        joint = [[[Fraction(p) for p in row] for row in table] for table in case["joint"]]
    everyone = [sum(prior[c] * law[c][j] for c in classes) for j in points]
    names = ("SCL", "HSCL", "UCL", "HUCL", "UCL_joint", "HUCL_joint")
    total: dict[str, Any] = dict.fromkeys(names, mpf(0))
    zero = {"HSCL": 0, "HUCL": 0}
    for y in classes:
        others = [
            sum(prior[c] * law[c][j] for c in classes if c != y) / (1 - prior[y]) for j in points
        ]
        for x in points:
            if prior[y] * law[y][x] == 0:
                continue
            for hard, negatives, pairs in (
                ("HSCL", others, {"": joint}),
                ("HUCL", everyone, {"": iid, "_joint": joint}),
            ):
                expected, is_zero = conditional(case, dot, x, negatives)
                zero[hard] += is_zero
                for suffix, of_pairs in pairs.items():
                    for p in points:
                        weight = number(prior[y] * of_pairs[y][x][p])
                        if weight:
                            plain_value, hard_value = expected(p)
                            total[hard[1:] + suffix] += weight * plain_value
                            total[hard + suffix] += weight * hard_value
    if case["joint"] is None:
        del total["UCL_joint"], total["HUCL_joint"]
    return total, zero


def conditional(case, dot, x, negatives):
    support = [j for j, p in enumerate(negatives) if p > 0]
    tuples = list(product(support, repeat=case["k"]))
    plain = [mp.fprod(number(negatives[j]) for j in js) for js in tuples]
    tilt = [eta(case["eta"], [dot[x][j] for j in js]) for js in tuples]
    hard = [p * e for p, e in zip(plain, tilt, strict=True)]
    is_zero = sum(hard) == 0

    def expected(positive):
        values = [psi(case["psi"], [dot[x][j] - dot[x][positive] for j in js]) for js in tuples]
        plain_value = sum(p * v for p, v in zip(plain, values, strict=True))
        if is_zero:
            return plain_value, plain_value
        return plain_value, sum(p * v for p, v in zip(hard, values, strict=True)) / sum(hard)

    return expected, is_zero
