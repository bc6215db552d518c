"""Hard negatives: hardening functions eta, in log space.

HSCL and HUCL draw the k negatives of an anchor from the law of SCL and UCL reweighted by
``eta(t_1, .., t_k) / E[eta]``, where ``t_i = f(x) . f(x_i^-)`` is the similarity of the anchor and
the i-th negative, before any temperature (arXiv 2311.05139). A hardening function is non-negative
and argument-wise non-decreasing: harder, that is more similar, negatives get more weight. The paper
uses `exponential` and arXiv 2209.00078 `threshold`; Theorem 1 (``HSCL >= SCL``, ``HUCL >= UCL``)
holds for all functions here.

A `Hardening` is a pytree, so its hyperparameters may be traced and annealed without recompilation.
A new one needs a function here that returns it, with its logarithm as a function beside; a product
has a line in `LOG_FACTORS`, and with a line in `HARDENINGS` the training command knows it too.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float

from hcl_jax.validation.arrays import check_floating
from hcl_jax.validation.numbers import (
    check_finite,
    check_positive,
    check_scalar,
)

__all__ = [
    "HARDENINGS",
    "Hardening",
    "HardeningFamily",
    "exponential",
    "no_hardening",
    "relu_power",
    "sigmoid",
    "sum_relu_power",
    "threshold",
    "threshold_any",
    "weighted_exponential",
]


def __dir__() -> list[str]:
    return __all__


Scalar = Float[Array, ""] | float


class Hardening(NamedTuple):
    """A hardening function; exactly one of the first two fields is set.

    Attributes:
        log_factor: ``log h``, elementwise, where eta is a product ``h(t_1) .. h(t_k)``; else None.
        log_joint: ``log eta`` as a function of all k similarities of a tuple, where eta is no such
            product; else None.
        margin: by how much the similarity of a negative may exceed the greatest one of the anchor's
            positives: above that it has no weight, see `hcl_jax.without_false_negatives`. None for
            no such bound.
    """

    log_factor: Callable[[Float[Array, "*n"]], Float[Array, "*n"]] | None
    log_joint: Callable[[Float[Array, "*n k"]], Float[Array, "*n"]] | None = None
    margin: Scalar | None = None

    @property
    def is_product(self) -> bool:
        """Whether eta is a product of one factor for each negative: these stay independent."""
        return self.log_factor is not None

    def log_eta(self, similarities: Float[Array, "*n k"]) -> Float[Array, "*n"]:
        """``log eta(t_1, .., t_k)`` of tuples along the last axis; ``-inf`` where eta is zero."""
        check_floating("similarities", similarities)
        if not jnp.ndim(similarities):
            raise ValueError("similarities must be tuples along the last axis, got one number")
        if self.margin is not None:
            raise ValueError(
                "this eta depends on the anchor's positives, by its margin, and not on negatives "
                "alone; the losses compute it"
            )
        if self.log_factor is not None:
            return jnp.sum(self.log_factor(similarities), axis=-1)
        assert self.log_joint is not None
        return self.log_joint(similarities)


def no_hardening() -> Hardening:
    """``eta = 1``: SCL and UCL.

    Returns:
        A hardening function that is a product.

    Example:
        >>> import jax.numpy as jnp
        >>> no_hardening().log_eta(jnp.array([0.5, -0.5])).item()
        0.0
    """
    return Hardening(Partial(jnp.zeros_like))


def exponential(beta: Scalar) -> Hardening:
    """``eta = exp(beta (t_1 + .. + t_k))``: exponential tilting, the choice of the paper.

    Source: the experiments of arXiv 2311.05139, where beta is 2, 5, 10 or 30.

    Args:
        beta: the hardness; 0 is no hardening. Theorem 1 needs ``beta >= 0``; a negative one is
            accepted, as the theory uses it as a control.

    Returns:
        A hardening function that is a product.

    Raises:
        ValueError: if `beta` is a concrete number that is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> exponential(2.0).log_eta(jnp.array([0.5, 0.25])).item()
        1.5
    """
    check_scalar("beta", beta)
    check_finite("beta", beta)
    return Hardening(Partial(_exponential_log_factor, beta))


def _exponential_log_factor(beta: Scalar, similarities: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``beta t``."""
    return jnp.asarray(beta, similarities.dtype) * similarities


