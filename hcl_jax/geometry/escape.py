"""The escape from dimensional collapse: how fast class means grow into dimensions they do not use.

Let every class c be one unit vector f_c, and let L be the mean over classes of InfoNCE with
exponentially tilted negatives and k = infinity, the weights estimator of `hcl_jax.objective`. The
derivative of the loss of class c with respect to ``t = f_c . f_c'`` is, for c' != c,

    D_cc' = share_c (softmax_c'(beta t + t / temperature) / temperature)              detached
    D_cc' = share_c ((beta + 1 / temperature) softmax_c'(beta t + t / temperature)
                     - beta softmax_c'(beta t))                                  full gradient
    share_c = q M_c / (alpha + q M_c),   M_c = E_beta e^{(t - 1) / temperature}.

The softmaxes and the mean M_c, weighted by ``e^{beta t}``, run over the classes of the negatives:
the other classes, or, unsupervised, all. Along a dimension that no f_c uses, gradient flow on the
unit sphere moves the coordinates z of the classes by

    dz/dt = -(2 / C) S z + O(|z|^3),   S = (D + D^T) / 2 - diag_c(sum_c' (D + D^T)_cc' t_cc' / 2)

with c' != c in all sums (own similarities are 1 on the sphere, and cancel). So the smallest
eigenvalue of S decides whether, and how fast, dimensional collapse is left. `docs/escape.md` has
the proofs; its P_c is ``share_c / temperature``.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hcl_jax.geometry._checks import check_two_classes
from hcl_jax.geometry.spectrum import directions
from hcl_jax.precision import at_least_float32, exact_product, unit_vectors, wide_dtype
from hcl_jax.validation.concrete import is_concrete
from hcl_jax.validation.numbers import check_count, check_non_negative, check_positive, check_scalar
from hcl_jax.validation.options import check_choice

Scalar = Float[Array, ""] | float

ROUNDING = 8
"""Eigenvalues above minus so many roundings of the largest row sum of S count as zero.

