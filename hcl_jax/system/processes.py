"""What the processes of a run tell each other; with a single process, nothing is sent.

Every process has to call these functions, in the same order.
"""

import jax
import numpy as np


def is_first() -> bool:
    """Whether this process does what is done once.

    Returns:
        True in process 0.

    Example:
        >>> is_first()
        True
    """
    return jax.process_index() == 0


def said_by(flag: bool) -> list[int]:
    """The processes whose flag is set.

    Args:
        flag: of this process.

    Returns:
        Their numbers, the same list in every process.

    Example:
        >>> said_by(True), said_by(False)
        ([0], [])
    """
    if jax.process_count() == 1:
        return [0] if flag else []
    from jax.experimental import multihost_utils

    flags = multihost_utils.process_allgather(np.asarray(flag, np.int32))
    return np.flatnonzero(np.asarray(flags)).tolist()


def from_first(number: int) -> int:
    """The number that the first process has.

    Args:
        number: of this process, below 2 ** 31 and not below -2 ** 31.

    Returns:
        That of process 0, in every process.

    Example:
        >>> from_first(7)
        7
    """
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(np.asarray(number, np.int32)))
