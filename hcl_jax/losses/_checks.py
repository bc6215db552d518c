"""Checks that every form of the loss makes of its arguments."""

from typing import Any

import jax

from hcl_jax.hardening import Hardening
from hcl_jax.pairs import Keys, Pairs
from hcl_jax.psi import Psi
from hcl_jax.validation.arrays import check_booleans
from hcl_jax.validation.batches import check_embeddings, check_labels
from hcl_jax.validation.numbers import check_positive, check_scalar
from hcl_jax.validation.options import check_function, check_kind


def check_rows(anchors: Any, pairs: Any, candidates: Any = None) -> None:
    """Raises unless embeddings agree in dimension and pairs in length; None: the anchors."""
    _check_pairs(pairs)
    check_embeddings("anchors", anchors)
    if candidates is None:
        candidates = anchors
    else:
        check_embeddings("candidates", candidates)
    if anchors.shape[1] != candidates.shape[1]:
        raise ValueError(
            f"anchors and candidates must have one dimension, got {anchors.shape[1]} and "
            f"{candidates.shape[1]}"
        )
    _check_keys("anchors", pairs.anchors, anchors.shape[0])
    _check_keys("candidates", pairs.candidates, candidates.shape[0])


def check_shard(embeddings: Any, pairs: Any, bank: Any = None) -> None:
    """Raises unless `embeddings` are rows in both roles, with pairs of them and of the bank."""
    _check_pairs(pairs)
    check_embeddings("embeddings", embeddings)
    _check_keys("embeddings as anchors", pairs.anchors, embeddings.shape[0])
    if bank is None:
        _check_keys("embeddings as candidates", pairs.candidates, embeddings.shape[0])
        return
    check_embeddings("bank", bank)
    if bank.shape[1] != embeddings.shape[1]:
        raise ValueError(
            f"embeddings and bank must have one dimension, got {embeddings.shape[1]} and "
            f"{bank.shape[1]}"
        )
    count = embeddings.shape[0] + bank.shape[0]
    _check_keys("embeddings and bank as candidates", pairs.candidates, count)


def check_psi(psi: Any) -> None:
    """Raises unless `psi` is a `Psi` of functions, and its temperature is positive if concrete."""
    check_kind("psi", psi, Psi, "hcl_jax.psi.infonce()")
    check_function("of_differences of psi", psi.of_differences)
    for name in ("link", "term", "lower"):
        if getattr(psi, name) is not None:
            check_function(f"{name} of psi", getattr(psi, name))
    if psi.link is not None and psi.term is not None:
        raise ValueError("psi must have a link (InfoNCE) or a term (separable losses), got both")
    if psi.lower is not None and psi.link is None:
        raise ValueError("psi has a lower bound, which needs a link (InfoNCE), and it has none")
    check_scalar("temperature of psi", psi.temperature)
    check_positive("temperature of psi", psi.temperature)


def check_hardening(hardening: Any) -> None:
    """Raises unless `hardening` is a `Hardening` of one function."""
    check_kind("hardening", hardening, Hardening, "hcl_jax.hardening.exponential(5.0)")
    found = {"log_factor": hardening.log_factor, "log_joint": hardening.log_joint}
    functions = {name: f for name, f in found.items() if f is not None}
    for name, function in functions.items():
        check_function(f"{name} of the hardening", function)
    if len(functions) != 1:
        found = "both" if functions else "neither"
        raise ValueError(
            f"a Hardening must have a log_factor (a product) or a log_joint, got {found}"
        )
    if hardening.margin is None:
        return
    check_scalar("margin of the hardening", hardening.margin)
    if hardening.log_factor is None:
        raise ValueError("a Hardening with a margin must be a product, got a log_joint")


def _check_pairs(pairs: Any) -> None:
    """Raises TypeError unless `pairs` are `Pairs`."""
    check_kind("pairs", pairs, Pairs, "hcl_jax.pairs.supervised(rows)")


def _check_keys(name: str, keys: Keys, length: int) -> None:
    """Raises unless there is one integer of every kind for each embedding."""
    for field, key in keys._asdict().items():
        if field in ("group", "instance", "excluded"):
            check_labels(f"the pair keys of the {name}", key, length=length)
            continue
        if field in ("in_positives", "in_negatives") and key is not None:
            check_booleans(f"{field} of the {name}", key)
        for part in jax.tree.leaves(key):
            if part.shape != (length,):
                raise ValueError(
                    f"{field} of the {name} must have shape ({length},), got {part.shape}"
                )
