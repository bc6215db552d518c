"""The help of every command fits a screen, its example works, and its errors are one line."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from hcl_jax.measure import command as measure
from hcl_jax.system import command_line
from scripts import train

SCRIPTS = Path(__file__).parents[2] / "scripts"
COMMANDS = {
    f"scripts.{path.stem}": f"scripts.{path.stem}"
    for path in sorted(SCRIPTS.glob("*.py"))
    if '__name__ == "__main__"' in path.read_text()
} | {"hcl-measure": "hcl_jax.measure.command"}
LINES, COLUMNS = 40, 100
every_command = pytest.mark.parametrize("name", COMMANDS)


def module_of(name):
    return importlib.import_module(COMMANDS[name])


def printed(name, words, capsys):
    """What a command prints, and the status with which it ends."""
    try:
        status = module_of(name).main(words)
    except SystemExit as stopped:
        status = stopped.code
    return capsys.readouterr(), status


def test_there_are_commands():
    assert len(COMMANDS) >= 12


@every_command
def test_help_fits_a_screen_and_names_options_that_there_are(name, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    shown, status = printed(name, ["--help"], capsys)
    assert (status, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= COLUMNS
    page = module_of(name).PAGE
    assert lines[0] == f"usage: {page.command} {page.words}"
    assert {f"example: {example}" for example in page.example.splitlines()} <= {*lines}
    whole, status = printed(name, ["--help-all"], capsys)
    assert status == 0
    options = re.findall(r"^  (--[\w-]+)", shown.out, re.MULTILINE)
    assert len(options) == sum(map(len, page.groups.values()))
    known = set(re.findall(r"--[\w-]+", whole.out))
    assert set(options) <= known
    described = [line for line in lines if line.startswith("  --")]
    assert all(re.search(r"\S {1,}[\w\"]", line[4:]) for line in described)
    count = int(re.search(r"--help-all shows all (\d+) options", shown.out)[1])
    assert len(options) <= count


class ReadError(Exception):
    """The words were read."""


@every_command
def test_the_examples_are_read(name, monkeypatch):
    module, page = module_of(name), module_of(name).PAGE
    read, typed = module.parsed, page.command.split()

    def stop(*arguments, **options):
        read(*arguments, **options)
        raise ReadError

    monkeypatch.setattr(module, "parsed", stop)
    assert page.example
    for words in map(shlex.split, page.example.splitlines()):
        assert words[: len(typed)] == typed
        with pytest.raises(ReadError):
            module.main(words[len(typed) :])


def test_training_on_data_of_ones_own_is_among_the_examples():
    examples = train.PAGE.example.splitlines()
    assert any("--data folder:" in example for example in examples)


@every_command
def test_a_wrong_option_is_one_line_with_a_hint(name, capsys):
    required = {"scripts.prepare_data": ["cifar10", "--data-dir", "d"], "scripts.export": ["run"]}
    shown, status = printed(
        name, [*required.get(name, ["x"] * (name == "hcl-measure")), "--nonsense"], capsys
    )
    assert status == 2
    assert shown.out == ""
    [line] = shown.err.splitlines()
    assert line.startswith("error: there is no option --nonsense")
    assert line.endswith("; --help shows how it is used")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--epochs", "x"], "--epochs: must be an integer, got 'x'"),
        (["--beta", "x"], "--beta: must be a number, got 'x'"),
        (["--dim", "1.5"], "--dim: must be an integer, got '1.5'"),
        (["--seeds", "1", "x"], "--seeds: cannot be read from '1', 'x'"),
        (["--objective", "NOPE"], "--objective: 'NOPE' is none of 'SCL', 'HSCL', 'UCL', 'HUCL'"),
        (["--epochs", "0"], "epochs must be at least 1, got 0"),
        (["--epochs"], "--epochs needs a value"),
        (["digits-scl", "more"], "more is not expected"),
        (
            ["--learning-rat", "1"],
            "there is no option --learning-rat; did you mean --learning-rate",
        ),
        (["--evaluate-on", "x"], "--evaluate-on: 'x' is none of 'test', 'val'"),
        (["nonsense"], "there is no experiment 'nonsense'"),
        (["supcon", "--data", "npz:a.npz"], "there is no method 'supcon', but scl, hscl2, hscl5,"),
        (["--data=npz:a.npz", "supcon"], "there is no method 'supcon', but scl,"),
        (["--data", "npz:a.npz"], "--data needs a method before it, one of scl, hscl2, hscl5,"),
        (["--epochs", "1", "--data", "digits"], "--data needs a method before it, one of scl,"),
        (["--out", "a" * 200 + " b", "--epochs", "x"], "--epochs: must be an integer, got 'x'"),
        (
            ["--data-dir", "~nobody-at-all/" + "x" * 300],
            "--data-dir: the home directory in '~nobod",
        ),
    ],
)
def test_what_is_wrong_is_said_plainly(words, line, capsys):
    shown, status = printed("scripts.train", words, capsys)
    assert status == 2
    [said] = shown.err.splitlines()
    assert said.startswith(f"error: {line}")
    assert said.endswith("; --help shows how it is used")


def test_choices_are_said_in_an_order_and_without_none(capsys):
    shown, status = printed("hcl-measure", ["a.npz", "--objective", "supcon"], capsys)
    assert status == 2
    assert "'supcon' is none of 'hscl', 'hucl', 'scl', 'ucl'; --help" in shown.err


def test_what_is_missing_is_said(capsys):
    shown, _ = printed("scripts.prepare_data", ["cifar10"], capsys)
    assert "missing: --data-dir PATH (where it is prepared, and later read from);" in shown.err
    shown, _ = printed("scripts.prepare_data", ["--data-dir", "d"], capsys)
    assert "missing: which data set;" in shown.err


def test_help_shows_the_values_of_the_experiment(capsys):
    shown, _ = printed("scripts.train", ["digits-hucl2", "--help"], capsys)
    assert re.search(r"--beta X .* \(2\)$", shown.out, re.MULTILINE)
    assert re.search(r"--epochs N .* \(60\)$", shown.out, re.MULTILINE)
    assert re.search(r"--no-probes ", shown.out)
    assert re.search(r"^  --continue ", shown.out, re.MULTILINE)


def test_other_words_of_tyro_are_passed_on():
    assert command_line._sentence("plain words") == "plain words"
    assert command_line._sentence("") == "the words do not fit"


def test_every_example_is_of_its_own_command():
    examples = [module_of(name).PAGE.example for name in COMMANDS]
    assert len(set(examples)) == len(examples)
    assert train.PAGE.command == "python -m scripts.train"
    assert measure.PAGE.command == "hcl-measure"
