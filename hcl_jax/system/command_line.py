"""Command lines from dataclasses: help that fits a screen, and errors that are one line.

A command is a dataclass of its options and a `Page`, which says what the first screen shows:

    settings = parsed(Sweep, PAGE, arguments)

tyro reads the words. ``--help`` prints the page, ``--help-all`` every option that there is. What is
wrong on a command line ends the process with one line and exit status 2.
"""

import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from hcl_jax.system.command_output import say_error
from hcl_jax.system.help_screen import Page, first_screen
from hcl_jax.system.paths import path_rule

USAGE_ERROR = 2
"""The exit status where words of a command line do not fit."""

UNLIMITED = "100000"
"""Columns that keep tyro from breaking the lines of its errors."""

Settings = TypeVar("Settings")


class _Text(io.StringIO):
    """Text in memory, which tyro draws its boxes in as on a terminal."""

    encoding = "utf-8"


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
    from tyro.constructors import ConstructorRegistry

    words = list(sys.argv[1:] if words is None else words)
    if "--help" in words or "-h" in words:
        print(first_screen(kind, page, default))
        raise SystemExit(0)
    shows_all = "--help-all" in words
    told: dict[str, Any] = {} if default is None else {"default": default}
    errors = _Text()
    rules = ConstructorRegistry()
    rules.primitive_rule(path_rule)
    try:
        with rules, contextlib.nullcontext() if shows_all else _caught(errors):
            return tyro.cli(
                kind,
                prog=page.command,
                description="\n    ".join([f"{page.summary}\n", *page.example.splitlines()]),
                args=["--help"] if shows_all else words,
                config=tuple(config),
                **told,
            )
    except SystemExit as stopped:
        if not stopped.code:
            raise
        raise SystemExit(usage_error(_sentence(errors.getvalue()))) from None


def usage_error(reason: str) -> int:
    """Says in one line what is wrong on a command line, and where to look; the exit status, 2."""
    say_error(f"{reason}; --help shows how it is used")
    return USAGE_ERROR


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
    (r"^Error parsing \[+(\w+).*?\]: ", r"\1: "),
    (r"^Error parsing \S+: ", ""),
    (r"invalid literal for int\(\) with base 10: (.*)", r"must be an integer, got \1"),
    (r"could not convert string to float: (.*)", r"must be a number, got \1"),
    (
        r"^invalid choice (.*) for argument '(.*)'\. Expected one of \((.*)\)\.?$",
        r"\2: \1 is none of \3",
    ),
    (r"no type matching .* Got errors: .* - <class '[\w.]+'>: (.*)", r"\1"),
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
