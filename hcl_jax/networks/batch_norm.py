"""Batch norm whose gradient passes over the maps few times on CPUs.

A pass over the maps of a network takes as long as many multiplications. Of

    out = (maps - mean) * factor + bias,  factor = scale / sqrt(variance + epsilon),

XLA's own gradient needs ``maps - mean`` and ``dL/dout * factor``, and on CPUs writes both down.
The sums over pixels follow from what is there anyway,

    dL/dbias = sum dL/dout,  dL/dmean = -factor * dL/dbias,
    dL/dfactor = sum (dL/dout * maps) - mean * dL/dbias.

The last difference loses digits if the mean is much larger than the deviation, but fewer than the
variance does, as the mean of squares less the square of the mean. On other platforms the gradient
is left to XLA.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Float

from hcl_jax.padding import varying_like
from hcl_jax.precision import at_least_float32

Maps = Float[Array, "*pixels channel"]
Channels = Float[Array, " channel"]


class BatchNorm(nnx.BatchNorm):
    """Flax's batch norm over all axes but the last; the gradient is in reverse mode only."""

    def __call__(self, maps: Maps, *_: Any, **__: Any) -> Maps:
        """The normalised maps, in at least float32; in training, updates the statistics."""
        maps = at_least_float32(maps)
        mean, variance = (x[...].astype(maps.dtype) for x in (self.mean, self.var))
        if not self.use_running_average:
            mean, variance = _statistics(maps, self.axis_name)
            for kept, new in ((self.mean, mean), (self.var, variance)):
                new = lax.stop_gradient(new).astype(kept[...].dtype)
                kept[...] = self.momentum * kept[...] + (1 - self.momentum) * new
        scale, bias = (x[...].astype(maps.dtype) for x in (self.scale, self.bias) if x is not None)
        factor = lax.rsqrt(variance + self.epsilon) * scale
        return _normalized(maps, *varying_like((mean, factor, bias), maps))


def _statistics(maps: Maps, axis_name: str | None) -> tuple[Channels, Channels]:
    """Mean and variance of each channel, over devices too if these have a name."""
    pixels = tuple(range(maps.ndim - 1))
    moments = maps.mean(pixels), lax.square(maps).mean(pixels)
    mean, square = moments if axis_name is None else lax.pmean(moments, axis_name)
    return mean, jnp.maximum(0.0, square - lax.square(mean))


def _expression(maps: Maps, mean: Channels, factor: Channels, bias: Channels) -> Maps:
    mean, factor, bias = (lax.expand_dims(x, range(maps.ndim - 1)) for x in (mean, factor, bias))
    return (maps - mean) * factor + bias


_normalized = jax.custom_vjp(_expression)


def _forward(
    maps: Maps, mean: Channels, factor: Channels, bias: Channels
) -> tuple[Maps, tuple[Maps, Channels, Channels]]:
    return _normalized(maps, mean, factor, bias), (maps, mean, factor)


def _backward(
    inputs: tuple[Maps, Channels, Channels], out: Maps
) -> tuple[Maps, Channels, Channels, Channels]:
    """The cotangents of all inputs, from that of the outputs."""
    return lax.platform_dependent(*inputs, out, cpu=_by_sums, default=_left_to_xla)


_normalized.defvjp(_forward, _backward)


def _left_to_xla(
    maps: Maps, mean: Channels, factor: Channels, out: Maps
) -> tuple[Maps, Channels, Channels, Channels]:
    return jax.vjp(_expression, maps, mean, factor, mean)[1](out)


def _by_sums(
    maps: Maps, mean: Channels, factor: Channels, out: Maps
) -> tuple[Maps, Channels, Channels, Channels]:
    pixels = tuple(range(maps.ndim - 1))
    by_bias = out.sum(pixels)
    by_factor = (out * maps).sum(pixels) - mean * by_bias
    return out * lax.expand_dims(factor, pixels), -factor * by_bias, by_factor, by_bias
