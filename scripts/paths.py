"""The type of every path on a command line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from tyro.constructors import PrimitiveConstructorSpec


def parsed_path(words: Sequence[str]) -> Path:
    """The path that was typed, with `~` for the home directory, as `--out=~/runs` needs it.

    ValueError says that there is no such home, that the path is not UTF-8, or that it is empty, as
    that of a variable of the shell that is not set.
    """
    (word,) = words
    if not word:
        raise ValueError("a path must not be empty; the folder where you are is .")
    try:
        word.encode()
        return Path(word).expanduser()
    except UnicodeEncodeError:
        raise ValueError(f"a path must be UTF-8, got {word!r}") from None
    except RuntimeError:
        raise ValueError(f"the home directory in {word!r} is not known") from None


UserPath = Annotated[
    Path,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: parsed_path(words),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda path: [str(path)],
    ),
]
