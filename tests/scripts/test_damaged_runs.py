"""Files of a run that were damaged: one line names the file, and nothing is executed or lost."""

import io
import json
import os
import pickle
import shutil
import zipfile

import numpy as np
import pytest
from references.whole_run import COMMAND, RUN, train_whole

from hcl_jax.checkpoints import checksums
from scripts import export, train
from scripts.runs.run_files import read_metrics


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train_whole(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def out(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "runs")
    return tmp_path / "runs"


def said(capsys):
    """The one line of an error, without the word that it begins with."""
    (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
    assert "Traceback" not in line
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


NOT_JSON = {
    "not UTF-8": b'{"experiment": "\xff"}',
    "nested": b"[" * 100_000,
    "huge digits": b'{"experiment": ' + b"9" * 5000 + b"}",
    "cut off": b"{",
    "empty": b"",
}
OTHER_JSON = {"list": b"[]", "null": b"null", "number": b"5", "empty object": b"{}"}


@pytest.mark.parametrize("name", ["config.json", "results.json"])
@pytest.mark.parametrize("damage", [*NOT_JSON, *OTHER_JSON])
def test_damaged_json_is_named(out, capsys, name, damage):
    file = out / RUN / name
    file.write_bytes((NOT_JSON | OTHER_JSON)[damage])
    for command, words in ((train, [*COMMAND, "--out", str(out)]), (export, [str(out / RUN)])):
        assert command.main(words) == 1
        assert str(file) in said(capsys)


@pytest.mark.parametrize("name", ["config.json", "results.json", "metrics.jsonl", "embeddings.npz"])
def test_a_fifo_is_not_waited_for(out, capsys, name):
    (out / RUN / name).unlink()
    os.mkfifo(out / RUN / name)
    if name == "metrics.jsonl":
        assert train.main([*COMMAND, "--out", str(out)]) == 1
    else:
        assert export.main([str(out / RUN)]) == 1
    assert f"{out / RUN / name} is not a regular file" in said(capsys)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"epochs": "many"}, "epochs must be an integer, got 'many'"),
        ({"data": None}, "data must be one of"),
        ({"data": ["digits"]}, "data must be one of"),
        ({"objective": "XYZ"}, "objective must be one of"),
        ({"beta": [1, 2]}, "beta must be a single number"),
        ({"beta": "2"}, "beta must be a real number"),
        ({"beta": None}, "beta must be a real number"),
        ({"learning_rate": -1}, "learning_rate must be positive"),
        ({"probes": "yes"}, "probes must be one of True, False"),
        ({"seeds": 3}, "'int' object is not iterable"),
        ({"seeds": []}, "seeds must be different and at least one"),
        ({"seeds": ["0"]}, "seed must be an integer"),
        ({"seeds": [2**31]}, "seeds must be at most"),
        ({"seeds": [[0]]}, "unhashable"),
        ({"dim": 0}, "dim must be at least 1"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
    ],
)
def test_a_config_out_of_range_is_named(out, unchecked, capsys, change, message):
    file = out / RUN / "config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"experiment": config["experiment"] | change}))
    assert export.main([str(out / RUN)]) == 1
    line = said(capsys)
    assert line.startswith(f"{file} describes no experiment: ")
    assert message in line


def test_a_config_of_another_version_is_named(out, capsys):
    file = out / RUN / "config.json"
    config = json.loads(file.read_text())
    del config["experiment"]["dim"]
    file.write_text(json.dumps(config))
    assert export.main([str(out / RUN)]) == 1
    assert said(capsys) == f"{file} is of another version: fields ['dim'] differ"


def changed_result(change):
    def damage(content):
        (result,) = json.loads(content)
        return json.dumps([{k: v for k, v in (result | change).items() if v != "gone"}])

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: "[{}]", "entry 1, is no evaluation: see seed, epoch"),
        (lambda content: "[5]", "entry 1, is no evaluation"),
        (lambda content: "[]", "does not have the last evaluation of every seed"),
        (lambda content: "{}", "is not a list of evaluations"),
        (changed_result({"seed": 3}), "does not have the last evaluation of every seed"),
        (changed_result({"epoch": 7}), "does not have the last evaluation of every seed"),
        (changed_result({"loss": "low"}), "entry 1, is no evaluation: see loss"),
        (changed_result({"top1": "gone"}), "entry 1, is no evaluation: see top1"),
        (changed_result({"data": "nowhere"}), "entry 1, is no evaluation: see data"),
        (changed_result({"spectrum": []}), "entry 1, is no evaluation: see spectrum"),
    ],
)
def test_damaged_results_are_named(out, capsys, damage, message):
    file = out / RUN / "results.json"
    file.write_text(damage(file.read_text()))
    assert train.main([*COMMAND, "--out", str(out)]) == 1
    line = said(capsys)
    assert line.startswith(str(file))
    assert message in line


def test_damaged_metrics_are_named(out, capsys):
    file = out / RUN / "metrics.jsonl"
    for line in (b"[]", b"{}", b'{"seed": 0}', b"\xff"):
        file.write_bytes(line + b"\n")
        assert train.main([*COMMAND, "--out", str(out)]) == 1
        assert f"{file}, line 1, is" in said(capsys)


