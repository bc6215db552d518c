"""The sign of a function on an interval, by balls that cover it."""

from collections.abc import Callable

from flint import arb


def has_sign_throughout(
    function: Callable[[arb], arb], low: arb, high: arb, *, positive: bool, boxes: int
) -> bool:
    """Whether a function certainly is positive, or negative, on all of an interval.

    Args:
        function: encloses the values over a ball.
        low: the lower end.
        high: the upper end.
        positive: which of the two signs is asked for.
        boxes: how many balls are tried.

    Returns:
        False where at some number in the interval the sign certainly is the other one.

    Raises:
        ArithmeticError: if so many balls decide neither.

    Example:
        >>> has_sign_throughout(lambda x: x * x - x + 1, arb(0), arb(1), positive=True, boxes=9)
        True
    """
    sign, parts = 1 if positive else -1, [(low, high)]
    for _ in range(boxes):
        if not parts:
            return True
        low, high = parts.pop()
        if sign * function(low.union(high)) > 0:
            continue
        middle = ((low + high) / 2).mid()
        if sign * function(middle) < 0:
            return False
        parts += [(low, middle), (middle, high)]
    raise ArithmeticError(f"undecided after {boxes} boxes")
