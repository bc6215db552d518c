"""Training free features with the shipped losses: how, and whether, neural collapse is reached.

The batch is the whole population: n points of each of C classes, an anchor among its own positives
and negatives (`reference_conventions`), all pairs weighted alike. That makes the shipped
weights estimator the exact population loss for ``k = infinity`` with positives drawn from the class
independently of the anchor.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hcl_jax import geometry
from hcl_jax.hardening import exponential
from hcl_jax.normalization import Normalization, unit_ball
from hcl_jax.objectives import objective

Features = Float[Array, "n dim"]
Beta = Float[Array, ""] | float
Times = Float[Array, " times"]
Seen = Float[Array, ""]
Carry = tuple[Features, optax.OptState]


class Run(NamedTuple):
    """One training run.

    Attributes:
        num_classes: C.
        points: of each class.
        supervised: SCL and HSCL, or UCL and HUCL.
        beta: the hardness.
        stop_gradient: whether the weights of the negatives are constants to differentiation.
        normalization: of the features.
        thickness: the standard deviation of the random start outside its first three coordinates,
            relative to that inside; 1 is no preference.
        extra_dims: how many dimensions there are beyond C - 1.
    """

    num_classes: int
    points: int = 1
    supervised: bool = False
    beta: Beta = 0.0
    stop_gradient: bool = True
    normalization: Normalization = unit_ball
    thickness: float = 1.0
    extra_dims: int = 0


class Trajectory(NamedTuple):
    """What happened, seen from time to time, and the normalised features at the end.

    Attributes:
        steps: at which the losses and distances were taken.
        losses: of the features.
        etf_distances: of the class means to the nearest simplex ETF, see `hcl_jax.geometry`.
        features: at the end.
    """

    steps: Int[np.ndarray, " times"]
    losses: Float[np.ndarray, " times"]
    etf_distances: Float[np.ndarray, " times"]
    features: Float[np.ndarray, "n dim"]

    def first_step_below(self, distance: float) -> int | None:
        """The first of `steps` with class means nearer to a simplex ETF than `distance`."""
        below = self.etf_distances < distance
        return int(self.steps[below.argmax()]) if below.any() else None


def whole_batch_loss(features: Features, run: Run) -> Float[Array, ""]:
    """The shipped loss on a batch that is the whole population, for ``k = infinity``.

    Features are normalised, and those of one class stand next to each other.
    """
    labels = jnp.repeat(jnp.arange(run.num_classes), run.points)
    return objective(
        features,
        labels,
        supervised=run.supervised,
        hardening=exponential(run.beta),
        reference_conventions=True,
        stop_gradient_hardening=run.stop_gradient,
    )


def train(
    key: PRNGKeyArray,
    run: Run,
    optimizer: optax.GradientTransformation,
    *,
    steps: int,
    every: int = 1,
) -> Trajectory:
    """Trains free features from a random start.

    Losses and distances are taken after every `every` of the `steps`.
    """
    dim = run.num_classes - 1 + run.extra_dims
    scales = np.where(np.arange(dim) < 3, 1.0, run.thickness) / np.sqrt(dim)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))  # no compilation
    start = jnp.asarray(scales * generator.standard_normal((run.num_classes * run.points, dim)))
    program = _program(run._replace(beta=0.0, thickness=1.0), optimizer, steps // every, every)
    times = every * np.arange(1, steps // every + 1)
    return Trajectory(times, *map(np.asarray, program(start, run.beta)))


@lru_cache(maxsize=64)
def _program(
    run: Run, optimizer: optax.GradientTransformation, count: int, every: int
) -> Callable[[Features, Beta], tuple[Times, Times, Features]]:
    """The whole run as a function of the start and of beta, compiled once for all beta."""

    def whole(free: Features, beta: Beta) -> tuple[Times, Times, Features]:
        hardened = run._replace(beta=beta)

        def step(_: Int[Array, ""], carry: Carry) -> Carry:
            free, state = carry
            gradient = jax.grad(lambda f: whole_batch_loss(run.normalization(f), hardened))(free)
            updates, state = optimizer.update(gradient, state)
            return free + jnp.asarray(updates), state

        def stretch(carry: Carry, _: None) -> tuple[Carry, tuple[Seen, Seen]]:
            carry = jax.lax.fori_loop(0, every, step, carry)
            features = run.normalization(carry[0])
            means = features.reshape(run.num_classes, run.points, -1).mean(axis=1)
            return carry, (whole_batch_loss(features, hardened), geometry.etf_distance(means))

        carry = free, optimizer.init(free)
        (free, _), (losses, distances) = jax.lax.scan(stretch, carry, length=count)
        return losses, distances, run.normalization(free)

    return jax.jit(whole)
