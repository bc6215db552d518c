"""The small networks in PyTorch, with the layers in the order that ours have them."""

import itertools

from torch import Tensor, nn


class SmallNetwork(nn.Module):
    """An encoder and a linear head: features and projections."""

    def __init__(self, encoder: nn.Sequential, features: int, dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Sequential(nn.Linear(features, dim))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(x)
        return features, self.head(features)


class MeanOverImage(nn.Module):
    """The mean over the pixels."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.mean((2, 3))


def mlp(inputs: int, dim: int, *, depth: int, width: int) -> SmallNetwork:
    """Linear layers with ReLU, as `hcl_jax.networks.mlp`."""
    widths = [inputs] + [width] * depth
    layers = [
        layer
        for before, after in itertools.pairwise(widths)
        for layer in (nn.Linear(before, after), nn.ReLU())
    ]
    return SmallNetwork(nn.Sequential(*layers), width, dim)


def convnet(image_channels: int, dim: int, *, channels: tuple[int, ...]) -> SmallNetwork:
    """Convolutions with batch norm and ReLU, as `hcl_jax.networks.convnet`."""
    layers: list[nn.Module] = []
    for number, (before, after) in enumerate(itertools.pairwise((image_channels, *channels))):
        stride = 1 if number == 0 else 2
        layers += [
            nn.Conv2d(before, after, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    return SmallNetwork(nn.Sequential(*layers, MeanOverImage()), channels[-1], dim)
