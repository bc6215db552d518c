r"""The gradient with respect to the hyperparameters of psi and hardening: temperature, beta, ..

In the words of `hcl_jax.losses._blockwise.loss`, a hyperparameter theta enters ``L_i = sum_p
link(m_i - s_ip / t)`` through ``log eta``, the temperature t and the link. Similarities do not
depend on it:

    d L_i / d theta = R_i sum_j [ u_ij d k_ij / d theta - w_ij d log eta(s_ij) / d theta ]
                      + sum_p d link(m_i - s_ip / t) / d theta           (m_i held),

a sum over the tiles of negatives (`of_negatives`) and one over the band of positives
(`of_positives`). The softmax weights u and w follow from the row statistics a, b and R that the
forward pass leaves, as those of the gradient of the embeddings do; nothing else is kept.

**The temperature alone** needs no pass where eta takes similarities as constants, or is one. The
loss then depends on s and t through ``s / t`` only, and by the chain rule

    d L / d t = -(1 / t) sum_ij G_ij s_ij = -(1 / t) sum_i x_i . (G Y)_i
              = -(1 / t) sum_j y_j . (G^T X)_j,

inner products of embeddings with their gradients, which are known (`sum_of_products`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.lax import PrecisionLike
from jaxtyping import Array, Bool, Float

from hcl_jax.losses._blockwise.block import AnchorTerms, RowBlock, along, negative_mask
from hcl_jax.losses._blockwise.gradients import WeightedRows, all_tiles
from hcl_jax.losses._blockwise.options import TileOptions
from hcl_jax.losses._blockwise.positives import over_positives
from hcl_jax.losses._blockwise.tiles import Index, block_of, fold
from hcl_jax.losses._chosen_leaves import (
    Values,
    added,
    as_cotangents,
    chosen_leaves,
    no_gradients,
    with_leaves,
)
from hcl_jax.losses._derivatives import Embeddings
from hcl_jax.losses.tilted_infonce import TiltedInfoNCE
from hcl_jax.padding import varying_like
from hcl_jax.precision import inner_products


class Differentiated(NamedTuple):
    """Which hyperparameters of a loss are differentiated with respect to.

    Attributes:
        infonce: all of them.
        wanted: whether each leaf of `infonce` is, in the order of its leaves.
    """

    infonce: TiltedInfoNCE
    wanted: tuple[bool, ...]

    def values(self) -> Values:
        """The hyperparameters."""
        return chosen_leaves(self.infonce, self.wanted)

    def rebuilt(self, values: Values) -> TiltedInfoNCE:
        """The loss with these values in their places."""
        return with_leaves(self.infonce, self.wanted, values)

    def cotangents(self, gradients: Values) -> TiltedInfoNCE:
        """Gradients in the places of the hyperparameters, and None in those of others."""
        return as_cotangents(self.infonce, self.wanted, gradients)

    def of(self, field: str) -> "Differentiated":
        """Those of one field of `infonce` alone."""
        in_field = [
            name == field
            for name, part in self.infonce._asdict().items()
            for _ in jax.tree.leaves(part)
        ]
        chosen = tuple(is_ and here for is_, here in zip(self.wanted, in_field, strict=True))
        return Differentiated(self.infonce, chosen)

    def without(self, other: "Differentiated") -> "Differentiated":
        """Those that are not among others."""
        pairs = zip(self.wanted, other.wanted, strict=True)
        return Differentiated(self.infonce, tuple(is_ and not taken for is_, taken in pairs))


def hyperparameter_gradients(
    chosen: Differentiated,
    detached: bool,
    *,
    of_negatives: Callable[[Differentiated], Values],
    of_positives: Callable[[Differentiated], Values],
    products: Callable[[], Float[Array, ""]],
) -> TiltedInfoNCE:
    """The gradients with respect to all hyperparameters; passes that nothing needs are not made.

    `products` is ``sum_ij G_ij s_ij``.
    """
    infonce, found = chosen.infonce, {}

    def add(part: Differentiated, gradients: Values) -> None:
        places = [k for k, is_ in enumerate(part.wanted) if is_]
        for place, gradient in zip(places, gradients, strict=True):
            found[place] = found.get(place, 0) + gradient

    temperature = chosen.of("temperature")
    if any(temperature.wanted) and (detached or infonce.has_no_hardening):
        total = products()
        add(temperature, [-total / jnp.asarray(infonce.temperature, total.dtype)])
        chosen = chosen.without(temperature)
    for_negatives = chosen.without(chosen.of("link")).without(chosen.of("lower"))
    for_positives = chosen.without(chosen.of("log_factor"))
    if any(for_negatives.wanted):
        add(for_negatives, of_negatives(for_negatives))
    if any(for_positives.wanted):
        add(for_positives, of_positives(for_positives))
    every = Differentiated(infonce, tuple(k in found for k in range(len(chosen.wanted))))
    return every.cotangents([found[place] for place in sorted(found)])


def empty(chosen: Differentiated, like: Any) -> Values:
    """Sums of gradients before the first tile, in at least the dtype of `like`."""
    return varying_like(no_gradients(chosen.values(), jax.tree.leaves(like)[0]), like)


def hyperparameters_of_negatives(
    chosen: Differentiated,
    anchors: WeightedRows,
    candidates: RowBlock,
    blocks: tuple[int, int],
    options: TileOptions,
) -> Values:
    """The part of the negatives among some candidates, both in whole blocks."""

    def step(total: Values, i: Index, j: Index) -> Values:
        (x, c), y = block_of(anchors, i, blocks[0]), block_of(candidates, j, blocks[1])
        similarities = inner_products(x.features, y.features, options.precision)
        where = negative_mask(x, y, similarities)

        def exponents(values: Values) -> tuple[Float[Array, "n m"], Float[Array, "n m"]]:
            infonce = chosen.rebuilt(values)
            return infonce.log_tilted(similarities), infonce.log_factor(similarities)

        (tilted, plain), vjp = jax.vjp(exponents, chosen.values())
        of_tilted = _softmax(c.tilted, tilted, c.tilted_shift, where)
        of_plain = _softmax(c.plain, plain, c.plain_shift, where)
        return added(total, vjp((of_tilted, -of_plain))[0])

    tiles = all_tiles(anchors[0], candidates, blocks)
    start = empty(chosen, (anchors[1], candidates.features))
    return fold(step, start, tiles, like=(anchors, candidates))


def hyperparameters_of_positives(
    chosen: Differentiated,
    anchors: tuple[RowBlock, AnchorTerms],
    candidates: RowBlock,
    precision: PrecisionLike,
) -> Values:
    """The part of the positives among some candidates."""

    def add(
        total: Values,
        similarities: Float[Array, "blocks n m"],
        match: Bool[Array, "blocks n m"],
        terms: AnchorTerms,
    ) -> Values:
        offset, number = along(terms.offset, 0), along(jnp.maximum(terms.number, 1), 0)

        def losses(values: Values) -> Float[Array, "blocks n m"]:
            infonce = chosen.rebuilt(values)
            scaled = similarities / jnp.asarray(infonce.temperature, similarities.dtype)
            return infonce.pair_loss(offset, scaled, number)

        _, vjp = jax.vjp(losses, chosen.values())
        return added(total, vjp(jnp.where(match, along(terms.weight, 0), 0))[0])

    return over_positives(add, empty(chosen, anchors[1].offset), anchors, candidates, precision)


def sum_of_products(gradients: Embeddings, embeddings: Embeddings) -> Float[Array, ""]:
    """``sum_ij G_ij s_ij``: half the inner products of all embeddings with their gradients.

    Each entry of G is in the gradient of an anchor and in that of a candidate.
    """
    pairs = zip(gradients, embeddings, strict=True)
    products = [jnp.sum(gradient * rows.astype(gradient.dtype)) for gradient, rows in pairs]
    return sum(products[1:], start=products[0]) / 2


def _softmax(
    factor: Float[Array, " n"],
    exponents: Float[Array, "n m"],
    shift: Float[Array, " n"],
    where: Bool[Array, "n m"],
) -> Float[Array, "n m"]:
    """A tile of softmax weights times the factor of its anchor, 0 where there is no negative."""
    below = jnp.minimum(exponents - along(shift, 0), 0)
    return jnp.where(where, along(factor, 0) * jnp.exp(below), 0)
