"""InfoNCE with tilted negatives: the parts of a `Psi` and a `Hardening` that tiles work with."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Shaped

from hcl_jax.hardening import LOG_FACTORS, Hardening, no_hardening
from hcl_jax.psi import Psi, Scalar, infonce

LogFactor = Callable[[Float[Array, "*n"]], Float[Array, "*n"]]
"""``log eta`` of one similarity, elementwise."""

Link = Callable[[Float[Array, "*n"], Float[Array, "*#n"]], Float[Array, "*n"]]
"""``log(alpha + q e^x)`` of x and the number of negatives."""

ROUNDING = 16
"""By how many units of rounding two tiles may differ in one similarity of unit vectors."""


class TiltedInfoNCE(NamedTuple):
    """How similarities become losses, a pytree; the letters are those of `_blockwise.loss`."""

    log_factor: LogFactor
    link: Link
    temperature: Scalar
    lower: Link | None = None
    margin: Scalar | None = None

    def pair_loss(
        self, offset: Float[Array, "*#n"], logits: Float[Array, "*n"], number: Shaped[Array, "*#n"]
    ) -> Float[Array, "*n"]:
        """The loss of pairs by ``m``, the logit of the positive and the number of negatives."""
        losses = self.link(offset - logits, number)
        return losses if self.lower is None else jnp.maximum(losses, self.lower(logits, number))

    def log_tilted(self, similarities: Float[Array, "*n"]) -> Float[Array, "*n"]:
        """``k = log eta + s / temperature``."""
        temperature = jnp.asarray(self.temperature, similarities.dtype)
        return self.log_factor(similarities) + similarities / temperature

    def held(self) -> "TiltedInfoNCE":
        """The same with an eta that takes similarities as constants, in every derivative."""
        if self.has_no_hardening:
            return self
        return self._replace(log_factor=Partial(_of_constants, self.log_factor))

    @property
    def has_no_hardening(self) -> bool:
        """Whether eta is one, which is known before any hyperparameter is."""
        is_one = isinstance(self.log_factor, Partial) and self.log_factor.func is jnp.zeros_like
        return is_one and self.margin is None

    @property
    def is_monotone(self) -> bool:
        """Whether eta is known to be monotone; somebody's own function need not be."""
        law: object = self.log_factor
        if isinstance(law, Partial) and law.func is _of_constants:
            (law,) = law.args
        return isinstance(law, Partial) and law.func in LOG_FACTORS and self.margin is None


def _of_constants(log_factor: LogFactor, similarities: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """``log eta`` of similarities to which it owes no derivative."""
    return log_factor(lax.stop_gradient(similarities))


def tilted_infonce(psi: Psi | None = None, hardening: Hardening | None = None) -> TiltedInfoNCE:
    """InfoNCE, by default with all hyperparameters 1, and a product hardening, by default none."""
    psi = infonce() if psi is None else psi
    if psi.link is None:
        raise ValueError("this form of the loss needs InfoNCE")
    hardening = no_hardening() if hardening is None else hardening
    log_factor, margin = log_factor_of(hardening), margin_of(hardening)
    return TiltedInfoNCE(log_factor, psi.link, psi.temperature, psi.lower, margin)


def log_factor_of(hardening: Hardening) -> LogFactor:
    """The factor of a product hardening function, which a joint one does not have."""
    if hardening.log_factor is None:
        raise ValueError("this form of the loss needs a product hardening")
    return hardening.log_factor


def margin_of(hardening: Hardening) -> Scalar | None:
    """The margin of the mask, which counts as a constant."""
    return None if hardening.margin is None else lax.stop_gradient(hardening.margin)


def greatest_allowed(largest: Float[Array, "*n"], margin: Scalar) -> Float[Array, "*n"]:
    """The similarity above which a negative has no weight, by the largest one of the positives.

    No bound, infinity, for an anchor that has no positives: largest is ``-inf`` there. What is
    equal up to rounding is below it, as the positive itself is, whose similarity other tiles round
    otherwise.
    """
    known = largest > -jnp.inf
    largest = jnp.where(known, largest, 0)
    rounding = ROUNDING * jnp.finfo(largest.dtype).eps * jnp.maximum(1, jnp.abs(largest))
    return jnp.where(known, largest + (jnp.asarray(margin, largest.dtype) + rounding), jnp.inf)


def without_masked(
    log_eta: Float[Array, "anchors candidates"],
    similarities: Float[Array, "anchors candidates"],
    positives: Bool[Array, "anchors candidates"],
    margin: Scalar | None,
) -> Float[Array, "anchors candidates"]:
    """``log eta``, and ``-inf`` where candidates are more similar than positives by the margin."""
    if margin is None:
        return log_eta
    similarities = lax.stop_gradient(similarities)
    largest = jnp.max(similarities, axis=1, keepdims=True, where=positives, initial=-jnp.inf)
    return jnp.where(similarities > greatest_allowed(largest, margin), -jnp.inf, log_eta)
