"""Where training met a number that is NaN or infinite."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Bool

from hcl_jax.training.updates import StepInfo

WATCHED = {
    "loss": "the loss",
    "gradient_norm": "the norm of the gradient",
    "parameter_norm": "the norm of the parameters",
    "projection_norm": "the largest norm of a projection",
}
"""What is looked at after every step, in this order."""


class NonFinite(NamedTuple):
    """The first number that is not finite.

    Attributes:
        what: which number it is, and what it is, in words.
        seed: the place of its seed along the leading axis.
        step: its step, counted from 0 in what was looked at.
    """

    what: str
    seed: int
    step: int


def first_non_finite(
    infos: StepInfo, finite_states: Bool[Array | np.ndarray, " seed"]
) -> NonFinite | None:
    """The first number of some steps, or of the state after them, that is NaN or infinite.

    Args:
        infos: of the steps, with the seeds along the leading axis.
        finite_states: whether the states after the steps are finite, see `Runner.all_finite`.

    Returns:
        The number; None if there is none.

    Example:
        >>> infos = StepInfo(*np.ones((7, 1, 3)))
        >>> first_non_finite(infos, np.array([True])) is None
        True
        >>> spoiled = infos._replace(gradient_norm=np.array([[1.0, 2.0, np.inf]]))
        >>> first_non_finite(spoiled, np.array([False])).what
        'the norm of the gradient is inf'
    """
    watched = np.stack([np.asarray(getattr(infos, name)) for name in WATCHED], axis=2)
    wrong, finite_states = np.argwhere(~np.isfinite(watched)), np.asarray(finite_states)
    if wrong.size:
        seed, step, number = wrong[np.argmin(wrong[:, 1])].tolist()
        value = watched[seed, step, number]
        return NonFinite(f"{list(WATCHED.values())[number]} is {value}", seed, step)
    if not finite_states.all():
        what = "the state (parameters, optimizer, batch norm) is not finite"
        return NonFinite(what, int(np.argmin(finite_states)), watched.shape[1] - 1)
    return None
