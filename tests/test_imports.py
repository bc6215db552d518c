"""What an import loads, in a fresh process: no package that the imported part does not need."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"flax", "optax", "orbax", "tensorflow", "tensorflow_datasets", "array_record"}
HEAVY |= {"PIL", "matplotlib", "sklearn", "torch", "scripts", "theory"}


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


def test_only_writing_encoders_needs_the_networks():
    """The control: the file that writes encoders is importable, and does load Flax."""
    loaded = loaded_by("from hcl_jax.encoders.export import export_encoder")
    assert {"flax", "hcl_jax.networks", "hcl_jax.encoders.reader"} <= loaded
