"""The two passes over negatives as Mosaic kernels for TPUs, written in Pallas.

`negative_sums` is the forward pass, `vjp_negatives` the backward pass; everything else, the
positives included, is that of `hcl_jax.losses._blockwise.loss`. On a CPU the kernels are
interpreted, for tests.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hcl_jax.losses._blockwise.options import Kernels
from hcl_jax.losses._blockwise.pallas.backward import vjp_negatives
from hcl_jax.losses._blockwise.pallas.forward import negative_sums
from hcl_jax.losses._blockwise.pallas.lanes import WIDEST
from hcl_jax.psi import Psi


def kernels_for(
    anchors: Float[Array, "anchors dim"], candidates: Float[Array, "candidates dim"], psi: Psi
) -> Kernels:
    """The kernels, or NotImplementedError if they cannot do what is asked for.

    There are none on a GPU, for a psi other than InfoNCE, for embeddings that are neither float32
    nor bfloat16 (in the interpreter float64 will do), or that are too wide.
    """
    backend = jax.default_backend()
    wide = [] if backend == "tpu" else [jnp.dtype(jnp.float64)]
    allowed = [jnp.dtype(jnp.float32), jnp.dtype(jnp.bfloat16), *wide]
    if backend not in ("tpu", "cpu"):
        lacks = f"is for TPUs (and CPUs, interpreted), not for {backend}"
    elif psi.link is None:
        lacks = "has InfoNCE only"
    elif not {anchors.dtype, candidates.dtype} <= set(allowed):
        lacks = f"takes float32 or bfloat16, not {anchors.dtype} and {candidates.dtype}"
    elif anchors.shape[1] > WIDEST:
        lacks = f"takes at most {WIDEST} features, not {anchors.shape[1]}"
    else:
        return Kernels(negative_sums, vjp_negatives)
    raise NotImplementedError(
        f'the pallas implementation {lacks}; implementation="blockwise" does it'
    )
