"""Errors that are said in one line, and packages that only some users need."""

from importlib.util import find_spec


class InputError(ValueError):
    """What was asked for, or what a file holds, cannot be measured."""


def need(packages: tuple[str, ...], purpose: str) -> None:
    """Raises InputError that says what to install, unless all packages are there."""
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        raise InputError(f"{purpose} needs {' and '.join(missing)}: pip install 'hcl-jax[measure]'")
