"""The loss functions psi_k(v_1, .., v_k) of one anchor, one positive and k negatives.

``v_i = f(x) . f(x_i^-) - f(x) . f(x^+)``: the similarity of the i-th negative minus that of the
positive. arXiv 2311.05139 asks psi_k to be convex and argument-wise non-decreasing, as all losses
here are. Its experiments use `infonce`; the other losses are further members of the family.

A `Psi` also says what the loss becomes when a weighted mean over all negatives takes the place of
k draws (the *weights* estimator, the limit k to infinity):

    InfoNCE            psi_k(v) = link(log mean_i exp(v_i / temperature))
    separable losses   psi_k(v) = sum_i term(v_i), or the mean, so that the mean of terms suffices

The mean of terms is what the weights estimator returns for a separable loss, where k draws of a sum
have k times that.

A `Psi` is a pytree, so its hyperparameters may be traced and annealed without recompilation. A new
one needs a function here that returns it, with the functions it consists of beside.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.tree_util import Partial
from jaxtyping import Array, Float, Shaped

from hcl_jax.validation.concrete import is_concrete, nan_unless
from hcl_jax.validation.numbers import (
    check_finite,
    check_non_negative,
    check_positive,
    check_scalar,
)
from hcl_jax.validation.options import check_choice

__all__ = [
    "Psi",
    "debiased",
    "infonce",
    "linear",
    "logistic_sum",
    "squared_hinge",
    "triplet_max",
    "triplet_sum",
]


def __dir__() -> list[str]:
    return __all__


Scalar = Float[Array, ""] | float


class Psi(NamedTuple):
    """A loss function psi_k; `link` is set for InfoNCE, `term` for separable losses, or neither.

    Attributes:
        of_differences: the function from ``v_1 .. v_k`` along the last axis to ``psi_k(v)``.
        link: for InfoNCE the function from ``(x, count)`` to ``log(alpha + q e^x)``, where x is the
            log of the mean of ``exp(v_i / temperature)`` over the negatives, and q is `count` if it
            was given as "k"; else None.
        temperature: the divisor of the differences inside the exponential of InfoNCE.
        term: for separable losses the loss of one negative, elementwise; else None.
        lower: for InfoNCE a bound below which a pair does not lose, a function of the logit of the
            positive and the number of negatives: the loss is the larger of `link` and `lower`. None
            for no bound.
    """

    of_differences: Callable[[Float[Array, "*n k"]], Float[Array, "*n"]]
    link: Callable[[Float[Array, "*n"], Float[Array, "*#n"]], Float[Array, "*n"]] | None = None
    temperature: Scalar = 1.0
    term: Callable[[Float[Array, "*n"]], Float[Array, "*n"]] | None = None
    lower: Callable[[Float[Array, "*n"], Float[Array, "*#n"]], Float[Array, "*n"]] | None = None


def infonce(*, alpha: Scalar = 1.0, q: Scalar | str = 1.0, temperature: Scalar = 1.0) -> Psi:
    """``log(alpha + (q / k) sum_i exp(v_i / temperature))``: InfoNCE, the loss of the paper.

    Source: arXiv 2311.05139, whose experiments have ``alpha = q = temperature = 1``.

    Args:
        alpha: the non-negative weight of the positive in the sum; 0 gives the decoupled loss.
        q: the weight of the negatives: a positive number, or "k" for their number (the sum over
            negatives of SimCLR; in the weights estimator, the number of the anchor's negatives).
        temperature: the positive temperature.

    Returns:
        A loss that is strictly convex for ``alpha > 0``.

    Raises:
        ValueError: if a concrete number is out of its range, or `q` is another string than "k".

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(infonce().of_differences(jnp.array([0.0, 0.0]))), 6)  # log 2
        0.693147
    """
    check_scalar("alpha", alpha)
    alpha = check_non_negative("alpha", alpha)
    check_scalar("temperature", temperature)
    temperature = check_positive("temperature", temperature)
    if isinstance(q, str):
        check_choice("q", q, ("k",))
        weight = None
    else:
        check_scalar("q", q)
        weight = check_positive("q", q)
    return Psi(
        of_differences=Partial(_infonce, alpha, weight, temperature),
        link=Partial(_link, alpha, weight),
        temperature=temperature,
    )


def _infonce(
    alpha: Scalar, weight: Scalar | None, temperature: Scalar, differences: Float[Array, "*n k"]
) -> Float[Array, "*n"]:
    """``log(alpha + (q / k) sum_i exp(v_i / temperature))``."""
    count = differences.shape[-1]
    scaled = differences / jnp.asarray(temperature, differences.dtype)
    log_mean = jax.nn.logsumexp(scaled, axis=-1) - math.log(count)
    return _link(alpha, weight, log_mean, count)


def _link(
    alpha: Scalar, weight: Scalar | None, x: Float[Array, "*n"], count: Shaped[Array, "*#n"] | float
) -> Float[Array, "*n"]:
    """``log(alpha + q e^x)``, with q the weight, or the count where the weight is None."""
    q = count if weight is None else weight
    return _log_of_sum(_log(alpha, x.dtype), _log(q, x.dtype) + x)


@jax.custom_jvp
def _log_of_sum(one: Float[Array, "*#n"], other: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``log(e^one + e^other)``, whose derivatives cost one exponential and not three."""
    return jnp.logaddexp(one, other)


