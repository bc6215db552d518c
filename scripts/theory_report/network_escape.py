"""How a network leaves dimensional collapse on the grouped classes, beside the predicted rate.

Experiments of `scripts.experiments` are trained as `scripts.train` does, and looked at after every
epoch: the class means tell how thick the representation is outside the directions of the groups,
and, by `hcl_jax.geometry.escape_matrix`, how fast free class means would grow there.
"""

import itertools
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hcl_jax import geometry
from hcl_jax.data import place_split
from hcl_jax.training import SingleDevice
from scripts.experiments.datasets import DATA_DIR, load_dataset
from scripts.experiments.experiment import Experiment
from scripts.experiments.options import OptimizerName
from scripts.experiments.paper import Method
from scripts.experiments.program import keys_of, objective_of, program_of
from scripts.theory_report.section import Section, Table, blank_figure
from theory.checking import Effort

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EPOCHS = 100
"""Of ten steps each."""

OF_GROUPS = 3
"""The directions that the centred means of four groups span."""

THICK = 0.5
"""Collapse counts as left where so much of the class means is outside these."""

MOMENTUM = 0.9
"""Of gradient descent here, by which a step is ten times as long in the end."""

METHODS = (
    Method("SCL"),
    Method("HSCL", 0.5),
    Method("HSCL", 2.0),
    Method("HSCL", 5.0),
    Method("UCL"),
    Method("HUCL", 2.0),
)
RATES: tuple[tuple[OptimizerName, float], ...] = (
    ("sgd", 0.003),
    ("sgd", 0.01),
    ("sgd", 0.03),
    ("sgd", 0.1),
    ("adam", 0.0001),
    ("adam", 0.001),
    ("adam", 0.003),
)


LINES = {0.003: ":", 0.01: "-", 0.1: "--"}
"""Of the learning rates at which the thickness is drawn."""

Choice = tuple[tuple[tuple[OptimizerName, float], ...], tuple[Method, ...]]


def chosen(effort: Effort) -> Choice:
    """The learning rates and methods: all of them takes minutes."""
    if effort is Effort.FULL:
        return RATES, METHODS
    return (("sgd", 0.01), ("sgd", 0.1)), METHODS[:3]


class Course(NamedTuple):
    """What was seen before training and after every epoch.

    Attributes:
        thickness: the share of the centred directions of class means, in the root mean square, that
            lies outside the largest three singular directions.
        rates: predicted of free class means, 2 |lambda_min(S)| / C.
        directions: that the class means span.
    """

    thickness: Float[np.ndarray, " epochs"]
    rates: Float[np.ndarray, " epochs"]
    directions: Int[np.ndarray, " epochs"]

    @property
    def thinnest(self) -> int:
        """The epoch of the least thickness before collapse is left."""
        until = self.left
        return int(np.argmin(self.thickness[: None if until is None else until + 1]))

    @property
    def left(self) -> int | None:
        """The first epoch with a thickness above `THICK`."""
        above = np.flatnonzero(self.thickness > THICK)
        return int(above[0]) if len(above) else None


@cache
def course(method: Method, optimizer: OptimizerName, learning_rate: float) -> Course:
    """Trains on the grouped classes, seed 0."""
    experiment = Experiment(
        objective=method.objective,
        beta=method.beta,
        optimizer=optimizer,
        learning_rate=learning_rate,
    )
    dataset = load_dataset(experiment.source, DATA_DIR)
    split, labels = place_split(dataset.train).resident, jnp.asarray(dataset.train.labels)
    assert split is not None
    runner = SingleDevice(program_of(experiment))
    states, target, seen = runner.init(keys_of(experiment)), objective_of(experiment), []
    for epoch in range(EPOCHS + 1):
        embeddings = runner.embed(states, split.images)[1][0]
        look = _look(embeddings, labels, method.beta, supervised=experiment.is_supervised)
        seen.append(jax.tree.map(np.asarray, look))
        if epoch < EPOCHS:
            states, _ = runner.train_epoch(states, split, target)
    return Course(*(np.stack(values) for values in zip(*seen, strict=True)))


@partial(jax.jit, static_argnames="supervised")
def _look(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"], beta: float, *, supervised: bool
) -> tuple[Array, Array, Array]:
    """Thickness, predicted rate and directions."""
    means = geometry.class_means(embeddings, labels, 20)
    directions = means / jnp.linalg.norm(means, axis=1, keepdims=True)
    squares = jnp.square(
        jnp.linalg.svd(directions - directions.mean(axis=0)[None], compute_uv=False)
    )
    matrix = geometry.escape_matrix(means, supervised=supervised, beta=beta, temperature=1.0)
    rate = 2 * jnp.maximum(0, -jnp.linalg.eigvalsh(matrix)[0]) / len(means)
    thickness = jnp.sqrt(jnp.sum(squares[OF_GROUPS:]) / jnp.sum(squares))
    return thickness, rate, geometry.directions(geometry.singular_values(means))


