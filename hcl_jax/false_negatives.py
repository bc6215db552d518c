"""False negatives: candidates so similar to the anchor that they are taken for one of its kind."""

import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from hcl_jax.hardening import Hardening
from hcl_jax.validation.concrete import is_concrete
from hcl_jax.validation.numbers import check_finite, check_scalar
from hcl_jax.validation.options import check_kind

Scalar = Float[Array, ""] | float


def without_false_negatives(
    hardening: Hardening, *, above: Scalar | None = None, margin: Scalar | None = None
) -> Hardening:
    """``eta_i = prod_n h(s_in) 1[s_in <= above] 1[s_in <= max_p s_ip + margin]``, by a mask.

    Negatives that are more similar to the anchor than `above`, or than its positives by `margin`,
    have no weight. The mask comes first: what is left is weighed by the hardening function and
    divided by the mean weight of what is left. Similarities count as constants in it. It is not
    monotone, so that Theorem 1 of arXiv 2311.05139 does not hold under it. The number of
    negatives, where psi has it (``q="k"``), is still that of all.

    Of several positives p the most similar one counts, so that a negative is dropped where every
    pair of the anchor would drop it: all pairs of an anchor have the same negatives, and a row
    needs one number. An anchor that is its own positive (`self_positives`) is the most similar one.
    Where positives are in the sum over negatives (`ucl`, `hucl`, `supcon`, `clip`), they are masked
    there like all of it, so that `supcon` and `clip` refuse a negative margin.

    Args:
        hardening: a product hardening function, such as `hcl_jax.hardening.no_hardening()`.
        above: the greatest similarity that a negative may have; infinity masks nothing.
        margin: by how much a negative may be more similar than the most similar positive; negative
            numbers drop those that come near it, infinity masks nothing. One more look at the
            positives of the batch is needed. What is equal up to rounding stays.

    Returns:
        A hardening function that is a product, or, where both numbers are concrete and infinite or
        None, `hardening` itself; an anchor all of whose negatives are masked has no loss.

    Raises:
        ValueError, TypeError: if `hardening` is no product of functions that are pytrees, or has a
            margin already, a bound is no number, or none is given.

    Example:
        >>> import jax.numpy as jnp
        >>> from hcl_jax import objective
        >>> from hcl_jax.hardening import exponential
        >>> eta = without_false_negatives(exponential(2.0), above=0.9)
        >>> eta.log_factor(jnp.array([0.5, 0.95])).tolist()
        [1.0, -inf]
        >>> embeddings, labels = jnp.array([[1.0], [0.5], [0.9], [-1.0]]), jnp.array([0, 0, 1, 2])
        >>> eta = without_false_negatives(exponential(2.0), margin=0.1)
        >>> loss = objective(embeddings, labels, supervised=True, hardening=eta)
        >>> round(float(loss), 6)  # to the first row the third is more similar than the second
        0.415099
    """
    check_kind("hardening", hardening, Hardening, "hcl_jax.hardening.no_hardening()")
    if hardening.log_factor is None:
        raise ValueError("hardening must be a product, such as exponential(5.0), got a joint one")
    if jax.tree_util.all_leaves([hardening.log_factor]):
        raise TypeError(
            "the log_factor of the hardening is a plain function; make it a pytree by "
            "jax.tree_util.Partial, with the numbers that it closes over as arguments"
        )
    if above is None and margin is None:
        raise ValueError("give above, a similarity, or margin, a difference to positives, or both")
    if _is_bound("above", above):
        masked = Partial(_masked_log_factor, hardening.log_factor, above)
        hardening = hardening._replace(log_factor=masked)
    if _is_bound("margin", margin):
        if hardening.margin is not None:
            raise ValueError("the hardening has a margin already; give one, the smaller")
        hardening = hardening._replace(margin=margin)
    return hardening


def _is_bound(name: str, value: Scalar | None) -> bool:
    """Whether a number is given that bounds anything; raises if it is none."""
    if value is None:
        return False
    check_scalar(name, value)
    if is_concrete(value) and value == jnp.inf:
        return False
    check_finite(name, value)
    return True


def _masked_log_factor(
    log_factor: Partial, above: Scalar, similarities: Float[Array, "*n"]
) -> Float[Array, "*n"]:
    """``log h(t)``, and ``-inf`` where t is above; similarities count as constants in that."""
    masked = similarities > jnp.asarray(above, similarities.dtype)
    return jnp.where(masked, -jnp.inf, log_factor(similarities))
