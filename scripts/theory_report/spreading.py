"""Work spread over processes: this one, and others that are started anew.

A process in which JAX runs must not be forked, and what one of several jobs has computed another
process does not know.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from multiprocessing import get_context
from typing import Any, TypeVar

Job = TypeVar("Job")
Done = TypeVar("Done")


class LostProcessError(RuntimeError):
    """A process was ended from outside."""


def spread(
    jobs: Sequence[Job],
    here: Callable[[Job], Done],
    sent: Callable[[Job], tuple[Any, ...]],
    *,
    processes: int,
    ended: Callable[[Done], object] = lambda done: None,
) -> list[Done]:
    """What became of every job, in the order of the jobs, which begin in this order.

    A job is done `here`, or elsewhere by the function and the arguments that `sent` makes of it,
    which must be such as can be sent to another process; `ended` is called after the latter, by one
    thread at a time. The first error ends all.
    """
    left, lock = iter(enumerate(jobs)), threading.Lock()
    done: dict[int, Done] = {}

    def work(do: Callable[[Job], Done]) -> None:
        try:
            for number, job in left:
                done[number] = do(job)
        finally:
            for _ in left:  # what is left is nobody's work if one process fails
                pass

    with ExitStack() as stack:
        others, working = min(processes, len(jobs)) - 1, []
        if others > 0:
            pool = ProcessPoolExecutor(others, mp_context=get_context("spawn"))
            stack.enter_context(pool)
            threads = stack.enter_context(ThreadPoolExecutor(others))

            def elsewhere(job: Job) -> Done:
                try:
                    found = pool.submit(*sent(job)).result()
                except BrokenProcessPool as error:
                    raise LostProcessError(
                        "one of several processes was ended from outside; is there enough memory?"
                    ) from error
                with lock:
                    ended(found)
                return found

            working = [threads.submit(work, elsewhere) for _ in range(others)]
        work(here)
        for one in working:
            one.result()
    return [done[number] for number in range(len(jobs))]
