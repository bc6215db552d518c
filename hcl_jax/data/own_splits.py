"""How the splits of data of one's own are called, and who is held out where there is only one."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from hcl_jax.data.splits import DatasetError
from hcl_jax.data.splitting import stratified_split

TRAINING = "train"
HELD_OUT = ("test", "val", "valid", "validation")
"""The names of folders of splits; of those that are held out the first that is there is used."""


def parts_of(place: object, names: Sequence[str]) -> tuple[str, ...] | None:
    """The training split and the one that is held out, if any; None if there are no splits.

    DatasetError if some names look like splits and are not called as they should be, or if others
    stand beside them.
    """
    like = {TRAINING, *HELD_OUT, "training", "testing"}
    if not any(name.lower() in like for name in names):
        return None
    if TRAINING not in names or set(names) - {TRAINING, *HELD_OUT}:
        raise DatasetError(
            f"{place} has what looks like splits, which must be called {TRAINING} and "
            f"{', '.join(HELD_OUT[:-1])} or {HELD_OUT[-1]}, with nothing beside them; found "
            f"{shown(tuple(names))}"
        )
    held_out = next((name for name in HELD_OUT if name in names), None)
    return (TRAINING,) if held_out is None else (TRAINING, held_out)


def train_then_test(
    place: object,
    labels: Int[np.ndarray, " n"],
    class_names: tuple[str, ...],
    *,
    test_fraction: float,
    split_seed: int,
) -> tuple[Int[np.ndarray, " n"], int]:
    """All images, those to train on first, and how many these are; DatasetError names the place."""
    try:
        train, test = stratified_split(labels, test_fraction=test_fraction, seed=split_seed)
    except ValueError as error:
        raise DatasetError(f"{place}: {error}; classes are {shown(class_names)}") from error
    return np.concatenate([train, test]), len(train)


def order_of_parts(
    place: object,
    lengths: Sequence[int],
    labels: Int[np.ndarray, " n"],
    class_names: tuple[str, ...],
    *,
    test_fraction: float,
    split_seed: int,
) -> tuple[Int[np.ndarray, " n"], int]:
    """As `train_then_test` if there is one part; two are the training split and the other."""
    if len(lengths) > 1:
        return np.arange(len(labels)), lengths[0]
    return train_then_test(
        place, labels, class_names, test_fraction=test_fraction, split_seed=split_seed
    )


def shown(names: tuple[str, ...] | list[str]) -> str:
    """The first of some names."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more if names else "none"
