#!/usr/bin/env python3
"""Changes single operations of a file and asks its tests whether they notice.

    python .ci/mutants.py 12 hcl_jax/pairs.py tests/test_pairs.py

changes so many places of the file, drawn with seed 0, one at a time in a copy of the checkout, and
runs its examples and the tests of the words that follow until one fails. What no test noticed is
shown as it was and as it was changed: a missing test, or a change that means the same. Packages are
imported once, and every change is tried in a fork of that process.
"""

import ast
import importlib
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = [
    "jax",
    "jax.numpy",
    "optax",
    "flax.nnx",
    "numpy",
    "scipy",
    "pytest",
    "beartype",
    "jaxtyping",
    "sklearn",
]
SECONDS = 300
"""A change that makes the tests compute for longer, or wait ten times as long, has been noticed."""

SWAPPED: dict[type, type] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
}
RENAMED = {"maximum": "minimum", "minimum": "maximum", "max": "min", "min": "max"}
RENAMED |= {"any": "all", "all": "any", "sum": "mean", "mean": "sum", "ones": "zeros"}
RENAMED |= {"argmax": "argmin", "argmin": "argmax", "zeros_like": "ones_like", "exp": "expm1"}


def changes_of(node: ast.AST) -> Iterator[Callable[[], Any]]:
    """What can be done to a node of the copy of a tree."""
    match node:
        case ast.Compare(ops=[operator, *_]) if type(operator) in SWAPPED:
            yield lambda: node.ops.__setitem__(0, SWAPPED[type(operator)]())
        case ast.BinOp(op=operator) | ast.BoolOp(op=operator) if type(operator) in SWAPPED:
            yield lambda: setattr(node, "op", SWAPPED[type(operator)]())
        case ast.UnaryOp(op=ast.USub() | ast.Not() | ast.Invert()):
            yield lambda: setattr(node, "op", ast.UAdd())
        case ast.Constant(value=bool(value)):
            yield lambda: setattr(node, "value", not value)
        case ast.Constant(value=int(value) | float(value)):
            yield lambda: setattr(node, "value", value + 1)
        case ast.If(test=test) | ast.IfExp(test=test):
            yield lambda: setattr(node, "test", ast.UnaryOp(ast.Not(), test))
        case ast.Attribute(attr=name) if name in RENAMED:
            yield lambda: setattr(node, "attr", RENAMED[name])


def places(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that are computed with: no types, no messages, no decorators."""
    if isinstance(node, ast.JoinedStr | ast.Raise):
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from places(child)


def mutants(text: str, count: int) -> Iterator[tuple[int, str, str, str]]:
    """So many changed texts, with the line, and the statement as it was and as it is."""
    numbers = [
        n for n, node in enumerate(places(ast.parse(text))) if any(True for _ in changes_of(node))
    ]
    for number in sorted(random.Random(0).sample(numbers, min(count, len(numbers)))):
        tree = ast.parse(text)
        node = list(places(tree))[number]
        before = ast.unparse(node)
        next(changes_of(node))()
        yield getattr(node, "lineno", 0), before, ast.unparse(node), ast.unparse(tree)


def survives(tests: list[str]) -> bool:
    """Whether all tests pass in a fork of this process, in the present directory."""
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        signal.alarm(10 * SECONDS)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        import pytest

        quiet = ["-W", "ignore::pytest.PytestAssertRewriteWarning", "-p", "no:cacheprovider"]
        os._exit(int(pytest.main(["-x", "-q", "-n", "0", *quiet, *tests])))
    return os.waitpid(child, 0)[1] == 0


def main(count: int, file: str, tests: list[str]) -> int:
    """Prints what survived, and how many were noticed."""
    text, tests = (ROOT / file).read_text(), [file, *tests]
    os.environ.setdefault(
        "JAX_PLATFORMS", "cpu"
    )  # as tests/conftest.py, and before JAX is imported
    for name in PACKAGES:
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "checkout"
        shutil.copytree(ROOT, copied, ignore=shutil.ignore_patterns(".git", "__pycache__", "runs"))
        tempfile.tempdir = folder  # what a fork leaves there when it is ended goes with the copy
        os.chdir(copied)
        sys.path.insert(0, str(copied))
        os.environ["PYTHONPATH"] = str(copied)
        if not survives(tests):
            print("the tests fail without a change")
            return 2
        tried = noticed = 0
        for line, before, after, changed in mutants(text, count):
            (copied / file).write_text(changed)
            tried, lives = tried + 1, survives(tests)
            noticed += not lives
            if lives:
                shown = (part.splitlines()[0] for part in (before, after))
                print(f"{file}:{line}: {'  ->  '.join(shown)}", flush=True)
    print(f"{file}: {noticed} of {tried} changes noticed")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
