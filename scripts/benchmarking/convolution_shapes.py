"""The convolutions of a network: their shapes, found by tracing it."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hcl_jax.networks import Model
from hcl_jax.networks.kernel_gradients import Padding


class Shape(NamedTuple):
    """A convolution with a square kernel.

    Attributes:
        images: images of a batch.
        side: height and width of the maps.
        before: their channels.
        after: channels of the outputs.
        size: height and width of the kernel.
        stride: stride of both axes.
    """

    images: int
    side: int
    before: int
    after: int
    size: int
    stride: int

    @property
    def padding(self) -> Padding:
        """Zeros around the maps, as `square_convolution` pads."""
        return ((self.size // 2, self.size // 2), (self.size // 2, self.size // 2))

    @property
    def side_after(self) -> int:
        """Height and width of the outputs."""
        return -(-self.side // self.stride)

    @property
    def gflop(self) -> float:
        """Multiplications and additions of one pass, in units of 1e9."""
        weights = self.size**2 * self.before * self.after
        return 2e-9 * self.images * self.side_after**2 * weights

    def __str__(self) -> str:
        stride = f", stride {self.stride}" if self.stride > 1 else ""
        sides = f"{self.side} x {self.side}, {self.before} -> {self.after}"
        return f"{sides}, {self.size} x {self.size}{stride}"


def convolutions_of(model: Model, images: int, side: int, channels: int) -> Counter[Shape]:
    """How often a network has each convolution, for a batch of square images.

    Example:
        >>> from hcl_jax.networks import convnet
        >>> counts = convolutions_of(convnet((8, 8, 1), 3, channels=(4, 8)), 2, 8, 1)
        >>> [str(shape) for shape in counts]
        ['8 x 8, 1 -> 4, 3 x 3', '8 x 8, 4 -> 8, 3 x 3, stride 2']
    """
    variables = jax.eval_shape(model.init, jax.random.key(0))
    batch = jax.ShapeDtypeStruct((images, side, side, channels), jnp.float32)

    def forward(variables: Any, batch: Any) -> Any:
        return model.apply(variables, batch, training=True)[0]

    return Counter(_of_program(jax.make_jaxpr(forward)(variables, batch).jaxpr))


def _of_program(jaxpr: Any) -> Iterator[Shape]:
    for equation in jaxpr.eqns:
        operands = [operand.aval.shape for operand in equation.invars]
        if equation.primitive.name == "custom_vjp_call" and len(operands) == 2:
            (images, side, _, before), (size, _, _, after) = operands
            side_after = equation.outvars[0].aval.shape[1]
            yield Shape(images, side, before, after, size, round(side / side_after))
            continue
        for inner in jax.tree.leaves(equation.params, is_leaf=lambda x: hasattr(x, "jaxpr")):
            if hasattr(inner, "jaxpr"):
                yield from _of_program(inner.jaxpr)