def network_table(effort: Effort = Effort.FULL) -> Table:
    """Every method at every learning rate."""
    header = ["optimiser", "learning rate", "objective", "thinnest", "predicted rate"]
    rows = []
    for (optimizer, rate), method in itertools.product(*chosen(effort)):
        found = course(method, optimizer, rate)
        start, left = found.thinnest, found.left
        until = EPOCHS if left is None else left
        growth = np.log(found.thickness[until] / found.thickness[start])
        time = 10 * (until - start) * rate / (1 - MOMENTUM)
        measured = f"{growth / time:.3f}" if optimizer == "sgd" and time else ""
        predicted = found.rates[start : max(until, start + 1)].mean()
        rows.append(
            [
                optimizer,
                f"{rate:g}",
                f"{method.objective} {method.beta:g}".removesuffix(" 0"),
                f"{found.thickness[start]:.3f}",
                f"{predicted:.4f}",
                measured,
                f"not in {EPOCHS}" if left is None else str(left),
                str(found.directions[-1]),
            ]
        )
    return Table([*header, "growth per time", "epochs to leave", "directions of 19"], rows)


def network_figure(effort: Effort) -> "Figure":
    """Thickness against time at several learning rates, and how long collapse lasts."""
    figure, [left, right] = blank_figure(
        "learning rate x steps / (1 - momentum)", "thickness", "epochs to leave", size=(10, 4)
    )
    rates, methods = chosen(effort)
    _draw_courses(left, effort)
    for colour, method in enumerate(methods[:4]):
        name = f"{method.objective} {method.beta:g}".removesuffix(" 0")
        for optimizer, marker in (("sgd", "o-"), ("adam", "s--")):
            own = [(o, rate) for o, rate in rates if o == optimizer]
            found = [course(method, o, rate).left for o, rate in own]
            shown = [1.3 * EPOCHS if epochs is None else max(epochs, 1) for epochs in found]
            label = name if optimizer == "sgd" else None
            right.plot([r for _, r in own], shown, marker, color=f"C{colour}", label=label)
    right.axhline(EPOCHS, color="grey", linewidth=0.8)
    right.set(xscale="log", yscale="log", xlabel="learning rate (circles: SGD, squares: Adam)")
    right.set_title(f"above the line: not in {EPOCHS} epochs")
    right.set_ylim(0.4, 3 * EPOCHS)
    right.legend(loc="lower center", ncols=4, fontsize="small")
    return figure


def _draw_courses(axes: "Axes", effort: Effort) -> None:
    """The thickness of SCL and HSCL under gradient descent."""
    lines = [
        (rate, LINES[rate])
        for optimizer, rate in chosen(effort)[0]
        if optimizer == "sgd" and rate in LINES
    ]
    for (rate, line), (colour, method) in itertools.product(lines, enumerate(METHODS[:3])):
        found = course(method, "sgd", rate)
        times = np.arange(1, EPOCHS + 1) * 10 * rate / (1 - MOMENTUM)
        name = f"{method.objective} {method.beta:g}".removesuffix(" 0")
        axes.plot(times, found.thickness[1:], line, color=f"C{colour}", label=f"{name}, {rate:g}")
    axes.set(xscale="log", yscale="log", title="SGD, by learning rate")
    axes.legend(loc="lower left", fontsize="small")


def save_figure(path: str) -> None:
    """Writes `network_figure` as a file for the documentation, the same on every run."""
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "hcl-jax"}):
        network_figure(Effort.FULL).savefig(path, metadata={"Date": None})


SECTIONS = (
    Section(
        "A network that leaves dimensional collapse, or does not",
        "Left: the share of the class means of 20 grouped classes outside three directions, under "
        "gradient descent. Right: after how many epochs it is above one half.",
        place="docs/escape.md, In a network",
        figure=network_figure,
        slow=True,
    ),
    Section(
        "The learning rate and the objective in a network",
        "Training on the grouped classes: the least thickness, from there until collapse is left "
        "the mean predicted rate and the growth per unit of time, and the directions at the end.",
        place="docs/escape.md, In a network",
        table=network_table,
        slow=True,
    ),
)
"""See docs/escape.md."""
