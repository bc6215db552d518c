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
    """All sorted k-tuples of numbers below `size`, each with the number of its orders.

    Raises ValueError if there are more than `MAX_TUPLES`.
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
    """Combines the numbers at the places of every multiset of k places, in order of `multisets`.

    The work is shared between multisets: `combine` adds one number to what there is.
    """
    level = list(enumerate(each))
    for _ in range(k - 1):
        level = [
            (j, combine(total, each[j])) for last, total in level for j in range(last, len(each))
        ]
    return [total for _, total in level]