@partial(_log_of_sum.defjvp, symbolic_zeros=True)
def _log_of_sum_change(values: Any, tangents: Any) -> tuple[Any, Any]:
    """By ``e^a / (e^a + e^b) = sigmoid(a - b)``, of those that change."""
    total, difference = _log_of_sum(*values), values[0] - values[1]
    terms = [
        jax.nn.sigmoid(sign * difference) * tangent
        for sign, tangent in zip((1, -1), tangents, strict=True)
        if not isinstance(tangent, SymbolicZero)
    ]
    return total, sum(terms[1:], start=terms[0])


def _log(number: Shaped[Array, "*n"] | float, dtype: jnp.dtype) -> Float[Array, "*n"]:
    """The logarithm of a parameter: ``-inf`` at zero, with a finite gradient there; NaN of NaN."""
    number = jnp.asarray(number, dtype)
    none = number <= 0
    return jnp.where(none, -jnp.inf, jnp.log(jnp.where(none, 1, number)))


def debiased(*, tau_plus: Scalar, temperature: Scalar = 1.0) -> Psi:
    """``log(1 + k max((e^x - tau_plus) / (1 - tau_plus), e^{-(1 + s_ip) / temperature}))``.

    Here ``e^x`` is the (hardened) mean of ``exp((s_in - s_ip) / temperature)`` over the k negatives
    of the anchor. Negatives drawn from everyone are of the anchor's class with probability
    `tau_plus`; the part that these are expected to have is taken away, and what is left is at least
    what similarities of -1 would give, so embeddings are to be of norm 1. With ``tau_plus=0`` it is
    ``infonce(q="k")``. Source: Chuang et al., arXiv 2007.00224, equation 8 with one positive; with
    hardness Robinson et al., arXiv 2010.04592, whose code keeps the gradient of the weights
    (``stop_gradient_hardening=False``).

    Args:
        tau_plus: the probability that a negative is of the anchor's class, in [0, 1).
        temperature: the positive temperature.

    Returns:
        A loss for the weights estimator; the samples estimator refuses it, as the bound is no
        function of differences of similarities.

    Raises:
        ValueError: if a concrete number is out of its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax import scl
        >>> embeddings = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> loss = scl(embeddings, jnp.array([0, 0, 1, 1]), psi=debiased(tau_plus=0.1))
        >>> round(float(loss), 6)  # at the bound: log(1 + 2 e^-2)
        0.239545
    """
    check_scalar("tau_plus", tau_plus)
    tau_plus = check_non_negative("tau_plus", tau_plus)
    if is_concrete(tau_plus) and not float(tau_plus) < 1:
        raise ValueError(f"tau_plus must be less than 1, got {tau_plus}")
    tau_plus = nan_unless(lambda x: x < 1, tau_plus)
    check_scalar("temperature", temperature)
    temperature = check_positive("temperature", temperature)
    return Psi(
        of_differences=Partial(_infonce, 1.0, None, temperature),
        link=Partial(_debiased, tau_plus),
        temperature=temperature,
        lower=Partial(_least_of_negatives, temperature),
    )


def _debiased(
    tau_plus: Scalar, x: Float[Array, "*n"], count: Shaped[Array, "*#n"] | float
) -> Float[Array, "*n"]:
    """``log(1 + count max(e^x - tau_plus, 0) / (1 - tau_plus))``."""
    below = _log(tau_plus, x.dtype) - x
    none = below >= 0  # and not of NaN, which stays NaN
    left = x + jnp.log1p(-jnp.exp(jnp.where(none, -1, below)))
    scaled = left - jnp.log1p(-jnp.asarray(tau_plus, x.dtype)) + _log(count, x.dtype)
    return jnp.where(none, 0, jax.nn.softplus(scaled))


