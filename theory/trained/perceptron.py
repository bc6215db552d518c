"""A perceptron trained with mini-batches on labelled points, by the losses that the library ships.

Adam takes a step for every batch of points, drawn independently; everything runs as one compiled
program. The networks of `hcl_jax.networks` play no part: the theory does not know them.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from hcl_jax.data import Split
from hcl_jax.hardening import exponential
from hcl_jax.losses import Average
from hcl_jax.normalization import Normalization, unit_ball
from hcl_jax.objectives import objective

Layers = list[tuple[Float[Array, "inputs outputs"], Float[Array, " outputs"]]]
Points = Float[Array, "n inputs"]
Labels = Int[Array, " n"]


class Method(NamedTuple):
    """What is minimised.

    Attributes:
        supervised: SCL and HSCL, or UCL and HUCL.
        beta: the hardness.
        normalization: of the outputs.
        average: over pairs or over anchors.
        temperature: of InfoNCE.
    """

    supervised: bool
    beta: float = 0.0
    normalization: Normalization = unit_ball
    average: Average = "pairs"
    temperature: float = 1.0

    def __str__(self) -> str:
        name = ("H" if self.beta else "") + ("SCL" if self.supervised else "UCL")
        return f"{name} {self.beta:g}" if self.beta else name


class Training(NamedTuple):
    """How.

    Attributes:
        widths: of the hidden layers and of the output.
        steps: of the optimiser.
        batch: points in a step.
        learning_rate: of the optimiser.
        every: steps from one look at the whole set to the next.
        adam: Adam, or else gradient descent.
    """

    widths: tuple[int, ...]
    steps: int
    batch: int
    learning_rate: float
    every: int
    adam: bool = True


def train(
    key: PRNGKeyArray,
    split: Split,
    method: Method,
    training: Training,
    *,
    sizes: Sequence[float] | None = None,
) -> Float[np.ndarray, "times n dim"]:
    """The embeddings of all points at the start and after every `every` steps.

    Points are drawn alike, or so often that the classes have the given relative sizes.
    """
    labels = np.asarray(split.labels)
    counts = np.bincount(labels)
    odds = (np.ones(len(counts)) if sizes is None else np.array(sizes) / counts)[labels]
    program = _program(method._replace(beta=0.0), training._replace(learning_rate=0.0))
    numbers = method.beta, training.learning_rate, jnp.asarray(odds / odds.sum(), float)
    return np.asarray(program(key, jnp.asarray(split.images), jnp.asarray(labels), *numbers))


@lru_cache(maxsize=32)
def _program(method: Method, training: Training) -> Callable[..., Float[Array, "times n dim"]]:
    """Training as a function of key, points, labels, hardness and learning rate, compiled once."""

    def run(
        key: PRNGKeyArray,
        points: Points,
        labels: Labels,
        beta: float,
        learning_rate: float,
        odds: Float[Array, " n"],
    ) -> Float[Array, "times n dim"]:
        start, draws = jax.random.split(key)
        layers = initial(start, points.shape[1], training.widths)
        rule = optax.scale_by_adam() if training.adam else optax.identity()

        def loss(layers: Layers, chosen: Int[Array, " batch"]) -> Float[Array, ""]:
            return objective(
                method.normalization(outputs(layers, points[chosen])),
                labels[chosen],
                supervised=method.supervised,
                hardening=exponential(beta),
                temperature=method.temperature,
                average=method.average,
                quiet=True,
            )

        def step(number: Int[Array, ""], carry: tuple[Layers, optax.OptState]) -> tuple:
            layers, state = carry
            one = jax.random.fold_in(draws, number)
            chosen = jax.random.choice(one, len(labels), (training.batch,), p=odds)
            updates, state = rule.update(jax.grad(loss)(layers, chosen), state)
            return jax.tree.map(lambda x, u: x - learning_rate * u, layers, updates), state

        def look(carry: tuple, first: Int[Array, ""]) -> tuple:
            seen = method.normalization(outputs(carry[0], points))
            return jax.lax.fori_loop(first, first + training.every, step, carry), seen

        firsts = jnp.arange(0, training.steps, training.every)
        (layers, _), seen = jax.lax.scan(look, (layers, rule.init(layers)), firsts)
        return jnp.concatenate([seen, method.normalization(outputs(layers, points))[None]])

    return jax.jit(run)


def initial(key: PRNGKeyArray, inputs: int, widths: tuple[int, ...]) -> Layers:
    """Random weights by the rule of He for layers with ReLU, and biases of zero."""
    sizes = (inputs, *widths)
    keys = jax.random.split(key, len(widths))
    return [
        (jax.random.normal(k, (a, b)) * jnp.sqrt(2 / a), jnp.zeros(b))
        for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def outputs(layers: Layers, points: Points) -> Float[Array, "n dim"]:
    """The network."""
    for weights, bias in layers[:-1]:
        points = jax.nn.relu(points @ weights + bias)
    weights, bias = layers[-1]
    return points @ weights + bias
