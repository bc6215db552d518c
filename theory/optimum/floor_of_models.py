"""The floor of HUCL for problems with a rational hardness, found once for each precision."""

from fractions import Fraction
from functools import lru_cache

from flint import ctx

from theory.model.eta_kinds import Exponential
from theory.model.kinds import PsiKind
from theory.model.latent_classes import LatentClassModel
from theory.model.rationals import ball
from theory.optimum.collapsed_loss import Minimum
from theory.optimum.floor import floor


def floor_of(model: LatentClassModel) -> Minimum:
    """The floor under the classes, negatives, loss and exponential tilting of a model."""
    if not isinstance(model.eta, Exponential):
        raise ValueError(f"the floor is known for exponential tilting, got {model.eta}")
    return floor_at(model.num_classes, model.k, model.psi, model.eta.beta)


def floor_at(num_classes: int, k: int, psi: PsiKind, beta: Fraction) -> Minimum:
    """The floor at the current precision, `flint.ctx.prec`."""
    return _floor(num_classes, k, psi, beta, ctx.prec)


@lru_cache(maxsize=512)
def _floor(num_classes: int, k: int, psi: PsiKind, beta: Fraction, bits: int) -> Minimum:
    """`floor`, remembered for every problem and precision."""
    with ctx.workprec(bits):
        return floor(num_classes=num_classes, k=k, psi=psi, beta=ball(beta))
