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

from hcl_jax import clip, hscl, nt_xent, scl, supcon, ucl
from hcl_jax.psi import infonce
from scripts.benchmarking.contenders import Contender, compile_timed, say, temporaries

MOST_DRAWS = 2**33
"""The sampled estimator is left out where it would draw more: minutes for a single call."""

LEARNED = "ours, learned temperature"
"""The gradient is with respect to the temperature, too."""

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
    peers = like_for_like(precision)
    measured |= {name: (kind, loss, beta) for name, (kind, loss) in peers.items()}
    measured |= {name: (kind, loss, 1.0) for name, (kind, loss) in more(beta, precision).items()}
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
    if fits and len(z) % 2 == 0:
        of_views = of_two_views(peers["ours, NT-Xent"][1], precision)
        found += [
            _compiled(name, mathematics, loss, beta, z, jnp.arange(len(z)) // 2)
            for name, (mathematics, loss) in of_views.items()
            if not only or name in only
        ]
    return [c for c in found if (c.temporaries or 0) <= memory_limit]


def like_for_like(precision: jax.lax.Precision) -> dict[str, tuple[str, Loss]]:
    """Our losses with the options that equal those of peers, and what they are called there.

    `docs/which_loss.md` has the options. Peers that divide by norms themselves have ours do so.
    """
    options: dict[str, Any] = {"precision": precision, "implementation": "blockwise"}
    alike = functools.partial(nt_xent, normalize="unit_sphere", temperature=1.0, **options)
    both = functools.partial(supcon, temperature=1.0, **options)

    def halves(z: Array, y: Array, beta: float) -> Array:
        half = len(z) // 2
        return alike(jnp.stack([z[:half], z[half : 2 * half]], axis=1))

    return {
        "ours, SupCon": ("supcon", lambda z, y, beta: both(z, y)),
        "ours, SupCon, normalised": (
            "supcon, normalised",
            lambda z, y, beta: both(z, y, normalize="unit_sphere"),
        ),
        "ours, NT-Xent": ("nt-xent, normalised", lambda z, y, beta: alike(z, y)),
        "ours, NT-Xent of two halves": ("two halves", halves),
    }


def of_two_views(alike: Loss, precision: jax.lax.Precision) -> dict[str, tuple[str, Loss]]:
    """Losses of labels that are numbers of images with two views each; `alike` equals optax's."""

    def optax_ntxent(z: Array, pairs: Array, beta: float) -> Array:
        return optax.losses.ntxent(z, pairs, temperature=1.0)

    def ours_ntxent(z: Array, pairs: Array, beta: float) -> Array:
        summed = infonce(q="k")
        return ucl(z, pairs, psi=summed, precision=precision, implementation="blockwise")

    return {
        "optax.losses.ntxent": ("ntxent", optax_ntxent),
        "ours, NT-Xent of two views": ("ntxent", alike),
        "ours, two views": ("two views", ours_ntxent),
    }


def more(beta: float, precision: jax.lax.Precision) -> dict[str, tuple[str, Loss]]:
    """What users ask of the loss besides; the last argument is the temperature."""
    options: dict[str, Any] = {"precision": precision, "implementation": "blockwise"}

    def learned(z: Array, y: Array, temperature: float) -> Array:
        return hscl(z, y, beta=beta, temperature=temperature, **options)

    def two_sets(z: Array, y: Array, temperature: float) -> Array:
        half = len(z) // 2
        return clip(z[:half], z[half : 2 * half], temperature=temperature, **options)

    def ignored(z: Array, y: Array, temperature: float) -> Array:
        some = jnp.where(jnp.arange(len(y)) % 4 == 0, -1, y)
        return hscl(z, some, beta=beta, temperature=temperature, ignore_label=-1, **options)

    return {
        LEARNED: ("hscl", learned),
        "ours, two sets (clip)": ("two sets", two_sets),
        "ours, a quarter without labels": ("ignored", ignored),
    }


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
    places = (0, 2) if name == LEARNED else (0,)
    function = loss if "matmuls" in mathematics else jax.value_and_grad(loss, places)
    compiled, compilation = compile_timed(function, z, y, beta)

    def run(wanted: bool) -> Any:
        result = jax.block_until_ready(compiled(z, y, beta))
        if not wanted:
            return None
        value, gradients = jax.tree.map(np.asarray, result)
        return value, gradients[0]

    return Contender(name, mathematics, run, temporaries(compiled), compilation=compilation)


def _products(
    count: int, z: Float[Array, "n dim"], y: Int[Array, " n"], beta: float
) -> Float[Array, "n dim"]:
    """The multiplications of a forward and backward pass with a kept (count 2, 3) matrix."""
    wide = functools.partial(jnp.matmul, preferred_element_type=jnp.float32)
    s = wide(z, z.T).astype(z.dtype)
    gradient = wide(s, z)
    return gradient if count == 2 else gradient + wide(s.T, z + math.pi)