def test_missing_evaluations_are_named(out, capsys):
    file = out / RUN / "metrics.jsonl"
    first, last = file.read_text().splitlines(keepends=True)
    for lines in ("", "[]", first, first + last[:-1], first + first + last):
        file.write_text(lines)
        assert train.main([*COMMAND, "--out", str(out)]) == 1
        expected = f"{file} does not have evaluations of every seed up to epoch 1"
        assert said(capsys) == expected


def test_null_is_a_number_that_was_not_finite(out, capsys):
    for name in ("metrics.jsonl", "results.json"):
        file = out / RUN / name
        lines = file.read_text().replace('"top1"', '"top1": null, "once"')
        file.write_text(lines.replace('"loss"', '"loss": null, "lost"'))
    assert train.main([*COMMAND, "--out", str(out)]) == 0
    assert "loss nan" in capsys.readouterr().out
    assert {record["top1"] for record in read_metrics(out / RUN)} == {None}


class Executed:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def pickled(arrays):
    return arrays | {"test_labels": np.array([Executed()], dtype=object)}


@pytest.mark.parametrize(
    "damage",
    [
        pickled,
        lambda arrays: {name: arrays[name] for name in arrays if name != "class_means"},
        lambda arrays: arrays | {"train_embeddings": np.float32(0)},
        lambda arrays: arrays | {"class_means": arrays["class_means"][0]},
        lambda arrays: arrays | {"train_labels": arrays["train_labels"][1:]},
        lambda arrays: arrays | {"test_labels": np.array(["a"] * len(arrays["test_labels"]))},
        lambda arrays: dict.fromkeys(arrays, np.zeros(3)),
        lambda arrays: {k: v[:0] if "labels" not in k else v for k, v in arrays.items()},
    ],
)
def test_embeddings_that_are_not_those_of_a_run_are_named(
    out, tmp_path, capsys, monkeypatch, damage
):
    monkeypatch.chdir(tmp_path)
    file = out / RUN / "embeddings.npz"
    with np.load(file) as found:
        arrays = dict(found)
    np.savez(file, **damage(arrays))
    assert export.main([str(out / RUN)]) == 1
    assert said(capsys).startswith(str(file))
    assert not (tmp_path / "executed").exists()


def zip_of(content):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("train_embeddings.npy", content)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", pickle.dumps(Executed()), zip_of(b""), zip_of(b"\x93NUMPY\x01\x00")],
)
def test_embeddings_that_are_no_archive_are_named(out, tmp_path, capsys, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    file = out / RUN / "embeddings.npz"
    file.write_bytes(content)
    assert export.main([str(out / RUN)]) == 1
    assert said(capsys).startswith(str(file))
    assert not (tmp_path / "executed").exists()


def rewrite_notes(path, change, step=1):
    """Writes other notes into the checkpoint of a step, with the right checksums."""
    directory = path / "checkpoints" / f"step_{step:09d}"
    content = json.loads((directory / "checkpoint.json").read_text())
    content["notes"] |= change
    (directory / "checkpoint.json").write_text(json.dumps(content))
    (directory / checksums.MANIFEST).unlink()
    checksums.write(directory)


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"epoch": 1000}, 1, "does not say where in the run it was saved"),
        ({"epoch": "1"}, 1, "does not say where in the run it was saved"),
        ({"metrics_length": -1}, 1, "does not say where in the run it was saved"),
        ({"metrics_digest": None}, 1, "does not say where in the run it was saved"),
        ({"metrics_length": 10}, 1, "metrics.jsonl was changed since the checkpoint"),
    ],
)
def test_notes_of_a_checkpoint_that_are_not_those_of_the_run_are_refused(
    out, capsys, change, status, message
):
    (out / RUN / "results.json").unlink()
    rewrite_notes(out / RUN, change)
    assert train.main([*COMMAND, "--out", str(out)]) == status
    assert message in said(capsys)
    assert not (out / RUN / "results.json").exists()


def test_a_checkpoint_of_a_longer_run_is_refused(out, capsys):
    (out / RUN / "results.json").unlink()
    checkpoints = out / RUN / "checkpoints"
    shutil.copytree(checkpoints / "step_000000001", checkpoints / "step_000000999")
    content = checkpoints / "step_000000999" / "checkpoint.json"
    content.write_text(content.read_text().replace('"step": 1', '"step": 999'))
    rewrite_notes(out / RUN, {"epoch": 999}, step=999)
    assert train.main([*COMMAND, "--out", str(out)]) == 2
    assert "has a checkpoint of epoch 999, but the run has 1 epoch;" in said(capsys)


def test_checkpoints_without_a_config_are_refused(out, capsys):
    (out / RUN / "results.json").unlink()
    (out / RUN / "config.json").unlink()
    assert train.main([*COMMAND, "--out", str(out)]) == 1
    assert "has checkpoints, but no config.json that says of what" in said(capsys)


def test_partial_files_that_are_directories_are_removed(out):
    (out / RUN / "results.json").unlink()
    left = out / RUN / "results.json.0a1b2c3d.partial"
    left.mkdir()
    assert train.main([*COMMAND, "--out", str(out)]) == 0
    assert not left.exists()
