"""Command lines from dataclasses: help that fits a screen, and errors that are one line.

A command is a dataclass of its options and a `Page`, which says what the first screen shows:

    settings = parsed(Sweep, PAGE, arguments)

tyro reads the words. ``--help`` prints the page, ``--help-all`` every option that there is. What is
wrong on a command line ends the process with one line and exit status 2. A file that can be run
ends with ``sys.exit(run_command(main))``.
"""

import contextlib
import dataclasses
import inspect
import io
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

WIDTH = 100
"""Columns of the first screen."""

NAME_WIDTH = 34
"""Columns of the names of its options."""

LINES = 40
"""Its lines."""

BLANK = (" " * NAME_WIDTH,) * 2
"""What stands before the further lines of an option."""

USAGE_ERROR = 2
"""The exit status where words of a command line do not fit."""

READER_GONE = 141
"""The exit status of a command whose output nobody reads any more, as of one that SIGPIPE ended."""

METAVARS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}
UNLIMITED = "100000"
"""Columns that keep tyro from breaking the lines of its errors."""

Settings = TypeVar("Settings")


class _Text(io.StringIO):
    """Text in memory, which tyro draws its boxes in as on a terminal."""

    encoding = "utf-8"


class Page(NamedTuple):
    """The first screen of a command's help.

    Attributes:
        command: what is typed, as "python -m scripts.sweep".
        words: what follows it, as "NAME [NAME ...] [options]".
        summary: what it does, in one to four lines.
        groups: the most used options, as the names of fields, by the title of their group.
        example: a command that works.
    """

    command: str
    words: str
    summary: str
    groups: Mapping[str, Sequence[str]]
    example: str


def parsed(
    kind: type[Settings],
    page: Page,
    words: Sequence[str] | None = None,
    *,
    default: Settings | None = None,
    config: Sequence[Any] = (),
) -> Settings:
    """The options of a command line; SystemExit after help (0) and after an error (2).

    `words` are those of the process if None; `default` has the values of what is not said, and
    `config` is tyro's.
    """
    import tyro

    words = list(sys.argv[1:] if words is None else words)
    if "--help" in words or "-h" in words:
        print(first_screen(kind, page, default))
        raise SystemExit(0)
    shows_all = "--help-all" in words
    told: dict[str, Any] = {} if default is None else {"default": default}
    errors = _Text()
    try:
        with contextlib.nullcontext() if shows_all else _caught(errors):
            return tyro.cli(
                kind,
                prog=page.command,
                description=f"{page.summary}\n\n    {page.example}",
                args=["--help"] if shows_all else words,
                config=tuple(config),
                **told,
            )
    except SystemExit as stopped:
        if not stopped.code:
            raise
        raise SystemExit(usage_error(_sentence(errors.getvalue()))) from None


def run_command(main: Callable[[], int]) -> int:
    """Runs the `main` of a command as a process does; returns the exit status.

    A reader of the output that has gone, as of ``| head -1``, ends it without a word, as it ends
    other tools; an output that cannot be written to, as on a full disk, with one line. A warning
    that is meant for users is a line, without the place in the code that it comes from.
    """
    try:
        try:
            with _warnings_in_one_line():
                return main()
        finally:
            _flush_output()
    except BrokenPipeError:
        _drop_output()
        return READER_GONE


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    of_python = warnings.formatwarning

    def line_of(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        line: str | None = None,
    ) -> str:
        if issubclass(category, UserWarning):
            return f"warning: {message}\n"
        return of_python(message, category, filename, lineno, line)

    warnings.formatwarning = line_of
    try:
        yield
    finally:
        warnings.formatwarning = of_python


def _flush_output() -> None:
    """Writes what is left of the output now: Python would complain in its own words as it ends."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop_output()
        say_error(f"cannot write the output: {error.strerror or error}")
        raise SystemExit(1) from None


def _drop_output() -> None:
    """Has what is still written to the output, as by Python at its end, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def usage_error(reason: str) -> int:
    """Says in one line what is wrong on a command line, and where to look; the exit status, 2."""
    say_error(f"{reason}; --help shows how it is used")
    return USAGE_ERROR


def say_error(reason: str) -> None:
    """Says in one line of standard error what is wrong, in the form of all commands."""
    print(f"error: {' '.join(reason.split())}", file=sys.stderr)


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
    lines += ["", f"example: {page.example}"]
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
    """What the docstring says of each attribute."""
    _, _, listed = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    parts = re.split(r"^ {4}(\w+): ", listed, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@contextlib.contextmanager
def _caught(errors: _Text) -> Iterator[None]:
    """Keeps what tyro prints of an error, in lines that are not broken."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = UNLIMITED
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(_Text()):
            yield
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before


UNKNOWN = "Unrecognized options: "

PLAIN = (
    (r"^Error parsing (--\S+): ", r"\1: "),
    (r"^Error parsing \S+: ", ""),
    (r"invalid literal for int\(\) with base 10: (.*)", r"must be an integer, got \1"),
    (r"could not convert string to float: (.*)", r"must be a number, got \1"),
    (
        r"^invalid choice (.*) for argument '(.*)'\. Expected one of \((.*)\)\.?$",
        r"\2: \1 is none of \3",
    ),
    (r"no type matching .* Got errors: .* - <class '\w+'>: (.*)", r"\1"),
    (r"Could not find valid parse for arguments: \[(.*)\]", r"cannot be read from \1"),
    (r"^Missing value for argument '(.*)'.*", r"\1 needs a value"),
)
"""What tyro says, and how it is said here."""


def _sentence(box: str) -> str:
    """The one thing that a box of tyro's says is wrong, and what may have been meant."""
    inside = [line[2:].rstrip("│ ") for line in box.splitlines() if line.startswith("│")]
    if not inside:
        return box.strip() or "the words do not fit"
    first = "\n".join(inside).split("─" * 20, maxsplit=1)[0].splitlines()
    if first[0].startswith("Missing from"):
        wanted = [line.strip() for line in first[1:] if line.startswith(" " * 4)]
        names = [line for line in wanted if "(required)" not in line]
        texts = [
            line.replace(" (required)", "").rstrip(".") for line in wanted if line not in names
        ]
        pairs = zip(names, texts, strict=False)
        named = [text if name.startswith("{") else f"{name} ({text})" for name, text in pairs]
        return f"missing: {', '.join(named or names)}"
    sentence = " ".join(" ".join(first).split())
    if sentence.startswith(UNKNOWN):
        words = sentence.removeprefix(UNKNOWN).split(", ")
        options = [word for word in words if word.startswith("-")]
        sentence = f"there is no option {options[0]}" if options else f"{words[0]} is not expected"
    for pattern, plain in PLAIN:
        sentence = re.sub(pattern, plain, sentence)
    start, none_of, names = sentence.partition(" is none of ")
    if "'None'" in names:  # of a choice or nothing, whose names tyro has in no order
        sentence = start + none_of + ", ".join(sorted({*names.split(", ")} - {"'None'"}))
    near = re.findall(r"^ +(--[\w-]+)", "\n".join(inside), re.MULTILINE)
    meant = ", ".join(dict.fromkeys(near)) if "Perhaps you meant" in box else ""
    return f"{sentence.rstrip('.')}; did you mean {meant}?" if meant else sentence.rstrip(".")