def threshold(level: Scalar) -> Hardening:
    """``eta = prod_i 1[t_i >= level]``: only negatives at least this similar have weight.

    Source: arXiv 2209.00078, which compares ``exp(t_i)`` with a threshold.

    Args:
        level: the least similarity of a negative that has weight.

    Returns:
        A hardening function that is a product.

    Raises:
        ValueError: if `level` is a concrete number that is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> threshold(0.0).log_factor(jnp.array([-0.5, 0.5])).tolist()
        [-inf, 0.0]
    """
    check_scalar("level", level)
    check_finite("level", level)
    return Hardening(Partial(_threshold_log_factor, level))


def _threshold_log_factor(level: Scalar, similarities: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``log 1[t >= level]``."""
    level = jnp.asarray(level, similarities.dtype)
    otherwise = jnp.where(jnp.isnan(level), jnp.nan, -jnp.inf)  # no level is seen in the loss
    return jnp.where(similarities >= level, 0, otherwise).astype(similarities.dtype)


def relu_power(shift: Scalar = 1.0, power: Scalar = 1.0) -> Hardening:
    """``eta = prod_i max(0, t_i + shift)^power``: polynomial tilting.

    Args:
        shift: the number added to each similarity; 1 makes the base non-negative for unit vectors.
        power: the positive exponent, the hardness of this family.

    Returns:
        A hardening function that is a product.

    Raises:
        ValueError: if a number is concrete and not finite, or `power` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> relu_power(1.0, 2.0).log_factor(jnp.array([-1.0, 0.0])).tolist()
        [-inf, 0.0]
    """
    check_scalar("shift", shift)
    check_finite("shift", shift)
    check_scalar("power", power)
    power = check_positive("power", power)
    return Hardening(Partial(_relu_power_log, shift, power))


def _relu_power_log(shift: Scalar, power: Scalar, x: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``power log max(0, x + shift)``, with a finite gradient where the base is zero."""
    shifted = x + jnp.asarray(shift, x.dtype)
    none = shifted <= 0  # and not of NaN, which stays NaN
    log = jnp.log(jnp.where(none, 1, shifted))
    return jnp.where(none, -jnp.inf, jnp.asarray(power, x.dtype) * log)


def sigmoid(beta: Scalar, center: Scalar = 0.0) -> Hardening:
    """``eta = prod_i 1 / (1 + exp(-beta (t_i - center)))``: a soft threshold.

    Args:
        beta: the steepness; Theorem 1 needs ``beta >= 0``.
        center: the similarity at which the factor of a negative is one half.

    Returns:
        A hardening function that is a product.

    Raises:
        ValueError: if a number is concrete and not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(jnp.exp(sigmoid(4.0, 0.5).log_eta(jnp.array([0.5, 0.5])))), 6)
        0.25
    """
    check_scalar("beta", beta)
    check_finite("beta", beta)
    check_scalar("center", center)
    check_finite("center", center)
    return Hardening(Partial(_sigmoid_log_factor, beta, center))


def _sigmoid_log_factor(
    beta: Scalar, center: Scalar, similarities: Float[Array, "*n"]
) -> Float[Array, "*n"]:
    """``-log(1 + exp(-beta (t - center)))``."""
    dtype = similarities.dtype
    return jax.nn.log_sigmoid(
        jnp.asarray(beta, dtype) * (similarities - jnp.asarray(center, dtype))
    )


def sum_relu_power(shift: Scalar, power: Scalar) -> Hardening:
    """``eta = max(0, shift + t_1 + .. + t_k)^power``: the weight of a tuple depends on its sum.

    Args:
        shift: the number added to the sum of the similarities.
        power: the positive exponent.

    Returns:
        A hardening function that is no product: under it the negatives of a tuple are dependent.

    Raises:
        ValueError: if a number is concrete and not finite, or `power` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(sum_relu_power(1.0, 2.0).log_eta(jnp.array([0.5, 0.5]))), 6)
        1.386294
    """
    check_scalar("shift", shift)
    check_finite("shift", shift)
    check_scalar("power", power)
    power = check_positive("power", power)
    return Hardening(None, Partial(_sum_relu_power_log_joint, shift, power))


def _sum_relu_power_log_joint(
    shift: Scalar, power: Scalar, similarities: Float[Array, "*n k"]
) -> Float[Array, "*n"]:
    """``power log max(0, shift + sum_i t_i)``."""
    return _relu_power_log(shift, power, jnp.sum(similarities, axis=-1))


def threshold_any(level: Scalar) -> Hardening:
    """``eta = 1[max_i t_i >= level]``: at least one of the k negatives is hard.

    Args:
        level: the similarity that one negative has to reach.

    Returns:
        A hardening function that is no product.

    Raises:
        ValueError: if `level` is a concrete number that is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> threshold_any(0.0).log_eta(jnp.array([[-0.5, 0.5], [-0.5, -0.1]])).tolist()
        [0.0, -inf]
    """
    check_scalar("level", level)
    check_finite("level", level)
    return Hardening(None, Partial(_threshold_any_log_joint, level))


def _threshold_any_log_joint(
    level: Scalar, similarities: Float[Array, "*n k"]
) -> Float[Array, "*n"]:
    """``log 1[max_i t_i >= level]``."""
    return _threshold_log_factor(level, jnp.max(similarities, axis=-1))


def weighted_exponential(betas: Float[Array, " k"]) -> Hardening:
    """``eta = exp(sum_i beta_i t_i)``: a hardness for each of the k positions of the tuple.

    Args:
        betas: one hardness for each negative.

    Returns:
        A hardening function with a different factor at each position, so that it is evaluated on
        whole tuples.

    Raises:
        ValueError, TypeError: unless `betas` is a vector of real numbers, finite if concrete.

    Example:
        >>> import jax.numpy as jnp
        >>> weighted_exponential(jnp.array([1.0, 2.0])).log_eta(jnp.array([0.5, 0.25])).item()
        1.0
    """
    check_finite("betas", betas)
    if np.ndim(betas) != 1:
        raise ValueError(f"betas must be a vector, one for each negative, got {betas}")
    return Hardening(None, Partial(_weighted_exponential_log_joint, betas))


def _weighted_exponential_log_joint(
    betas: Float[Array, " k"], similarities: Float[Array, "*n j"]
) -> Float[Array, "*n"]:
    """``sum_i beta_i t_i``; raises ValueError if the tuples have another length."""
    if similarities.shape[-1] != len(betas):
        raise ValueError(
            f"weighted_exponential has {len(betas)} betas but got tuples of "
            f"{similarities.shape[-1]} negatives; give one beta for each negative"
        )
    return jnp.sum(jnp.asarray(betas, similarities.dtype) * similarities, axis=-1)


LOG_FACTORS: Mapping[Callable[..., Any], tuple[str, int] | None] = {
    jnp.zeros_like: None,
    _exponential_log_factor: ("beta", 0),
    _threshold_log_factor: None,
    _relu_power_log: ("power", 1),
    _sigmoid_log_factor: ("beta", 0),
}
"""Every `log_factor` of this file, with its hardness: the name and the place of the argument by
which it multiplies; None where it is 0 or ``-inf`` whatever the arguments.

All of them are monotone in the similarity: constant if equal at both ends of an interval.
"""


class HardeningFamily(NamedTuple):
    """Hardening functions of one number.

    Attributes:
        make: the hardening function of a number.
        signed: whether the number may be negative.
    """

    make: Callable[[float], Hardening]
    signed: bool = False


def _relu_power_of_unit_shift(power: Scalar) -> Hardening:
    return relu_power(1.0, power)


HARDENINGS: Mapping[str, HardeningFamily] = {
    "exponential": HardeningFamily(exponential),
    "relu_power": HardeningFamily(_relu_power_of_unit_shift),
    "threshold": HardeningFamily(threshold, signed=True),
    "sigmoid": HardeningFamily(sigmoid),
}
"""Hardening functions by the names that command lines and configurations have for them."""
