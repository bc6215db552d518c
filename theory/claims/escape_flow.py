"""The rate of escape in the shipped loss: gradient flow from a thin start.

Classes start at a Paley frame and, by a millionth, in one more dimension. The coordinates there
grow by a factor of a hundred before they are looked at, and by another hundred after: by then the
fastest pattern alone is left. They stay small, so that the frame, and with it S, hardly moves.
"""

import math
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hcl_jax import geometry
from hcl_jax.normalization import unit_sphere
from theory.checking import Claim, Control, Effort, Evidence, Measurement, Tally
from theory.escape.paley import paley_signs
from theory.free_features.trajectories import Run, whole_batch_loss

SEED = 61
PRIME = 13
THICKNESS = 1e-6
GROWTH = 100.0
TOLERANCE = 0.01
"""Relative, of the rate; a step of the flow is `STEP` of the predicted time, an error of 1/400."""

STEP = 1 / 200


class Case(NamedTuple):
    """A loss and its gradient.

    Attributes:
        supervised: SCL and HSCL, or UCL and HUCL.
        beta: the hardness.
        detached: whether the weights of the negatives are constants to differentiation.
    """

    supervised: bool
    beta: float
    detached: bool

    def __str__(self) -> str:
        name = ("H" if self.beta else "") + ("SCL" if self.supervised else "UCL")
        gradient = "detached" if self.detached else "full gradient"
        return f"{name} {self.beta:g}, {gradient}" if self.beta else name


CASES = (
    Case(True, 0.0, True),
    Case(True, 5.0, True),
    Case(False, 1.5, True),
    Case(True, 5.0, False),
    Case(False, 1.0, False),
    Case(False, 0.0, True),
    Case(False, 5.0, True),
)


def paley_frame(prime: int) -> Float[np.ndarray, "p dim"]:
    """The unit vectors of a Paley frame, in (p - 1) / 2 dimensions, in float64."""
    signs = np.array(paley_signs(prime))
    matrix = signs[np.subtract.outer(np.arange(prime), np.arange(prime)) % prime]
    values, vectors = np.linalg.eigh(matrix.astype(float))
    frame = vectors[:, values > 1]
    return frame / np.linalg.norm(frame, axis=1, keepdims=True)


def predicted_rate(case: Case) -> float:
    """`hcl_jax.geometry.escape_rate` of the frame, with a dimension that it does not use."""
    frame = jnp.asarray(np.pad(paley_frame(PRIME), ((0, 0), (0, 1))))
    rate = geometry.escape_rate(
        frame,
        supervised=case.supervised,
        beta=case.beta,
        temperature=1.0,
        stop_gradient_hardening=case.detached,
    )
    return float(rate)


@cache
def measured_rate(case: Case) -> float:
    """The growth of the coordinates in the new dimension, per unit of time."""
    step = STEP / predicted_rate(case)
    noise = np.random.default_rng(SEED).normal(size=(PRIME, 1))
    start = jnp.asarray(np.hstack([paley_frame(PRIME), THICKNESS * noise]))
    steps = math.ceil(math.log(GROWTH) / STEP)
    early, late = _flow(case.supervised, case.detached)(start, case.beta, step, steps)
    return math.log(float(late) / float(early)) / (steps * step)


@cache
def _flow(supervised: bool, detached: bool) -> Callable[..., Array]:
    """The compiled flow on the sphere: thickness after so many steps, and after twice as many."""

    def loss(features: Float[Array, "p dim"], beta: Float[Array, ""]) -> Float[Array, ""]:
        run = Run(PRIME, supervised=supervised, beta=beta, stop_gradient=detached)
        return whole_batch_loss(unit_sphere(features), run)  # so that gradients are tangential

    @partial(jax.jit, static_argnames="steps")
    def flow(features: Float[Array, "p dim"], beta: float, step: float, steps: int) -> Array:
        def move(_: Array, features: Float[Array, "p dim"]) -> Float[Array, "p dim"]:
            return unit_sphere(features - step * jax.grad(loss)(features, beta))

        def stretch(features: Float[Array, "p dim"], _: None) -> tuple[Array, Array]:
            features = jax.lax.fori_loop(0, steps, move, features)
            return features, jnp.linalg.norm(features[:, -1])

        return jax.lax.scan(stretch, unit_sphere(features), length=2)[1]

    return flow


def thin_starts_grow(effort: Effort) -> Measurement:
    """The measured rates against those predicted."""
    return _compare_rates(effort, lambda case: case)


def thin_starts_grow_like_the_other_gradient(effort: Effort) -> Measurement:
    """Asks for the rate predicted for the other gradient, of what is hardened."""
    return _compare_rates(effort, lambda case: case._replace(detached=not case.detached))


def thin_starts_grow_like_the_other_pairs(effort: Effort) -> Measurement:
    """Asks for the rate predicted for the other kind of pairs."""
    return _compare_rates(effort, lambda case: case._replace(supervised=not case.supervised))


def _compare_rates(effort: Effort, asked: Callable[[Case], Case]) -> Measurement:
    """Records whether rates agree to `TOLERANCE`."""
    tally, details = Tally(seed=SEED), {}
    with jax.enable_x64(True):
        for case in CASES[: effort.choose(3, 5, 7)]:
            found, expected = measured_rate(case), predicted_rate(asked(case))
            tally.observe_below(abs(found / expected - 1), TOLERANCE)
            tally.models += 1
            details[str(case)] = f"{found:.6f} measured, {expected:.6f} predicted"
    return tally.measurement(**details)


CLAIMS = (
    Claim(
        name="thin starts grow at the predicted rate",
        statement="gradient flow of the shipped loss from a Paley frame grows into a new dimension "
        r"at the rate $2 \lvert\lambda_{\min}(S)\rvert / C$, within 1 %",
        reference="docs/escape.md, section 1",
        hypotheses=r"$p = 13$, $\tau = 1$; SCL, HSCL ($\beta = 5$) and HUCL ($\beta = 3/2$) with "
        r"detached weights, HSCL and HUCL ($\beta = 1$) with the full gradient (not in quick runs)",
        evidence=Evidence.OBSERVED,
        measure=thin_starts_grow,
        controls=(
            Control("the other gradient", "detached", thin_starts_grow_like_the_other_gradient),
            Control("the other pairs", "supervised", thin_starts_grow_like_the_other_pairs),
        ),
    ),
)
