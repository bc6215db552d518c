"""Batches with as many images of every class in them, drawn on the device.

A batch has `per_class` different rows of each of `classes_per_batch` different classes.

Classes: those that came least often so far in the epoch come next, ties broken at random, so that
no class comes more than once more often than another. Rows: every class is gone through in a random
order of its own. A class that is used up is shuffled anew and gone through again; so are the rows
that are left when they are fewer than `per_class`, since a batch that straddled two passes could
hold a row twice, which would be its own positive. A small class of a long tail therefore comes as
often as the others, with its rows repeated, and of a large one an epoch shows a part.

The shuffle is that of Fisher and Yates, taken up where the batch before left it: from any order of
the rows, each draw takes one of those that are left, all alike. So an epoch takes time linear in
its batches and holds one number for each row, whatever the sizes of the classes.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Int, PRNGKeyArray

from hcl_jax.validation.arrays import check_array, check_key
from hcl_jax.validation.batches import check_labels
from hcl_jax.validation.concrete import is_concrete
from hcl_jax.validation.numbers import check_count


def class_balanced_batches(
    key: PRNGKeyArray,
    labels: Int[Array | np.ndarray, " n"],
    *,
    num_classes: int,
    per_class: int,
    classes_per_batch: int | None = None,
    steps: int | None = None,
) -> Int[Array, "steps batch"]:
    """The rows of the batches of an epoch, as many of every class in a batch.

    A pure function of its arguments, under `jax.jit` and `jax.vmap` too: the key is all the state
    there is. An epoch of its own for each `jax.random.fold_in(key, epoch)` resumes anywhere.

    Args:
        key: decides classes and rows.
        labels: the class of every row, from 0 to ``num_classes - 1``.
        num_classes: number of classes C.
        per_class: rows of each class in a batch, m.
        classes_per_batch: classes in a batch, P; by default all.
        steps: number of batches; by default ``n // (m P)``, as many as without balance.

    Returns:
        Row numbers, of which a batch takes ``m P``: a row of each of its classes, then a second row
        of each in the same order, and so on, so that equal parts of a batch, such as those of
        several devices, are balanced as well. No row is twice in a batch. Let f be the number of
        rows of a class over m, rounded down, and v how often the class comes, which is ``steps P /
        C`` rounded down or up: a row of it comes at most ``ceil(v / f)`` times in an epoch, and
        every row at least once if m divides the size of the class and v is f or more.

    Raises:
        ValueError: if a class has fewer rows than `per_class` (where the labels are concrete;
            traced ones are not looked at, and rows would then be of wrong classes), a label is out
            of range, `classes_per_batch` is more than there are classes, a count is below one, or
            there are fewer rows than one batch takes and no `steps`.
        TypeError: if a count or the labels are not integers, or the key is none.

    Example:
        >>> import jax
        >>> labels = jax.numpy.array([0, 0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2])
        >>> batches = class_balanced_batches(
        ...     jax.random.key(0), labels, num_classes=3, per_class=2
        ... )
        >>> [sorted(labels[batch].tolist()) for batch in batches]
        [[0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2]]
    """
    check_key("key", key)
    check_array("labels", labels)
    check_labels("labels", labels, length=np.size(labels))
    num_classes = check_count("num_classes", num_classes)
    per_class = check_count("per_class", per_class)
    classes = num_classes
    if classes_per_batch is not None:
        classes = check_count("classes_per_batch", classes_per_batch)
    if classes > num_classes:
        raise ValueError(
            f"classes_per_batch must be at most the {num_classes} classes, got {classes}"
        )
    if is_concrete(labels):
        check_enough_of_every_class(labels, num_classes, per_class)
    if steps is None and len(labels) < per_class * classes:
        raise ValueError(
            f"a batch of {per_class} rows of each of {classes} classes takes "
            f"{per_class * classes} rows, got {len(labels)}"
        )
    steps = len(labels) // (per_class * classes) if steps is None else check_count("steps", steps)
    return _batches(key, jnp.asarray(labels, jnp.int32), num_classes, per_class, classes, steps)


def check_enough_of_every_class(
    labels: Int[Array | np.ndarray, " n"],
    num_classes: int,
    per_class: int,
    *,
    names: Sequence[str] = (),
) -> None:
    """Raises ValueError unless labels are classes, of each of which there are `per_class` rows."""
    check_labels("labels", labels, length=np.size(labels), num_classes=num_classes)
    counts = np.bincount(np.asarray(labels), minlength=num_classes)
    if counts.min() < per_class:
        few, least = int(np.count_nonzero(counts < per_class)), int(counts.argmin())
        raise ValueError(
            f"every class must have at least per_class = {per_class} rows, but class "
            f"{names[least] if names else least} has {counts[least]} "
            f"({few} of {num_classes} classes have fewer)"
        )


@functools.partial(
    jax.jit, static_argnames=("num_classes", "per_class", "classes_per_batch", "steps")
)
def _batches(
    key: PRNGKeyArray,
    labels: Int[Array, " n"],
    num_classes: int,
    per_class: int,
    classes_per_batch: int,
    steps: int,
) -> Int[Array, "steps batch"]:
    counts = jnp.bincount(labels, length=num_classes).astype(jnp.int32)
    first = jnp.cumsum(counts, dtype=jnp.int32) - counts

    def batch(carry: tuple[Array, Array, Array], key: PRNGKeyArray) -> tuple[tuple, Array]:
        rows, used, visits = carry
        class_key, row_key = jax.random.split(key)
        chosen = _least_visited(class_key, visits)[:classes_per_batch]
        begin = jnp.where(used[chosen] + per_class > counts[chosen], 0, used[chosen])
        left = counts[chosen] - begin
        rows, drawn = _drawn(row_key, rows, first[chosen] + begin, left, per_class)
        used = used.at[chosen].set(begin + per_class)
        return (rows, used, visits.at[chosen].add(1)), drawn.reshape(-1)

    by_class = jnp.argsort(labels, stable=True).astype(jnp.int32)
    none = jnp.zeros(num_classes, jnp.int32)
    _, batches = lax.scan(batch, (by_class, none, none), jax.random.split(key, steps))
    return batches


def _least_visited(key: PRNGKeyArray, visits: Int[Array, " classes"]) -> Int[Array, " classes"]:
    """The classes in order of their visits, those with as many in random order."""
    order = jax.random.permutation(key, len(visits))
    return order[jnp.argsort(visits[order], stable=True)]


def _drawn(
    key: PRNGKeyArray,
    rows: Int[Array, " n"],
    begin: Int[Array, " classes"],
    left: Int[Array, " classes"],
    count: int,
) -> tuple[Int[Array, " n"], Int[Array, "count classes"]]:
    """Draws rows without replacement from the `left` ones of some classes that begin at `begin`.

    What is drawn is moved to the beginning of what is left of its class.
    """

    def draw(rows: Array, numbered: tuple[Array, PRNGKeyArray]) -> tuple[Array, Array]:
        number, key = numbered
        here = begin + number
        there = here + jax.random.randint(key, begin.shape, 0, left - number, jnp.int32)
        drawn, moved = rows[there], rows[here]
        places = jnp.concatenate([here, there])
        return rows.at[places].set(jnp.concatenate([drawn, moved])), drawn

    numbers = jnp.arange(count, dtype=jnp.int32)
    return lax.scan(draw, rows, (numbers, jax.random.split(key, count)))
