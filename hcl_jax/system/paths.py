"""Every path on a command line: what is typed, and how tyro is told to read it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def parsed_path(words: Sequence[str]) -> Path:
    """The path that was typed, with `~` for the home directory, as `--out=~/runs` needs it.

    ValueError says that there is no such home, that the path is not UTF-8, or that it is empty, as
    that of a variable of the shell that is not set.
    """
    (word,) = words
    if not word:
        raise ValueError("a path must not be empty; '.' is the folder where you are")
    try:
        word.encode()
        return Path(word).expanduser()
    except UnicodeEncodeError:
        raise ValueError(f"a path must be UTF-8, got {word!r}") from None
    except RuntimeError:
        raise ValueError(f"the home directory in {word!r} is not known") from None


def path_rule(found: Any) -> Any:
    """The rule of tyro's by which paths are read; None for other types."""
    from tyro.constructors import PrimitiveConstructorSpec

    if found.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=parsed_path,
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda path: [str(path)],
    )
