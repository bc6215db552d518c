"""The loss of a batch whose rows are spread over devices.

`objective`, or any loss with ``collectives=over_axis(..)``, is called on every device with its own
rows, and is the loss of the global batch. Differentiate inside that function. Gradients of shared
parameters are then parts, to be added by `jax.lax.psum`, under `jax.pmap`, `jax.vmap` and
``jax.shard_map(.., check_vma=False)``. Under `jax.shard_map` with its default ``check_vma=True``
JAX has added them already, and another sum makes them too large by the number of devices.
"""

from hcl_jax.collectives import over_axis
from hcl_jax.losses import choose_exchange
from hcl_jax.parallel.global_loss import launch, objective

__all__ = ["choose_exchange", "launch", "objective", "over_axis"]


def __dir__() -> list[str]:
    return __all__
