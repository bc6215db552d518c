"""The first screen of a command's help: its most used options, in lines that fit a terminal."""

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

WIDTH = 100
"""Columns of the first screen."""

NAME_WIDTH = 34
"""Columns of the names of its options."""

LINES = 40
"""Its lines."""

BLANK = (" " * NAME_WIDTH,) * 2
"""What stands before the further lines of an option."""

METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


class Page(NamedTuple):
    """The first screen of a command's help.

    Attributes:
        command: what is typed, as "python -m scripts.sweep".
        words: what follows it, as "NAME [NAME ...] [options]".
        summary: what it does, in one to four lines.
        groups: the most used options, as the names of fields, by the title of their group.
        example: a command that works, or several, a line each.
    """

    command: str
    words: str
    summary: str
    groups: Mapping[str, Sequence[str]]
    example: str


def first_screen(kind: type, page: Page, default: Any = None) -> str:
    """The help that fits a screen; what options are is cut to a line each if it would not."""
    whole = _screen(_fields(kind, default), page, longest=3)
    return whole if whole.count("\n") < LINES else _screen(_fields(kind, default), page, longest=1)


def _screen(fields: dict[str, tuple[str, Any, Any, str]], page: Page, *, longest: int) -> str:
    """The help with at most so many lines for an option."""
    lines = [f"usage: {page.command} {page.words}", "", *page.summary.strip().splitlines()]
    for title, names in page.groups.items():
        lines += ["", f"{title}:"]
        for name in names:
            lines += _lines(*fields[name], longest)
    lines += ["", *(f"example: {example}" for example in page.example.splitlines())]
    lines += [f"--help-all shows all {len(fields)} options."]
    return "\n".join(lines)


def _lines(field: str, hint: Any, value: Any, text: str, longest: int) -> list[str]:
    """One option: its name and values, what it is, and its default."""
    name = f"  {_written(field, hint, value)}".ljust(NAME_WIDTH)
    shown = _shown(value)
    sentence = re.split(r"[;:.](?:\s|$)", " ".join(text.split()), maxsplit=1)[0]
    default = f" ({shown})" if shown else ""
    room = WIDTH - NAME_WIDTH - 1
    if longest == 1:
        sentence = textwrap.shorten(sentence, room - len(default), placeholder=" ..")
    parts = textwrap.wrap(sentence + default, room, max_lines=longest, placeholder=" ..")
    return [f"{start} {part}" for start, part in zip([name, *BLANK], parts or [""], strict=False)]


def _written(field: str, hint: Any, value: Any) -> str:
    """An option as it is typed, or a word that is no option."""
    metavar, is_word = _metavar(hint, field)
    if is_word:
        return field.upper()
    marks = getattr(hint, "__metadata__", ())
    named = next((mark.name for mark in marks if getattr(mark, "name", None)), field)
    dashed = named.replace("_", "-")
    if metavar is None:
        return f"--{'no-' if value is True else ''}{dashed}"
    return f"--{dashed} {metavar}"


def _metavar(hint: Any, field: str) -> tuple[str | None, bool]:
    """What stands for a value, None for a flag; and whether the option is a word by its place."""
    marks = getattr(hint, "__metadata__", ())
    is_word = any("Positional" in repr(mark) for mark in marks)
    bare = _bare(hint)
    kinds = [kind for kind in get_args(bare) if kind is not type(None)]
    if type(None) in get_args(bare):
        return _metavar(kinds[0], field)[0], is_word
    if bare is bool:
        return None, is_word
    if get_origin(bare) is tuple:
        return f"{_metavar(kinds[0], field)[0]} ..", is_word
    listed = f"{{{','.join(map(str, kinds))}}}" if get_origin(bare) is Literal else None
    listed = listed or next((m.metavar for m in marks if hasattr(m, "metavar") and m.metavar), None)
    if listed is not None:
        return listed if len(listed) + len(field) < NAME_WIDTH - 6 else "NAME", is_word
    return METAVARS.get(bare, "VALUE"), is_word


def _bare(hint: Any) -> Any:
    """A type without what is annotated."""
    return _bare(get_args(hint)[0]) if hasattr(hint, "__metadata__") else hint


def _shown(value: Any) -> str:
    """A default, where one is worth showing."""
    if value is None or isinstance(value, bool) or value == () or value is dataclasses.MISSING:
        return ""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _fields(kind: type, default: Any) -> dict[str, tuple[str, Any, Any, str]]:
    """All options of a dataclass and of those in it: name, type, default and description."""
    found = {}
    hints, texts = get_type_hints(kind, include_extras=True), _descriptions(kind)
    for field in dataclasses.fields(kind):
        value = field.default
        if default is not None:
            value = getattr(default, field.name)
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        hint = hints[field.name]
        if "Suppress" in repr(getattr(hint, "__metadata__", "")):
            continue
        if dataclasses.is_dataclass(_bare(hint)):
            inner = None if value is dataclasses.MISSING else value
            found |= _fields(_bare(hint), inner)
        else:
            found[field.name] = (field.name, hint, value, texts.get(field.name, ""))
    return found


def _descriptions(kind: type) -> dict[str, str]:
    """What the docstrings of a class and of those that it extends say of each attribute."""
    found = {}
    for part in reversed(kind.__mro__):
        _, _, listed = inspect.cleandoc(part.__doc__ or "").partition("Attributes:\n")
        parts = re.split(r"^ {4}(\w+): ", listed, flags=re.MULTILINE)
        found |= zip(parts[1::2], parts[2::2], strict=True)
    return found
