"""Training free features with the shipped losses: how, and whether, neural collapse is reached.

The batch is the whole population: n points of each of C classes, an anchor among its own positives
and negatives (`reference_conventions`), all pairs weighted alike. That makes the shipped
weights estimator the exact population loss for ``k = infinity`` with positives drawn from the class
independently of the anchor.
"""

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
    """

    num_classes: int
    points: int = 1
    supervised: bool = False
    beta: float | Float[Array, ""] = 0.0
    stop_gradient: bool = True
    normalization: Normalization = unit_ball
    thickness: float = 1.0


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


def whole_batch_loss(features: Float[Array, "n dim"], run: Run) -> Float[Array, ""]:
    """The shipped loss on a batch that is the whole population.

    Args:
        features: normalised, the points of each class next to each other.
        run: classes, objective, hardness and gradient convention.

    Returns:
        The population loss for ``k = infinity``.

    Example:
        >>> import jax.numpy as jnp
        >>> nc = jnp.array([[1.0], [-1.0]])
        >>> round(float(whole_batch_loss(nc, Run(2, beta=1.0))), 6)
        0.640236
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
    """Trains free features in C - 1 dimensions from a random start.

    Args:
        key: randomness of the start.
        run: what is trained.
        optimizer: for example `optax.adam(0.01)`.
        steps: how many.
        every: after how many steps loss and distance are taken.

    Returns:
        The trajectory.

    Example:
        >>> import jax, optax
        >>> run = Run(3, supervised=True)
        >>> path = train(jax.random.key(0), run, optax.adam(0.05), steps=200)
        >>> bool(path.etf_distances[-1] < 0.01)
        True
    """
    dim = run.num_classes - 1
    scales = np.where(np.arange(dim) < 3, 1.0, run.thickness) / np.sqrt(dim)
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))  # no compilation
    start = jnp.asarray(scales * generator.standard_normal((run.num_classes * run.points, dim)))
    program = _program(run._replace(beta=0.0, thickness=1.0), optimizer, steps // every, every)
    times = every * np.arange(1, steps // every + 1)
    return Trajectory(times, *map(np.asarray, program(start, run.beta)))


@lru_cache(maxsize=64)
def _program(run: Run, optimizer: optax.GradientTransformation, count: int, every: int):
    """The whole run as a function of the start and of beta, compiled once for all beta."""

    def whole(free, beta):
        hardened = run._replace(beta=beta)

        def step(_, carry):
            free, state = carry
            gradient = jax.grad(lambda f: whole_batch_loss(run.normalization(f), hardened))(free)
            updates, state = optimizer.update(gradient, state)
            return free + updates, state

        def stretch(carry, _):
            free, state = jax.lax.fori_loop(0, every, step, carry)
            features = run.normalization(free)
            means = features.reshape(run.num_classes, run.points, -1).mean(axis=1)
            seen = whole_batch_loss(features, hardened), geometry.etf_distance(means)
            return (free, state), seen

        carry = free, optimizer.init(free)
        (free, _), seen = jax.lax.scan(stretch, carry, length=count)
        return *seen, run.normalization(free)

    return jax.jit(whole)
