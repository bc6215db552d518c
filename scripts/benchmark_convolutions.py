"""Times the convolutions of a network, forward and backward, beside XLA's and PyTorch's.

    python -m scripts.benchmark_convolutions [--networks resnet18 resnet50 convnet] [--batch 32]

needs ``pip install hcl-jax[benchmark]``. Of every convolution of the networks, found by tracing
them: the outputs, the gradient with respect to the maps and that with respect to the kernel, by
`hcl_jax.networks.convolutions`, by XLA's convolution alone in the order of axes that XLA is fast
for, outputs by a product of all windows too, and by PyTorch with channels last. All numbers must
agree before anything is timed; then all take turns, round by round. Both the wall time and the
processor time of all threads are kept, since the latter says more on a machine that others use.
Writes ``convolutions.json`` with every single time and ``convolutions.md`` with the least ones.
"""

import dataclasses
import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Array

from hcl_jax.networks import Model, convnet, resnet
from hcl_jax.networks import convolutions as ours
from hcl_jax.system.command_line import parsed
from hcl_jax.system.command_output import run_command
from hcl_jax.system.help_screen import Page
from scripts.benchmarking.contenders import TURN, DisagreementError, check_torch, say
from scripts.benchmarking.convolution_shapes import Shape, convolutions_of
from scripts.benchmarking.machine_load import cpu_times, share_of_others
from scripts.benchmarking.results import (
    MACHINE,
    Results,
    origin,
    origin_line,
    others_sentence,
    run_benchmark,
)
from scripts.runs import markdown

NetworkName = Literal["resnet18", "resnet50", "convnet"]

NETWORKS: Mapping[NetworkName, tuple[Callable[[], Model], int, int]] = {
    "resnet18": (functools.partial(resnet, 99, depth=18), 32, 3),
    "resnet50": (functools.partial(resnet, 99, depth=50), 32, 3),
    "convnet": (functools.partial(convnet, (28, 28, 1), 9, channels=(8, 16, 32)), 28, 1),
}
"""Networks, and side and channels of their images."""

ALLOWED = 1e-3
"""How far results may lie apart, relatively to the largest number: sums of up to 1e5 products."""

PASSES = ("forward", "by maps", "by kernel")


PAGE = Page(
    "python -m scripts.benchmark_convolutions",
    "[options]",
    "Times the convolutions of a network and their gradients beside XLA's and PyTorch's.",
    {"Options": ("networks", "batch", "rounds", "threads", "machine", "out")},
    "python -m scripts.benchmark_convolutions --networks convnet --rounds 3 --out runs/benchmark",
)


@dataclasses.dataclass(frozen=True)
class ConvolutionBenchmark:
    """Time convolutions and their gradients.

    Attributes:
        networks: whose convolutions.
        batch: images of a batch.
        rounds: how often every contender takes its turn.
        threads: threads of PyTorch; by default its own choice.
        machine: how the results name the machine.
        out: the directory of the results.
    """

    networks: tuple[NetworkName, ...] = ("resnet18", "resnet50", "convnet")
    batch: int = 32
    rounds: int = 5
    threads: int | None = None
    machine: str = MACHINE
    out: Path = Path("benchmarks")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    chosen = parsed(ConvolutionBenchmark, PAGE, arguments)
    return run_benchmark("convolutions", chosen.out, lambda: measure(chosen), report)


def measure(chosen: ConvolutionBenchmark) -> Results:
    """Settings, versions and the raw times of all contenders, ready for JSON.

    Raises:
        DisagreementError: if contenders do not agree.
    """
    check_torch()
    import torch

    if chosen.threads is not None:
        torch.set_num_threads(chosen.threads)
    results = origin(chosen)
    results["versions"]["torch"] = torch.__version__
    counts = {}
    for name in chosen.networks:
        make, side, channels = NETWORKS[name]
        counts[name] = convolutions_of(make(), chosen.batch, side, channels)
    before = cpu_times()
    shapes = [
        {
            "shape": str(shape),
            "gflop": shape.gflop,
            "counts": {name: counts[name][shape] for name in chosen.networks},
            "times": _times(shape, chosen.rounds),
        }
        for shape in dict.fromkeys(shape for found in counts.values() for shape in found)
    ]
    return {**results, "others": share_of_others(before, cpu_times()), "shapes": shapes}


def _times(shape: Shape, rounds: int) -> dict[str, dict[str, list[list[float]]]]:
    """Wall and processor seconds of every pass and contender, a pair for each round."""
    say(f"{shape}")
    calls = dict(_contenders(shape))
    times: dict[str, dict[str, list[list[float]]]] = {one: {} for one in PASSES}
    for _ in range(rounds):
        for (which, name), call in calls.items():
            times[which].setdefault(name, []).append(_turn(call))
    return times


def _turn(call: Callable[[], Any]) -> list[float]:
    """Wall and processor seconds of a call, the means over as many as fill a turn."""
    wall, processor, number = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < TURN:
        call()
        number += 1
    spent = time.perf_counter() - wall, time.process_time() - processor
    return [seconds / number for seconds in spent]


