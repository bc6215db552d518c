"""What is printed: tables for a terminal."""

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import PurePath

from hcl_jax.measure.findings import METRICS, ClassRow, Findings
from hcl_jax.measure.objective import LossFindings
from hcl_jax.system.counting import counted

CLASSES = 30
"""The most classes that are printed; the files have all."""

LONGEST = 48
"""The most characters of a short name: 192 bytes at most, which leaves room for what follows."""

CLASS_HEADER = ("class", "rows", "norm of mean", "norm of rows", "spread", "nearest class", "at")
CLASS_HEADER += ("right", "else taken for")


def number(value: float) -> str:
    """A number in four digits; a whole one in full."""
    if isinstance(value, int) or (
        math.isfinite(value) and value == int(value) and abs(value) < 1e9
    ):
        return str(int(value))
    return f"{value:.4g}"


def printable(text: str) -> str:
    """Text of one line, with escapes for what a terminal does not show as a character.

    >>> print(printable("two\\nlines"))
    two\\nlines
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns side by side, the first to the left and the rest to the right."""
    lines = [tuple(map(printable, line)) for line in (header, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    shown = []
    for line in lines:
        first = line[0].ljust(widths[0])
        rest = (cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))
        shown.append("  ".join((first, *rest)).rstrip())
    return "\n".join(shown)


def class_cells(row: ClassRow) -> tuple[str, ...]:
    """The cells of a class under `CLASS_HEADER`."""
    taken = "" if row.taken_for is None else f"{row.taken_for} {100 * row.taken:.1f} %"
    return (
        row.name,
        str(row.size),
        number(row.norm),
        number(row.row_norm),
        number(row.spread),
        row.nearest,
        number(row.nearest_distance),
        f"{100 * row.recall:.1f} %",
        taken,
    )


def report(found: Findings) -> str:
    """One representation: verdict, evidence, metrics, classes."""
    rows, dim = found.shape
    lines = [
        f"{found.name}: {counted(rows, 'row')}, {counted(dim, 'dimension')}, "
        f"{len(found.names)} classes",
        *(f"  {note}" for note in found.notes),
        "",
        f"{found.verdict.kind.upper()}: {found.verdict.words}",
        *(
            f"  {e.what}: {e.value} ({e.rule}: {'yes' if e.met else 'no'})"
            for e in found.verdict.evidence
        ),
        *(f"  caution: {caution}" for caution in found.verdict.cautions),
    ]
    parts = [
        *map(printable, lines),
        "",
        table(("metric", "value"), [(METRICS[k], number(v)) for k, v in found.metrics.items()]),
        "",
        table(CLASS_HEADER, map(class_cells, found.classes[:CLASSES])),
    ]
    if len(found.classes) > CLASSES:
        parts.append(f".. and {counted(len(found.classes) - CLASSES, 'class', 'classes')} more")
    if found.loss is not None:
        parts += ["", *loss_lines(found.loss)]
    return "\n".join(parts)


def loss_lines(found: LossFindings) -> list[str]:
    """What the objective says, a sentence a line."""
    asked = found.asked
    numbers = f"beta {asked.beta:g}, " if asked.name in ("hscl", "hucl") else ""
    several = "" if found.batches == 1 else f" ± {found.error:.2g}, {found.batches} batches"
    lines = [
        f"{asked.name.upper()} ({numbers}temperature {asked.temperature:g}) of balanced batches of "
        f"{found.rows} rows: {found.loss:.6g}{several}",
        f"  the least in the unit ball is {found.least:.6g}: the loss is {found.gap:.3g} above it",
    ]
    if not found.has_room:
        lines.append("  which no representation of so few dimensions attains")
    if asked.name != "hucl":
        lines.append("  neural collapse has the least loss")
    elif asked.beta <= found.threshold:
        lines.append(f"  neural collapse has the least loss, up to beta {found.threshold:.4g}")
    else:
        lines.append(
            f"  neural collapse is not optimal beyond beta {found.threshold:.4g}: its loss is "
            f"{found.at_collapse:.6g}, and the optimum is a simplex ETF of norm {found.norm:.4g}"
        )
    if not found.unused:
        lines.append("  class means use every direction there is: there is no collapse to leave")
    elif found.escape is not None:
        lines.append(
            f"  on the sphere class means grow into a direction that they do not use at the rate "
            f"{found.escape:.3g}"
        )
    return lines


def compared_metrics(found: Sequence[Findings]) -> dict[str, list[str]]:
    """What is compared, a cell for each representation."""
    rows = {words: [number(f.metrics[key]) for f in found] for key, words in METRICS.items()}
    losses = [f.loss for f in found if f.loss is not None]
    if losses:
        name = losses[0].asked.name.upper()
        rows[name] = [f"{loss.loss:.6g}" for loss in losses]
        rows[f"{name} above the least"] = [number(loss.gap) for loss in losses]
    rows["verdict"] = [f.verdict.kind for f in found]
    return rows


def comparison(found: Sequence[Findings]) -> str:
    """Several representations, a column each."""
    header = ("metric", *short_names([f.name for f in found]))
    return table(header, ((words, *cells) for words, cells in compared_metrics(found).items()))


def short_names(names: Sequence[str]) -> list[str]:
    """Names of files without folders, or the parts in which paths differ; numbered if they do not.

    Any file system and any font has them: what is no letter and no digit is an underscore, but for
    a few marks, and the middle of a long name is left out.

    >>> short_names(["a/one/z.npz", "a/two/z.npz"])
    ['one', 'two']
    >>> short_names(["$x$.npz"])
    ['_x_.npz']
    """
    shown = [_plain(PurePath(name).name) for name in names]
    if not _differ(shown):
        parts = [_without_root(PurePath(name)) for name in names]
        first = _shared(parts)
        last = _shared([of_one[first:][::-1] for of_one in parts])
        shown = [_plain("-".join(of_one[first : len(of_one) - last])) for of_one in parts]
    if not _differ(shown):
        shown = [_plain(f"{n}-{PurePath(name).name}") for n, name in enumerate(names, start=1)]
    return shown


def _plain(name: str) -> str:
    plain = re.sub(r"[^\w.,+=@~ ()-]", "_", name)
    cut = len(plain) > LONGEST
    return f"{plain[: LONGEST // 2 - 2]}..{plain[-LONGEST // 2 :]}" if cut else plain


def _differ(names: Sequence[str]) -> bool:
    """Whether there are as many names, none of them empty, also where case does not count."""
    return len({name.casefold() for name in names}) == len(names) and "" not in names


def _without_root(path: PurePath) -> tuple[str, ...]:
    return path.parts[1:] if path.anchor else path.parts


def _shared(parts: Sequence[Sequence[str]]) -> int:
    """How many of the first parts of paths are the same in all."""
    levels = zip(*parts, strict=False)
    return sum(1 for _ in itertools.takewhile(lambda level: len(set(level)) == 1, levels))
