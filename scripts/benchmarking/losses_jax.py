"""What `scripts.benchmark_losses` measures in JAX: ours, bare multiplications, optax."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from hcl_jax import hscl, scl, ucl
from hcl_jax.psi import infonce
from scripts.benchmarking.contenders import Contender, say, temporaries

MOST_DRAWS = 2**33
"""The sampled estimator is left out where it would draw more: minutes for a single call."""

Loss = Callable[..., Array]
"""A function of embeddings, labels and the hardness."""


def contenders(
    embeddings: Float[np.ndarray, "n dim"],
    labels: Int[np.ndarray, " n"],
    beta: float,
    draws: int,
    device: Any,
    precision: jax.lax.Precision,
    memory_limit: float,
    only: Sequence[str] = (),
) -> list[Contender]:
    """Everything measured in JAX at one shape, with temporaries within a limit of bytes.

    Ours have hardness `beta`, K = `draws`, and multiply in a precision. What writes a matrix of all
    pairs that exceeds the limit is not even compiled, nor is any but `only` those, if given.
    """
    z, y = jax.device_put((jnp.asarray(embeddings), jnp.asarray(labels)), device)
    hard, plain = (functools.partial(loss, precision=precision) for loss in (hscl, scl))
    blockwise = {"implementation": "blockwise"}
    dense = {"implementation": "dense"}
    drawn = {"num_negatives": draws, "key": jax.random.key(0)}

    def hardened(**options: Any) -> Loss:
        return lambda z, y, beta: hard(z, y, beta=beta, **options)

    def not_hardened(**options: Any) -> Loss:
        return lambda z, y, beta: plain(z, y, **options)

    measured = {
        "ours, blockwise": ("hscl", hardened(**blockwise), beta),
        "ours, blockwise, beta = 0": ("scl", hardened(**blockwise), 0.0),
        "ours, blockwise, no hardening": ("scl", not_hardened(**blockwise), 0.0),
        "ours, default": ("hscl", hardened(), beta),
    }
    if draws_made(labels, draws) <= MOST_DRAWS:
        measured[f"ours, sampled, K = {draws}"] = ("sampled", hardened(**drawn), beta)
    fits = 4 * len(z) ** 2 <= memory_limit
    if fits:
        measured |= {
            "3 multiplications, JAX": ("3 matmuls", functools.partial(_products, 3), beta),
            "2 multiplications, JAX": ("2 matmuls", functools.partial(_products, 2), beta),
            "ours, dense": ("hscl", hardened(**dense), beta),
            "ours, dense, no hardening": ("scl", not_hardened(**dense), beta),
        }
    found = [
        _compiled(name, mathematics, loss, hardness, z, y)
        for name, (mathematics, loss, hardness) in measured.items()
        if not only or name in only
    ]
    if not only and fits and len(z) % 2 == 0:
        pairs = jnp.arange(len(z)) // 2

        def optax_ntxent(z: Array, pairs: Array, beta: float) -> Array:
            return optax.losses.ntxent(z, pairs, temperature=1.0)

        def ours_ntxent(z: Array, pairs: Array, beta: float) -> Array:
            summed = infonce(q="k")
            return ucl(z, pairs, psi=summed, precision=precision, implementation="blockwise")

        found.append(_compiled("optax.losses.ntxent", "ntxent", optax_ntxent, beta, z, pairs))
        found.append(_compiled("ours, two views", "two views", ours_ntxent, beta, z, pairs))
    return [c for c in found if (c.temporaries or 0) <= memory_limit]


def draws_made(labels: Int[np.ndarray, " n"], draws: int) -> int:
    """K times the number of (anchor, positive) pairs: what the sampled estimator draws."""
    counts = np.bincount(labels)
    return int((counts * (counts - 1)).sum()) * draws


def _compiled(
    name: str,
    mathematics: str,
    loss: Loss,
    beta: float,
    z: Float[Array, "n dim"],
    y: Int[Array, " n"],
) -> Contender:
    """A contender that runs a loss with its gradient, or a multiplication."""
    say(f"compiling {name}")
    function = loss if "matmuls" in mathematics else jax.value_and_grad(loss)
    compiled = jax.jit(function).lower(z, y, beta).compile()

    def run(wanted: bool) -> Any:
        result = jax.block_until_ready(compiled(z, y, beta))
        return jax.tree.map(np.asarray, result) if wanted else None

    return Contender(name, mathematics, run, temporaries(compiled))


def _products(
    count: int, z: Float[Array, "n dim"], y: Int[Array, " n"], beta: float
) -> Float[Array, "n dim"]:
    """The multiplications of a forward and backward pass with a kept (count 2, 3) matrix."""
    wide = functools.partial(jnp.matmul, preferred_element_type=jnp.float32)
    s = wide(z, z.T).astype(z.dtype)
    gradient = wide(s, z)
    return gradient if count == 2 else gradient + wide(s.T, z + math.pi)
