"""Runs that leave dimensional collapse: predicted along the way, and at three step sizes.

Twenty classes start at random unit vectors that span four dimensions up to coordinates of 1e-5, in
nineteen, and move by gradient descent on the shipped loss. The rate that `hcl_jax.geometry`
predicts from the class means of the time bounds the growth of the thickness: the norm of the other
coordinates grows by at most ``exp(integral of the rate)``, since the fastest pattern bounds all. If
collapse were a matter of the step size, larger steps would take another time, step size times the
number of steps, to leave it; Euler's method allows a relative difference of step times rate.
"""

import itertools
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hcl_jax import geometry
from hcl_jax.normalization import unit_sphere
from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally
from theory.free_features.trajectories import Run, whole_batch_loss

SEED = 67
CLASSES = 20
RANK = 4
THICKNESS = 1e-5
EARLY, LATE = 1e-4, 1e-2
"""Between these norms of the thin coordinates growth is measured."""

INTERVAL = 16.0
COUNT = 100
"""The time between two looks, and their number."""

STEPS = (1.0, 4.0, 16.0)


class Objective(NamedTuple):
    """SCL and HSCL, or UCL and HUCL, with a hardness; weights are detached."""

    supervised: bool
    beta: float

    def __str__(self) -> str:
        name = ("H" if self.beta else "") + ("SCL" if self.supervised else "UCL")
        return f"{name} {self.beta:g}" if self.beta else name


SLOW_AND_FAST = (
    (Objective(True, 0.0), Objective(True, 2.0)),
    (Objective(False, 8.0), Objective(False, 2.0)),
)
"""Two pairs, the slower objective first."""


class Escape(NamedTuple):
    """How one run left dimensional collapse.

    Attributes:
        time: step size times steps until the thickness is `LATE`.
        growth: the logarithm of its growth from `EARLY` on, to the last look before `LATE`.
        predicted: the integral of the predicted rate over the same time.
        fastest: the largest rate in it.
        directions: that the class means span at the end of the run.
    """

    time: float
    growth: float
    predicted: float
    fastest: float
    directions: int


@cache
def escape(objective: Objective, step: float, of: Objective | None = None) -> Escape:
    """One run; the rates are those of another objective, if one is given."""
    start = np.random.default_rng(SEED).normal(size=(CLASSES, CLASSES - 1))
    start[:, RANK:] *= THICKNESS
    rates_of = objective if of is None else of
    with jax.enable_x64(True):
        thickness, rates, directions = map(
            np.asarray,
            _run(
                jnp.asarray(start),
                objective.beta,
                rates_of.beta,
                step,
                supervised=objective.supervised,
            ),
        )
    first, last = np.searchsorted(thickness, (EARLY, LATE))
    logs = np.log(thickness)
    share = (np.log(LATE) - logs[last - 1]) / (logs[last] - logs[last - 1])
    within = rates[first : last - 1]
    return Escape(
        time=INTERVAL * float(last - 1 + share),
        growth=float(logs[last - 1] - logs[first]),
        predicted=INTERVAL * float(within.sum()),
        fastest=float(within.max()),
        directions=int(directions[-1]),
    )


@partial(jax.jit, static_argnames="supervised")
def _run(
    start: Float[Array, "classes dim"],
    beta: float,
    rate_beta: float,
    step: float,
    *,
    supervised: bool,
) -> tuple[Array, ...]:
    """Thickness and rates at the beginning of every interval, and the directions in use."""

    def loss(features: Float[Array, "classes dim"]) -> Float[Array, ""]:
        run = Run(CLASSES, supervised=supervised, beta=beta)
        return whole_batch_loss(unit_sphere(features), run)

    def move(_: Array, features: Float[Array, "classes dim"]) -> Float[Array, "classes dim"]:
        return unit_sphere(features - step * jax.grad(loss)(features))

    def look(features: Float[Array, "classes dim"], _: None) -> tuple[Array, tuple[Array, ...]]:
        rate = geometry.escape_rate(
            features, supervised=supervised, beta=rate_beta, temperature=1.0
        )
        thin = jnp.linalg.norm(features[:, RANK:])
        directions = geometry.directions(geometry.singular_values(features))
        steps = jnp.round(INTERVAL / step).astype(int)
        return jax.lax.fori_loop(0, steps, move, features), (thin, rate, directions)

    return jax.lax.scan(look, unit_sphere(start), length=COUNT)[1]


