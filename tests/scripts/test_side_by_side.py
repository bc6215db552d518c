"""Runs at once: results in order, and an error or a signal ends all of them."""

import os
import signal
import threading
import time

import pytest
from tqdm import tqdm

from scripts.runs import side_by_side
from scripts.runs.exit_status import NonFiniteError, PreemptedError

RUNS = [(f"experiment {number}", f"path {number}") for number in range(6)]
WAIT = 60.0


@pytest.fixture
def two_at_once(monkeypatch):
    monkeypatch.setattr(side_by_side, "runs_at_once", lambda: 2)


def train_until_stopped(begun, ended):
    """A run that trains until it is asked to stop; the second one meets a NaN."""

    def run(experiment, path, progress, runtime, *, stop):
        begun.append(experiment)
        if experiment == RUNS[1][0]:
            raise NonFiniteError("the loss is nan")
        waited = time.monotonic()
        while not stop.requested and time.monotonic() - waited < WAIT:
            time.sleep(0.001)
        ended.append(experiment)
        raise PreemptedError("asked to stop")

    return run


def test_results_are_in_order_and_two_run_at_once(two_at_once, monkeypatch):
    together = threading.Barrier(2)

    def run(experiment, path, progress, runtime, *, stop):
        together.wait(WAIT)
        return [{"seed": experiment}]

    monkeypatch.setattr(side_by_side, "run", run)
    with side_by_side.side_by_side(RUNS, tqdm(disable=True)) as futures:
        found = [future.result() for future in futures]
    assert found == [[{"seed": experiment}] for experiment, _ in RUNS]


def test_an_error_of_one_ends_the_others(two_at_once, monkeypatch):
    begun, ended = [], []
    monkeypatch.setattr(side_by_side, "run", train_until_stopped(begun, ended))
    bar = tqdm(disable=True)
    with pytest.raises(NonFiniteError), side_by_side.side_by_side(RUNS, bar) as futures:
        futures[1].result()
    assert RUNS[0][0] in ended
    assert len(begun) <= 4, "the others do not begin"


def test_a_signal_ends_all(two_at_once, monkeypatch):
    begun, ended = [], []
    monkeypatch.setattr(side_by_side, "run", train_until_stopped(begun, ended))
    signalled = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGTERM))
    bar = tqdm(disable=True)
    with pytest.raises(PreemptedError), side_by_side.side_by_side(RUNS, bar) as futures:
        (signalled.start(), futures[0].result())
    assert RUNS[0][0] in ended


def test_there_is_a_run_for_every_core():
    assert side_by_side.runs_at_once() == len(os.sched_getaffinity(0))
