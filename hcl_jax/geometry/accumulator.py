"""The geometry of embeddings that are seen a batch at a time, and never held together.

A batch leaves behind the sizes and means of its classes and the squared deviations from these
means; two such states are merged by the formulas of Chan, Golub and LeVeque (1983, "Algorithms for
computing the sample variance"), which subtract no large numbers from one another. Sums carry what
they lose by rounding, and squares are divided by a power of two before they are summed, so that
neither a million batches, nor classes far from the origin, nor the unit of length changes digits.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from hcl_jax.geometry._checks import int32_labels
from hcl_jax.geometry.streamed_geometry import StreamedGeometry, metrics_of_sums
from hcl_jax.precision import (
    Compensated,
    at_least_float32,
    exact_product,
    root,
    scale_of,
    segment_means,
    wide_dtype,
)
from hcl_jax.validation.arrays import check_array
from hcl_jax.validation.batches import check_embeddings, check_labels
from hcl_jax.validation.concrete import is_concrete
from hcl_jax.validation.numbers import check_count


class Accumulator(NamedTuple):
    """What is kept of the embeddings so far; a pytree of arrays, whose size no batch changes.

    Under `jax.jit`, where numbers cannot be looked at, rows that are not finite or have a label out
    of range are left out and counted, and `finish` refuses them.

    Attributes:
        sizes: the number of members of every class; together at most 2^31 - 1.
        means: the class means; 0 for a class without members.
        squares: the squared distances of the members of a class to its mean, summed.
        scatter: ``sum_i (z_i - mu_{y_i})(z_i - mu_{y_i})^T`` over the members of all classes.
        scale: a power of two, by whose square `squares` and `scatter` are divided.
        refused: how many rows had a label out of range, and how many others were not finite.

    Example:
        >>> import jax
        >>> add = jax.jit(Accumulator.add)
        >>> state = Accumulator.init(num_classes=2, dim=1)
        >>> for rows in ([1.0, 3.0], [-1.0, -3.0]):
        ...     labels = jnp.array([rows[0] < 0] * 2, jnp.int32)
        ...     state = add(state, jnp.array(rows)[:, None], labels)
        >>> found = state.finish()
        >>> found.means.tolist(), found.cdnv.item()
        ([[2.0], [-2.0]], 0.0625)
    """

    sizes: Int[Array, " classes"]
    means: Compensated
    squares: Compensated
    scatter: Compensated
    scale: Float[Array, ""]
    refused: Int[Array, "2"]

    @staticmethod
    def init(num_classes: int, dim: int) -> "Accumulator":
        """No embeddings yet.

        Args:
            num_classes: the number C of classes, at least 2.
            dim: the dimension of the embeddings; memory is of the order of ``dim (dim + C)``.

        Returns:
            A state in float32, or in float64 where JAX has 64 bits turned on.

        Raises:
            ValueError, TypeError: unless both are integers, at least 2 and 1.
        """
        num_classes = check_count("num_classes", num_classes, minimum=2)
        dim = check_count("dim", dim)
        dtype = jnp.result_type(float)

        def zeros(*shape: int) -> Compensated:
            return Compensated(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))

        return Accumulator(
            sizes=jnp.zeros(num_classes, jnp.int32),
            means=zeros(num_classes, dim),
            squares=zeros(num_classes),
            scatter=zeros(dim, dim),
            scale=jnp.full((), jnp.finfo(dtype).tiny, dtype),
            refused=jnp.zeros(2, jnp.int32),
        )

    def add(
        self,
        embeddings: Float[Array, "n dim"],
        labels: Int[Array, " n"],
        *,
        where: Bool[Array, " n"] | None = None,
    ) -> "Accumulator":
        """The state after a batch more, of any size.

        Args:
            embeddings: one embedding per row, no wider than the state.
            labels: the class of each row, from 0 to C - 1; any class may be missing.
            where: rows to count; the others, such as padding, may hold anything. Default: all.

        Returns:
            The new state.

        Raises:
            ValueError, TypeError: on wrong shapes or dtypes, and, where the numbers are concrete,
                on NaN and on a label out of range.
        """
        embeddings, labels = _counted(embeddings, labels, where)
        num_classes, dim = self.means.total.shape
        check_embeddings("embeddings", embeddings)
        check_labels("labels", labels, length=len(embeddings), num_classes=num_classes)
        if embeddings.shape[1] != dim:
            raise ValueError(f"embeddings must have dimension {dim}, got {embeddings.shape[1]}")
        dtype = self.scale.dtype
        if wide_dtype(embeddings).itemsize > dtype.itemsize:
            raise TypeError(f"the state is {dtype}, narrower than embeddings of {embeddings.dtype}")
        rows = at_least_float32(embeddings).astype(dtype)
        return self.merge(_state_of(rows, int32_labels(labels), num_classes, where))

    def merge(self, other: "Accumulator") -> "Accumulator":
        """The state of the embeddings of both, in any order.

        Args:
            other: a state of as many classes and dimensions.

        Returns:
            The new state.

        Raises:
            ValueError: for another number of classes or of dimensions.
        """
        if self.means.total.shape != other.means.total.shape:
            shapes = self.means.total.shape, other.means.total.shape
            raise ValueError(f"states must have the same classes and dimensions, got {shapes}")
        sizes = self.sizes + other.sizes
        dtype = self.scale.dtype
        share = (other.sizes.astype(dtype) / jnp.maximum(sizes, 1).astype(dtype))[:, None]
        apart = other.means.total - self.means.total
        apart_rest = other.means.rest - self.means.rest
        means = self.means.plus(apart * share).plus(apart_rest * share)
        weight = root(self.sizes.astype(dtype)[:, None] * share)
        between = jnp.where(weight > 0, weight * (apart + apart_rest), 0)
        scale = jnp.maximum(jnp.maximum(self.scale, other.scale), scale_of(between))
        mine, theirs = self._squares_in(scale), other._squares_in(scale)
        sums = jax.tree.map(
            lambda a, b: a.plus(b.total).plus(b.rest), mine, theirs, is_leaf=_is_sum
        )
        squares, scatter = _with_shift(sums, between / scale)
        return Accumulator(sizes, means, squares, scatter, scale, self.refused + other.refused)

    def merge_over(self, axis_name: str) -> "Accumulator":
        """The state of the embeddings of all devices, on each of them.

        Args:
            axis_name: the axis of the devices, under `jax.shard_map`, `jax.pmap` or `jax.vmap`.

        Returns:
            The new state, the same on every device.
        """
        sizes = lax.psum(self.sizes, axis_name)
        dtype = self.scale.dtype
        own = self.sizes.astype(dtype)[:, None]
        share = own / jnp.maximum(sizes, 1).astype(dtype)[:, None]
        centre = lax.psum(share * self.means.total, axis_name)
        rest = (self.means.total - centre) + self.means.rest
        centre_rest = lax.psum(share * rest, axis_name)
        between = root(own) * (rest - centre_rest)
        scale = lax.pmax(jnp.maximum(self.scale, scale_of(between)), axis_name)
        squares, scatter = _with_shift(self._squares_in(scale), between / scale)
        squares, scatter, refused = lax.psum((squares, scatter, self.refused), axis_name)
        zero = jnp.zeros_like(centre)
        means = Compensated(centre, zero).plus(centre_rest)
        return Accumulator(sizes, means, squares, scatter, scale, refused)

    def finish(self) -> StreamedGeometry:
        """The metrics of all embeddings that were added.

        They agree with those of `measure` up to rounding, which weighs in NC1 where the class means
        hardly differ in a direction: its error is of the order of the rounding of a number times
        the largest squared deviation over the square of their least extent.

        Returns:
            See `StreamedGeometry`.

        Raises:
            ValueError: where the numbers are concrete, on a class without a member or with more
                than 2^31 - 1, and if a jitted `add` met a label out of range or a row that was not
                finite. Under `jax.jit` the metrics are NaN then.
        """
        self._check()
        return metrics_of_sums(*self)

    def _squares_in(self, scale: Float[Array, ""]) -> tuple[Compensated, Compensated]:
        """`squares` and `scatter` in the unit of another scale, which is not smaller."""
        shrink = self.scale / scale
        return (
            self.squares.times(shrink).times(shrink),
            self.scatter.times(shrink).times(shrink),
        )

    def _check(self) -> None:
        """Raises ValueError if a row was refused, or a class is empty or too large, if known."""
        if not is_concrete(self.refused):
            return
        outside, not_finite = np.asarray(self.refused)
        if outside or not_finite:
            raise ValueError(
                f"of the rows that were added {outside} had a label out of "
                f"0..{len(self.sizes) - 1} and {not_finite} others were not finite"
            )
        if (np.asarray(self.sizes) < 0).any():
            raise ValueError("a class has more than 2^31 - 1 members, the most that are counted")
        if (empty := np.flatnonzero(np.asarray(self.sizes) == 0)).size:
            raise ValueError(
                f"every class needs a member, but {len(empty)} of {len(self.sizes)} classes have "
                f"none, the first is class {empty[0]}"
            )


def _is_sum(value: object) -> bool:
    return isinstance(value, Compensated)


def _counted(
    embeddings: Float[Array, "n dim"], labels: Int[Array, " n"], where: Bool[Array, " n"] | None
) -> tuple[Float[Array, "n dim"], Int[Array, " n"]]:
    """The rows, and zeros of class 0 instead of those that are not counted."""
    check_array("embeddings", embeddings)
    check_array("labels", labels)
    if where is None:
        return embeddings, labels
    check_array("where", where)
    if jnp.shape(where) != jnp.shape(embeddings)[:1] or jnp.result_type(where) != jnp.bool_:
        raise ValueError(
            f"where must be booleans of shape {jnp.shape(embeddings)[:1]}, one for each embedding, "
            f"got {jnp.result_type(where)} of shape {jnp.shape(where)}"
        )
    return jnp.where(where[:, None], embeddings, 0), jnp.where(where, labels, 0)


def _state_of(
    rows: Float[Array, "n dim"],
    labels: Int[Array, " n"],
    num_classes: int,
    where: Bool[Array, " n"] | None,
) -> Accumulator:
    """The state of one batch, whose rows that do not count are a class of their own."""
    counted = jnp.ones(labels.shape, bool) if where is None else where
    inside = (labels >= 0) & (labels < num_classes)
    finite = jnp.isfinite(rows).all(axis=1)
    refused = jnp.stack([jnp.sum(counted & ~inside), jnp.sum(counted & inside & ~finite)])
    counted = counted & inside & finite
    rows = jnp.where(counted[:, None], rows, 0)
    labels = jnp.where(counted, labels, num_classes)
    sizes = jax.ops.segment_sum(jnp.ones(labels.shape, jnp.int32), labels, num_classes + 1)
    some = jnp.maximum(sizes, 1)
    means = segment_means(rows, labels, some)
    around = rows - means[labels]
    rest = segment_means(around, labels, some)
    around = around - rest[labels]
    scale = scale_of(around)
    scaled = around / scale
    squares = jnp.sum(jnp.square(scaled), axis=1, keepdims=True)
    sums = segment_means(squares, labels, some)[:, 0] * sizes.astype(rows.dtype)
    scatter = exact_product(scaled.T, scaled)
    return Accumulator(
        sizes=sizes[:-1],
        means=Compensated(means[:-1], rest[:-1]),
        squares=Compensated(sums[:-1], jnp.zeros_like(sums[:-1])),
        scatter=Compensated(scatter, jnp.zeros_like(scatter)),
        scale=scale,
        refused=refused.astype(jnp.int32),
    )


def _with_shift(
    sums: tuple[Compensated, Compensated], shift: Float[Array, "classes dim"]
) -> tuple[Compensated, Compensated]:
    """Squares and scatter after the classes are measured from means that were shifted."""
    squares, scatter = sums
    return (
        squares.plus(jnp.sum(jnp.square(shift), axis=1)),
        scatter.plus(exact_product(shift.T, shift)),
    )
