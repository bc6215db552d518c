"""What pairs the rows of a batch and of a bank, as the options of a loss say it."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hcl_jax import pairs as pairing
from hcl_jax.collectives import Collectives, check_collectives
from hcl_jax.normalization import NORMALIZATIONS
from hcl_jax.options import Bank, Options
from hcl_jax.pair_rows import NO_CLASS, WAYS_OUT
from hcl_jax.pairs import Rows
from hcl_jax.validation.arrays import check_array, fits_int32
from hcl_jax.validation.batches import check_embeddings, check_labels, check_no_negative_labels
from hcl_jax.validation.concrete import is_concrete
from hcl_jax.validation.options import check_choice, check_kind


def image_indices(embeddings: Any, collectives: Collectives, name: str) -> Int[Array, " n"]:
    """The indices of the images of a batch with an axis of views, in the place of what is named."""
    check_array("embeddings", embeddings)
    if jnp.ndim(embeddings) != 3:
        raise ValueError(
            f"give {name}, or embeddings (batch, views, dim), whose images are numbered; got no "
            f"{name} and embeddings of shape {jnp.shape(embeddings)}"
        )
    return row_indices(len(embeddings), collectives)


def row_indices(count: int, collectives: Collectives) -> Int[Array, " n"]:
    """The indices that `count` rows or images of each device have in the whole batch."""
    check_collectives(collectives)
    return jnp.arange(count, dtype=jnp.int32) + collectives.index() * count


def bank_of(options: Options) -> Bank | None:
    """The bank that options give, which must be one."""
    bank = options.get("bank")
    if bank is not None:
        check_kind("bank", bank, Bank, "hcl_jax.Bank(embeddings, labels)")
    return bank


def check_groups_of(bank: Bank | None) -> None:
    """Raises where the bank has groups and the batch, whose labels are given, has none."""
    if bank is not None and bank.groups is not None:
        raise ValueError(
            "the rows of the bank have groups and those of the batch labels alone, which are not "
            "compared with groups; give the batch groups too"
        )


def stored_rows(
    options: Options, bank: Bank | None, batch: Rows, collectives: Collectives
) -> tuple[Float[Array, "m dim"], Rows] | None:
    """The embeddings of a bank and what pairs them, numbered after the rows of the whole batch."""
    if bank is None:
        return None
    check_embeddings("embeddings of the bank", bank.embeddings)
    count = len(bank.embeddings)
    first = collectives.size() * len(batch.label) + collectives.index() * count
    labels, groups = bank.labels, bank.groups
    if labels is None and batch.rules is not None:
        raise ValueError("beside a pair rule the bank needs keys of its rows as labels")
    grouped = None
    if groups is None and (labels is None or options.get("groups") is not None):
        grouped, groups = jnp.zeros(count, bool), jnp.zeros(count, jnp.int32)
    if labels is None:
        rows = pairing.rows(jnp.full(count, NO_CLASS, jnp.int32), groups=groups, first=first)
    else:
        rows = batch_rows(labels, groups, first, options)
    embeddings = without_ignored(bank.embeddings, rows, options)
    embeddings = normalized("embeddings of the bank", embeddings, options)
    return embeddings, rows._replace(grouped=grouped)


def normalized(name: str, embeddings: Any, options: Options) -> Float[Array, "n dim"]:
    """Rows mapped as the option `normalize` says; as they are where it says nothing."""
    normalize = options.get("normalize")
    if normalize is None:
        return embeddings
    check_choice("normalize", normalize, (*NORMALIZATIONS, None))
    check_embeddings(name, embeddings)
    return NORMALIZATIONS[normalize](jnp.asarray(embeddings))


def batch_rows(labels: Any, groups: Any, first: Any, options: Options) -> Rows:
    """What pairs rows of one class each, by a matrix of booleans of several, or by a rule."""
    ignore_label, rule = options.get("ignore_label"), options.get("pair_rule")
    if rule is not None:
        return pairing.rows_by_rule(rule, labels, groups=groups, first=first)
    if np.ndim(labels) != 2 or labels.dtype != bool:
        if np.ndim(labels) == 2:
            raise TypeError(
                "labels must be one integer for each embedding, or, for several classes a row, "
                f"booleans (n, classes), got shape {np.shape(labels)} and dtype {labels.dtype}"
            )
        return pairing.rows(labels, groups=groups, first=first, ignore_label=ignore_label)
    if ignore_label is not None:
        raise ValueError(
            "ignore_label is for one class a row; a row of several that has none is a negative of "
            "all and no anchor"
        )
    return pairing.multilabel_rows(labels, groups=groups, first=first)


def ranks(batch: Any, stored: Any, *, are_classes: bool = False) -> tuple[Any, Any]:
    """Concrete integers of a batch and of a bank, if it has any; their ranks among those of both,
    by which equal stay equal, if int32 cannot hold them.

    Classes have no negative numbers, while identifiers such as hashes may.
    """
    given = [numbers for numbers in (batch, stored) if numbers is not None]
    if not all(is_concrete(numbers) and np.ndim(numbers) == 1 for numbers in given):
        return batch, stored
    if not all(hasattr(numbers, "dtype") for numbers in given) or all(map(fits_int32, given)):
        return batch, stored
    arrays = [np.asarray(numbers) for numbers in given]
    if are_classes:
        for array in arrays:
            check_no_negative_labels("labels", array, WAYS_OUT)
    if np.result_type(*arrays).kind == "f":  # of uint64 beside int64
        arrays = [array.astype(object) for array in arrays]
    found = np.unique(np.concatenate(arrays), return_inverse=True)[1].astype(np.int32)
    parts = iter(np.split(found, [len(arrays[0])]))
    batch, stored = (None if numbers is None else next(parts) for numbers in (batch, stored))
    return batch, stored


def without_ignored(embeddings: Any, rows: Rows, options: Options) -> Any:
    """Zeros in the place of rows of `ignore_label`, so that nothing in them is seen, nor NaN."""
    if rows.labelled is None or options.get("ignored_negatives", False):
        return embeddings
    check_labels("labels", rows.label, length=len(embeddings))
    return jnp.where(rows.labelled[:, None], embeddings, 0)


def classes_of_groups(groups: Any, bank: Bank | None, *, length: int) -> Any:
    """The class of each row where none is given: its group, whose number may be negative."""
    if bank is not None and bank.labels is not None:
        raise ValueError(
            "the rows of the bank have labels and those of the batch have groups alone; give the "
            "batch labels too"
        )
    check_labels("groups", groups, length=length)
    if is_concrete(groups) and np.min(np.asarray(groups), initial=0) < 0:
        return np.unique(np.asarray(groups), return_inverse=True)[1].astype(np.int32)
    return groups
