"""Multisets of k negatives: what the ordered k-tuples are grouped into."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import combinations_with_replacement
from math import comb, factorial, prod

from flint import arb

MAX_TUPLES = 1_000_000


@lru_cache(maxsize=64)
def multisets(size: int, k: int) -> list[tuple[tuple[int, ...], int]]:
    """All multisets of k numbers below `size`, each with the number of its orders.

    Args:
        size: how many different elements there are.
        k: how many are taken.

    Returns:
        Sorted tuples of indices and multinomial coefficients, which sum to ``size ** k``.

    Raises:
        ValueError: if there are more than `MAX_TUPLES`.

    Example:
        >>> multisets(2, 2)
        [((0, 0), 1), ((0, 1), 2), ((1, 1), 1)]
    """
    if (count := comb(size + k - 1, k)) > MAX_TUPLES:
        raise ValueError(
            f"k = {k} negatives among {size} different similarities make {count} tuples up to "
            f"order, more than {MAX_TUPLES}"
        )
    return [
        (places, factorial(k) // prod(map(factorial, Counter(places).values())))
        for places in combinations_with_replacement(range(size), k)
    ]


def over_multisets(each: Sequence[arb], k: int, combine: Callable[[arb, arb], arb]) -> list[arb]:
    """Combines the numbers of every multiset of k places, sharing the work between multisets.

    Args:
        each: a number for every place.
        k: the size of the multisets.
        combine: adds one number to what there is.

    Returns:
        One number for each multiset, in the order of `multisets`.

    Example:
        >>> from operator import add
        >>> [int(x.unique_fmpz()) for x in over_multisets([arb(1), arb(10)], 2, add)]
        [2, 11, 20]
    """
    level = list(enumerate(each))
    for _ in range(k - 1):
        level = [
            (j, combine(total, each[j])) for last, total in level for j in range(last, len(each))
        ]
    return [total for _, total in level]
