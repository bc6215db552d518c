"""What becomes of a command whose output nobody reads, or that cannot be written."""

import contextlib
import io
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from hcl_jax import BatchWarning
from hcl_jax.measure import command
from hcl_jax.system.command_output import READER_GONE, run_command
from scripts import train
from scripts.runs.exit_status import run_job

SCRIPTS = Path(train.__file__).parent


@contextlib.contextmanager
def unread():
    """Standard output with a reader that has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream, contextlib.redirect_stdout(stream):
        yield


def much(out):
    return run_job(lambda: print("much " * 100_000), out)


@pytest.mark.parametrize(
    "main",
    [
        lambda: train.main(["--list"]),
        lambda: train.main(["--list", "cifar100"]),
        lambda: train.main(["--help"]),
        lambda: command.main(["--help-all"]),
        lambda: much(Path("nowhere")),
    ],
    ids=["overview", "table", "help", "hcl-measure", "in a job"],
)
def test_a_reader_that_has_gone_ends_it_without_a_word(capfd, main):
    with unread():
        assert run_command(main) == READER_GONE
        print("what comes later goes nowhere", flush=True)
    assert capfd.readouterr() == ("", "")


def test_what_is_read_keeps_its_status(capfd):
    assert run_command(lambda: print("read") or 3) == 3
    with pytest.raises(SystemExit, match="2"):
        run_command(lambda: sys.exit(2))
    assert capfd.readouterr() == ("read\n", "")


def test_what_the_output_has_no_code_for_is_an_escape(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert run_command(lambda: print("± 1") or 0) == 0
    assert written.getvalue() == b"\\xb1 1\n"


def test_an_output_that_cannot_be_written_is_one_line(capfd):
    with (
        open("/dev/full", "w") as full,
        contextlib.redirect_stdout(full),
        pytest.raises(SystemExit, match="1"),
    ):
        run_command(lambda: print("lost") or 0)
    assert capfd.readouterr().err == "error: cannot write the output: No space left on device\n"


def test_a_warning_for_users_is_a_line_without_its_place(capfd):
    def main():
        for kind in (UserWarning, BatchWarning, DeprecationWarning):
            sys.stdout.write(warnings.formatwarning("left out", kind, "code.py", 3, "f()"))
        return 0

    of_python = warnings.formatwarning
    assert run_command(main) == 0
    assert warnings.formatwarning is of_python
    line = "warning: left out\n"
    assert capfd.readouterr().out == f"{line}{line}code.py:3: DeprecationWarning: left out\n  f()\n"


def test_every_command_is_run_so():
    texts = {path.stem: path.read_text() for path in SCRIPTS.glob("*.py")}
    commands = {name: text for name, text in texts.items() if '__name__ == "__main__"' in text}
    assert len(commands) >= 12
    ends = r'\nif __name__ == "__main__":\n    sys\.exit\(run_command\(main\)\)\n\Z'
    assert not [name for name, text in commands.items() if not re.search(ends, text)]


@pytest.mark.slow
@pytest.mark.parametrize("module", ["scripts.train --list", "hcl_jax.measure --help"])
def test_a_pipe_to_head(module):
    shell = f"{sys.executable} -m {module} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", shell], capture_output=True, text=True, check=False, cwd=SCRIPTS.parent
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
    assert done.returncode in (0, READER_GONE)  # as the reader is late, or not