def _contenders(shape: Shape) -> Iterator[tuple[tuple[str, str], Callable[[], Any]]]:
    """Calls of every pass and contender, which agree.

    Raises:
        DisagreementError: if they do not.
    """
    keys = jax.random.split(jax.random.key(0), 3)
    sides = (shape.images, shape.side, shape.side)
    maps = jax.random.normal(keys[0], (*sides, shape.before))
    kernel = jax.random.normal(keys[1], (shape.size, shape.size, shape.before, shape.after))
    sides = (shape.images, shape.side_after, shape.side_after)
    out = jax.random.normal(keys[2], (*sides, shape.after))
    of_torch = _torch_passes(shape, *(np.asarray(x) for x in (maps, kernel, out)))
    for which, functions in _jax_passes(shape).items():
        expected = np.asarray(of_torch[which]())
        for name, function in functions.items():
            compiled = jax.jit(function).lower(maps, kernel, out).compile()
            found = np.asarray(compiled(maps, kernel, out))
            off = np.abs(found - expected).max() / np.abs(expected).max()
            if not off <= ALLOWED:
                raise DisagreementError(f"{shape}, {which}: {name} is off by {off:.1e}")
            call = functools.partial(compiled, maps, kernel, out)
            yield (which, name), lambda call=call: jax.block_until_ready(call())
        yield (which, "torch"), of_torch[which]


def _jax_passes(shape: Shape) -> dict[str, dict[str, Callable[[Array, Array, Array], Array]]]:
    """Functions of maps, kernel and cotangent of the outputs."""
    convolve = functools.partial(ours.convolve, stride=shape.stride, padding=shape.padding)
    gradient = functools.partial(_gradient, convolve)
    options = {"stride": shape.stride, "padding": shape.padding}
    return {
        "forward": {
            "ours": lambda maps, kernel, _: convolve(maps, kernel),
            "XLA": lambda maps, kernel, _: _of_xla(maps, kernel, **options),
            "windows": lambda maps, kernel, _: ours.product_of_windows(maps, kernel, **options),
        },
        "by maps": {"ours": functools.partial(gradient, 0)},
        "by kernel": {
            "ours": functools.partial(gradient, 1),
            "XLA": functools.partial(_kernel_gradient_of_xla, shape),
        },
    }


def _gradient(
    function: Callable[[Array, Array], Array], place: int, maps: Array, kernel: Array, out: Array
) -> Array:
    return jax.vjp(function, maps, kernel)[1](out)[place]


def _of_xla(maps: Array, kernel: Array, **options: Any) -> Array:
    strides = (options["stride"], options["stride"])
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        maps, kernel, strides, options["padding"], dimension_numbers=numbers
    )


def _kernel_gradient_of_xla(shape: Shape, maps: Array, _: Array, out: Array) -> Array:
    """A convolution of the maps with the dilated cotangent, channels in the place of images."""
    dilated = (shape.side_after - 1) * shape.stride + 1
    before = shape.padding[0][0]
    after = shape.size - 1 - shape.side - before + dilated
    gradient = jax.lax.conv_general_dilated(
        maps.transpose(3, 1, 2, 0),
        out.transpose(1, 2, 0, 3),
        (1, 1),
        ((before, after), (before, after)),
        rhs_dilation=(shape.stride, shape.stride),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return gradient.transpose(1, 2, 0, 3)


def _torch_passes(
    shape: Shape, maps: np.ndarray, kernel: np.ndarray, out: np.ndarray
) -> dict[str, Callable[[], Any]]:
    """PyTorch's passes, whose results have our order of axes."""
    import torch

    x, g = (torch.tensor(array).permute(0, 3, 1, 2) for array in (maps, out))
    k = torch.tensor(kernel).permute(3, 2, 0, 1)
    k = k.contiguous(memory_format=torch.channels_last)
    stride, zeros = [shape.stride] * 2, [shape.size // 2] * 2

    def backward(place: int) -> Any:
        wanted = [place == number for number in range(3)]
        return torch.ops.aten.convolution_backward(
            g, x, k, None, stride, zeros, [1, 1], False, [0, 0], 1, wanted
        )[place]

    return {
        "forward": lambda: torch.conv2d(x, k, None, stride, zeros).permute(0, 2, 3, 1),
        "by maps": lambda: backward(0).permute(0, 2, 3, 1),
        "by kernel": lambda: backward(1).permute(2, 3, 1, 0),
    }


def report(results: Results) -> str:
    """A Markdown page with the tables."""
    settings = results["settings"]
    lines = [
        "# Convolutions beside XLA and PyTorch",
        "",
        f"`python -m scripts.benchmark_convolutions`: {origin_line(results, device='cpu')}",
        f"Batches of {settings['batch']} images, float32. Least milliseconds of "
        f"{settings['rounds']} rounds, on the wall and (in brackets) of all threads together."
        f"{others_sentence(results['others'])}",
    ]
    names = {which: list(results["shapes"][0]["times"][which]) for which in PASSES}
    columns = [(which, name) for which in PASSES for name in names[which]]
    header = ["convolution", "GFLOP", *(f"{which}: {name}" for which, name in columns)]
    rows = [
        [
            shape["shape"],
            f"{shape['gflop']:.3g}",
            *(_cell(*_least(shape["times"][which][name])) for which, name in columns),
        ]
        for shape in results["shapes"]
    ]
    for network in settings["networks"]:
        counts = [shape["counts"][network] for shape in results["shapes"]]
        sums = []
        for which, name in columns:
            least = [_least(shape["times"][which][name]) for shape in results["shapes"]]
            sums.append(_cell(*np.array(counts) @ np.array(least)))
        gflop = sum(n * shape["gflop"] for n, shape in zip(counts, results["shapes"], strict=True))
        rows.append([f"all {sum(counts)} of {network}", f"{gflop:.3g}", *sums])
    return "\n".join([*lines, "", *markdown.table(header, rows)]) + "\n"


def _least(times: Sequence[Sequence[float]]) -> tuple[float, float]:
    wall, processor = zip(*times, strict=True)
    return min(wall), min(processor)


def _cell(wall: float, processor: float) -> str:
    return f"{1e3 * wall:.3g} ({1e3 * processor:.3g})"


if __name__ == "__main__":
    sys.exit(run_command(main))