def growth_within_prediction(effort: Effort) -> Measurement:
    """The growth of every run against the integral of its rates."""
    tally, details = Tally(seed=SEED), {}
    for objective, step in _runs(effort):
        found = escape(objective, step)
        tally.observe(0 < found.growth <= found.predicted)
        tally.models += 1
        details[f"{objective}, step {step:g}"] = (
            f"{found.growth / found.predicted:.2f} of the prediction, {found.directions} directions"
        )
    return tally.measurement(**details)


def growth_within_that_of_no_hardening(effort: Effort) -> Measurement:
    """Asks the growth of HSCL to be at most what the rates of SCL at its class means allow."""
    tally = Tally(seed=SEED)
    slow, fast = SLOW_AND_FAST[0]
    found = escape(fast, STEPS[0], slow)
    tally.observe(found.growth <= found.predicted)
    tally.models += 1
    return tally.measurement()


def times_of_escape(effort: Effort) -> Measurement:
    """The times to a thickness at three step sizes, and which objective is faster."""
    tally, details = Tally(seed=SEED), {}
    for slow, fast in SLOW_AND_FAST[: effort.choose(1, 2, 2)]:
        for objective in (slow, fast):
            found = [escape(objective, step) for step in STEPS]
            for other, step in zip(found[1:], STEPS[1:], strict=True):
                off = abs(other.time / found[0].time - 1)
                tally.observe_below(off, step * other.fastest)
            details[str(objective)] = ", ".join(f"{one.time:.0f}" for one in found)
            tally.models += 1
        for one, other in itertools.product(STEPS, STEPS):
            tally.observe_below(escape(fast, one).time, escape(slow, other).time)
    return tally.measurement(**details)


def steps_of_escape(effort: Effort) -> Measurement:
    """Asks that the numbers of steps agree as the times do."""
    tally = Tally(seed=SEED)
    for objective, step in itertools.product(SLOW_AND_FAST[0], STEPS[1:]):
        reference, found = escape(objective, STEPS[0]), escape(objective, step)
        off = abs(found.time / step / (reference.time / STEPS[0]) - 1)
        tally.observe_below(off, step * found.fastest)
        tally.models += 1
    return tally.measurement()


def _runs(effort: Effort) -> list[tuple[Objective, float]]:
    """Every objective with every step size; quick ones leave the unsupervised out."""
    pairs = SLOW_AND_FAST[: effort.choose(1, 2, 2)]
    return list(itertools.product(itertools.chain(*pairs), STEPS))


CLAIMS = (
    Claim(
        name="runs leave collapse at most at the predicted rate",
        statement="the thickness of class means grows by at most the exponential of the integral "
        "of the rate that is predicted from them",
        reference="docs/escape.md, section 6",
        hypotheses=r"20 classes near 4 dimensions, gradient descent with step 1, 4 and 16, "
        r"$\tau = 1$, detached weights; SCL and HSCL 2, HUCL 2 and 8 (not in quick runs)",
        evidence=Evidence.OBSERVED,
        measure=growth_within_prediction,
        controls=(
            Control(
                "the rates of SCL for a run of HSCL",
                "the rate of the objective",
                growth_within_that_of_no_hardening,
            ),
        ),
    ),
    Claim(
        name="the step size sets the unit of time alone",
        statement="the time of escape, step size times steps, is the same for step sizes 1, 4 and "
        "16 up to step times rate; HSCL 2 is faster than SCL at all of them, HUCL 2 than HUCL 8",
        reference="docs/escape.md, section 6",
        hypotheses="as before",
        evidence=Evidence.OBSERVED,
        measure=times_of_escape,
        controls=(Control("steps in place of time", "time is step times steps", steps_of_escape),),
    ),
)
