"""Free features: the four population losses minimised over the points themselves, no network.

C classes of n points each, all equally likely, positives drawn from the class independently of the
anchor. The loss is the exact population value: a sum over anchors, positives and multisets of k
negatives, or, for ``k = infinity``, the weights estimator. Minimisation is blind to the theory:
many random starts, Adam on all of them at once, L-BFGS-B on the best.

The unit ball is ``f = 2 z / (1 + |z|^2)``, smooth in z and onto the closed ball; the unit sphere is
``f = z / |z|``.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.optimize
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from hcl_jax import geometry
from hcl_jax.hardening import exponential
from hcl_jax.psi import Psi, infonce
from theory.model.multisets import multisets

Constraint = Literal["ball", "sphere", "none"]
Free = Float[Array, "classes points dim"]
"""Unconstrained parameters of the features."""

LEARNING_RATE = 0.1


class MinimisationProblem(NamedTuple):
    """Where the points live and what one loss looks at.

    Attributes:
        num_classes: C.
        points: n, the number of points of each class; 1 is class collapse.
        dim: the dimension of features.
        k: the number of negatives, None for infinitely many.
        constraint: "ball", "sphere" or "none".
        radius: of the ball or sphere.
    """

    num_classes: int
    points: int
    dim: int
    k: int | None
    constraint: Constraint = "ball"
    radius: float = 1.0


class PopulationLoss(NamedTuple):
    """SCL (supervised, 0), HSCL (supervised, beta), UCL (not, 0) or HUCL (not, beta)."""

    supervised: bool
    beta: float

    def __str__(self) -> str:
        name = "SCL" if self.supervised else "UCL"
        return f"H{name} {self.beta:g}" if self.beta else name


class Minimiser(NamedTuple):
    """The best point found.

    Attributes:
        value: its loss.
        features: the points, (C, n, dim).
        reached: the share of starts that Adam alone brought to within 1e-6 of it.
    """

    value: float
    features: Float[np.ndarray, "classes points dim"]
    reached: float


class ClassMeanGeometry(NamedTuple):
    """The geometry of class means that the theorems speak of.

    Attributes:
        within_class: mean distance of points to their class mean.
        least_gap: the smallest ``mu_c . mu_c - mu_c . mu_c'``.
        largest_gap: the largest.
        norm: mean norm of the class means.
        zero_sum: norm of the mean of the class means.
    """

    within_class: float
    least_gap: float
    largest_gap: float
    norm: float
    zero_sum: float


def population_loss(
    features: Float[Array, "classes points dim"],
    supervised: Bool[Array, ""] | bool,
    beta: Float[Array, ""] | float,
    *,
    k: int | None,
    psi: Psi | None = None,
) -> Float[Array, ""]:
    """The exact loss of equally likely points, with exponential tilting; InfoNCE by default.

    Negatives are of other classes if `supervised` (SCL, HSCL), else everyone; beta = 0 is no
    hardening. ``k = None`` stands for infinitely many negatives, which needs InfoNCE.
    """
    psi = infonce() if psi is None else psi
    num_classes, points, dim = features.shape
    flat = features.reshape(-1, dim)
    similarities = jnp.matmul(flat, flat.T, precision=jax.lax.Precision.HIGHEST)
    labels = np.repeat(np.arange(num_classes), points)
    positives = similarities[labels[:, None] == labels].reshape(-1, points)
    same = jnp.asarray(labels[:, None] == labels)
    log_law = exponential(beta).log_eta(similarities[..., None])
    log_law = jnp.where(same & jnp.asarray(supervised), -jnp.inf, log_law)
    if k is None:
        return jnp.mean(_limit_losses(psi, similarities, positives, log_law))
    tuples = multisets(num_classes * points, k)
    places = np.array([place for place, _ in tuples])
    log_orders = np.log([float(orders) for _, orders in tuples])
    weights = jax.nn.softmax(log_orders + jnp.sum(log_law[:, places], axis=-1), axis=1)
    differences = similarities[:, None, places] - positives[:, :, None, None]
    losses = psi.of_differences(differences)
    return jnp.mean(jnp.sum(weights[:, None] * losses, axis=-1))


def constrain(
    free: Float[Array, "*n dim"], constraint: Constraint, radius: Float[Array, ""] | float = 1.0
) -> Float[Array, "*n dim"]:
    """Maps free vectors onto the ball or the sphere, smoothly, or leaves them."""
    squared = jnp.sum(jnp.square(free), axis=-1, keepdims=True)
    if constraint == "ball":
        return radius * 2 * free / (1 + squared)
    if constraint == "sphere":
        return radius * free / jnp.sqrt(squared)
    return free


def minimise(
    key: PRNGKeyArray,
    problem: MinimisationProblem,
    objectives: Sequence[PopulationLoss],
    *,
    starts: int = 12,
    steps: int = 300,
    polished: int = 2,
    psi: Psi | None = None,
) -> list[Minimiser]:
    """The best found for each of several losses over the same points; run it under x64.

    Adam takes `steps` steps from all random `starts` at once; `polished` of those that end lowest
    are handed to L-BFGS-B. The parameters of `psi` must be Python numbers, so that it is hashable.
    """
    shape = (len(objectives), starts, problem.num_classes, problem.points, problem.dim)
    run, slopes, features_of = _programs(problem.k, problem.constraint, steps, psi)
    supervised = np.array([objective.supervised for objective in objectives])
    betas = np.array([objective.beta for objective in objectives])
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))  # no compilation
    starting = generator.standard_normal(shape)
    free, values = run(starting, supervised, betas, problem.radius)
    free, values, found = np.asarray(free), np.asarray(values), []
    for i in range(len(objectives)):
        parameters = (supervised[i], betas[i], problem.radius)
        order = np.argsort(values[i])[:polished]
        polish = (_polish(slopes, free[i, start], parameters) for start in order)
        value, best = min(polish, key=lambda pair: pair[0])
        reached = float(np.mean(values[i] < value + 1e-6))
        found.append(Minimiser(value, np.asarray(features_of(best, problem.radius)), reached))
    return found


def class_mean_geometry(
    features: Float[Array | np.ndarray, "classes points dim"],
) -> ClassMeanGeometry:
    """Distances, gaps and norms of the class means."""
    with jax.enable_x64(True):
        within_class, zero_sum, means = map(np.asarray, _measured(jnp.asarray(features)))
    gram = means @ means.T
    gaps = (np.diag(gram)[:, None] - gram)[~np.eye(len(means), dtype=bool)]
    return ClassMeanGeometry(
        within_class=float(within_class),
        least_gap=float(gaps.min()),
        largest_gap=float(gaps.max()),
        norm=float(np.linalg.norm(means, axis=1).mean()),
        zero_sum=float(zero_sum),
    )


@jax.jit
def _measured(
    features: Float[Array, "classes points dim"],
) -> tuple[Float[Array, ""], Float[Array, ""], Float[Array, "classes dim"]]:
    """The mean distance within classes, the norm of the mean of means, and the means."""
    num_classes, points, dim = features.shape
    labels = jnp.repeat(jnp.arange(num_classes), points)
    flat = features.reshape(-1, dim)
    means = geometry.class_means(flat, labels, num_classes)
    return geometry.within_class(flat, labels, num_classes), geometry.zero_sum(means), means


def _limit_losses(
    psi: Psi,
    similarities: Float[Array, "anchors n"],
    positives: Float[Array, "anchors points"],
    log_law: Float[Array, "anchors n"],
) -> Float[Array, "anchors points"]:
    """The losses of InfoNCE for infinitely many negatives, given anchor and positive."""
    if psi.link is None:
        raise ValueError("infinitely many negatives need InfoNCE")
    log_weights = jax.nn.log_softmax(log_law, axis=1)
    scaled = similarities / psi.temperature
    log_mean = jax.nn.logsumexp(log_weights + scaled, axis=1, keepdims=True)
    return psi.link(log_mean - positives / psi.temperature, jnp.ones(()))


@lru_cache(maxsize=64)
def _programs(
    k: int | None, constraint: Constraint, steps: int, psi: Psi | None
) -> tuple[Callable, Callable, Callable]:
    """Adam on all starts of all objectives, value and gradient at one point, and the features."""

    def loss(
        free: Free,
        supervised: Bool[Array, ""],
        beta: Float[Array, ""],
        radius: Float[Array, ""] | float,
    ) -> Float[Array, ""]:
        features = constrain(free, constraint, radius)
        return population_loss(features, supervised, beta, k=k, psi=psi)

    over_starts = jax.vmap(_adam(loss, steps), (0, None, None, None))
    run = jax.jit(jax.vmap(over_starts, (0, 0, 0, None)))
    features_of = jax.jit(lambda free, radius: constrain(free, constraint, radius))
    return run, jax.jit(jax.value_and_grad(loss)), features_of


def _adam(
    loss: Callable[..., Float[Array, ""]], steps: int
) -> Callable[..., tuple[Free, Float[Array, ""]]]:
    """Adam with a decaying rate as a function of the start and of the parameters of the loss."""
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))

    def run(free: Free, *parameters: Any) -> tuple[Free, Float[Array, ""]]:
        def step(
            carry: tuple[Free, optax.OptState], _: None
        ) -> tuple[tuple[Free, optax.OptState], None]:
            free, state = carry
            updates, state = optimizer.update(jax.grad(loss)(free, *parameters), state)
            return (free + jnp.asarray(updates), state), None

        (free, _), _ = jax.lax.scan(step, (free, optimizer.init(free)), length=steps)
        return free, loss(free, *parameters)

    return run


def _polish(
    slopes: Callable, free: Float[np.ndarray, "classes points dim"], parameters: tuple
) -> tuple[float, Float[np.ndarray, "classes points dim"]]:
    """L-BFGS-B from a point, to the last digits."""

    def flat(vector: Float[np.ndarray, " n"]) -> tuple[float, Float[np.ndarray, " n"]]:
        value, gradient = slopes(vector.reshape(free.shape), *parameters)
        return float(value), np.asarray(gradient, dtype=np.float64).ravel()

    options = {"maxiter": 2000, "ftol": 0.0, "gtol": 1e-13, "maxls": 50}
    result = scipy.optimize.minimize(
        flat, free.ravel(), jac=True, method="L-BFGS-B", options=options
    )
    return float(result.fun), result.x.reshape(free.shape)
