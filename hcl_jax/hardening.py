"""Hard negatives: hardening functions eta, in log space.

HSCL and HUCL draw the k negatives of an anchor from the law of SCL and UCL reweighted by
``eta(t_1, .., t_k) / E[eta]``, where ``t_i`` is the similarity (inner product) of the anchor and
the i-th negative, before any temperature. ``eta`` is non-negative and argument-wise
non-decreasing: harder, that is more similar, negatives weigh more.

A `Hardening` is a pytree, so its numbers may be traced and annealed without recompilation.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from hcl_jax.validation import check_finite, check_positive


class Hardening(NamedTuple):
    """A hardening function; exactly one of the two fields is set.

    Attributes:
        log_factor: where eta is a product ``h(t_1) .. h(t_k)``: ``log h``, elementwise.
        log_joint: otherwise: ``log eta`` as a function of all k similarities of a tuple.
    """

    log_factor: Callable[[Float[Array, "*n"]], Float[Array, "*n"]] | None
    log_joint: Callable[[Float[Array, "*n k"]], Float[Array, "*n"]] | None = None

    @property
    def is_product(self) -> bool:
        """Whether eta is a product over the negatives, so that they stay independent."""
        return self.log_factor is not None

    def log_eta(self, similarities: Float[Array, "*n k"]) -> Float[Array, "*n"]:
        """``log eta(t_1, .., t_k)`` of tuples along the last axis; ``-inf`` where eta is zero."""
        if self.log_factor is not None:
            return jnp.sum(self.log_factor(similarities), axis=-1)
        assert self.log_joint is not None
        return self.log_joint(similarities)


def no_hardening() -> Hardening:
    """``eta = 1``: SCL and UCL.

    Returns:
        A product hardening.

    Example:
        >>> import jax.numpy as jnp
        >>> no_hardening().log_eta(jnp.array([0.5, -0.5])).item()
        0.0
    """
    return Hardening(Partial(jnp.zeros_like))


def exponential(beta: Float[Array, ""] | float) -> Hardening:
    """``eta = exp(beta (t_1 + .. + t_k))``: exponential tilting, the paper's choice.

    Args:
        beta: the hardness; 0 is no hardening. A hardening function needs ``beta >= 0``; a negative
            one is allowed here because the theory needs it as a control.

    Returns:
        A product hardening.

    Raises:
        ValueError: if ``beta`` is a concrete number that is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> exponential(2.0).log_eta(jnp.array([0.5, 0.25])).item()
        1.5
    """
    check_finite("beta", beta)
    return Hardening(Partial(_exponential_log_factor, beta))


def threshold(level: Float[Array, ""] | float) -> Hardening:
    """``eta = prod 1[t_i >= level]``: only negatives at least this similar count.

    Args:
        level: the similarity from which a negative counts.

    Returns:
        A product hardening.

    Raises:
        ValueError: if ``level`` is a concrete number that is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> threshold(0.0).log_factor(jnp.array([-0.5, 0.5])).tolist()
        [-inf, 0.0]
    """
    check_finite("level", level)
    return Hardening(Partial(_threshold_log_factor, level))


def relu_power(
    shift: Float[Array, ""] | float = 1.0, power: Float[Array, ""] | float = 1.0
) -> Hardening:
    """``eta = prod max(0, t_i + shift)^power``.

    Args:
        shift: added to each similarity; 1 makes the base non-negative for unit features.
        power: a positive exponent, the hardness of this family.

    Returns:
        A product hardening.

    Raises:
        ValueError: if a number is concrete and not finite, or ``power`` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> relu_power(1.0, 2.0).log_factor(jnp.array([-1.0, 0.0])).tolist()
        [-inf, 0.0]
    """
    check_finite("shift", shift)
    check_positive("power", power)
    return Hardening(Partial(_relu_power_log, shift, power))


def sigmoid(beta: Float[Array, ""] | float, center: Float[Array, ""] | float = 0.0) -> Hardening:
    """``eta = prod 1 / (1 + exp(-beta (t_i - center)))``: a soft threshold.

    Args:
        beta: the steepness; non-negative for a hardening function.
        center: the similarity at which a factor is one half.

    Returns:
        A product hardening.

    Raises:
        ValueError: if a number is concrete and not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(jnp.exp(sigmoid(4.0, 0.5).log_eta(jnp.array([0.5, 0.5])))), 6)
        0.25
    """
    check_finite("beta", beta)
    check_finite("center", center)
    return Hardening(Partial(_sigmoid_log_factor, beta, center))


def sum_relu_power(shift: Float[Array, ""] | float, power: Float[Array, ""] | float) -> Hardening:
    """``eta = max(0, shift + t_1 + .. + t_k)^power``: a joint form, the negatives interact.

    Args:
        shift: added to the sum of similarities.
        power: a positive exponent.

    Returns:
        A joint (non-product) hardening.

    Raises:
        ValueError: if a number is concrete and not finite, or ``power`` is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(sum_relu_power(1.0, 2.0).log_eta(jnp.array([0.5, 0.5]))), 6)
        1.386294
    """
    check_finite("shift", shift)
    check_positive("power", power)
    return Hardening(None, Partial(_sum_relu_power_log_joint, shift, power))


def threshold_any(level: Float[Array, ""] | float) -> Hardening:
    """``eta = 1[max_i t_i >= level]``: at least one of the k negatives is hard.

    Args:
        level: the similarity that one negative has to reach.

    Returns:
        A joint (non-product) hardening.

    Raises:
        ValueError: if ``level`` is a concrete number that is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> threshold_any(0.0).log_eta(jnp.array([[-0.5, 0.5], [-0.5, -0.1]])).tolist()
        [0.0, -inf]
    """
    check_finite("level", level)
    return Hardening(None, Partial(_threshold_any_log_joint, level))


def weighted_exponential(betas: Float[Array, " k"]) -> Hardening:
    """``eta = exp(sum_i beta_i t_i)``: a hardness for each of the k places of the tuple.

    Args:
        betas: one hardness for each negative.

    Returns:
        A joint hardening (a product, but of different factors).

    Raises:
        ValueError: if ``betas`` is concrete and holds a number that is not finite.

    Example:
        >>> import jax.numpy as jnp
        >>> weighted_exponential(jnp.array([1.0, 2.0])).log_eta(jnp.array([0.5, 0.25])).item()
        1.0
    """
    check_finite("betas", betas)
    return Hardening(None, Partial(_weighted_exponential_log_joint, betas))


def _exponential_log_factor(beta, similarities):
    return jnp.asarray(beta, similarities.dtype) * similarities


def _threshold_log_factor(level, similarities):
    return jnp.where(similarities >= level, 0, -jnp.inf).astype(similarities.dtype)


def _relu_power_log(shift, power, similarities):
    shifted = similarities + jnp.asarray(shift, similarities.dtype)
    alive = shifted > 0
    log = jnp.log(jnp.where(alive, shifted, 1))
    return jnp.where(alive, jnp.asarray(power, similarities.dtype) * log, -jnp.inf)


def _sigmoid_log_factor(beta, center, similarities):
    dtype = similarities.dtype
    return jax.nn.log_sigmoid(
        jnp.asarray(beta, dtype) * (similarities - jnp.asarray(center, dtype))
    )


def _sum_relu_power_log_joint(shift, power, similarities):
    return _relu_power_log(shift, power, jnp.sum(similarities, axis=-1))


def _threshold_any_log_joint(level, similarities):
    return _threshold_log_factor(level, jnp.max(similarities, axis=-1))


def _weighted_exponential_log_joint(betas, similarities):
    if similarities.shape[-1] != len(betas):
        raise ValueError(
            f"weighted_exponential has {len(betas)} betas but got tuples of "
            f"{similarities.shape[-1]} negatives; give one beta for each negative"
        )
    return jnp.sum(jnp.asarray(betas, similarities.dtype) * similarities, axis=-1)
