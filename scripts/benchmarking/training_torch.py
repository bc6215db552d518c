"""What `scripts.benchmark_training` measures in PyTorch: the authors' recipe, and the best we know.

The recipe is float32, with images in PyTorch's own layout, a loop over anchors, and choices of
negatives by NumPy on the host. The best is channels last, `torch.compile` over network and loss,
the loss as matrices, a fused optimiser, and bfloat16 autocast where that is asked for.
"""

import functools
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from hcl_jax.data import CIFAR100
from hcl_jax.networks import Variables
from scripts.benchmarking.contenders import Contender
from scripts.benchmarking.losses_torch import exact_hscl, reference_loop
from scripts.benchmarking.resnets_torch import ResNet, take_weights
from scripts.benchmarking.training_jax import Recipe


def contenders(
    images: np.ndarray,
    labels: np.ndarray,
    variables: Variables,
    recipe: Recipe,
    dtypes: tuple[str, ...],
    device: str,
) -> list[Contender]:
    """Steps of training, optimiser included, all from the same weights.

    Args:
        images: uint8, of one batch.
        labels: their classes.
        variables: the initial weights.
        recipe: what is trained.
        dtypes: of the compiled contenders.
        device: "cpu" or "cuda".

    Returns:
        The contenders.
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


def embedded(images: np.ndarray, variables: Variables, recipe: Recipe, device: str) -> np.ndarray:
    """The embeddings of a batch before the first step.

    Args:
        images: uint8.
        variables: the initial weights.
        recipe: which network.
        device: "cpu" or "cuda".

    Returns:
        Embeddings (batch, dim).
    """
    network = _network(variables, recipe, device)
    x = torch.tensor(images, device=device).permute(0, 3, 1, 2)
    with torch.no_grad():
        return _embed(network, x, _constants(device)).cpu().numpy()


def _network(variables, recipe, device):
    network = ResNet(recipe.depth, "cifar", recipe.width, recipe.dim)
    take_weights(network, variables)
    return network.to(device).train()


def _constants(device):
    return [
        torch.tensor(values, device=device, dtype=torch.float32)[:, None, None]
        for values in CIFAR100.statistics
    ]


def _embed(network, images, constants):
    mean, std = constants
    projections = network((images.float() / 255 - mean) / std)[1].float()
    norms = torch.linalg.vector_norm(projections, dim=1, keepdim=True)
    return projections / torch.clamp(norms, min=1.0)


def _step(
    variables,
    recipe,
    x,
    y,
    name,
    kind,
    loss_of,
    *,
    compiled=False,
    channels_last=False,
    fused=False,
    dtype="float32",
):
    network = _network(variables, recipe, x.device)
    if channels_last:
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, fused=fused or None)
    constants = _constants(x.device)

    def forward(x, y):
        with torch.autocast(x.device.type, torch.bfloat16, enabled=dtype == "bfloat16"):
            z = _embed(network, x, constants)
        return loss_of(z, y)

    called = torch.compile(forward) if compiled else forward

    def run(wanted):
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
