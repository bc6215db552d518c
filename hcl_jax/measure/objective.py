"""The loss of embeddings under one of the four objectives, and the least that it can be.

The theorems speak of positives and negatives that are drawn independently of the anchor. So here
every row is among its own positives and, for UCL and HUCL, its own negatives, and batches have
equally many rows of every class: then a batch is itself a distribution of which the theorems speak,
and no loss in the unit ball is below the least one.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hcl_jax import geometry, hardening
from hcl_jax.batch_warnings import NORM_TOLERANCE
from hcl_jax.hardness import largest_hardness
from hcl_jax.measure.extras import InputError
from hcl_jax.objectives import objective
from hcl_jax.precision import norms

ROWS = 8192
"""The most rows that losses are computed of."""

BATCHES = 32
"""The most batches."""

Name = Literal["scl", "hscl", "ucl", "hucl"]


class Asked(NamedTuple):
    """An objective and its hyperparameters.

    Attributes:
        name: which of the four.
        beta: the hardness; 0 for SCL and UCL.
        temperature: the temperature of InfoNCE.
        batch: rows of a batch; None for one batch that is as large as it may be.
    """

    name: Name
    beta: float
    temperature: float
    batch: int | None

    @property
    def supervised(self) -> bool:
        """Whether negatives are of other classes."""
        return self.name in ("scl", "hscl")


class LossFindings(NamedTuple):
    """What the objective says of the embeddings.

    Attributes:
        asked: the objective.
        loss: the mean loss of the batches.
        error: its standard error; NaN for one batch.
        batches: how many batches.
        rows: the rows of each.
        least: the least loss in the unit ball, by theorem.
        at_collapse: the loss at neural collapse.
        threshold: the hardness up to which neural collapse is optimal; inf but for HUCL.
        norm: the norm of the class means of the optimum, 1 at neural collapse.
        has_room: whether the dimension has room for the optimum.
        unused: how many of the min(C - 1, dim) directions class means do not use.
        escape: the rate at which class means on the sphere leave their collapse into one of them;
            None where a class mean is zero, or there is none.
    """

    asked: Asked
    loss: float
    error: float
    batches: int
    rows: int
    least: float
    at_collapse: float
    threshold: float
    norm: float
    has_room: bool
    unused: int
    escape: float | None

    @property
    def gap(self) -> float:
        """How far the loss is above the least."""
        return self.loss - self.least


def checked(
    name: Name | None, beta: float | None, temperature: float | None, batch: int | None
) -> Asked | None:
    """What was asked for, or None; raises InputError where it does not fit together."""
    if name is None:
        if {beta, temperature, batch} != {None}:
            raise InputError("--beta, --temperature and --batch belong to an --objective")
        return None
    temperature = 1.0 if temperature is None else temperature
    if name in ("scl", "ucl") and beta is not None:
        raise InputError(f"--beta is for hscl and hucl; {name} has no hardness")
    if name in ("hscl", "hucl") and beta is None:
        raise InputError(f"--objective {name} needs a hardness: --beta 5")
    hardness = beta or 0.0
    if not (math.isfinite(hardness) and hardness >= 0):
        raise InputError(f"--beta must be a number of at least 0, got {beta}")
    if hardness > largest_hardness(np.float64):
        raise InputError(
            f"--beta must be at most {largest_hardness(np.float64):.1g}, as the logits "
            f"of negatives are lost beside larger ones, got {beta:g}"
        )
    if not (math.isfinite(temperature) and temperature > 0):
        raise InputError(f"--temperature must be a positive number, got {temperature}")
    if temperature < (least := np.finfo(np.float64).tiny):
        raise InputError(f"--temperature must be at least {least:.2g}, got {temperature:g}")
    if batch is not None and batch < 2:
        raise InputError(f"--batch must be at least 2, got {batch}")
    return Asked(name, hardness, temperature, batch)


def batches_of(
    asked: Asked, labels: Int[np.ndarray, " n"], sizes: Int[np.ndarray, " classes"], seed: int
) -> Int[np.ndarray, "batches rows"]:
    """The rows of balanced batches, drawn without replacement."""
    count, smallest = len(sizes), int(sizes.min())
    most = min(smallest, max(1, ROWS // count))
    each = most if asked.batch is None else asked.batch // count
    if each < 1:
        raise InputError(f"--batch {asked.batch} must hold a row of each of the {count} classes")
    if each > smallest:
        raise InputError(
            f"--batch {asked.batch} takes {each} rows of each class, and the smallest class has "
            f"{smallest}: at most {smallest * count}"
        )
    number = min(BATCHES, max(1, most // each))
    rng = np.random.default_rng(seed)
    order = np.argsort(labels, kind="stable")[(labels < 0).sum() :]
    members = np.split(order, np.cumsum(sizes)[:-1])
    chosen = [rng.choice(of_class, number * each, replace=False) for of_class in members]
    return np.stack(chosen).reshape(count, number, each).swapaxes(0, 1).reshape(number, -1)


def loss_findings(
    asked: Asked,
    batches: Iterator[Float[np.ndarray, "rows dim"]],
    means: Float[np.ndarray, "classes dim"],
    *,
    unused: int,
) -> LossFindings:
    """The loss of balanced batches, whose rows are sorted by class, beside the optimum."""
    count, dim = means.shape
    losses, rows = [], 0
    for batch in batches:
        rows = len(batch)
        _check_ball(batch)
        labels = jnp.repeat(jnp.arange(count, dtype=jnp.int32), rows // count)
        beta, temperature = jnp.asarray(asked.beta), jnp.asarray(asked.temperature)
        losses.append(float(_loss(batch, labels, beta, temperature, supervised=asked.supervised)))
    depth = count / (count - 1) / asked.temperature
    least = at_collapse = math.log1p(math.exp(-depth))
    threshold, norm = math.inf, 1.0
    if not asked.supervised:
        optimum = geometry.hucl_optimum(count, asked.beta, asked.temperature)
        others = 1 / (1 + math.exp(min(asked.beta * count / (count - 1), 700)) / (count - 1))
        least, norm = optimum.loss, optimum.norm
        at_collapse = math.log1p(1 + others * math.expm1(-depth))
    if asked.name == "hucl":
        threshold = geometry.hucl_threshold(count, asked.temperature)
    error = np.std(losses, ddof=1) / math.sqrt(len(losses)) if len(losses) > 1 else math.nan
    return LossFindings(
        asked=asked,
        loss=float(np.mean(losses)),
        error=float(error),
        batches=len(losses),
        rows=rows,
        least=least,
        at_collapse=at_collapse,
        threshold=threshold,
        norm=norm,
        has_room=dim >= count - 1,
        unused=unused,
        escape=_escape(asked, means) if unused else None,
    )


@partial(jax.jit, static_argnames="supervised")
def _loss(
    rows: Float[Array, "n dim"],
    labels: Int[Array, " n"],
    beta: Float[Array, ""],
    temperature: Float[Array, ""],
    *,
    supervised: bool,
) -> Float[Array, ""]:
    return objective(
        rows,
        labels,
        supervised=supervised,
        hardening=hardening.exponential(beta),
        temperature=temperature,
        self_positives=True,
        self_negatives=not supervised,
        quiet=True,
    )


def _escape(asked: Asked, means: Float[np.ndarray, "classes dim"]) -> float | None:
    if not means.any(axis=1).all():
        return None
    rate = geometry.escape_rate(
        jnp.asarray(means),
        supervised=asked.supervised,
        beta=asked.beta,
        temperature=asked.temperature,
    )
    return float(rate)


def _check_ball(rows: Float[np.ndarray, "n dim"]) -> None:
    """Raises InputError for rows outside the unit ball, but for rounding of narrow numbers."""
    largest = float(norms(jnp.asarray(rows)).max())
    if largest > 1 + NORM_TOLERANCE:
        raise InputError(
            f"the objectives are of embeddings in the unit ball, and there are norms up to "
            f"{largest:.4g}: add --normalize sphere or --normalize ball, as your loss does"
        )
