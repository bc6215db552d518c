"""What every test runs under: eight virtual devices, CPU, checked shapes, no silent rank promotion.

Compiling takes most of the time, so that programs are compiled with few optimisations unless
`XLA_FLAGS` says how many; `XLA_FLAGS=--xla_backend_optimization_level=3` is what users get. No
program is compiled twice in a session: a directory keeps them, one for each process of pytest, as
a program is not written there at once, and one for the processes that its tests start. Commands in
tests keep theirs nowhere else.
Tests of exact mathematics turn on float64 for themselves with the `x64` fixture.
"""

import atexit
import ctypes
import importlib.metadata
import os
import platform
import shutil
import tempfile
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
_flags = os.environ.get("XLA_FLAGS", "")
if "xla_force_host_platform_device_count" not in _flags:
    _flags += " --xla_force_host_platform_device_count=8"
if "xla_backend_optimization_level" not in _flags:
    _flags += " --xla_backend_optimization_level=0"
    if importlib.metadata.version("jaxlib").startswith("0.10."):  # the last that knows this flag
        _flags += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = _flags.strip()
_programs = tempfile.mkdtemp(prefix="hcl-jax-programs-")
atexit.register(shutil.rmtree, _programs, ignore_errors=True)
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{_programs}/of-children"

import jax
import jaxtyping
import pytest
from jaxtyping import install_import_hook

# An int is as good as a float, as everywhere in Python.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"

with install_import_hook(["hcl_jax"], CHECKER):
    import hcl_jax  # noqa: F401  (imported here so that its signatures are checked in every test)

jax.config.update("jax_compilation_cache_dir", f"{_programs}/own")


LONGEST = (
    "scripts/test_resuming.py",
    "scripts/test_benchmark_training.py",
    "theory/test_hucl_tables.py",
    "theory/test_theory_report.py",
    "theory/test_theory_claims.py",
    "test_odd_calls.py",
    "scripts/test_runs.py",
    "training/test_training_program.py",
    "parallel/test_parallel.py",
    "losses/test_second_derivatives.py",
)
"""Files that are begun with, so that no worker is left alone with one at the end."""


def pytest_configure(config):
    """Has workers take the files in the order of collection, which ends with short ones."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    """Puts the longest files first."""
    items.sort(key=lambda item: not item.nodeid.startswith(tuple(f"tests/{f}" for f in LONGEST)))


_left = 0  # bytes held when memory was last given back


def memory_held():
    """Bytes of this process in memory; 0 where the system does not say."""
    sizes = Path("/proc/self/statm")
    return int(sizes.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if sizes.exists() else 0


def give_back_memory():
    """Frees compiled programs, and the memory that compiling took."""
    global _left
    jax.clear_caches()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    _left = memory_held()


def pytest_collection_finish():
    """Importing all files of tests compiles too: a third of what a worker holds then."""
    give_back_memory()


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """Frees what a file of tests compiled: kept, it is gigabytes in the end."""
    yield
    give_back_memory()


@pytest.fixture(autouse=True)
def forget_many_programs():
    """Frees what tests of the same file compiled once it is more than 512 MiB."""
    if memory_held() > _left + 2**29:
        give_back_memory()


@pytest.fixture
def x64():
    """Runs one test in float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def unchecked():
    """Runs one test without the checked signatures, as a user does: for tests of error messages."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
