"""What error messages tell the reader to install or to run where something is missing."""

import importlib
from pathlib import Path
from typing import Any

from hcl_jax.data.splits import DatasetError


def import_or_explain(module: str, purpose: str, extra: str = "tfds") -> Any:
    """Imports a module of an extra; where it is missing, DatasetError names the extra."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DatasetError(
            f"{purpose} needs {module}, which cannot be imported ({error}); "
            f'install what is needed with pip install "hcl-jax[{extra}]"'
        ) from error


def preparation_command(name: str, data_dir: Path) -> str:
    """The command that prepares a data set, for a shell whose directory is a checkout."""
    return f"python -m scripts.prepare_data {name} --data-dir {data_dir.absolute()}"
