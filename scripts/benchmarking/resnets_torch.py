"""PyTorch's residual networks, written after torchvision's description, with weights from here."""

import re
from typing import Any, Literal

import jax
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional


class Basic(nn.Module):
    """Two 3 x 3 convolutions."""

    expansion = 1

    def __init__(self, inplanes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = _downsample(inplanes, planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 with the stride, 1 x 1 four times as wide."""

    expansion = 4

    def __init__(self, inplanes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = _downsample(inplanes, 4 * planes, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        return functional.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def _downsample(inplanes: int, outplanes: int, stride: int) -> nn.Module:
    if stride == 1 and inplanes == outplanes:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(inplanes, outplanes, 1, stride, bias=False), nn.BatchNorm2d(outplanes)
    )


BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}
"""Blocks of each of the four layers, by the depth."""


class ResNet(nn.Module):
    """Stem, four layers, mean over the image, and the paper's head: features and projections."""

    def __init__(
        self, depth: Literal[18, 50], stem: Literal["cifar", "imagenet"], width: int, dim: int
    ) -> None:
        super().__init__()
        block = Basic if depth == 18 else Bottleneck
        size, stride = {"cifar": (3, 1), "imagenet": (7, 2)}[stem]
        self.conv1 = nn.Conv2d(3, width, size, stride, padding=size // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, padding=1) if stem == "imagenet" else nn.Identity()
        inplanes, self.layers = width, nn.ModuleList()
        for layer, count in enumerate(BLOCKS[depth]):
            planes = width * 2**layer
            for number in range(count):
                self.layers.append(block(inplanes, planes, 2 if layer and not number else 1))
                inplanes = planes * block.expansion
        self.head = nn.Sequential(
            nn.Linear(inplanes, 512, bias=False),
            nn.BatchNorm1d(512),
            nn.ReLU(),
            nn.Linear(512, dim),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.pool(functional.relu(self.bn1(self.conv1(x))))
        for block in self.layers:
            x = block(x)
        features = x.mean((2, 3))
        return features, self.head(features)


def torch_name(path: Any) -> str:
    """The name in PyTorch's `state_dict` of the leaf at a path of our variables."""
    name = jax.tree_util.keystr(path, simple=True, separator=".").replace(".layers", "")
    if found := re.fullmatch(r"encoder\.0\.(0|1)\.(\w+)", name):
        module = ("conv1", "bn1")[int(found[1])]
    elif found := re.fullmatch(r"encoder\.(\d+)\.branch\.(\d+)\.(\w+)", name):
        part = int(found[2])
        module = f"layers.{int(found[1]) - 1}.{'bn' if part % 3 else 'conv'}{part // 3 + 1}"
    elif found := re.fullmatch(r"encoder\.(\d+)\.shortcut\.(\d)\.(\w+)", name):
        module = f"layers.{int(found[1]) - 1}.downsample.{found[2]}"
    else:
        module = name.rsplit(".", 1)[0]
    kind = name.rsplit(".", 1)[1]
    names = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    return f"{module}.{names.get(kind, kind)}"


def as_torch(array: Any) -> torch.Tensor:
    """Kernels are (height, width, in, out) here and (out, in, height, width) there."""
    array = np.asarray(array)
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim)
    return torch.tensor(array if axes is None else array.transpose(axes))


def as_state_dict(tree: Any) -> dict[str, torch.Tensor]:
    """Parameters or batch statistics of a residual network as PyTorch names and shapes them."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {torch_name(path): as_torch(leaf) for path, leaf in leaves}


def take_weights(network: nn.Module, variables: Any) -> None:
    """Copies our weights and statistics into a network of the same architecture.

    Raises:
        RuntimeError: if a name or a shape differs between the two.
    """
    weights = {**as_state_dict(variables.params), **as_state_dict(variables.batch_stats)}
    missing, unexpected = network.load_state_dict(weights, strict=False)
    if unexpected or not all(name.endswith("num_batches_tracked") for name in missing):
        raise RuntimeError(f"the networks differ: {missing} missing, {unexpected} unexpected")
