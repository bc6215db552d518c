"""Ahead-of-time compilation for TPUs, on a machine without one, and what the compiler says of it.

Modules of JAX are imported in functions, after `tpu_devices` has set up the environment.
"""

import importlib.util
import os
import re
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from scripts.benchmarking.hlo_text import collectives, overlap
from scripts.runs import markdown
from scripts.runs.exit_status import CommandError

MIB = 2**20


class Compilation(NamedTuple):
    """One compilation; the numbers are of one device.

    Attributes:
        name: its name.
        rows: rows of the global batch.
        compiles: "yes", or "no" with how much memory is needed.
        temporaries: bytes of temporaries.
        arguments: bytes of arguments.
        flops: XLA's count, which counts the body of a loop once.
        formula: multiplications and additions by formula, where there is one.
        collectives: number of collectives, by kind.
        overlap: how many permutes enclose work.
        seconds: time that compiling took.
    """

    name: str
    rows: int
    compiles: str
    temporaries: int | None = None
    arguments: int | None = None
    flops: float | None = None
    formula: float | None = None
    collectives: dict[str, int] | None = None
    overlap: str = ""
    seconds: float = 0.0


def libtpu_installed() -> bool:
    """Whether libtpu is installed."""
    return importlib.util.find_spec("libtpu") is not None


def tpu_devices(topology: str) -> Sequence[Any]:
    """Descriptions of the chips of a slice, to compile for; fails where libtpu is not installed."""
    if not libtpu_installed():
        raise CommandError(
            "libtpu is not installed: pip install hcl-jax[scripts,tpu] in a new environment"
        )
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    import jax
    from jax.experimental import topologies

    jax.config.update("jax_platforms", "cpu")
    return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices


def compile_lowered(
    name: str, rows: int, lower: Callable[[], Any], *, formula: float | None = None
) -> Compilation:
    """Compiles what `lower` lowers; a program that does not fit says how much memory it needs."""
    import jax

    begun = time.perf_counter()
    try:
        compiled = lower().compile()
    except jax.errors.JaxRuntimeError as error:
        needed = re.search(r"Used ([\d.]+[GMK]) of ([\d.]+[GMK]) hbm", str(error))
        answer = f"no: needs {needed[1]} of {needed[2]}" if needed else "no"
        return Compilation(name, rows, answer, seconds=time.perf_counter() - begun)
    memory, costs = compiled.memory_analysis(), compiled.cost_analysis() or {}
    text = compiled.as_text() or ""
    assert memory is not None
    return Compilation(
        name,
        rows,
        "yes",
        memory.temp_size_in_bytes,
        memory.argument_size_in_bytes,
        costs.get("flops"),
        formula,
        collectives(text),
        overlap(text),
        time.perf_counter() - begun,
    )


def report(compilations: Sequence[Compilation], topology: str, note: str) -> str:
    """A Markdown page with a table of compilations; the note says what was compiled."""
    from importlib import metadata

    import jax

    lines = [
        f"# Ahead-of-time compilation for TPU {topology}",
        "",
        f"{note} jax {jax.__version__}, jaxlib {metadata.version('jaxlib')}, libtpu "
        f"{metadata.version('libtpu')}. Numbers are of one device.",
        "",
    ]
    header = ["form", "rows", "compiles", "temporaries, MiB", "arguments, MiB"]
    header += ["flop, by formula", "flop, XLA (loop bodies once)", "collectives", "permutes", "s"]
    lines += markdown.table(header, [_cells(compilation) for compilation in compilations])
    return "\n".join(lines) + "\n"


def _cells(row: Compilation) -> list[str]:
    sizes = ["" if s is None else f"{s / MIB:.1f}" for s in (row.temporaries, row.arguments)]
    flops = ["" if f is None else f"{f:.2e}" for f in (row.formula, row.flops)]
    kinds = ", ".join(f"{n} {kind}" for kind, n in (row.collectives or {}).items())
    cells = [row.name, str(row.rows), row.compiles, *sizes, *flops, kinds, row.overlap]
    return [*cells, f"{row.seconds:.0f}"]
