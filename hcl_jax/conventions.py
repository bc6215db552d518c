"""What is minimised, and how it is computed where the paper leaves a choice."""

import dataclasses
from typing import NamedTuple, get_args

import jax
from jax.lax import PrecisionLike
from jaxtyping import Array, Bool

from hcl_jax.hardening import Hardening
from hcl_jax.losses import Average, Implementation
from hcl_jax.psi import Psi
from hcl_jax.validation.numbers import check_count
from hcl_jax.validation.options import check_choice, check_precision


class Objective(NamedTuple):
    """What is minimised; a pytree, so that all of it may be traced.

    Attributes:
        supervised: whether negatives are of other classes (SCL, HSCL) or everyone (UCL, HUCL).
        hardening: how hard negatives weigh, see `hcl_jax.hardening`.
        psi: the loss function; None for InfoNCE with alpha = q = temperature = 1.
    """

    supervised: Bool[Array, ""] | bool
    hardening: Hardening
    psi: Psi | None = None


@dataclasses.dataclass(frozen=True)
class Conventions:
    """How a loss is computed where the paper leaves a choice; fixed when a program is compiled.

    Attributes:
        self_positives: whether an anchor is its own positive.
        self_negatives: whether, in UCL and HUCL, an anchor is among its own negatives. Members of
            its class always are. In SCL and HSCL negatives are of other classes, whatever this is.
        ignored_negatives: whether rows without a label, see `ignore_label` of `hcl_jax.pairs.rows`,
            are negatives of all anchors. They are neither anchors nor positives.
        stop_gradient_hardening: whether the hardening weights are constants with respect to the
            embeddings, as in the reference code. Hardness (beta) keeps its gradient, and the value
            does not depend on it.
        average: "pairs" or "anchors", see `hcl_jax.losses.average_loss`.
        num_negatives: K for the samples estimator; None for the weights estimator.
        implementation: form of the weights estimator, "dense", "blockwise" or "pallas"; None for
            the choice of `hcl_jax.losses.choose_implementation`.
        precision: precision of the matrix multiplications, see `jax.lax.Precision`.

    Raises:
        ValueError, TypeError: for a value that no computation has, or an implementation of the
            weights estimator beside `num_negatives`.

    Example:
        >>> Conventions(average="anchors").self_positives
        False
    """

    self_positives: bool = False
    self_negatives: bool = False
    ignored_negatives: bool = False
    stop_gradient_hardening: bool = True
    average: Average = "pairs"
    num_negatives: int | None = None
    implementation: Implementation | None = None
    precision: PrecisionLike = jax.lax.Precision.HIGHEST

    def __post_init__(self) -> None:
        flags = ("self_positives", "self_negatives", "ignored_negatives", "stop_gradient_hardening")
        for name in flags:
            check_choice(name, getattr(self, name), (False, True))
        check_choice("average", self.average, ("pairs", "anchors"))
        check_precision(self.precision)
        if self.implementation is not None:
            check_choice("implementation", self.implementation, get_args(Implementation))
        if self.num_negatives is None:
            return
        check_count("num_negatives", self.num_negatives)
        if self.implementation is not None:
            raise ValueError(
                f"implementation={self.implementation!r} is a form of the weights estimator, and "
                f"num_negatives={self.num_negatives} asks for the samples estimator; give one"
            )


REFERENCE_CONVENTIONS = Conventions(self_positives=True, self_negatives=True)
"""What the authors' code does; the option `reference_conventions=True` starts from it."""
