"""How the splits of data of one's own are called, and who is held out where there is only one."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Int

from hcl_jax.data.splits import DatasetError
from hcl_jax.data.splitting import stratified_split
from hcl_jax.data.squares import ImageSource
from hcl_jax.validation.options import check_choice

TRAINING = "train"
HELD_OUT = ("test", "val", "valid", "validation")
"""The names of folders of splits; of those that are held out the first that is there is used."""

TEST_FRACTION = 0.2
"""The share of every class that is held out where nothing else is said."""

EvaluateOn = Literal["test", "val"]
"""Which of them is used where there are several: the first, or the first of the others."""


def check_evaluate_on(value: object) -> None:
    """Raises ValueError unless it is a kind of split, or None for whichever there is."""
    check_choice("evaluate_on", value, (*get_args(EvaluateOn), None))


class IdleSeedError(DatasetError):
    """A seed that would choose nothing."""


def check_is_not_said(place: object, test_fraction: float, split_seed: int) -> None:
    """Raises DatasetError for a choice of what is held out of data that say so themselves."""
    for name, value, usual, refused in (
        ("test_fraction", test_fraction, TEST_FRACTION, DatasetError),
        ("split_seed", split_seed, 0, IdleSeedError),
    ):
        if value != usual:
            raise refused(
                f"{place} has images to test with, so that none are held out and {name} would "
                f"change nothing, got {value}; leave it out"
            )


def parts_of(
    place: object, names: Sequence[str], evaluate_on: EvaluateOn | None
) -> tuple[str, ...] | None:
    """The training split and the one that is held out, if any; None if there are no splits.

    DatasetError if some names look like splits and are not called as they should be, if others
    stand beside them, or if the split to evaluate on is not there.
    """
    check_evaluate_on(evaluate_on)
    like = {TRAINING, *HELD_OUT, "training", "testing"}
    if not any(name.lower() in like for name in names):
        if evaluate_on is not None:
            raise _without(place, evaluate_on, names)
        return None
    if TRAINING not in names or set(names) - {TRAINING, *HELD_OUT}:
        raise DatasetError(
            f"{place} has what looks like splits, which must be called {TRAINING} and "
            f"{', '.join(HELD_OUT[:-1])} or {HELD_OUT[-1]}, with nothing beside them; found "
            f"{shown(tuple(names))}"
        )
    wanted = {None: HELD_OUT, "test": HELD_OUT[:1], "val": HELD_OUT[1:]}[evaluate_on]
    held_out = next((name for name in wanted if name in names), None)
    if held_out is None and evaluate_on is not None:
        raise _without(place, evaluate_on, names)
    return (TRAINING,) if held_out is None else (TRAINING, held_out)


def _without(place: object, evaluate_on: str, names: Sequence[str]) -> DatasetError:
    return DatasetError(
        f"{place} has no split {evaluate_on} to evaluate on; found {shown(tuple(names))}"
    )


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


def with_held_out(
    source: ImageSource, lengths: Sequence[int], *, test_fraction: float, split_seed: int
) -> ImageSource:
    """A source of one part, of which a share is held out, or of two, taken as they are."""
    if len(lengths) > 1:
        check_is_not_said(source.place, test_fraction, split_seed)
        return source._replace(num_train=lengths[0])
    order, num_train = train_then_test(
        source.place,
        source.labels,
        source.class_names,
        test_fraction=test_fraction,
        split_seed=split_seed,
    )
    labels = source.labels[order]
    return source._replace(order=source.order[order], labels=labels, num_train=num_train)


def shown(names: tuple[str, ...] | list[str]) -> str:
    """The first of some names."""
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more if names else "none"
