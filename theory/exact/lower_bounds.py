"""How the lower bounds of Theorems 2 and 3 are compared with losses of models."""

from collections.abc import Callable
from typing import NamedTuple

from flint import arb

from theory.checking import Effort, Measurement, Tally, in_balls
from theory.exact.balls import exact_losses
from theory.model.kinds import PsiKind
from theory.model.latent_classes import LatentClassModel


class LowerBound(NamedTuple):
    """A lower bound for balanced classes in the unit ball, and the losses that it is for.

    Attributes:
        bound: the bound, given C, k and psi.
        losses: names of fields of `theory.exact.balls.Losses`.
    """

    bound: Callable[[int, int, PsiKind], arb]
    losses: tuple[str, ...]

    def of(self, model: LatentClassModel) -> arb:
        """The bound for the C, k and psi of a model."""
        return self.bound(model.num_classes, model.k, model.psi)

    def values(self, model: LatentClassModel) -> dict[str, arb]:
        """The exact losses by name."""
        found = exact_losses(model)._asdict()
        return {name: found[name] for name in self.losses}

    def is_met(self, tally: Tally, model: LatentClassModel) -> None:
        """Records that every one of the losses is at least the bound."""
        bound = self.of(model)
        for value in self.values(model).values():
            tally.at_least(value, bound)
        tally.models += 1

    def is_exceeded(self, tally: Tally, model: LatentClassModel) -> None:
        """Records that every one of the losses is above the bound."""
        bound = self.of(model)
        for value in self.values(model).values():
            tally.above(value, bound)
        tally.models += 1

    def is_attained(self, tally: Tally, model: LatentClassModel) -> None:
        """Records that every one of the losses is equal to the bound."""
        bound = self.of(model)
        for value in self.values(model).values():
            tally.equal(value, bound)
        tally.models += 1

    def on(self, make: Callable[[], LatentClassModel]) -> Callable[[Effort], Measurement]:
        """The measurement of one model that breaks a hypothesis."""

        @in_balls()
        def measure(effort: Effort) -> Measurement:
            tally, model = Tally(), make()
            self.is_met(tally, model)
            values = self.values(model) | {"bound": self.of(model)}
            return tally.measurement(**{name: float(value) for name, value in values.items()})

        return measure