def _least_of_negatives(
    temperature: Scalar, logits: Float[Array, "*n"], count: Shaped[Array, "*#n"] | float
) -> Float[Array, "*n"]:
    """``log(1 + count e^{-1 / temperature - logit})``."""
    least = -1 / jnp.asarray(temperature, logits.dtype)
    return jax.nn.softplus(_log(count, logits.dtype) + least - logits)


def triplet_sum(*, margin: Scalar = 1.0) -> Psi:
    """``sum_i max(0, v_i + margin)``: the triplet loss against every negative.

    Without `num_negatives` the mean over the negatives takes the place of the sum.

    Args:
        margin: the least excess of the positive's similarity over a negative's that costs nothing.

    Returns:
        A separable loss.

    Raises:
        ValueError: if `margin` is concrete and not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> triplet_sum(margin=1.0).of_differences(jnp.array([-0.5, -2.0])).item()
        0.5
    """
    check_scalar("margin", margin)
    check_finite("margin", margin)
    return _separable(Partial(_hinge, margin))


def _hinge(margin: Scalar, differences: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``max(0, v + margin)``."""
    excess = differences + jnp.asarray(margin, differences.dtype)
    return jnp.where(excess <= 0, 0, excess)  # a maximum of NaN can be 0 as XLA compiles it


def triplet_max(*, margin: Scalar = 1.0) -> Psi:
    """``max(0, margin + max_i v_i)``: the triplet loss against the hardest negative.

    Args:
        margin: the least excess of the positive's similarity over a negative's that costs nothing.

    Returns:
        A loss that is neither InfoNCE nor separable, so that the weights estimator refuses it.

    Raises:
        ValueError: if `margin` is concrete and not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> triplet_max(margin=1.0).of_differences(jnp.array([-0.5, -0.25])).item()
        0.75
    """
    check_scalar("margin", margin)
    check_finite("margin", margin)
    return Psi(Partial(_triplet_max, margin))


def _triplet_max(margin: Scalar, differences: Float[Array, "*n k"]) -> Float[Array, "*n"]:
    """``max(0, margin + max_i v_i)``."""
    return _hinge(margin, jnp.max(differences, axis=-1))


def logistic_sum(*, scale: Scalar = 1.0) -> Psi:
    """``sum_i log(1 + exp(scale v_i))``: the logistic loss of every negative.

    Without `num_negatives` the mean over the negatives takes the place of the sum.

    Args:
        scale: the positive factor of the differences.

    Returns:
        A separable loss.

    Raises:
        ValueError: if `scale` is concrete and not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(logistic_sum().of_differences(jnp.array([0.0, 0.0]))), 6)  # 2 log 2
        1.386294
    """
    check_scalar("scale", scale)
    scale = check_positive("scale", scale)
    return _separable(Partial(_logistic, scale))


def _logistic(scale: Scalar, differences: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``log(1 + exp(scale v))``."""
    return jax.nn.softplus(jnp.asarray(scale, differences.dtype) * differences)


def squared_hinge(*, margin: Scalar = 1.0) -> Psi:
    """``sum_i max(0, v_i + margin)^2``: the squared hinge loss of every negative.

    Without `num_negatives` the mean over the negatives takes the place of the sum.

    Args:
        margin: the least excess of the positive's similarity over a negative's that costs nothing.

    Returns:
        A separable loss.

    Raises:
        ValueError: if `margin` is concrete and not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> squared_hinge(margin=1.0).of_differences(jnp.array([-0.5, -2.0])).item()
        0.25
    """
    check_scalar("margin", margin)
    check_finite("margin", margin)
    return _separable(Partial(_squared_hinge, margin))


def _squared_hinge(margin: Scalar, differences: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``max(0, v + margin)^2``."""
    return jnp.square(_hinge(margin, differences))


def linear() -> Psi:
    """``(1 / k) sum_i v_i``: convex but not strictly, so neural collapse is not its only optimum.

    Returns:
        A separable loss that is a mean, where the other separable losses are sums.

    Example:
        >>> import jax.numpy as jnp
        >>> linear().of_differences(jnp.array([0.5, -1.0])).item()
        -0.25
    """
    return Psi(Partial(_mean), term=Partial(jnp.positive))


def _mean(differences: Float[Array, "*n k"]) -> Float[Array, "*n"]:
    """``(1 / k) sum_i v_i``."""
    return jnp.mean(differences, axis=-1)


def _separable(term: Partial) -> Psi:
    """The sum over the negatives of a loss of one negative."""
    return Psi(Partial(_sum_of_terms, term), term=term)


def _sum_of_terms(term: Partial, differences: Float[Array, "*n k"]) -> Float[Array, "*n"]:
    """``sum_i term(v_i)``."""
    return jnp.sum(term(differences), axis=-1)
