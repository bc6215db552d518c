"""Claims measured in one process and in several: the same numbers, in the same order."""

import os
import time
from collections import Counter
from types import SimpleNamespace

import pytest

from scripts.theory_report.measuring import run
from scripts.theory_report.spreading import LostProcessError, spread
from theory.checking import Claim, Control, Effort, Evidence, Measurement
from theory.claims import theorem1_pools, unequal_priors_windows


def test_several_processes_find_what_one_finds():
    files = (unequal_priors_windows, theorem1_pools)
    ended = []
    both = [run(files, Effort.QUICK, processes=count, progress=ended.append) for count in (1, 2)]
    one, two = ([(f.claim, f.control, f.measurement) for f in found] for found in both)
    assert one == two
    claims = [claim for file in files for claim in file.CLAIMS]
    assert [claim for claim, control, _ in one if control is None] == claims
    assert sum(ended) == 2 * len(one)


def file_of(name, measure):
    claim = Claim(
        name=name,
        statement="",
        reference="",
        hypotheses="",
        evidence=Evidence.PROVED,
        measure=measure,
        controls=(Control("none", "none", measure),),
    )
    return SimpleNamespace(__name__=name, CLAIMS=(claim,))


def test_an_error_ends_all():
    measured = []

    def count(effort):
        measured.append(effort)
        return Measurement(Counter(), 0)

    def fail(effort):
        raise ArithmeticError("undecided after 20000 boxes")

    files = (file_of("first", count), file_of("second", fail), file_of("third", count))
    with pytest.raises(ArithmeticError, match="undecided"):
        run(files, Effort.FULL)
    assert measured == [Effort.FULL] * 2


def test_jobs_keep_their_order():
    found = spread(range(4), lambda job: -job, lambda job: (abs, job), processes=1)
    assert found == [0, -1, -2, -3]
    assert spread([], abs, lambda job: (abs, job), processes=2) == []


def test_a_process_that_is_lost_is_named():
    def slowly(job):
        time.sleep(0.5)  # so that the other process has a job too

    with pytest.raises(LostProcessError, match="is there enough memory"):
        spread(range(2), slowly, lambda job: (os._exit, 3), processes=2)
