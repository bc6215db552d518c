"""Modules whose optional packages are not installed are left out of the collection of doctests.

tyro is imported before the first doctest: it puts all builtins into a set, and a doctest leaves the
last value that it showed among them, be it a list.
"""

from importlib.util import find_spec

import tyro  # noqa: F401

NEEDS = {
    "scripts/benchmarking/losses_torch.py": "torch",
    "scripts/benchmarking/resnets_torch.py": "torch",
    "scripts/benchmarking/training_torch.py": "torch",
    "scripts/data_preparation/tfds_builders.py": "tensorflow_datasets",
}

collect_ignore = [
    *(path for path, package in NEEDS.items() if not find_spec(package)),
    "docs/extending.md",  # its examples belong to other files: tests/test_extending.py runs them
]