They are ``beta + 1 / temperature`` more, by which the weights multiply that of similarities.
"""


def escape_rate(
    class_means: Float[Array, "classes dim"],
    *,
    supervised: bool,
    beta: Scalar,
    temperature: Scalar,
    alpha: Scalar = 1.0,
    q: Scalar = 1.0,
    stop_gradient_hardening: bool = True,
    per_class: int | None = None,
) -> Float[Array, ""]:
    """The rate at which class means grow into a dimension that they do not use.

    ``2 |lambda_min(S)| / C`` with S of `escape_matrix`: in a time T of gradient flow the fastest
    growing coordinates there are multiplied by ``exp(rate T)``, as long as they are small and S
    stays. Gradient descent with step size h takes a time h for each step.

    Args:
        class_means: the mean of every class, one per row. Only their directions count: the rate is
            that of classes which are points on the unit sphere.
        supervised: whether negatives are of other classes (SCL, HSCL) or everyone (UCL, HUCL).
        beta: the hardness, not negative; 0 is no hardening. Above 1e6 in float32, which the losses
            refuse, the rate is that of rounded similarities.
        temperature: the positive temperature of InfoNCE.
        alpha: the non-negative weight of the positive in InfoNCE.
        q: the positive weight of the negatives in InfoNCE.
        stop_gradient_hardening: whether the weights of the negatives are constants to
            differentiation, see `hcl_jax.Conventions`.
        per_class: the number of members of every class in a balanced batch whose anchors are not
            their own negatives, the default of `hcl_jax.hucl`; None for the population, and for
            batches with ``self_negatives=True``. It does not matter to supervised pairs.

    Returns:
        A number that is not negative, per unit of time of gradient flow of the mean loss over
        classes, with a vector for every class as the parameters. (If n embeddings are parameters of
        their own, time runs C / n times as fast.) It is 0 if nothing grows, to a rounding of
        similarities times ``beta + 1 / temperature``, and if there is no unused dimension: none
        whose squared singular value is at most `DIRECTION_TOLERANCE` times the largest. The
        gradient takes the number of used dimensions as given.

    Raises:
        ValueError, TypeError: for fewer than two classes, a class mean that is zero, and numbers
            out of their range, where they are concrete.

    Example:
        >>> import jax.numpy as jnp
        >>> flat = jnp.array([[1.0, 0, 0], [1, 0, 0], [-1, 0, 0], [-1, 0, 0]])
        >>> rates = [
        ...     escape_rate(flat, supervised=True, beta=beta, temperature=1.0)
        ...     for beta in (0.0, 0.5, 2.0)
        ... ]
        >>> [round(rate.item(), 4) for rate in rates]
        [0.2025, 0.3351, 0.4886]
    """
    matrix = escape_matrix(
        class_means,
        supervised=supervised,
        beta=beta,
        temperature=temperature,
        alpha=alpha,
        q=q,
        stop_gradient_hardening=stop_gradient_hardening,
        per_class=per_class,
    )
    return _rate(matrix, class_means, beta + 1 / jnp.asarray(temperature, matrix.dtype))


def escape_matrix(
    class_means: Float[Array, "classes dim"],
    *,
    supervised: bool,
    beta: Scalar,
    temperature: Scalar,
    alpha: Scalar = 1.0,
    q: Scalar = 1.0,
    stop_gradient_hardening: bool = True,
    per_class: int | None = None,
) -> Float[Array, "classes classes"]:
    """The symmetric matrix S that moves classes along an unused dimension: dz/dt = -(2/C) S z.

    Its eigenvectors with negative eigenvalues are the patterns, a coordinate for every class, that
    grow there; the others shrink. A constant eigenvector shifts all classes alike.

    Args:
        class_means: as `escape_rate`.
        supervised: as `escape_rate`.
        beta: as `escape_rate`.
        temperature: as `escape_rate`.
        alpha: as `escape_rate`.
        q: as `escape_rate`.
        stop_gradient_hardening: as `escape_rate`.
        per_class: as `escape_rate`.

    Returns:
        The matrix, whatever dimensions are used. At neural collapse it has no negative eigenvalue,
        but for the full gradient of HUCL beyond `hucl_threshold`, where a common offset grows.

    Raises:
        ValueError, TypeError: as `escape_rate`.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.geometry import simplex_etf
        >>> collapsed = escape_matrix(simplex_etf(3, 2), supervised=True, beta=0.0, temperature=1.0)
        >>> round((collapsed[0, 0] - collapsed[0, 1]).item(), 5) + 0
        0.0
    """
    _check(class_means, supervised, beta, temperature, alpha, q, stop_gradient_hardening)
    if per_class is not None:
        per_class = check_count("per_class", per_class, minimum=2)
    own = -math.inf if supervised else 0.0 if per_class is None else math.log1p(-1 / per_class)
    dtype = wide_dtype(class_means)
    numbers = [jnp.asarray(number, dtype) for number in (beta, temperature, alpha, q)]
    return _matrix(class_means, own, *numbers, detached=bool(stop_gradient_hardening))


@partial(jax.jit, static_argnames="detached")
def _matrix(
    class_means: Float[Array, "classes dim"],
    log_own_weight: Scalar,
    beta: Float[Array, ""],
    temperature: Float[Array, ""],
    alpha: Float[Array, ""],
    q: Float[Array, ""],
    *,
    detached: bool,
) -> Float[Array, "classes classes"]:
    """S, where negatives of the own class weigh ``e^log_own_weight`` relative to each other one."""
    means = unit_vectors(at_least_float32(class_means))
    similarities = exact_product(means, means.T)
    own = jnp.eye(len(means), dtype=bool)
    tilt = jnp.where(own, jnp.asarray(log_own_weight, means.dtype), 0) + beta * similarities
    tilted = tilt + similarities / temperature
    log_mean = jax.nn.logsumexp(tilted, axis=1) - jax.nn.logsumexp(tilt, axis=1) - 1 / temperature
    share = jax.nn.sigmoid(jnp.log(q) + log_mean - _log(alpha))
    slopes = jax.nn.softmax(tilted, axis=1) / temperature
    if not detached:
        slopes = slopes + beta * (jax.nn.softmax(tilted, axis=1) - jax.nn.softmax(tilt, axis=1))
    slopes = jnp.where(own, 0, share[:, None] * slopes)
    symmetric = (slopes + slopes.T) / 2
    return symmetric - jnp.diag(jnp.sum(symmetric * similarities, axis=1))


@jax.jit
def _rate(
    matrix: Float[Array, "classes classes"],
    class_means: Float[Array, "classes dim"],
    kappa: Float[Array, ""],
) -> Float[Array, ""]:
    """The rate of the smallest eigenvalue, if the class means leave a dimension unused.

    `kappa` multiplies similarities in the weights.
    """
    with jax.default_matmul_precision("highest"):  # of its derivative
        lowest = jnp.linalg.eigvalsh(matrix)[0]
    size = jnp.max(jnp.sum(jnp.abs(matrix), axis=1))
    rounding = (ROUNDING + jax.lax.stop_gradient(kappa)) * jnp.finfo(matrix.dtype).eps
    rounding = jnp.minimum(rounding, 1 / 8)  # beyond, nothing is known of the rate
    stays = lowest >= -rounding * size
    rate = jnp.where(stays, 0, -2 * lowest / len(matrix))
    means = unit_vectors(at_least_float32(jax.lax.stop_gradient(class_means)))
    used = directions(jnp.square(jnp.linalg.svd(means, compute_uv=False)))
    return jnp.where(used < means.shape[1], rate, 0)


def _log(number: Float[Array, ""]) -> Float[Array, ""]:
    """The logarithm, ``-inf`` at zero with a finite gradient."""
    return jnp.where(number > 0, jnp.log(jnp.where(number > 0, number, 1)), -jnp.inf)


def _check(
    class_means: Float[Array, "classes dim"],
    supervised: bool,
    beta: Scalar,
    temperature: Scalar,
    alpha: Scalar,
    q: Scalar,
    stop_gradient_hardening: bool,
) -> None:
    """Raises unless the arguments of `escape_matrix` are in their ranges."""
    check_two_classes(class_means)
    if is_concrete(class_means):
        zero = np.flatnonzero(~np.any(np.asarray(class_means), axis=1))
        if len(zero):
            raise ValueError(
                f"every class mean needs a direction, but {len(zero)} of {len(class_means)} are "
                f"zero, the first is that of class {zero[0]}"
            )
    check_choice("supervised", supervised, (False, True))
    check_choice("stop_gradient_hardening", stop_gradient_hardening, (False, True))
    for name, number in (("beta", beta), ("alpha", alpha), ("temperature", temperature), ("q", q)):
        check_scalar(name, number)
        (check_positive if name in ("temperature", "q") else check_non_negative)(name, number)
