"""The law that turns a pair of similarities into a loss: parts of a `Hardening` and a `Psi`."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float

from hcl_jax.hardening import Hardening, no_hardening
from hcl_jax.psi import Psi, infonce

LogFactor = Callable[[Float[Array, "*n"]], Float[Array, "*n"]]
"""The logarithm of the factor that one similarity contributes to eta."""


class Law(NamedTuple):
    """How a pair of similarities becomes a loss: parts of a `Hardening` and a `Psi`, a pytree."""

    log_factor: Any
    link: Any
    temperature: Any

    def log_tilted(self, similarities):
        """``k = log eta + s / temperature``."""
        temperature = jnp.asarray(self.temperature, similarities.dtype)
        return self.log_factor(similarities) + similarities / temperature

    @property
    def has_no_hardening(self) -> bool:
        """Whether eta is known to be one before any number is."""
        return isinstance(self.log_factor, Partial) and self.log_factor.func is jnp.zeros_like


def law_of(psi: Psi | None = None, hardening: Hardening | None = None) -> Law:
    """The law of InfoNCE with a product hardening; by default with all numbers 1, and none.

    Example:
        >>> law_of().has_no_hardening
        True
    """
    psi = infonce() if psi is None else psi
    hardening = no_hardening() if hardening is None else hardening
    if psi.link is None:
        raise ValueError("this form of the loss needs InfoNCE")
    return Law(log_factor_of(hardening), psi.link, psi.temperature)


def log_factor_of(hardening: Hardening) -> LogFactor:
    """The logarithm of the factor of a product hardening function."""
    if hardening.log_factor is None:
        raise ValueError("this form of the loss needs a product hardening")
    return hardening.log_factor
