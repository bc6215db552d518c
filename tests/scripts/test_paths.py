"""Paths on the command line: of one type in every command, with `~` for the home directory."""

import dataclasses
import importlib
import json
import os
import typing
from pathlib import Path

import pytest

from hcl_jax import measure
from hcl_jax.system.paths import parsed_path
from scripts import prepare_data, train, verify_theory
from scripts.runs.runtime import Runtime

COMMANDS = (
    *("reproduce", "train", "sweep", "export", "prepare_data", "verify_theory"),
    *("benchmark_losses", "benchmark_training", "benchmark_convolutions", "benchmark_evaluation"),
    "benchmark_views",
    *("compile_for_tpu", "compile_experiments"),
)


REQUIRED = {
    "export": ["run"],
    "prepare_data": ["tiny-imagenet", "--data-dir", "data"],
    "report": ["run"],
    "sweep": ["triangle-scl"],
}
"""What has to be said to a command besides."""


hints_of = typing.get_type_hints


def settings_of(command):
    module = importlib.import_module(f"scripts.{command}")
    own = (value for value in vars(module).values() if dataclasses.is_dataclass(value))
    return [value for value in own if getattr(value, "__module__", None) == module.__name__]


def path_options(command):
    """The options of a command that are paths."""
    kinds = settings_of(command)
    kinds += [Runtime] if any(Runtime in hints_of(kind).values() for kind in kinds) else []
    hints = {name: hint for kind in kinds for name, hint in hints_of(kind).items()}
    return [name for name, hint in hints.items() if Path in (hint, *typing.get_args(hint))]


@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_path_is_refused_by_every_option(command, capsys):
    main = importlib.import_module(f"scripts.{command}").main
    options = [f"--{name.replace('_', '-')}" for name in path_options(command) if name != "run"]
    assert options
    for option in options:
        with pytest.raises(SystemExit) as stopped:
            main([*REQUIRED.get(command, ()), option, ""])
        assert stopped.value.code == 2
        assert f"{option}: a path must not be empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["a.npz", "--out", ""],
            "--out: a path must not be empty; '.' is the folder",
        ),
        (["a.npz", "--labels="], "--labels: a path must not be empty"),
        (["--embeddings", ""], "--embeddings: a path must not be empty"),
        ([""], "cannot be read from ''"),
    ],
)
def test_an_empty_path_is_refused_by_measure(words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        measure.main(words)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_tilde_is_the_home_directory(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parsed_path(["~"]) == tmp_path
    assert parsed_path(["~/a/b"]) == tmp_path / "a" / "b"
    assert parsed_path(["a/~"]) == Path("a/~")
    with pytest.raises(ValueError, match="the home directory in '~nobody-here/x' is not known"):
        parsed_path(["~nobody-here/x"])
    with pytest.raises(ValueError, match="a path must be UTF-8"):
        parsed_path([os.fsdecode(b"a\xff")])


def test_commands_expand_it(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    one = ["triangle-scl", "--epochs", "2", "--devices", "1", "--keep", "0"]
    assert train.main([*one, "--out=~/x", "--profile=~/p", "--data-dir=~/d"]) == 0
    assert (tmp_path / "x" / "triangle-scl" / "results.json").exists()
    assert (tmp_path / "p").is_dir()
    assert train.main(["cifar100-scl", "--data-dir=~/d"]) == 1
    assert f"{tmp_path}/d/cifar100" in capsys.readouterr().err
    assert prepare_data.main(["tiny-imagenet", "--data-dir=~/d", "--archive-dir=~"]) == 1
    assert f"{tmp_path}/tiny-imagenet-200.zip, does not exist" in capsys.readouterr().err
    assert verify_theory.main(["--case=~/model.json"]) == 2
    assert f"{tmp_path}/model.json" in capsys.readouterr().err
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("path", ["", "~nobody-here/x", os.fsdecode(b"a\xff")])
def test_a_path_that_cannot_be_is_refused(path, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        train.main(["triangle-scl", "--out", path])
    assert stopped.value.code == 2
    assert "--out" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_numbers_of_a_model_that_are_not_finite_are_null(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(verify_theory, "evaluate", lambda model, digits: {"x": float("nan")})
    model = {
        "k": 1,
        "psi": {"type": "infonce"},
        "eta": {"type": "exp", "beta": 0},
        "prior": ["1/2", "1/2"],
        "class_pmf": [[1, 0], [0, 1]],
        "features": [[1], [-1]],
    }
    (tmp_path / "model.json").write_text(json.dumps(model))
    assert verify_theory.main(["--case", str(tmp_path / "model.json")]) == 0
    assert json.loads(capsys.readouterr().out) == {"x": None}
