"""Images per second of every augmentation, beside the training step that they must not bound.

    python -m scripts.benchmark_views [--seconds 60] [--out DIR]

For 512 images of 32 x 32 and 64 of 224 x 224 pixels: each augmentation alone, SimCLR's whole
pipeline, and forward and backward through the convolutions of a ResNet-18. These are timed on a
part of the batch (`--step-images`) and multiplied, since on a CPU the whole takes a minute. The
convolutions alone, without batch norm, shortcuts, loss and optimiser, are less than a training
step, so the shares shown are more than the shares in a step. All take turns, round by round.
Writes ``views.json`` with every single time and ``views.md`` with medians and quartiles.
"""

import dataclasses
import functools
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from hcl_jax import augmentation
from hcl_jax.augmentation import (
    color_jitter,
    gaussian_blur,
    grayscale,
    horizontal_flip,
    random_crop,
    random_resized_crop,
    simclr,
    standardize,
    to_unit_floats,
)
from hcl_jax.system.command_line import parsed
from hcl_jax.system.command_output import run_command
from hcl_jax.system.help_screen import Page
from scripts.benchmarking.contenders import take_turns, timed
from scripts.benchmarking.results import (
    MACHINE,
    Results,
    medians,
    origin,
    origin_line,
    quartiles,
    run_benchmark,
)
from scripts.runs import markdown

BATCHES = ((512, 32), (64, 224))
"""Images in a batch, and their height and width."""

STEP = "convolutions of a ResNet-18, forward and backward"
PIPELINE = "SimCLR, whole pipeline"

Images = UInt8[Array, "n side side 3"]


PAGE = Page(
    "python -m scripts.benchmark_views",
    "[options]",
    "Times SimCLR's views and the training step that they precede.",
    {"How long": ("rounds", "seconds", "step_images"), "Where": ("machine", "out")},
    "python -m scripts.benchmark_views --rounds 3 --out runs/benchmark",
)


@dataclasses.dataclass(frozen=True)
class ViewsBenchmark:
    """Time the views.

    Attributes:
        rounds: how often every contender takes its turn.
        seconds: after this long no new round begins at one batch (three are run at least).
        step_images: images of the batch that the convolutions are timed on; 0 is all of it.
        machine: how the results name the machine.
        out: the directory of the results.
    """

    rounds: int = 15
    seconds: float = 60.0
    step_images: int = 16
    machine: str = MACHINE
    out: Path = Path("benchmarks")


class CompiledProgram(NamedTuple):
    """A compiled program on a batch.

    Attributes:
        name: its name.
        run: computes and waits.
        compile_seconds: seconds that compiling took.
        instructions: number of HLO instructions.
        scale: factor from the part of the batch that is computed to the whole.
    """

    name: str
    run: Callable[[], Any]
    compile_seconds: float
    instructions: int
    scale: float = 1.0

    def turn(self) -> float:
        """Seconds of one call, of the whole batch."""
        return self.scale * timed(self.run)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    chosen = parsed(ViewsBenchmark, PAGE, arguments)
    return run_benchmark("views", chosen.out, lambda: measure(chosen), report)


def measure(chosen: ViewsBenchmark, batches: tuple[tuple[int, int], ...] = BATCHES) -> Results:
    """Settings, versions and raw times of batches (images, side), ready for JSON."""
    return {
        **origin(chosen),
        "device": str(jax.devices()[0]),
        "batches": [_measure_batch(chosen, batch, side) for batch, side in batches],
    }


