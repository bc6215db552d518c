"""Processes that a test starts side by side: where they meet, what they see, how they end."""

import contextlib
import os
import re
import socket
import subprocess
from collections.abc import Sequence

PATIENCE = 900
"""Seconds that a process may take on a slow machine that has other work."""


def free_address() -> str:
    """An address of this machine at which nothing listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


def environment_with(devices: int) -> dict[str, str]:
    """This environment with so many devices of the CPU, compiled as the tests are."""
    flags = re.sub(r"(device_count=)\d+", rf"\g<1>{devices}", os.environ["XLA_FLAGS"])
    gloo = {"JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo"}
    return os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"} | gloo


def side_by_side(commands: Sequence[Sequence[str]], **options) -> list[tuple[int, str]]:
    """Statuses and outputs of commands that run at the same time; none is left running."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with contextlib.ExitStack() as left:
        running = []
        for command in commands:
            running.append(left.enter_context(subprocess.Popen(command, **pipes, **options)))
            left.callback(running[-1].kill)
        printed = [process.communicate(timeout=PATIENCE)[0] for process in running]
        return [(p.returncode, text) for p, text in zip(running, printed, strict=True)]
