"""What an import loads, in a fresh process: no package that the imported part does not need."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"flax", "optax", "orbax", "tensorflow", "tensorflow_datasets", "array_record"}
HEAVY |= {"PIL", "matplotlib", "sklearn", "torch", "scripts", "theory"}

OF_COMMANDS = {"matplotlib", "tyro", "tensorboardX"}
"""What only the commands import: the extra `scripts`."""

EVERY_MODULE = """
import importlib, pkgutil, hcl_jax
for module in pkgutil.walk_packages(hcl_jax.__path__, "hcl_jax."):
    importlib.import_module(module.name)
"""

ELSEWHERE = """
import builtins, importlib, pkgutil, signal, sys
import flax.linen, jax, orbax.checkpoint, optax, sklearn, tqdm

MISSING = {"fcntl", "resource", "pwd", "grp", "termios", "pty", "syslog", "_posixsubprocess"}
SIGNALS = {"SIGINT", "SIGTERM", "SIGABRT", "SIGFPE", "SIGILL", "SIGSEGV"}
for name in [name for name in vars(signal) if name.startswith("SIG") and "_" not in name]:
    if name not in SIGNALS:
        delattr(signal, name)
imported = builtins.__import__

def without_posix(name, globals=None, *rest, **options):
    if name in MISSING and (globals or {}).get("__name__", "").startswith("hcl_jax"):
        raise ModuleNotFoundError(f"No module named {name!r}")
    return imported(name, globals, *rest, **options)

builtins.__import__ = without_posix
import hcl_jax
for module in pkgutil.walk_packages(hcl_jax.__path__, "hcl_jax."):
    importlib.import_module(module.name)
"""
"""Imports the library as if there were none of the modules and signals of POSIX."""


def loaded_by(statement):
    """The top-level packages in `sys.modules` after an import, and the project's own modules."""
    program = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    names = done.stdout.split()
    return {name.split(".")[0] for name in names} | {n for n in names if n.startswith("hcl_jax.")}


@pytest.mark.parametrize(
    "statement",
    [
        "import hcl_jax",
        "from hcl_jax.encoders import load_encoder",
        "from hcl_jax.data import cifar100, chunks",
        "from hcl_jax.augmentation import simclr, views",
    ],
)
def test_an_import_brings_no_heavy_package(statement):
    loaded = loaded_by(statement)
    assert "jax" in loaded
    assert not loaded & (HEAVY | {"hcl_jax.networks", "hcl_jax.training"})


def test_no_module_of_the_library_imports_what_only_the_commands_need():
    loaded = loaded_by(EVERY_MODULE)
    assert {"hcl_jax.training.runner", "hcl_jax.encoders.export"} <= loaded
    assert not loaded & (OF_COMMANDS | {"scripts", "theory"})


def test_the_commands_say_what_to_install_where_it_is_missing():
    program = "import runpy, sys; sys.modules['tyro'] = None; sys.argv[1:] = ['--help']\n"
    program += "runpy._run_module_as_main('scripts.train')"
    command, root = [sys.executable, "-c", program], Path(__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "the commands need tyro, which the library does not: pip install -e '.[scripts]'" in line


def test_the_library_is_importable_without_posix():
    assert "hcl_jax.data.tfds_sets" in loaded_by(ELSEWHERE)


def test_only_writing_encoders_needs_the_networks():
    """The control: the file that writes encoders is importable, and does load Flax."""
    loaded = loaded_by("from hcl_jax.encoders.export import export_encoder")
    assert {"flax", "hcl_jax.networks", "hcl_jax.encoders.reader"} <= loaded
