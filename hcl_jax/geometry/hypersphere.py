"""Alignment and uniformity of embeddings (Wang and Isola, 2020).

"Understanding Contrastive Representation Learning through Alignment and Uniformity on the
Hypersphere" measures how near positives are, and how evenly all embeddings cover the sphere.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from hcl_jax.geometry._checks import class_sizes, int32_labels
from hcl_jax.geometry.classes import class_means, deviations
from hcl_jax.padding import pad_rows, padding
from hcl_jax.precision import at_least_float32, exact_product, row_mean, scale_of
from hcl_jax.validation.batches import check_embeddings
from hcl_jax.validation.numbers import check_positive, check_scalar

PAIRS = 2**20
"""Distances of embeddings that exist at once: 4 MiB in float32."""


def alignment(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"], num_classes: int
) -> Float[Array, ""]:
    """The mean squared distance of an embedding and its positives, the others of its class.

    ``mean_i mean_{j != i, y_j = y_i} |z_i - z_j|^2`` (Wang and Isola, 2020, with alpha = 2). As the
    squared distances of the n_c members of a class sum to ``2 n_c sum_i |z_i - mu_c|^2``, time and
    memory are linear in n.

    Args:
        embeddings: one embedding per row.
        labels: the class of each row, from 0 to num_classes - 1.
        num_classes: the number of classes.

    Returns:
        A non-negative number; 0 at NC, and inf if beyond the largest number of its dtype. An
        embedding without a positive is left out of the mean, which is 0 if no embedding has one.

    Raises:
        ValueError, TypeError: as `class_means`.

    Example:
        >>> import jax.numpy as jnp
        >>> alignment(jnp.array([[1.0, 0.0], [0.0, 1.0]]), jnp.array([0, 0]), 1).item()
        2.0
    """
    means, labels = class_means(embeddings, labels, num_classes), int32_labels(labels)
    around = deviations(embeddings, labels, means)
    scale = scale_of(around)
    squares = jnp.sum(jnp.square(around / scale), axis=1)
    members = class_sizes(labels, num_classes)[labels].astype(squares.dtype)
    to_positives = 2 * members / jnp.maximum(members - 1, 1) * squares
    counted = jnp.maximum(jnp.sum(members > 1, dtype=jnp.int32), 1).astype(squares.dtype)
    return scale * (scale * (row_mean(to_positives) * (len(labels) / counted)))


def uniformity(embeddings: Float[Array, "n dim"], *, scale: float = 2.0) -> Float[Array, ""]:
    """The log of the mean Gaussian potential of pairs of embeddings; lower is more uniform.

    ``log mean_{i != j} exp(-t |z_i - z_j|^2)`` (Wang and Isola, 2020). Time is quadratic in n;
    memory is linear, in the gradient too. Squared distances come from inner products of centred
    embeddings and are exact to the rounding of the largest of them.

    Args:
        embeddings: one embedding per row, at least two.
        scale: the positive number t.

    Returns:
        A number that is not positive; 0 if all embeddings are one point, and -inf if beyond the
        range of its dtype.

    Raises:
        ValueError, TypeError: for fewer than two embeddings, or a scale that is not a positive
            number; on wrong shapes or dtypes, and on NaN where the numbers are concrete.

    Example:
        >>> import jax.numpy as jnp
        >>> round(uniformity(jnp.array([[1.0], [-1.0]])).item(), 4)
        -8.0
    """
    check_embeddings("embeddings", embeddings)
    check_scalar("scale", scale)
    check_positive("scale", scale)
    count = len(embeddings)
    if count < 2:
        raise ValueError("uniformity needs at least two embeddings, got one")
    wide = at_least_float32(embeddings)
    block = min(count, max(1, math.isqrt(PAIRS)))
    potential = _log_potential(wide, jnp.asarray(scale, wide.dtype), block=block)
    return potential - math.log(count * (count - 1))


@functools.partial(jax.jit, static_argnames="block")
def _log_potential(
    embeddings: Float[Array, "n dim"], scale: Float[Array, ""], *, block: int
) -> Float[Array, ""]:
    """``log sum_{i != j} exp(-scale |z_i - z_j|^2)``, tile by tile of a block of rows and another.

    A block meets itself and those up to half of all blocks further on, in a circle, so that every
    two blocks meet once; if their number is even, opposite ones meet twice. The gradient computes
    the distances of a tile again instead of keeping those of all tiles.
    """
    count = len(embeddings)
    # Distances from the mean are the smaller squares; a power of two keeps them in range.
    embeddings = embeddings - jax.lax.stop_gradient(row_mean(embeddings))[None]
    unit = scale_of(embeddings)
    embeddings = embeddings / unit
    least = float(jnp.finfo(embeddings.dtype).min)
    slope = jnp.where(-scale * unit < least, least, -scale * unit)
    squared_norms = jnp.sum(jnp.square(embeddings), axis=1)
    indices = jnp.arange(count, dtype=jnp.int32)
    rows = pad_rows((embeddings, squared_norms), padding(count, block))
    indices = pad_rows(indices + 1, padding(count, block)) - 1  # -1 where there is no row
    blocks = jax.tree.map(lambda x: x.reshape(-1, block, *x.shape[1:]), (indices, *rows))
    num_blocks = len(blocks[0])

    @jax.checkpoint
    def of_tile(number: Int[Array, ""], offset: Int[Array, ""]) -> Float[Array, ""]:
        met = number, (number + offset) % num_blocks
        (own, vectors, squares), (indices, others, other_squares) = (
            jax.tree.map(lambda rows, at=at: rows[at], blocks) for at in met
        )
        inner = exact_product(vectors, others.T)
        squares = squares[:, None] + other_squares[None] - 2 * inner
        distances = jnp.where(squares <= 0, 0, squares)  # no maximum: XLA may make 0 of NaN
        is_pair = (own[:, None] != indices[None]) & (own >= 0)[:, None] & (indices >= 0)[None]
        exponents = jnp.where(is_pair, slope * (unit * distances), -jnp.inf)
        is_empty = jnp.all(exponents == -jnp.inf)
        total = jax.nn.logsumexp(jnp.where(is_empty, 0, exponents))
        is_once = (offset == 0) | (2 * offset == num_blocks)
        return jnp.where(is_empty, -jnp.inf, total + jnp.where(is_once, 0, math.log(2)))

    def of_block(number: Int[Array, ""]) -> Float[Array, ""]:
        offsets = jnp.arange(num_blocks // 2 + 1, dtype=jnp.int32)
        return jax.nn.logsumexp(jax.lax.map(lambda offset: of_tile(number, offset), offsets))

    return jax.nn.logsumexp(jax.lax.map(of_block, jnp.arange(num_blocks, dtype=jnp.int32)))
