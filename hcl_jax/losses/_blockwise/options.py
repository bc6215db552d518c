"""What is fixed when a loss is traced."""

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import lax
from jax.lax import PrecisionLike
from jaxtyping import Array, Float


class Kernels(NamedTuple):
    """The two passes over negatives, where `hcl_jax.losses._blockwise.pallas` has them and not XLA.

    Attributes:
        sums: `hcl_jax.losses._blockwise.pallas.forward.negative_sums`.
        vjp: `hcl_jax.losses._blockwise.pallas.backward.vjp_negatives`.
    """

    sums: Callable[..., Any]
    vjp: Callable[..., Float[Array, "n dim"]]


class TileOptions(NamedTuple):
    """How tiles are computed.

    Attributes:
        detached: whether eta takes similarities as constants.
        precision: precision of the matrix multiplications.
        block: rows in a tile, or None for `hcl_jax.losses._blockwise.tiles.tile_length`.
        kernels: what goes over the tiles of negatives, or None for loops of XLA.
        statistics: whether losses come with statistics of their pairs.
    """

    detached: bool = True
    precision: PrecisionLike = lax.Precision.HIGHEST
    block: int | None = None
    kernels: Kernels | None = None
    statistics: bool = False
