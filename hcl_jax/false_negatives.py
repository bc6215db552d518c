"""False negatives: candidates so similar to the anchor that they are taken for one of its kind."""

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from hcl_jax.hardening import Hardening
from hcl_jax.validation import check_finite, check_scalar, is_concrete

Scalar = Float[Array, ""] | float


def without_false_negatives(hardening: Hardening, *, above: Scalar) -> Hardening:
    """``eta = prod_i h(t_i) 1[t_i <= above]``: negatives more similar than `above` have no weight.

    The mask comes first: what is left is weighed by the hardening function and divided by the mean
    weight of what is left. It is not monotone, so that Theorem 1 of arXiv 2311.05139 does not hold
    under it. The number of negatives, where psi has it (``q="k"``), is still that of all.

    Args:
        hardening: a product hardening function, such as `hcl_jax.hardening.no_hardening`.
        above: the greatest similarity that a negative may have; infinity masks nothing and, where
            it is concrete, returns the hardening function itself.

    Returns:
        A hardening function that is a product; an anchor all of whose negatives are masked has no
        loss.

    Raises:
        ValueError, TypeError: if `hardening` is no product of functions that are pytrees, or
            `above` is no number.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax.hardening import exponential
        >>> eta = without_false_negatives(exponential(2.0), above=0.9)
        >>> eta.log_factor(jnp.array([0.5, 0.95])).tolist()
        [1.0, -inf]
    """
    if not isinstance(hardening, Hardening) or hardening.log_factor is None:
        raise ValueError("hardening must be a product Hardening, such as exponential(5.0)")
    if jax.tree_util.all_leaves([hardening.log_factor]):
        raise TypeError(
            "the log_factor of the hardening is a plain function; make it a pytree by "
            "jax.tree_util.Partial, with the numbers that it closes over as arguments"
        )
    check_scalar("above", above)
    if is_concrete(above) and above == jnp.inf:
        return hardening
    check_finite("above", above)
    return Hardening(Partial(_masked_log_factor, hardening.log_factor, above))


def _masked_log_factor(
    log_factor: Partial, above: Scalar, similarities: Float[Array, "*n"]
) -> Float[Array, "*n"]:
    """``log h(t)``, and ``-inf`` where t is above; similarities count as constants in that."""
    masked = similarities > jnp.asarray(above, similarities.dtype)
    return jnp.where(masked, -jnp.inf, log_factor(similarities))
