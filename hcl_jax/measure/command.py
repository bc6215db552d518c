"""The command line of `hcl-measure`."""

import contextlib
import dataclasses
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import jax

from hcl_jax.measure.choosing import Keys, Source, open_source, representations
from hcl_jax.measure.extras import InputError, need
from hcl_jax.measure.findings import Findings, measure
from hcl_jax.measure.objective import Asked, Name, checked
from hcl_jax.measure.text import comparison, report
from hcl_jax.normalization import unit_ball, unit_sphere, unnormalized
from hcl_jax.system.command_line import USAGE_ERROR, parsed
from hcl_jax.system.command_output import run_command, say_error
from hcl_jax.system.help_screen import Page

PAGE = Page(
    "hcl-measure",
    "FILE [FILE ..] [options]",
    "Has a representation collapsed, and how? Prints metrics, classes and a verdict.\n"
    "Files are npz, npy, csv, tsv, parquet or safetensors, from any framework.",
    {
        "What is read": ("embeddings", "labels", "embeddings_key", "labels_key", "ignore_label"),
        "How": ("normalize", "compare", "seed"),
        "The loss beside the least there is": ("objective", "beta", "temperature", "batch"),
        "What is written": ("out",),
    },
    "hcl-measure embeddings.npz --objective hucl --beta 5 --out report",
)

NORMALIZATIONS = {"none": unnormalized, "ball": unit_ball, "sphere": unit_sphere}


@dataclasses.dataclass(frozen=True)
class Input:
    """What is read

    Attributes:
        embeddings: one file more, of embeddings.
        labels: the file of labels, if a file of their own.
        embeddings_key: the array of embeddings; else a guess, which is said.
        labels_key: the array of labels, or the number of its column; likewise.
        ignore_label: leave out rows with this label.
        normalize: rows into the unit ball, or onto the sphere.
    """

    embeddings: Path | None = None
    labels: Path | None = None
    embeddings_key: str | None = None
    labels_key: str | None = None
    ignore_label: str | None = None
    normalize: Literal["none", "ball", "sphere"] = "none"


@dataclasses.dataclass(frozen=True)
class Loss:
    """The loss of the embeddings beside the least there is

    Attributes:
        objective: which loss.
        beta: the hardness of hscl and hucl.
        temperature: the temperature; else 1.
        batch: rows in a batch; else one batch of all, up to 8192.
    """

    objective: Name | None = None
    beta: float | None = None
    temperature: float | None = None
    batch: int | None = None


@dataclasses.dataclass(frozen=True)
class Measure:
    """A command line.

    Attributes:
        files: npz, npy, csv, tsv, parquet or safetensors.
        input: what is read.
        loss: the loss of the embeddings.
        compare: what several files are; epochs are sorted.
        out: the folder for a page, JSON and figures.
        seed: of the samples.
    """

    files: tuple[Path, ...]
    input: Input = dataclasses.field(default_factory=Input)
    loss: Loss = dataclasses.field(default_factory=Loss)
    compare: Literal["runs", "epochs"] = "runs"
    out: Path | None = None
    seed: int = 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line of `hcl-measure`.

    Args:
        arguments: the words of the command line; those of the process if None.

    Returns:
        The exit status: 0; 2 after an error, which is said in one line; 130 after Ctrl-C.

    Example:
        >>> main(["nowhere.npz"])  # error: there is no file nowhere.npz
        2
    """
    return run_command(lambda: _main(arguments))


def _main(arguments: Sequence[str] | None) -> int:
    """`main`, whose output somebody reads."""
    try:
        need(("tyro",), "hcl-measure")
        import tyro

        config = (tyro.conf.OmitArgPrefixes, tyro.conf.PositionalRequiredArgs)
        settings = parsed(Measure, PAGE, arguments, config=config)
        with jax.enable_x64(True):
            _run(settings)
    except KeyboardInterrupt:
        print("\ninterrupted; nothing was written", file=sys.stderr)
        return 130
    except InputError as error:
        return _failed(str(error))
    except MemoryError as error:
        return _failed(f"out of memory: {error}")
    except BrokenPipeError:
        raise  # the output, see run_command
    except OSError as error:
        where = "" if error.filename is None else f" {error.filename}"
        return _failed(f"cannot read or write{where}: {error.strerror or error}")
    return 0


def _failed(reason: str) -> int:
    say_error(reason)
    return USAGE_ERROR


def _run(settings: Measure) -> None:
    """Measures the files one after the other, prints, and writes."""
    paths = [*settings.files]
    if settings.input.embeddings is not None:
        paths.append(settings.input.embeddings)
    if not paths:
        raise InputError("give a file of embeddings, such as embeddings.npz; --help shows more")
    loss = settings.loss
    asked = checked(loss.objective, loss.beta, loss.temperature, loss.batch)
    if settings.seed < 0:
        raise InputError(f"--seed must be at least 0, got {settings.seed}")
    epochs = settings.compare == "epochs"
    if epochs:
        paths.sort(key=_natural)
    out = settings.out
    with contextlib.nullcontext() if out is None else _folder(out):
        sources = [source for path in paths for source in _sources(path, settings.input)]
        if epochs and len(sources) == 1:
            raise InputError("--compare epochs is for several epochs, and there is one")
        found = [_measured(source, settings, asked) for source in sources]
        if len(found) > 1:
            print(f"\n{comparison(found)}")
        if out is not None:
            from hcl_jax.measure.page import write_results

            write_results(out, found, epochs=epochs)
            print(f"\nwrote {out / 'measure.html'}, measure.json and figures", file=sys.stderr)


def _sources(path: Path, given: Input) -> list[Source]:
    """The representations in one file."""
    keys = Keys(given.embeddings_key, given.labels_key, given.ignore_label)
    return representations(open_source(path, given.labels, keys))


def _measured(source: Source, settings: Measure, asked: Asked | None) -> Findings:
    """One representation, measured and printed."""
    found = measure(source, NORMALIZATIONS[settings.input.normalize], asked, settings.seed)
    print(f"{report(found)}\n", flush=True)
    return found


def _natural(path: Path) -> list[tuple[int, str]]:
    """A key by which epoch2 comes before epoch10."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdecimal() else (0, part) for part in parts]


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[None]:
    """The folder of results, made before the measuring; where that fails no new one is left."""
    need(("jinja2", "matplotlib"), "--out")
    new = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        if not os.access(path, os.W_OK):
            raise InputError(f"--out: {path} cannot be written to")
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for folder in new:
                folder.rmdir()
        raise
