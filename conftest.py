"""Modules whose optional packages are not installed are left out of the collection of doctests."""

from importlib.util import find_spec

NEEDS = {
    "scripts/torch_contenders.py": "torch",
    "scripts/torch_resnets.py": "torch",
    "scripts/torch_training.py": "torch",
    "scripts/archive_builders.py": "tensorflow_datasets",
}

collect_ignore = [path for path, package in NEEDS.items() if not find_spec(package)]
