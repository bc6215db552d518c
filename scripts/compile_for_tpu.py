"""Compiles the loss for TPUs ahead of time, on a machine without one, and prints what it needs.

    python -m scripts.compile_for_tpu [--topology v5e:2x4] [--out benchmarks/tpu.md]

runs in an environment of its own (``python -m venv tpu && tpu/bin/pip install -e .[tpu]``), since
libtpu and a GPU build of JAX do not go together. XLA counts the body of a loop once, so the table
gives the multiplications by formula beside XLA's count.
"""

import dataclasses
import functools
import importlib.util
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import tyro

from hcl_jax.system.atomic_files import atomic_write
from scripts.benchmarking.hlo_text import collectives, overlap

MIB = 2**20
DIM = 128
NOTE = f"HSCL, beta = 5, float32, {DIM} features, forward and backward."


@dataclasses.dataclass(frozen=True)
class Compile:
    """Compile for TPUs.

    Attributes:
        topology: of the slice; it must have 8 chips.
        rows: of the global batch, in the rows of the table.
        largest: whether to search the largest batches that compile.
        out: a file for the table as well.
    """

    topology: str = "v5e:2x4"
    rows: int = 131072
    largest: bool = True
    out: Path | None = None


class Row(NamedTuple):
    """One compilation; the numbers are of one device."""

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


def main() -> None:
    """The command line."""
    chosen = tyro.cli(Compile, description=__doc__)
    rows = table(chosen.topology, chosen.rows)
    text = report(rows, chosen.topology, NOTE)
    print(text, flush=True)
    if chosen.out is not None:
        atomic_write({chosen.out: text.encode()})
    if chosen.largest:
        found = largest(chosen.topology)
        print(found)
        if chosen.out is not None:
            atomic_write({chosen.out: (text + found).encode()})


def available() -> bool:
    """Whether libtpu is installed.

    Returns:
        True or False.
    """
    return importlib.util.find_spec("libtpu") is not None


def devices(topology: str) -> Any:
    """Descriptions of the chips of a slice, to compile for.

    Args:
        topology: its name.

    Returns:
        A list of devices.

    Raises:
        SystemExit: if libtpu is not installed.
    """
    if not available():
        raise SystemExit("libtpu is not installed: pip install hcl-jax[tpu] in a new environment")
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    import jax
    from jax.experimental import topologies

    jax.config.update("jax_platforms", "cpu")
    return topologies.get_topology_desc(platform="tpu", topology_name=topology).devices


def table(topology: str, rows: int) -> list[Row]:
    """All forms of the loss.

    Args:
        topology: of the slice.
        rows: of the global batch.

    Returns:
        One row for each.
    """
    chips = devices(topology)
    found = [
        compile_row("dense, 1 chip", 4096, _one_device("dense"), chips[:1], units=3),
        compile_row("dense, 1 chip", rows, _one_device("dense"), chips[:1], units=3),
        compile_row("blockwise, 1 chip", rows, _one_device("blockwise"), chips[:1], units=2),
        compile_row("pallas, 1 chip", rows, _one_device("pallas"), chips[:1], units=3),
    ]
    for exchange in ("gather", "ring"):
        function = _spread(exchange, chips)
        found.append(compile_row(f"{exchange}, {len(chips)} chips", rows, function, chips, units=3))
    return [*found, training_row(rows, chips)]


def compile_row(
    name: str, rows: int, function: Callable[..., Any], chips: Any, *, units: int, dim: int = DIM
) -> Row:
    """Compiles one function of embeddings and labels.

    Args:
        name: of the row.
        rows: of the global batch.
        function: a loss with its gradient.
        chips: the devices.
        units: multiplications of (rows, rows, dim) by the formula of
            `hcl_jax.losses._blockwise.loss`.
        dim: the number of features.

    Returns:
        What the compiler says.
    """
    import jax
    import jax.numpy as jnp
    from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(chips, ("devices",), axis_types=(AxisType.Auto,))
    where = NamedSharding(mesh, PartitionSpec("devices"))
    shapes = (
        jax.ShapeDtypeStruct((rows, dim), jnp.float32, sharding=where),
        jax.ShapeDtypeStruct((rows,), jnp.int32, sharding=where),
    )
    formula = units * 2.0 * rows**2 * dim / len(chips)
    return describe(name, rows, lambda: jax.jit(function).lower(*shapes), formula)


