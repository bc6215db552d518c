"""Measures claims in several processes, a file of claims at a time, in the same order and to the
same numbers as in one. The claims of a file share what they compute, so a file stays in one.
"""

import importlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import ModuleType

import jax

from scripts.theory_report.findings import Finding
from scripts.theory_report.spreading import spread
from theory import claims
from theory.checking import Claim, Effort, Measurement

MOST = 4
"""Processes: each takes seconds to start and half a gigabyte, and the longest file bounds all."""

LONG = (
    claims.evaluators,
    claims.unequal_priors_shipped,
    claims.trained_network,
    claims.proposition5_detached_gradient,
    claims.free_features_optima,
)
"""Files that take longest, which begin first."""

Measured = list[tuple[Measurement, float]]
"""Of each claim and then of its controls what was found, and the seconds that it took."""

Progress = Callable[[int], object]
"""Called with the number of measurements that have ended."""


def processes() -> int:
    """As many as there are cores to use; one where JAX uses an accelerator, which has one user."""
    if jax.default_backend() != "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(MOST, cores or 1)


def run(
    modules: Sequence[ModuleType],
    effort: Effort,
    *,
    processes: int = 1,
    progress: Progress = lambda count: None,
) -> list[Finding]:
    """What was found of the claims of all files and of their controls, in order."""
    lock = threading.Lock()

    def ended(count: int) -> None:
        with lock:
            progress(count)

    order = sorted(modules, key=lambda module: module not in LONG)
    measured = spread(
        order,
        lambda module: _measure(module.CLAIMS, effort, ended),
        lambda module: (_measure_file, module.__name__, effort),
        processes=processes,
        ended=lambda found: ended(len(found)),
    )
    found = {module.__name__: one for module, one in zip(order, measured, strict=True)}
    return [finding for module in modules for finding in _findings(module, found)]


def _measure_file(name: str, effort: Effort) -> Measured:
    """Measures the claims of a file in another process, to which functions cannot be sent."""
    return _measure(importlib.import_module(name).CLAIMS, effort, lambda count: None)


def _measure(claims: Sequence[Claim], effort: Effort, ended: Progress) -> Measured:
    """Measures each claim and then its controls."""
    measured = []
    for claim in claims:
        for one in (claim, *claim.controls):
            start = time.perf_counter()
            found = one.measure(effort)
            measured.append((found, time.perf_counter() - start))
            ended(1)
    return measured


def _findings(module: ModuleType, found: dict[str, Measured]) -> Iterator[Finding]:
    """The claims of a file with what was found."""
    measured = iter(found[module.__name__])
    for claim in module.CLAIMS:
        for control in (None, *claim.controls):
            yield Finding(claim, control, *next(measured))
