"""Modules whose optional packages are not installed are left out of the collection of doctests.

tyro is imported before the first doctest: it puts all builtins into a set, and a doctest leaves the
last value that it showed among them, be it a list.

Pages show the errors that users see, so their examples run without the checked signatures that
tests/conftest.py puts in place.
"""

from importlib.util import find_spec

import jaxtyping
import pytest
import tyro  # noqa: F401

NEEDS = {
    "scripts/benchmarking/losses_torch.py": "torch",
    "scripts/benchmarking/resnets_torch.py": "torch",
    "scripts/benchmarking/small_networks_torch.py": "torch",
    "scripts/benchmarking/training_torch.py": "torch",
    "scripts/data_preparation/tfds_builders.py": "tensorflow_datasets",
}

collect_ignore = [
    *(path for path, package in NEEDS.items() if not find_spec(package)),
    "docs/conf.py",  # which needs Sphinx
    "docs/extending.md",  # its examples belong to other files: tests/test_extending.py runs them
]


@pytest.fixture(autouse=True)
def unchecked_pages(request):
    """Runs the examples of a page as a user does."""
    page = request.node.path.suffix == ".md"
    if page:
        jaxtyping.config.update("jaxtyping_disable", True)
    yield
    if page:
        jaxtyping.config.update("jaxtyping_disable", False)
