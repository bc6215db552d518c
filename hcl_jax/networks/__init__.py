"""Networks as pure functions, and their heads."""

from hcl_jax.networks.heads import LINEAR, PAPER, Head
from hcl_jax.networks.model import Model, Outputs, Variables, pure
from hcl_jax.networks.residual import ARCHITECTURES, Architecture, Stem, resnet
from hcl_jax.networks.small import convnet, mlp

__all__ = [
    "ARCHITECTURES",
    "LINEAR",
    "PAPER",
    "Architecture",
    "Head",
    "Model",
    "Outputs",
    "Stem",
    "Variables",
    "convnet",
    "mlp",
    "pure",
    "resnet",
]
