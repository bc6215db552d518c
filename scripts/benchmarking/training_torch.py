"""What `scripts.benchmark_training` measures in PyTorch: the authors' recipe, and the best we know.

The recipe is float32, with images in PyTorch's own layout, a loop over anchors, and choices of
negatives by NumPy on the host. The best is channels last, `torch.compile` over network and loss,
the loss as matrices, a fused optimiser, and bfloat16 autocast where that is asked for. On CPUs
every number of threads is tried that may be the best, and the fastest stays. On GPUs cuDNN tries
its convolutions, factors of float32 are rounded to TF32, as JAX rounds them, small networks are
replayed as CUDA graphs too, and the host waits once in as many exact steps as our epochs have.
"""

import functools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from hcl_jax.networks import Variables
from scripts.benchmarking import small_networks_torch as small
from scripts.benchmarking.contenders import Contender, say
from scripts.benchmarking.losses_torch import allow_tf32, exact_hscl, reference_loop
from scripts.benchmarking.resnets_torch import ResNet, take_weights
from scripts.benchmarking.training_cases import Images, Recipe

TRIED = 3
"""Turns by which the number of threads is chosen."""


def contenders(
    images: Images,
    labels: Int[np.ndarray, " n"],
    variables: Variables,
    recipe: Recipe,
    dtypes: tuple[str, ...],
    device: str,
    *,
    whole: bool,
) -> tuple[list[Contender], dict[str, int]]:
    """Steps of training on one batch, optimiser included, all from the same initial weights.

    The compiled contenders are in each of the dtypes; the device is "cpu" or "cuda". The `whole`
    list has the authors' recipe and a convolution too. The second result has the numbers of threads
    with which they run, by name. The first step of the first contender, with which all others are
    compared, does not round factors.
    """
    torch.compiler.reset()  # what is compiled anew too often, PyTorch runs uncompiled
    torch.backends.cudnn.benchmark = True
    allow_tf32(False)
    x = torch.tensor(images, device=device)
    x = x.permute(0, 3, 1, 2) if x.ndim == 4 else x
    y = torch.tensor(labels, device=device, dtype=torch.int64)
    loop = functools.partial(
        reference_loop, beta=recipe.beta, draws=recipe.draws, anchors=len(labels)
    )
    exact = functools.partial(exact_hscl, beta=recipe.beta)
    plain = functools.partial(_step, variables, recipe, x.contiguous(), y)
    last = functools.partial(_step, variables, recipe, x, y, channels_last=True, fused=True)
    counts = _thread_counts(device)
    found = [_fastest(functools.partial(plain, EAGER, "exact", exact), counts)]
    allow_tf32(True)
    if whole:
        name = f"torch, the authors' recipe, K = {recipe.draws}, float32"
        found.append(_fastest(functools.partial(plain, name, "sampled", loop), counts))
    # To compile a residual network takes a minute, and it has work for all cores.
    counts = (found[0][1],) if recipe.is_residual else counts
    for dtype in dtypes:
        name = f"torch, exact, compiled, channels last, {dtype}"
        step = functools.partial(last, name, "exact", exact, mode="default", dtype=dtype)
        found.append(_fastest(step, counts))
    if device == "cuda" and not recipe.is_residual:
        name = "torch, exact, compiled, CUDA graphs, channels last, float32"
        step = functools.partial(last, name, "exact", exact, mode="reduce-overhead")
        found.append(_fastest(step, counts))
    steps = [step for step, _ in found]
    threads = {step.name: count for step, count in found if count is not None}
    parts = [_convolution(len(labels), images.shape[1], recipe.width, device)] if whole else []
    return [*steps, *parts], threads


EAGER = "torch, exact, eager, float32"
"""The contender that all others of the exact estimator must agree with."""


def _thread_counts(device: str) -> tuple[int | None, ...]:
    """Numbers of threads to try: one, and as many as there are cores; None leaves it alone."""
    if device != "cpu":
        return (None,)
    usable = getattr(os, "sched_getaffinity", None)
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    return tuple(sorted({1, cores}))