def augmentations(side: int) -> dict[str, augmentation.Augmentation]:
    """What is timed on images of side x side pixels, by name."""
    large = side > 64
    strength = 1.0 if large else 0.5
    blurs = {"Gaussian blur": gaussian_blur(2 * (side // 20) + 1, probability=0.5)}
    return {
        "random resized crop": random_resized_crop(side),
        "padded random crop": random_crop(side),
        "horizontal flip": horizontal_flip(),
        "colour jitter": color_jitter(probability=0.8),
        "grayscale": grayscale(),
        **blurs,
        PIPELINE: simclr(side, strength=strength, blur=large),
    }


def _measure_batch(chosen: ViewsBenchmark, batch: int, side: int) -> dict[str, Any]:
    generator = np.random.default_rng(side)
    images = jnp.asarray(generator.integers(0, 256, (batch, side, side, 3)), jnp.uint8)
    programs = [_views(name, images, a) for name, a in augmentations(side).items()]
    programs.append(_pixels(images))
    part = images[: chosen.step_images or batch]
    programs.append(_step(part)._replace(scale=batch / len(part)))
    times = take_turns({p.name: p.turn for p in programs}, chosen.rounds, chosen.seconds)
    return {
        "batch": batch,
        "side": side,
        "contenders": [{**p._asdict(), "run": None, "seconds": times[p.name]} for p in programs],
    }


def _views(name: str, images: Images, chosen: augmentation.Augmentation) -> CompiledProgram:
    make = functools.partial(augmentation.views, augmentation=chosen, num_views=1)
    return _compiled(name, make, jax.random.key(0), to_unit_floats(images))


def _pixels(images: Images) -> CompiledProgram:
    def convert(images: Images) -> Float[Array, "n side side 3"]:
        return standardize(to_unit_floats(images), (0.49, 0.48, 0.45), (0.2, 0.2, 0.2))

    return _compiled("bytes to standardised floats", convert, images)


def _step(images: Images) -> CompiledProgram:
    weights = resnet18_kernels(jax.random.key(1), images.shape[1])

    def loss(weights: list[Array], images: Float[Array, "n side side 3"]) -> Float[Array, ""]:
        return jnp.mean(jnp.square(convolved(weights, images)))

    return _compiled(STEP, jax.value_and_grad(loss), weights, to_unit_floats(images) - 0.5)


def resnet18_kernels(key: jax.Array, side: int) -> list[Float[Array, "height width in out"]]:
    """The seventeen kernels of a ResNet-18's convolutions in order, without shortcuts.

    For images of more than 64 pixels a side the stem is ImageNet's 7 x 7, else CIFAR's 3 x 3. The
    variance of the kernels keeps activations at their scale.
    """
    stem = 7 if side > 64 else 3
    widths = [3] + [64] * 5 + [128] * 4 + [256] * 4 + [512] * 4
    shapes = [(stem, stem, 3, 64)] + [(3, 3, a, b) for a, b in itertools.pairwise(widths[1:])]
    keys = jax.random.split(key, len(shapes))
    return [
        jax.random.normal(k, s) * (2 / np.prod(s[:3])) ** 0.5
        for k, s in zip(keys, shapes, strict=True)
    ]


def convolved(
    weights: list[Float[Array, "height width in out"]], images: Float[Array, "n side side 3"]
) -> Float[Array, "n smaller smaller 512"]:
    """The convolutions of a ResNet-18, each with a ReLU, at its resolutions.

    The side of the feature maps is a 32nd of that of the images, or with CIFAR's stem an eighth.
    """
    large = weights[0].shape[0] == 7
    for number, kernel in enumerate(weights):
        widens = number > 1 and kernel.shape[2] != kernel.shape[3]
        stride = 2 if widens or (number == 0 and large) else 1
        images = jax.lax.conv_general_dilated(
            images, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        images = jax.nn.relu(images)
        if number == 0 and large:
            images = jax.lax.reduce_window(
                images, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), "SAME"
            )
    return images


def _compiled(name: str, function: Callable[..., Any], *arguments: Any) -> CompiledProgram:
    begun = time.perf_counter()
    program = jax.jit(function).lower(*arguments).compile()
    spent = time.perf_counter() - begun
    jax.block_until_ready(program(*arguments))
    instructions = sum(" = " in line for line in (program.as_text() or "").splitlines())
    return CompiledProgram(
        name, lambda: jax.block_until_ready(program(*arguments)), spent, instructions
    )


def report(results: Results) -> str:
    """A Markdown page with a table for each batch."""
    header = ["", "ms", "images/s", "share, %", "compile, s", "HLO instructions"]
    lines = [
        "# Views on the device",
        "",
        "`python -m scripts.benchmark_views`: " + origin_line(results, device=results["device"]),
        "One view of every image, float32. Milliseconds a batch: median [quartiles]. The share is "
        "that of the convolutions of a ResNet-18 (forward and backward, without batch norm, "
        "shortcuts, loss or optimiser), which is an upper bound of the share in a training step. "
        "`*`: timed on a part of the batch and multiplied.",
    ]
    for part in results["batches"]:
        times = medians(part["contenders"])
        lines += ["", f"## {part['batch']} images of {part['side']} x {part['side']} x 3", ""]
        rows = [
            [
                c["name"],
                quartiles(c["seconds"], digits=3, mark="*" if c["scale"] > 1 else ""),
                f"{part['batch'] / times[c['name']]:.3g}",
                f"{100 * times[c['name']] / times[STEP]:.2g}",
                f"{c['compile_seconds']:.1f}",
                str(c["instructions"]),
            ]
            for c in part["contenders"]
        ]
        lines += markdown.table(header, rows)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(run_command(main))
