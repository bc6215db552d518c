"""Networks as pure functions, and their heads."""

from hcl_jax.networks.heads import LINEAR, PAPER, Head, LinearInit
from hcl_jax.networks.model import Apply, Model, Network, Outputs, Variables, pure
from hcl_jax.networks.residual import Stem, resnet
from hcl_jax.networks.small import convnet, mlp

__all__ = [
    "LINEAR",
    "PAPER",
    "Apply",
    "Head",
    "LinearInit",
    "Model",
    "Network",
    "Outputs",
    "Stem",
    "Variables",
    "convnet",
    "mlp",
    "pure",
    "resnet",
]


def __dir__() -> list[str]:
    return __all__
