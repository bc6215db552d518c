"""A first signal sets the flag and nothing else; a second one does what it did before."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hcl_jax.system.preemption import preemption

PROGRAM = """
import signal, sys, time
from hcl_jax.system.preemption import preemption
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs behind
with preemption((signal.SIGTERM, signal.SIGINT)) as asked:
    print("ready", flush=True)
    while not asked.requested:
        time.sleep(0.01)
    print("asked by", asked.signal.name, flush=True)
    if sys.argv[1] == "stay":
        time.sleep(60)
print("saved", flush=True)
"""


def started(behaviour):
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, behaviour],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.parametrize(("number", "second_status"), [(signal.SIGTERM, -15), (signal.SIGINT, -2)])
def test_real_signals(number, second_status):
    leaving, staying = started("leave"), started("stay")
    for process in (leaving, staying):
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.stdout.readline() == f"asked by {number.name}\n"
    with leaving:
        assert (leaving.stdout.read(), leaving.stderr.read()) == ("saved\n", "")
    assert leaving.returncode == 0
    with staying:
        staying.send_signal(number)
        output, errors = staying.stdout.read(), staying.stderr.read()
    assert (output, staying.returncode) == ("", second_status)
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)


def test_handlers_are_put_back():
    seen = []

    def handler(number, frame):
        seen.append(number)

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with preemption() as asked:
            assert signal.getsignal(signal.SIGTERM) is not handler
            assert not asked.requested
            assert not asked.requested_anywhere()
        assert signal.getsignal(signal.SIGTERM) is handler
        with preemption() as asked:
            os.kill(os.getpid(), signal.SIGTERM)
            assert (asked.requested, asked.signal, seen) == (True, signal.SIGTERM, [])
            assert asked.requested_anywhere()
            os.kill(os.getpid(), signal.SIGTERM)
            assert seen == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is handler
        with pytest.raises(ZeroDivisionError), preemption():
            raise ZeroDivisionError
        assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_only_the_main_thread_hears_signals():
    errors = []

    def enter():
        try:
            with preemption():
                pass
        except ValueError as error:
            errors.append(str(error))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert len(errors) == 1
    assert "main thread" in errors[0]
