"""The command lines of hcl-jax; nothing imports this package."""

from importlib.util import find_spec

NEEDED = ("matplotlib", "tensorboardX", "tyro")
"""Packages of the extra `scripts`, which the library does without."""

if MISSING := [package for package in NEEDED if find_spec(package) is None]:
    raise ModuleNotFoundError(
        f"the commands need {', '.join(MISSING)}, which the library does not: "
        "pip install -e '.[scripts]'",
        name=__name__,  # with which `python -m` says it in one line
    )
