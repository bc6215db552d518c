"""What SCL can reach where classes are not equally frequent.

The least SCL of any representation in the unit ball is that of a Gram matrix of unit vectors, one
for every class, and the solution of a convex programme in that matrix (`docs/unequal_priors.md`,
Theorem P). With equal frequencies it is neural collapse. `scl_optimum` solves the programme, in
float64 whatever JAX computes in, and says how exactly; `collapsed_scl` is its objective.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Real

from hcl_jax.geometry._checks import Average, check_average, known_number, known_temperature
from hcl_jax.geometry._gram_programme import Weights, duality_gap, least_gram, loss_and_slopes
from hcl_jax.precision import at_least_float32
from hcl_jax.validation.arrays import check_array
from hcl_jax.validation.concrete import is_concrete
from hcl_jax.validation.numbers import (
    check_finite,
    check_non_negative,
    check_positive,
    check_real,
    check_scalar,
)

Scalar = Float[Array, ""] | float
Sizes = Real[Array | np.ndarray, " classes"] | Sequence[float]

DIFFERENT = 100
"""Different priors that are solved for: the unknowns are the pairs of them."""


class SCLOptimum(NamedTuple):
    """A representation of least SCL, and how near to the least its loss is.

    Attributes:
        gram: the similarities of the classes, a vector for each, with ones on the diagonal; of
            float64. Its rank is at most C - 1, to rounding.
        loss: its SCL.
        gap: no representation in the unit ball has an SCL below ``loss - gap``, but for rounding.
    """

    gram: Float[np.ndarray, "classes classes"]
    loss: float
    gap: float


def scl_optimum(
    priors: Sizes,
    temperature: float,
    *,
    alpha: float = 1.0,
    q: float = 1.0,
    average: Average = "pairs",
) -> SCLOptimum:
    """The least SCL over all representations in the unit ball, for given frequencies of classes.

    The loss is that of `hcl_jax.scl` with InfoNCE, the weights estimator and k = infinity. Source:
    `docs/unequal_priors.md`, Theorem P. No hardening: HSCL is not below it either, but need not
    reach it.

    Args:
        priors: the frequencies or sizes of the classes, at least two positive numbers, of which
            only ratios matter. Classes of equal priors are equal at the optimum; the time that is
            needed depends on how many different priors there are, some seconds for 30 and minutes
            for 100.
        temperature: the temperature of InfoNCE, at least 0.004.
        alpha: the non-negative weight of the positive in InfoNCE.
        q: the positive weight of the negatives in InfoNCE.
        average: "pairs" if a class has the weight of its pairs of members, the square of its
            prior, as anchors; "anchors" if it has that of its members. See `hcl_jax.Options`; the
            default is the same.

    Returns:
        Similarities, loss and gap; the similarities are unique. They are met by points on the unit
        sphere in C - 1 dimensions or more.

    Raises:
        ValueError, TypeError: for fewer than two priors, or more than 100 different ones; and for
            numbers that are traced by JAX or out of their range.

    Example:
        >>> equal = scl_optimum([1.0, 1.0, 1.0], 1.0)
        >>> round(equal.gram[0, 1].item(), 6), round(equal.loss, 6)
        (-0.5, 0.201413)
        >>> rare = scl_optimum([40.0, 40.0, 1.0, 1.0], 1.0, average="anchors")  # the rare ones meet
        >>> round(rare.gram[2, 3].item(), 4), rare.gap < 1e-9
        (1.0, True)
    """
    check_average(average)
    temperature = known_temperature(temperature)
    alpha, q = known_number("alpha", alpha), known_number("q", q, positive=True)
    if not is_concrete(priors):
        raise TypeError("priors must be numbers that are known, not ones traced by JAX")
    _check_priors(priors)
    shares = np.asarray(priors, dtype=np.float64)
    shares = shares / shares.sum()
    if (different := len(np.unique(shares))) > DIFFERENT:
        raise ValueError(
            f"priors must have at most {DIFFERENT} different values, got {different}; classes of "
            "equal priors are solved for together"
        )
    anchors = shares if average == "anchors" else shares**2 / np.sum(shares**2)
    weights = Weights(anchors, shares, temperature, alpha, q)
    gram = least_gram(weights)
    loss, slopes = loss_and_slopes(gram, weights)
    return SCLOptimum(gram, loss, duality_gap(gram, slopes, weights))


def collapsed_scl(
    gram: Float[Array | np.ndarray, "classes classes"],
    priors: Sizes,
    *,
    temperature: Scalar,
    beta: Scalar = 0.0,
    alpha: Scalar = 1.0,
    q: Scalar = 1.0,
    average: Average = "pairs",
) -> Float[Array, ""]:
    """SCL or HSCL of classes that are one point each, from the similarities of these points.

    ``sum_c a_c log(alpha + q E_c e^{(t_cc' - t_cc) / temperature})``, where E_c weighs the classes
    c' != c by ``p_c' e^{beta t_cc'}``, and a_c is ``p_c^2`` (pairs) or p_c (anchors), normalised.
    It is what the losses of the library come to on large batches. It is differentiable, also in
    priors and temperature; at the Gram matrix of `scl_optimum`, held fixed, its derivatives in
    these numbers are those of the least loss (the envelope theorem).

    Args:
        gram: the similarities, of own ones on the diagonal.
        priors: the frequencies or sizes of the classes, of which only ratios matter.
        temperature: the positive temperature of InfoNCE.
        beta: the hardness.
        alpha: the non-negative weight of the positive in InfoNCE.
        q: the positive weight of the negatives in InfoNCE.
        average: as `scl_optimum`.

    Returns:
        The loss.

    Raises:
        ValueError, TypeError: for a matrix that is not square, priors that are not as many, and
            numbers out of their range, where they are concrete.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> gram, loss, _ = scl_optimum([2.0, 1.0, 1.0], 1.0)
        >>> found = collapsed_scl(jnp.array(gram), jnp.array([2.0, 1.0, 1.0]), temperature=1.0)
        >>> abs(found.item() - loss) < 1e-6
        True
    """
    check_average(average)
    check_array("gram", gram)
    check_finite("gram", gram)
    _check_priors(priors)
    if jnp.shape(gram) != (len(priors),) * 2:
        wanted = (len(priors),) * 2
        raise ValueError(f"gram must have shape {wanted}, as priors, got {jnp.shape(gram)}")
    for name, number in (("beta", beta), ("alpha", alpha), ("temperature", temperature), ("q", q)):
        check_scalar(name, number)
        (check_positive if name in ("temperature", "q") else check_non_negative)(name, number)
    gram = at_least_float32(gram)
    temperature, beta, q = (jnp.asarray(number, gram.dtype) for number in (temperature, beta, q))
    log_priors = jnp.log(jnp.asarray(priors, gram.dtype))
    own = jnp.eye(len(gram), dtype=bool)
    log_law = jnp.where(own, -jnp.inf, log_priors[None] + beta * gram)
    scaled = gram / temperature
    log_mean = jax.nn.logsumexp(log_law + scaled, axis=1) - jax.nn.logsumexp(log_law, axis=1)
    alpha = jnp.asarray(alpha, gram.dtype)
    log_alpha = jnp.where(alpha > 0, jnp.log(jnp.where(alpha > 0, alpha, 1)), -jnp.inf)
    losses = jnp.logaddexp(log_alpha, jnp.log(q) + log_mean - jnp.diag(scaled))
    anchors = jax.nn.softmax((2 if average == "pairs" else 1) * log_priors)
    return jnp.sum(anchors * losses)


def _check_priors(priors: Sizes) -> None:
    """Raises unless there are at least two, positive where they are known."""
    check_real("priors", priors)
    if np.ndim(priors) != 1 or np.shape(priors)[0] < 2:
        raise ValueError(f"priors must be at least two numbers, got shape {np.shape(priors)}")
    check_positive("priors", priors)
