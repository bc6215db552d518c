"""Experiments as values: what is trained, on what, for how long; none that cannot be."""

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args, get_type_hints

from hcl_jax.hardness import with_bounded_hardness
from hcl_jax.validation.numbers import (
    check_count,
    check_non_negative,
    check_positive,
    check_scalar,
)
from hcl_jax.validation.options import check_choice
from scripts.experiments.datasets import DATASETS
from scripts.experiments.fields import ExperimentFields
from scripts.experiments.networks import IN_ANY_DTYPE, has_batch_norm
from scripts.experiments.options import HARDENINGS, choices_of
from scripts.experiments.own_data import KINDS, kind_of

HINTS = get_type_hints(ExperimentFields, include_extras=True)

CHOICES: Mapping[str, tuple[str, ...]] = {
    name: choices for name, hint in HINTS.items() if (choices := choices_of(hint))
}
"""The values of the fields of an experiment that are names."""

FLAGS = tuple(name for name, hint in HINTS.items() if hint is bool)
LARGEST_SEED = 2**31 - 1


def is_data(name: Any) -> bool:
    """Whether this names a data set, or data of one's own."""
    return isinstance(name, str) and (name in DATASETS or kind_of(name) is not None)


@dataclasses.dataclass(frozen=True)
class Experiment(ExperimentFields):
    """One objective on one data set: fields that can be, and that fit together.

    Raises:
        ValueError, TypeError: for fields that cannot be, or do not fit together.
    """

    def __post_init__(self) -> None:
        for name, choices in CHOICES.items():
            if getattr(self, name) is not None or type(None) not in get_args(HINTS[name]):
                check_choice(name, getattr(self, name), choices)
        self._check_data()
        for name in FLAGS:
            check_choice(name, getattr(self, name), (True, False))
        for name in ("beta", "temperature", "learning_rate", "weight_decay"):
            check_scalar(name, getattr(self, name))
        self._check_hardness()
        for name in ("epochs", "evaluations", "fit_epochs", "parts"):
            check_count(name, getattr(self, name))
        for name, minimum in (
            ("num_negatives", 1),
            ("dim", 1),
            ("batch_size", 2),
            ("per_class", 1 if self.positives == "views" else 2),
        ):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name), minimum=minimum)
        check_count("warmup_epochs", self.warmup_epochs, minimum=0)
        check_positive("temperature", self.temperature)
        check_positive("learning_rate", self.learning_rate)
        check_non_negative("weight_decay", self.weight_decay)
        if self.warmup_epochs >= self.epochs and self.warmup_epochs:
            raise ValueError(
                f"warmup_epochs must be below epochs, {self.epochs}, got {self.warmup_epochs}"
            )
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must be different and at least one, got {self.seeds}")
        for seed in self.seeds:
            check_count("seed", seed, minimum=0)
        if max(self.seeds) > LARGEST_SEED:
            raise ValueError(f"seeds must be at most {LARGEST_SEED}, got {self.seeds}")
        if self.own is not None or not self.is_own:
            self._check_classes()

    def _check_data(self) -> None:
        if not is_data(self.data):
            known = (*DATASETS, *(f"{kind}:{rest}" for kind, rest in KINDS.items()))
            check_choice("data", self.data, known)
        if self.image_size is not None:
            check_count("image_size", self.image_size)
        for name in ("test_fraction", "imbalance"):
            check_scalar(name, getattr(self, name))
        check_count("split_seed", self.split_seed, minimum=0)
        if not 0 < self.test_fraction < 1:
            raise ValueError(f"test_fraction must lie between 0 and 1, got {self.test_fraction}")
        if not 1 <= self.imbalance < float("inf"):
            raise ValueError(f"imbalance must be at least 1 and finite, got {self.imbalance}")
        self._check_use()

    def _check_use(self) -> None:
        """Whether what is said, of the fields that others make idle, would change anything."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        for names, fits, what in self.uses:
            for name in names:
                if not fits and getattr(self, name) != defaults[name]:
                    raise ValueError(f"{name} is for {what}")

    def _check_classes(self) -> None:
        if self.defaults.unlabelled:
            self._check_no_label_is_needed()
        network = self.network or self.defaults.network
        if self.dtype != "float32" and network not in IN_ANY_DTYPE:
            raise ValueError(
                f"dtype {self.dtype} is for {' and '.join(IN_ANY_DTYPE)}, not for the {network} of "
                f"{self.data}"
            )
        head = self.head or self.defaults.head
        if self.synchronized and not has_batch_norm(network, head):
            raise ValueError(
                f"synchronized is for networks with batch norm, and a {network} with head {head} "
                "has none"
            )
        if self.per_class is not None:
            self._check_balance(self.per_class)
        if self.initialization == "near_nc" and self.embedding_dim < self.defaults.num_classes - 1:
            raise ValueError(
                f"initialization 'near_nc' needs dim of at least {self.defaults.num_classes - 1}, "
                f"one less than there are classes, got {self.dim}"
            )

    def _check_balance(self, per_class: int) -> None:
        classes, rest = divmod(self.images_per_step, per_class)
        if rest or not 2 <= classes <= self.defaults.num_classes:
            raise ValueError(
                f"a batch of {self.images_per_step} images does not have {per_class} of each of 2 "
                f"to {self.defaults.num_classes} classes; choose another batch_size or per_class, "
                f"or leave batch_size out"
            )

    def _check_hardness(self) -> None:
        family = HARDENINGS[self.hardening]
        if not family.signed:
            check_non_negative("beta", self.beta)
        if self.is_hard:
            hardening = family.make(self.beta)  # which checks the number
            if self.num_negatives is None:
                with_bounded_hardness(hardening, "float32")
        elif self.beta != 0:
            raise ValueError(
                f"{self.objective} has no hard negatives, so beta must be 0, got {self.beta}; "
                f"use H{self.objective}"
            )

    def _check_no_label_is_needed(self) -> None:
        for name, fitting in (
            ("objective", ("UCL", "HUCL")),
            ("positives", ("views",)),
            ("initialization", ("random",)),
            ("imbalance", (1,)),
            ("per_class", (None,)),
        ):
            check_choice(f"{name} on {self.data}", getattr(self, name), fitting)