def _fastest(
    make: Callable[..., Contender], counts: tuple[int | None, ...]
) -> tuple[Contender, int | None]:
    """The contender with the number of threads that is fastest, and this number."""
    tried = [make(threads=count) for count in counts]
    for contender, count in zip(tried, counts, strict=True):
        say(f"begins {contender.name}{'' if count is None else f', threads: {count}'}")
        contender.run(False)
    if len(tried) == 1:
        return tried[0], counts[0]
    seconds = [min(contender.turn() for _ in range(TRIED)) for contender in tried]
    best = int(np.argmin(seconds))
    return tried[best], counts[best]


def embed_batch(
    images: Images, variables: Variables, recipe: Recipe, device: str
) -> Float[np.ndarray, "n dim"]:
    """The embeddings of a batch before the first step."""
    network = _network(variables, recipe, device)
    x = torch.tensor(images, device=device).permute(0, 3, 1, 2)
    with torch.no_grad():
        return _embed(network, x, _constants(recipe, device)).cpu().numpy()


def _network(variables: Variables, recipe: Recipe, device: str | torch.device) -> nn.Module:
    if recipe.network == "mlp":
        network = small.mlp(recipe.image_shape[0], recipe.dim, depth=6, width=256)
    elif recipe.network == "convnet":
        network = small.convnet(recipe.image_shape[2], recipe.dim, channels=(8, 16, 32))
    else:
        network = ResNet(recipe.depth, "cifar", recipe.width, recipe.dim)
    take_weights(network, variables)
    return network.to(device).train()


def _constants(recipe: Recipe, device: str | torch.device) -> list[Tensor] | None:
    """Means and standard deviations of the channels; None for vectors."""
    if recipe.statistics is None:
        return None
    return [
        torch.tensor(values, device=device, dtype=torch.float32)[:, None, None]
        for values in recipe.statistics
    ]


def _embed(network: nn.Module, images: Tensor, constants: list[Tensor] | None) -> Tensor:
    if constants is not None:
        mean, std = constants
        images = (images.float() / 255 - mean) / std
    projections = network(images)[1].float()
    norms = torch.linalg.vector_norm(projections, dim=1, keepdim=True)
    return projections / torch.clamp(norms, min=1.0)


def _step(
    variables: Variables,
    recipe: Recipe,
    x: Tensor,
    y: Tensor,
    name: str,
    kind: str,
    loss_of: Callable[[Tensor, Tensor], Tensor],
    *,
    mode: str | None = None,
    channels_last: bool = False,
    fused: bool = False,
    dtype: str = "float32",
    threads: int | None = None,
) -> Contender:
    """A step of training with so many threads, which tells loss and gradient norm of its first.

    It is compiled if a mode of `torch.compile` is named.
    """
    network = _network(variables, recipe, x.device)
    if channels_last:
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=fused or None)
    constants = _constants(recipe, x.device)

    def forward(x: Tensor, y: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            z = _embed(network, x, constants)
        return loss_of(z, y)

    called = forward if mode is None else torch.compile(forward, mode=mode)

    first: list[tuple[float, float]] = []

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss = called(x, y)
        loss.backward()
        if not first:
            gradients = [p.grad for p in network.parameters() if p.grad is not None]
            norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients]))
            first.append((float(loss.detach()), float(norm)))
        optimizer.step()

    queued = recipe.steps if x.is_cuda and kind == "exact" else 1

    def run(wanted: bool) -> tuple[float, float] | None:
        if threads is not None:
            torch.set_num_threads(threads)
        for _ in range(queued):
            step()
        if x.is_cuda:
            torch.cuda.synchronize()
        return first[0] if wanted else None

    return Contender(name, kind, run, scale=1 / queued)


def _convolution(batch: int, size: int, width: int, device: str) -> Contender:
    maps = torch.randn(batch, width, size, size, device=device)
    maps = maps.to(memory_format=torch.channels_last).requires_grad_()
    kernel = torch.randn(width, width, 3, 3, device=device, requires_grad=True)

    def run(wanted: bool) -> Any:
        loss = functional.conv2d(maps, kernel, padding=1).square().sum()
        torch.autograd.grad(loss, (maps, kernel))
        if maps.is_cuda:
            torch.cuda.synchronize()

    return Contender("part: 3 x 3 convolution, torch", "part", run)
