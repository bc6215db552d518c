"""What `scripts.benchmark_training` measures in PyTorch: the authors' recipe, and the best we know.

The recipe is float32, with images in PyTorch's own layout, a loop over anchors, and choices of
negatives by NumPy on the host. The best is channels last, `torch.compile` over network and loss,
the loss as matrices, a fused optimiser, and bfloat16 autocast where that is asked for.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from hcl_jax.data import CIFAR100
from hcl_jax.networks import Variables
from scripts.benchmarking.contenders import Contender
from scripts.benchmarking.losses_torch import exact_hscl, reference_loop
from scripts.benchmarking.resnets_torch import ResNet, take_weights
from scripts.benchmarking.training_jax import Recipe


def contenders(
    images: UInt8[np.ndarray, "n side side 3"],
    labels: Int[np.ndarray, " n"],
    variables: Variables,
    recipe: Recipe,
    dtypes: tuple[str, ...],
    device: str,
) -> list[Contender]:
    """Steps of training on one batch, optimiser included, all from the same initial weights.

    The compiled contenders are in each of the dtypes; the device is "cpu" or "cuda".
    """
    x = torch.tensor(images, device=device).permute(0, 3, 1, 2)
    y = torch.tensor(labels, device=device, dtype=torch.int64)
    loop = functools.partial(
        reference_loop, beta=recipe.beta, draws=recipe.draws, anchors=len(labels)
    )
    exact = functools.partial(exact_hscl, beta=recipe.beta)
    plain = functools.partial(_step, variables, recipe, x.contiguous(), y)
    last = functools.partial(_step, variables, recipe, x, y, channels_last=True, fused=True)
    found = [
        plain(f"torch, the authors' recipe, K = {recipe.draws}, float32", "sampled", loop),
        plain("torch, exact, eager, float32", "exact", exact),
    ]
    for dtype in dtypes:
        name = f"torch, exact, compiled, channels last, {dtype}"
        found.append(last(name, "exact", exact, compiled=True, dtype=dtype))
    return [*found, _convolution(len(labels), images.shape[1], recipe.width, device)]


def embed_batch(
    images: UInt8[np.ndarray, "n side side 3"], variables: Variables, recipe: Recipe, device: str
) -> Float[np.ndarray, "n dim"]:
    """The embeddings of a batch before the first step."""
    network = _network(variables, recipe, device)
    x = torch.tensor(images, device=device).permute(0, 3, 1, 2)
    with torch.no_grad():
        return _embed(network, x, _constants(device)).cpu().numpy()


def _network(variables: Variables, recipe: Recipe, device: str | torch.device) -> ResNet:
    network = ResNet(recipe.depth, "cifar", recipe.width, recipe.dim)
    take_weights(network, variables)
    return network.to(device).train()


def _constants(device: str | torch.device) -> list[Tensor]:
    """Means and standard deviations of the channels."""
    return [
        torch.tensor(values, device=device, dtype=torch.float32)[:, None, None]
        for values in CIFAR100.statistics
    ]


def _embed(network: ResNet, images: Tensor, constants: list[Tensor]) -> Tensor:
    mean, std = constants
    projections = network((images.float() / 255 - mean) / std)[1].float()
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
    compiled: bool = False,
    channels_last: bool = False,
    fused: bool = False,
    dtype: str = "float32",
) -> Contender:
    """A step of training, whose first call tells its loss and gradient norm."""
    network = _network(variables, recipe, x.device)
    if channels_last:
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=fused or None)
    constants = _constants(x.device)

    def forward(x: Tensor, y: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            z = _embed(network, x, constants)
        return loss_of(z, y)

    called = torch.compile(forward) if compiled else forward

    def run(wanted: bool) -> tuple[float, float] | None:
        optimizer.zero_grad(set_to_none=True)
        loss = called(x, y)
        loss.backward()
        optimizer.step()
        if x.is_cuda:
            torch.cuda.synchronize()
        if not wanted:
            return None
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients]))
        return float(loss.detach()), float(norm)

    return Contender(name, kind, run)


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
