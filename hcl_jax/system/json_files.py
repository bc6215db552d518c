"""JSON as this project writes and reads it.

JSON has no NaN and no infinity: where a number is not finite, null is written, and whoever reads a
number has to expect null. What is not JSON, whatever is wrong with it, is one kind of error that
names the file.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn


class JsonError(ValueError):
    """A file that is not JSON."""


def json_text(value: Any, *, indent: int | None = None) -> str:
    """The JSON of a value, with null for every number that is not finite."""
    return json.dumps(_with_nulls(value), indent=indent, allow_nan=False)


def json_bytes(value: Any) -> bytes:
    """The content of a JSON file, indented, with a newline at the end."""
    return json_text(value, indent=1).encode() + b"\n"


def parse_json(content: bytes, name: object) -> Any:
    """The value of a JSON text; JsonError says that what has this name is none."""
    try:
        return json.loads(content, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:  # not UTF-8, an integer too long, nested too deep
        raise JsonError(f"{name} is not JSON: {error}") from error


def read_json(path: Path) -> Any:
    """The value in a JSON file; JsonError says that it holds none, OSError that it is not there."""
    if path.exists() and not path.is_file():  # a FIFO would be waited for
        raise JsonError(f"{path} is not a regular file")
    return parse_json(path.read_bytes(), path)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"numbers must be finite, got {constant}")


def _with_nulls(value: Any) -> Any:
    """Dictionaries, lists and numbers as JSON has them."""
    if isinstance(value, Mapping):
        return {key: _with_nulls(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_with_nulls(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
