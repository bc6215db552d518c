"""Packages that only reading image data sets needs."""

import importlib
from typing import Any

from hcl_jax.data.splits import DatasetError

INSTALL = "pip install -e '.[tfds]'"


def import_or_explain(module: str, purpose: str) -> Any:
    """Imports a module of the `tfds` extra.

    Args:
        module: its full name.
        purpose: what it is needed for.

    Returns:
        The module.

    Raises:
        DatasetError: if it is not installed.

    Example:
        >>> import_or_explain("no_such_module", "reading cifar10")
        Traceback (most recent call last):
            ...
        hcl_jax.data.DatasetError: reading cifar10 needs no_such_module, which cannot be imported
        (No module named 'no_such_module'); install what is needed with pip install -e '.[tfds]'
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise DatasetError(
            f"{purpose} needs {module}, which cannot be imported ({error}); "
            f"install what is needed with {INSTALL}"
        ) from error
