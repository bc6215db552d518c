"""Where a result came from: versions, commit, machine."""

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

RECORDED_PACKAGES = ("hcl-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")

DECISIVE_SETTINGS = ("enable_x64", "default_prng_impl", "threefry_partitionable")
"""Settings of JAX of which another value gives other random numbers, or numbers of another size."""

SETTINGS = (*DECISIVE_SETTINGS, "default_matmul_precision")
"""Settings of JAX that decide the numbers of a run."""


def environment() -> dict[str, Any]:
    """The versions, the commit and the machine that a result came from."""
    import jax

    versions = {}
    for package in RECORDED_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "versions": versions,
        "python": platform.python_version(),
        "commit": commit(),
        "platform": jax.devices()[0].platform,
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "settings": {name: getattr(jax.config, f"jax_{name}") for name in SETTINGS},
    }


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The settings of JAX that differ between two environments, and give other numbers."""
    return _changes(_settings_of(before), _settings_of(now), DECISIVE_SETTINGS)


def changed_machine(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What else differs between two environments that may make numbers differ a little."""
    packages, others = list(now["versions"]), ("platform", "device")
    precision = set(SETTINGS) - set(DECISIVE_SETTINGS)
    return (
        _changes(before.get("versions"), now["versions"], packages)
        + _changes(before, now, others)
        + _changes(_settings_of(before), _settings_of(now), precision)
    )


def _settings_of(environment: Mapping[str, Any]) -> Any:
    return environment.get("settings")


def _changes(before: Any, now: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """What differs, as "jax was '0.4.1' and is '0.10.2'"."""
    known = before if isinstance(before, Mapping) else {}
    return [
        f"{name} was {known.get(name, 'not recorded')!r} and is {now[name]!r}"
        for name in names
        if name not in known or known[name] != now[name]
    ]


def commit() -> str | None:
    """The commit of this code, marked where it was changed since; None outside a repository."""
    here = Path(__file__).parent
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, cwd=here, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None
