"""A copy of the checkout that a test may build in or change."""

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("hcl_jax", "theory", "scripts", "tests", "docs", "benchmarks", "examples", ".ci")


def copy_checkout(to, folders=FOLDERS):
    """Copies these folders and the files beside them, without what tests and builds leave."""
    to.mkdir(parents=True)
    left_out = shutil.ignore_patterns(
        "__pycache__", "*.pyc", "*.egg-info", "generated", "benchmarks"
    )
    for folder in folders:
        shutil.copytree(ROOT / folder, to / folder, ignore=left_out)
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":  # a file in a worktree
            shutil.copy(path, to)
    return to
