"""Communication between the processes of a run; with a single process nothing is sent.

Every process has to call these functions, in the same order.
"""

import jax
import numpy as np


def is_first() -> bool:
    """Whether this is process 0, which writes the files that are written once."""
    return jax.process_index() == 0


def processes_where(flag: bool) -> list[int]:
    """The indices of the processes whose flag is set, the same list in every process."""
    if jax.process_count() == 1:
        return [0] if flag else []
    from jax.experimental import multihost_utils

    flags = multihost_utils.process_allgather(np.asarray(flag, np.int32))
    return np.flatnonzero(np.asarray(flags)).tolist()


def broadcast_from_first(number: int) -> int:
    """The number that process 0 passed, in every process; it must fit into an int32."""
    if jax.process_count() == 1:
        return number
    from jax.experimental import multihost_utils

    return int(multihost_utils.broadcast_one_to_all(np.asarray(number, np.int32)))
