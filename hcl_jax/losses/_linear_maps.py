"""Linear maps whose transposes are written by hand, in every mode of differentiation.

A `LinearMap` says how to compute the map, how to compute its transpose, and how the map changes
with what it depends on. JAX then computes it in forward mode and only its transpose in reverse
mode; what is not needed is not even traced. (`jax.custom_vjp` has no forward mode, and what
`jax.custom_derivatives.linear_call` makes cannot go through `jax.vmap`.)
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

Arrays = list[Any]
"""Arrays, or scalars of Python in the place of some."""

Tangents = list[Any]
"""Tangents of them; None where there is none."""


@runtime_checkable
class LinearMap(Protocol):
    """A map of some arrays that depends on others; equal maps have to be equal and hashable."""

    def compute(self, fixed: Arrays, linear: Arrays) -> Arrays:
        """The map. It depends on `fixed` and is linear in `linear`."""
        ...

    def transposed(self, fixed: Arrays, cotangents: Arrays) -> Arrays:
        """The transpose: of cotangents of the results, those of `linear`."""
        ...

    def change(self, fixed: Arrays, linear: Arrays, tangents: Tangents) -> Arrays:
        """The tangents of the results, by those of `fixed`."""
        ...


def apply_linear(
    linear_map: LinearMap, like: Sequence[Any], fixed: Sequence[Any], linear: Sequence[Any]
) -> Arrays:
    """The results of the map, which are of the types of the arrays in `like`."""
    like = [lax.convert_element_type(array, jnp.result_type(array)) for array in like]
    sizes = (len(like), len(fixed))
    return _linear_map.bind(*like, *fixed, *linear, linear_map=linear_map, sizes=sizes)


class _Batched(NamedTuple):
    """A map under `jax.vmap`: what is linear has its new axis first."""

    linear_map: LinearMap
    axes: tuple[int | None, ...]
    axis_name: Any
    size: int

    def compute(self, fixed: Arrays, linear: Arrays) -> Arrays:
        """The map of every example."""
        return self._mapped(self.linear_map.compute, 0)(fixed, linear)

    def transposed(self, fixed: Arrays, cotangents: Arrays) -> Arrays:
        """The transpose of every example."""
        return self._mapped(self.linear_map.transposed, 0)(fixed, cotangents)

    def change(self, fixed: Arrays, linear: Arrays, tangents: Tangents) -> Arrays:
        """The change in every example."""
        axes = [axis for axis, of in zip(self.axes, tangents, strict=True) if of is not None]
        moved = [of is not None for of in tangents]

        def change(fixed: Arrays, linear: Arrays, given: Arrays) -> Arrays:
            found = iter(given)
            tangents = [next(found) if is_ else None for is_ in moved]
            return self.linear_map.change(fixed, linear, tangents)

        given = [of for of in tangents if of is not None]
        return self._mapped(change, 0, axes)(fixed, linear, given)

    def _mapped(self, function: Callable[..., Any], *axes: Any) -> Callable[..., Any]:
        return jax.vmap(
            function,
            in_axes=(list(self.axes), *axes),
            axis_name=self.axis_name,
            axis_size=self.size,
        )


_linear_map = Primitive("linear_map")
_linear_map.multiple_results = True


def _compute(*arrays: Any, linear_map: LinearMap, sizes: tuple[int, int]) -> Arrays:
    _, fixed, linear = _split(arrays, sizes)
    return linear_map.compute(fixed, linear)


def _types(*types: Any, linear_map: LinearMap, sizes: tuple[int, int]) -> list[Any]:
    return list(types[: sizes[0]])


def _change(
    arrays: Any, tangents: Any, *, linear_map: LinearMap, sizes: tuple[int, int]
) -> tuple[Arrays, Any]:
    """The map, and by the product rule its tangents; types of results have none."""
    like, fixed, linear = _split(arrays, sizes)
    _, of_fixed, of_linear = _split(tangents, sizes)
    apply = partial(apply_linear, linear_map, like, fixed)
    parts = []
    if not all(type(of) is ad.Zero for of in of_linear):
        parts.append(apply([ad.instantiate_zeros(of) for of in of_linear]))
    if not all(type(of) is ad.Zero for of in of_fixed):
        given = [None if type(of) is ad.Zero else of for of in of_fixed]
        parts.append(linear_map.change(fixed, linear, given))
    return apply(linear), [_sum(terms) for terms in zip(*parts, strict=True)]


def _transpose(
    cotangents: Any, *arrays: Any, linear_map: LinearMap, sizes: tuple[int, int]
) -> list[Any]:
    """Nothing for what is not linear."""
    _, fixed, linear = _split(arrays, sizes)
    given = [ad.instantiate_zeros(of) for of in cotangents]
    found = linear_map.transposed(fixed, given)
    pairs = zip(found, linear, strict=True)
    of_linear = [of if ad.is_undefined_primal(array) else None for of, array in pairs]
    return [None] * sum(sizes) + of_linear


def _batch(
    axis: Any, arrays: Any, dims: Any, *, linear_map: LinearMap, sizes: tuple[int, int]
) -> tuple[Arrays, list[int | None]]:
    if all(dim is None for dim in dims):
        return _linear_map.bind(*arrays, linear_map=linear_map, sizes=sizes), [None] * sizes[0]
    first = [
        batching.bdim_at_front(array, dim, axis.size)
        for array, dim in zip(arrays, dims, strict=True)
    ]
    (like, _, linear), (_, fixed, _) = _split(first, sizes), _split(arrays, sizes)
    axes = tuple(_split(dims, sizes)[1])
    batched = _Batched(linear_map, axes, axis.name, axis.size)
    found = apply_linear(batched, like, fixed, linear)
    return found, [0] * len(found)


def _split(values: Any, sizes: tuple[int, int]) -> tuple[list[Any], list[Any], list[Any]]:
    """Types of results, what is fixed, what is linear."""
    start, end = sizes[0], sum(sizes)
    return list(values[:start]), list(values[start:end]), list(values[end:])


def _sum(terms: Sequence[Array]) -> Array:
    return sum(terms[1:], start=terms[0])


_linear_map.def_impl(_compute)
_linear_map.def_abstract_eval(_types)
mlir.register_lowering(_linear_map, mlir.lower_fun(_compute, multiple_results=True))
ad.primitive_jvps[_linear_map] = _change
ad.primitive_transposes[_linear_map] = _transpose
batching.fancy_primitive_batchers[_linear_map] = _batch
