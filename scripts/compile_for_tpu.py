"""Compiles the loss for TPUs ahead of time, on a machine without one, and prints what it needs.

    python -m scripts.compile_for_tpu [--topology v5e:2x4] [--out benchmarks/tpu.md]

runs in an environment of its own (``python -m venv tpu``, then
``tpu/bin/pip install -e .[scripts,tpu]``), since libtpu and a GPU build of JAX do not go together.
XLA counts the body of a loop once, so the table gives the multiplications by formula beside XLA's
count.
"""

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from hcl_jax.system.atomic_files import atomic_write
from hcl_jax.system.command_line import parsed
from hcl_jax.system.command_output import run_command
from hcl_jax.system.help_screen import Page
from scripts.benchmarking.tpu_compilation import (
    MIB,
    Compilation,
    compile_lowered,
    report,
    tpu_devices,
)
from scripts.runs.exit_status import run_job

DIM = 128
NOTE = f"HSCL, beta = 5, float32, {DIM} features, forward and backward."


PAGE = Page(
    "python -m scripts.compile_for_tpu",
    "[options]",
    "Compiles all forms of the loss for a slice of TPUs, without one, and shows their memory.",
    {"Options": ("topology", "rows", "largest", "out")},
    "python -m scripts.compile_for_tpu --rows 16384 --no-largest",
)


@dataclasses.dataclass(frozen=True)
class CompileForTpu:
    """Compile for TPUs.

    Attributes:
        topology: topology of the slice; it must have 8 chips.
        rows: rows of the global batch, in the rows of the table.
        largest: whether to search the largest batches that compile.
        out: a file for the table as well.
    """

    topology: str = "v5e:2x4"
    rows: int = 131072
    largest: bool = True
    out: Path | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    settings = parsed(CompileForTpu, PAGE, arguments)
    return run_job(lambda: compile_for_tpu(settings), settings.out or Path("."))


def compile_for_tpu(settings: CompileForTpu) -> None:
    """Prints, and perhaps writes, the table and the largest batches."""
    chips = tpu_devices(settings.topology)
    text = report(all_forms(settings.rows, chips), settings.topology, NOTE)
    print(text, flush=True)
    if settings.out is not None:
        atomic_write({settings.out: text.encode()})
    if settings.largest:
        sentences = largest_batches(chips)
        print(sentences)
        if settings.out is not None:
            atomic_write({settings.out: (text + sentences).encode()})


def all_forms(rows: int, chips: Sequence[Any]) -> list[Compilation]:
    """Compiles all forms of the loss, and a step of training."""
    one = chips[:1]
    forms = [
        compile_loss("dense, 1 chip", 4096, loss_on_one_device("dense"), one, units=3),
        compile_loss("dense, 1 chip", rows, loss_on_one_device("dense"), one, units=3),
        compile_loss("blockwise, 1 chip", rows, loss_on_one_device("blockwise"), one, units=2),
        compile_loss("pallas, 1 chip", rows, loss_on_one_device("pallas"), one, units=3),
    ]
    exchanges: tuple[Literal["gather", "ring"], ...] = ("gather", "ring")
    for exchange in exchanges:
        loss = loss_over_devices(exchange, chips)
        forms.append(compile_loss(f"{exchange}, {len(chips)} chips", rows, loss, chips, units=3))
    return [*forms, compile_training_step(rows, chips)]


def compile_loss(
    name: str, rows: int, loss: Callable[..., Any], chips: Sequence[Any], *, units: int
) -> Compilation:
    """Compiles a loss with its gradient, as a function of embeddings and labels.

    By the formula of `hcl_jax.losses` it takes `units` multiplications of (rows, rows, DIM).
    """
    import jax
    import jax.numpy as jnp
    from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

    mesh = Mesh(chips, ("devices",), axis_types=(AxisType.Auto,))
    sharding = NamedSharding(mesh, PartitionSpec("devices"))
    shapes = (
        jax.ShapeDtypeStruct((rows, DIM), jnp.float32, sharding=sharding),
        jax.ShapeDtypeStruct((rows,), jnp.int32, sharding=sharding),
    )
    formula = units * 2.0 * rows**2 * DIM / len(chips)
    return compile_lowered(name, rows, lambda: jax.jit(loss).lower(*shapes), formula=formula)


def compile_training_step(rows: int, chips: Sequence[Any]) -> Compilation:
    """Compiles a whole training step, network and optimizer included, over all chips."""
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

    def sharded(spec: PartitionSpec, tree: Any) -> Any:
        sharding = NamedSharding(mesh, spec)
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
        )

    state = jax.eval_shape(lambda: training.init_state(jax.random.key(0), program))
    objective = jax.eval_shape(lambda: training.traced_objective(supervised=True, beta=5.0))
    batch = jax.eval_shape(lambda: data.Split(jnp.zeros((rows, 64)), jnp.zeros(rows, jnp.int32)))
    arguments = sharded(shared, state), sharded(own, batch), sharded(shared, objective)
    name = f"training step (MLP, ring), {len(chips)} chips"
    return compile_lowered(name, rows, lambda: jax.jit(step).lower(*arguments))


def largest_batches(chips: Sequence[Any]) -> str:
    """Two sentences: the largest powers of two of rows that compile on one chip and on all."""
    searches = (
        ("blockwise on one chip", loss_on_one_device("blockwise"), chips[:1], 2, 2**20),
        (f"ring on {len(chips)} chips", loss_over_devices("ring", chips), chips, 3, 2**22),
    )
    lines = [""]
    for name, loss, some, units, first in searches:
        rows, largest = first, None
        while rows <= 2**27:
            compilation = compile_loss(name, rows, loss, some, units=units)
            if compilation.compiles != "yes":
                break
            largest, rows = compilation, 2 * rows
        if largest is None:
            lines.append(f"Largest for {name}: below {first} rows.")
        else:
            size = (largest.temporaries or 0) / MIB
            lines.append(
                f"Largest for {name}: {largest.rows} rows ({size:.0f} MiB of temporaries)."
            )
    return "\n".join(lines) + "\n"


def loss_on_one_device(
    implementation: Literal["dense", "blockwise", "pallas"],
) -> Callable[..., Any]:
    """HSCL and its gradient on one device."""
    import jax

    from hcl_jax.objectives import hscl

    return jax.value_and_grad(functools.partial(hscl, beta=5.0, implementation=implementation))


def loss_over_devices(
    exchange: Literal["gather", "ring"], chips: Sequence[Any]
) -> Callable[..., Any]:
    """HSCL and its gradient, with the rows of a batch on all chips."""
    import jax
    from jax.sharding import AxisType, Mesh, PartitionSpec

    from hcl_jax import parallel
    from hcl_jax.hardening import exponential

    def loss(z: Any, labels: Any) -> Any:
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
    sys.exit(run_command(main))
