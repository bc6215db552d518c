"""The Gram matrices of class means over epochs, as small pictures."""

import base64
import io
from collections.abc import Iterable

import numpy as np
from jaxtyping import Float
from matplotlib import colormaps
from PIL import Image

from scripts.run_report.charts import LARGEST_EPOCH
from scripts.run_report.reading import FinishedRun

PIXELS = 400_000
"""All pictures of a run have at most about so many pixels."""

LARGEST = 128
"""Of more classes the mean over blocks of classes is shown."""


def gram_frames(run: FinishedRun) -> list[tuple[int, str]]:
    """Pictures of the inner products of class means of the first seed, each from an epoch on."""
    size = min(run.means[-1][1].shape[1], LARGEST)
    count = min(len(run.means), max(2, PIXELS // size**2))
    chosen = np.unique(np.linspace(len(run.means) - 1, 0, count).round().astype(int))
    frames = []
    for place, number in enumerate(chosen):
        epoch, means = run.means[number]
        frames.append((epoch if place else -LARGEST_EPOCH, picture(means[0] @ means[0].T)))
    return frames


def simplex_gram(classes: int) -> str:
    """The picture at neural collapse."""
    shown = min(classes, LARGEST)
    gram = np.full((shown, shown), -1 / (classes - 1))
    np.fill_diagonal(gram, 1)
    return picture(gram)


def picture(gram: Float[np.ndarray, "classes classes"]) -> str:
    """A matrix as a PNG in a data URI, from blue at -1 to red at 1."""
    blocks = np.array_split(np.arange(len(gram)), min(len(gram), LARGEST))
    if len(blocks) < len(gram):
        gram = np.array([[gram[np.ix_(a, b)].mean() for b in blocks] for a in blocks])
    levels = np.clip(np.round(127.5 * (gram + 1)), 0, 255).astype(np.uint8)
    image = Image.fromarray(levels, mode="P")
    image.putpalette(_palette())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _palette() -> list[int]:
    colours: Iterable[Iterable[float]] = colormaps["RdBu_r"](np.arange(256))[:, :3]
    return [round(255 * part) for colour in colours for part in colour]
