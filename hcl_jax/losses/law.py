"""The law that turns a pair of similarities into a loss: parts of a `Hardening` and a `Psi`."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.tree_util import Partial

from hcl_jax.hardening import Hardening, no_hardening
from hcl_jax.psi import Psi, infonce


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
    """The law of InfoNCE with a product hardening.

    Args:
        psi: InfoNCE; by default with all numbers 1.
        hardening: by default none.

    Returns:
        Its parts.

    Raises:
        ValueError: for another psi or a joint hardening.

    Example:
        >>> law_of().has_no_hardening
        True
    """
    psi = infonce() if psi is None else psi
    hardening = no_hardening() if hardening is None else hardening
    if psi.link is None or hardening.log_factor is None:
        raise ValueError("this form of the loss needs InfoNCE and a product hardening")
    return Law(hardening.log_factor, psi.link, psi.temperature)