def training_row(rows: int, chips: Any) -> Row:
    """Compiles a whole training step, network and optimizer included, over all chips.

    Args:
        rows: of the global batch.
        chips: the devices.

    Returns:
        What the compiler says.
    """
    import jax
    import jax.numpy as jnp
    import optax
    from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

    from hcl_jax import data, networks, training
    from hcl_jax.collectives import over_axis
    from hcl_jax.training import Program

    program = Program(
        networks.mlp(64, DIM, depth=6, width=256),
        optax.adam(1e-3),
        rows // len(chips),
        collectives=over_axis("devices", exchange="ring"),
    )
    mesh = Mesh(chips, ("devices",), axis_types=(AxisType.Auto,))
    shared, own = PartitionSpec(), PartitionSpec("devices")
    step = jax.shard_map(
        functools.partial(training.train_step, program=program),
        mesh=mesh,
        in_specs=(shared, own, shared),
        out_specs=(shared, shared),
    )

    def placed(spec, tree):
        sharding = NamedSharding(mesh, spec)
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
        )

    state = jax.eval_shape(lambda: training.init_state(jax.random.key(0), program))
    hscl = jax.eval_shape(lambda: training.traced_objective(supervised=True, beta=5.0))
    batch = jax.eval_shape(lambda: data.Split(jnp.zeros((rows, 64)), jnp.zeros(rows, jnp.int32)))
    arguments = placed(shared, state), placed(own, batch), placed(shared, hscl)
    name = f"training step (MLP, ring), {len(chips)} chips"
    return describe(name, rows, lambda: jax.jit(step).lower(*arguments), None)


def describe(name: str, rows: int, lower: Callable[[], Any], formula: float | None) -> Row:
    """Compiles what `lower` lowers, and reads off what the compiler says.

    Args:
        name: of the row.
        rows: of the global batch.
        lower: lowers the program.
        formula: its multiplications on one device, where a formula tells.

    Returns:
        The row; a program that does not fit says how much it needs.
    """
    import jax

    begun = time.perf_counter()
    try:
        compiled = lower().compile()
    except jax.errors.JaxRuntimeError as error:
        reason = re.search(r"Used ([\d.]+[GMK]) of ([\d.]+[GMK]) hbm", str(error))
        why = f"no: needs {reason[1]} of {reason[2]}" if reason else "no"
        return Row(name, rows, why, seconds=time.perf_counter() - begun)
    memory, costs = compiled.memory_analysis(), compiled.cost_analysis() or {}
    text = compiled.as_text() or ""
    assert memory is not None
    return Row(
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


def report(rows: list[Row], topology: str, note: str) -> str:
    """A table in Markdown.

    Args:
        rows: of the table.
        topology: of the slice.
        note: what is compiled.

    Returns:
        Text.
    """
    from importlib import metadata

    import jax

    lines = [
        f"# Ahead-of-time compilation for TPU {topology}",
        "",
        f"{note} jax {jax.__version__}, jaxlib {metadata.version('jaxlib')}, libtpu "
        f"{metadata.version('libtpu')}. Numbers are of one device.",
        "",
        "| form | rows | compiles | temporaries, MiB | arguments, MiB | flop, by formula "
        "| flop, XLA (loop bodies once) | collectives | permutes | s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        numbers = [
            "" if size is None else f"{size / MIB:.1f}" for size in (row.temporaries, row.arguments)
        ]
        flops = ["" if f is None else f"{f:.2e}" for f in (row.formula, row.flops)]
        kinds = ", ".join(f"{n} {kind}" for kind, n in (row.collectives or {}).items())
        cells = [row.name, str(row.rows), row.compiles, *numbers, *flops, kinds, row.overlap]
        lines.append("| " + " | ".join([*cells, f"{row.seconds:.0f}"]) + " |")
    return "\n".join(lines) + "\n"


def largest(topology: str) -> str:
    """The largest powers of two of rows that compile on one chip and on all.

    Args:
        topology: of the slice.

    Returns:
        Two lines of Markdown.
    """
    chips = devices(topology)
    lines = [""]
    for name, function, some, units, first in (
        ("blockwise on one chip", _one_device("blockwise"), chips[:1], 2, 2**20),
        (f"ring on {len(chips)} chips", _spread("ring", chips), chips, 3, 2**22),
    ):
        rows, good = first, None
        while rows <= 2**27:
            row = compile_row(name, rows, function, some, units=units)
            if row.compiles != "yes":
                break
            good, rows = row, 2 * rows
        if good is None:
            lines.append(f"Largest for {name}: below {first} rows.")
        else:
            size = (good.temporaries or 0) / MIB
            lines.append(f"Largest for {name}: {good.rows} rows ({size:.0f} MiB of temporaries).")
    return "\n".join(lines) + "\n"


def _one_device(implementation):
    import jax

    from hcl_jax.objectives import hscl

    return jax.value_and_grad(functools.partial(hscl, beta=5.0, implementation=implementation))


def _spread(exchange, chips):
    import jax
    from jax.sharding import AxisType, Mesh, PartitionSpec

    from hcl_jax import parallel
    from hcl_jax.hardening import exponential

    def loss(z, labels):
        return parallel.objective(
            z,
            labels,
            axis_name="devices",
            supervised=True,
            hardening=exponential(5.0),
            exchange=exchange,
        )

    spec = PartitionSpec("devices")
    return jax.shard_map(
        jax.value_and_grad(loss),
        mesh=Mesh(chips, ("devices",), axis_types=(AxisType.Auto,)),
        in_specs=(spec, spec),
        out_specs=(PartitionSpec(), spec),
    )


if __name__ == "__main__":
    main()
