"""Bars on terminals, lines in log files."""

import io
import itertools
import re
import sys

import pytest

from hcl_jax.system import progress
from hcl_jax.system.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(monkeypatch, stream, seconds, **options):
    """What a bar of 100 steps writes, of which each takes a second of a clock of ours."""
    monkeypatch.setattr(sys, "stderr", stream)
    now = [0.0]
    with progress_bar(total=100, desc="work", **options) as bar:
        bar._time = lambda: now[0]
        bar.start_t = bar.last_print_t = 0.0
        for _ in range(seconds):
            now[0] += 1.0
            bar.update()
    return stream.getvalue()


def test_a_log_has_a_line_now_and_then(monkeypatch):
    lines = shown(monkeypatch, io.StringIO(), 100).splitlines()
    steps = [int(re.match(r"work: +\d+% (\d+)/100 \[", line)[1]) for line in lines]
    assert steps[0] == 0
    assert steps[-1] == 100
    assert all(14 <= later - earlier <= 16 for earlier, later in itertools.pairwise(steps[:-1]))
    assert len(steps) == 8


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_of_uneven_work_no_time_is_foretold(monkeypatch, stream):
    states = re.split(r"[\r\n]+", shown(monkeypatch, stream(), 100, bar_format=progress.UNEVEN))
    said = [state.strip() for state in states if state.strip()]
    assert all(re.fullmatch(r"work: \d+ of 100, \d\d:\d\d", state) for state in said)
    assert said[-1] == "work: 100 of 100, 01:40"


def test_a_terminal_has_one_line(monkeypatch):
    text = shown(monkeypatch, Terminal(), 100)
    assert text.count("\n") == 1
    assert text.count("\r") > 90


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_what_is_done_at_once_shows_nothing(monkeypatch, stream):
    assert not shown(monkeypatch, stream(), 0, leave=False).strip()


def test_intervals_are_those_of_eyes_and_of_files():
    assert progress.TERMINAL_SECONDS < 1 < 10 < progress.LOG_SECONDS
