"""Whatever a killed process leaves behind, the checkpoints are the old ones or the new ones."""

import itertools
import os
import shutil
from pathlib import Path

import pytest

from hcl_jax.checkpoints import checksums
from hcl_jax.checkpoints.directory import CheckpointDirectory
from hcl_jax.checkpoints.tree_spec import ArraySpec


def damage(directory):
    """What is wrong with a directory that has checksums, or None."""
    try:
        checksums.verify(directory)
    except checksums.ChecksumError as error:
        return str(error)
    return None


def write(directory, step, text, **notes):
    """A checkpoint with a text for an array."""
    staging = directory.staging_path(step, 1)
    (staging / "arrays").mkdir(parents=True)
    (staging / "arrays" / "text").write_text(text)
    directory.publish(staging, step, {"text": text, **notes}, {})


def texts(directory):
    """The checkpoints that a reader takes for whole; all that it sees have to be."""
    found = {}
    for step in directory.steps():
        assert damage(directory.path_of(step)) is None
        found[step] = (directory.path_of(step) / "arrays" / "text").read_text()
        assert directory.read_content(step).notes == {"text": found[step]}
    return found


class PowerCutError(BaseException):
    """The process is gone."""


def cut_after(monkeypatch, operations):
    """Lets this many changes of the disk happen, and none after."""
    left = itertools.count(operations, -1)

    def until_cut(function):
        def changing(*args, **kwargs):
            if next(left) <= 0:
                raise PowerCutError
            return function(*args, **kwargs)

        return changing

    for module, name in [
        *((os, name) for name in ("rename", "replace", "unlink", "rmdir", "fsync", "mkdir")),
        *((Path, name) for name in ("rename", "unlink", "rmdir", "mkdir", "write_bytes")),
    ]:
        monkeypatch.setattr(module, name, until_cut(getattr(module, name)))


CHANGES = {
    "new": (lambda d: write(d, 3, "third"), {1: "first", 2: "second", 3: "third"}),
    "replaced": (lambda d: write(d, 2, "again"), {1: "first", 2: "again"}),
    "removed": (lambda d: d.remove(1), {2: "second"}),
    "set aside": (lambda d: d.set_aside(2), {1: "first"}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_cut_short_anywhere(tmp_path, change):
    """Also when the recovery is cut short, anywhere, and begun again."""
    action, wanted = CHANGES[change]
    old, seen = {1: "first", 2: "second"}, []
    for operations in range(60):
        directory = CheckpointDirectory(tmp_path / str(operations))
        directory.path.mkdir()
        write(directory, 1, "first")
        write(directory, 2, "second")
        with pytest.MonkeyPatch.context() as patch:
            cut_after(patch, operations)
            try:
                action(directory)
                finished = True
            except PowerCutError:
                finished = False
        for recovery in range(30):
            copy = CheckpointDirectory(tmp_path / "copy")
            shutil.copytree(directory.path, copy.path)
            with pytest.MonkeyPatch.context() as patch:
                cut_after(patch, recovery)
                try:
                    copy.recover()
                    recovered = True
                except PowerCutError:
                    recovered = False
            copy.recover()
            found = texts(copy)
            assert found in (old, wanted)
            leftover = {path.name for path in copy.path.iterdir()} - {
                copy.path_of(step).name for step in found
            }
            assert leftover <= {"step_000000002.faulty"}
            shutil.rmtree(copy.path)
            if recovered:
                break
        assert recovered
        seen.append(found)
        if finished:
            break
    assert finished
    assert seen[0] == old
    assert seen[-1] == wanted


def test_every_bit_of_a_manifest_counts(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a").write_text("some text")
    (tmp_path / "b" / "c d").write_text("")
    checksums.write(tmp_path)
    manifest = tmp_path / checksums.MANIFEST
    whole = manifest.read_bytes()
    assert damage(tmp_path) is None
    for position, bit in itertools.product(range(len(whole)), (0, 3, 5)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << bit
        manifest.write_bytes(flipped)
        assert damage(tmp_path), (position, bit)
    for length in range(len(whole)):
        manifest.write_bytes(whole[:length])
        assert damage(tmp_path), length
    manifest.write_bytes(whole)
    assert damage(tmp_path) is None


def test_a_manifest_is_what_sha256sum_reads(tmp_path):
    program = shutil.which("sha256sum")
    if program is None:
        pytest.skip("sha256sum is not installed")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a b").write_text("some text")
    checksums.write(tmp_path)
    assert os.system(f"cd {tmp_path} && {program} --strict --status -c SHA256SUMS") == 0
    (tmp_path / "folder" / "a b").write_text("Some text")
    assert os.system(f"cd {tmp_path} && {program} --strict --status -c SHA256SUMS") != 0


def test_faults_are_named(tmp_path):
    (tmp_path / "a").write_text("a")
    checksums.write(tmp_path)
    (tmp_path / "b").write_text("b")
    assert damage(tmp_path) == "b is not listed in SHA256SUMS"
    (tmp_path / "b").unlink()
    (tmp_path / "a").unlink()
    assert damage(tmp_path) == "a is missing"
    (tmp_path / "a").mkdir()
    assert damage(tmp_path) == "a is missing"


def test_other_names_are_left_alone(tmp_path):
    directory = CheckpointDirectory(tmp_path)
    write(directory, 12, "twelve")
    others = ("step_12", "step_000000012.old", "notes", "step_000000013.faulty")
    others += ("step_0000000014", "step_\u0660\u0660\u0660\u0660\u0660\u0660\u0660\u0661\u0665")
    for name in others:
        (tmp_path / name).mkdir()
    directory.recover()
    assert directory.steps() == [12]
    assert len(list(tmp_path.iterdir())) == 7


def make_file(path):
    path.write_text("")


def make_fifo(path):
    os.mkfifo(path)


def make_link(path):
    path.symlink_to(path.parent.parent / "elsewhere")


def make_directory(path):
    (path / "arrays").mkdir(parents=True)


@pytest.mark.parametrize("make", [make_file, make_fifo, make_link, make_directory])
@pytest.mark.parametrize("elsewhere_is", [True, False])
def test_what_is_set_aside_takes_the_place_of_what_was(tmp_path, make, elsewhere_is):
    elsewhere = tmp_path / "elsewhere"
    if elsewhere_is:
        elsewhere.mkdir()
    directory = CheckpointDirectory(tmp_path / "checkpoints")
    directory.path.mkdir()
    write(directory, 3, "three")
    make(directory.path / "step_000000003.faulty")
    directory.set_aside(3)
    [aside] = directory.path.iterdir()
    assert aside.name == "step_000000003.faulty"
    assert (aside / "arrays" / "text").read_text() == "three"
    assert elsewhere.is_dir() == elsewhere_is


@pytest.mark.parametrize("make", [make_file, make_fifo, make_link])
@pytest.mark.parametrize("suffix", ["1.saving", "removing", "replaced"])
def test_leftovers_that_are_no_directories_are_removed(tmp_path, make, suffix):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    directory = CheckpointDirectory(tmp_path / "checkpoints")
    directory.path.mkdir()
    write(directory, 3, "three")
    make(directory.path / f"step_000000003.{suffix}")
    directory.recover()
    assert [path.name for path in directory.path.iterdir()] == ["step_000000003"]
    assert elsewhere.is_dir()


def test_a_checkpoint_that_is_a_link_is_removed_as_a_link(tmp_path):
    directory, elsewhere = CheckpointDirectory(tmp_path / "checkpoints"), tmp_path / "elsewhere"
    directory.path.mkdir()
    write(directory, 3, "three")
    directory.path_of(3).rename(elsewhere)
    directory.path_of(3).symlink_to(elsewhere)
    assert directory.first_whole([3]) == (3, ())
    directory.remove(3)
    assert not list(directory.path.iterdir())
    assert (elsewhere / "arrays" / "text").read_text() == "three"


def test_a_fifo_in_a_checkpoint_is_not_waited_for(tmp_path):
    directory = CheckpointDirectory(tmp_path)
    write(directory, 3, "three")
    (tmp_path / "step_000000003" / "arrays" / "text").unlink()
    os.mkfifo(tmp_path / "step_000000003" / "arrays" / "text")
    step, (rejected,) = directory.first_whole([3])
    assert (step, rejected.reason) == (None, "arrays/text is not a regular file")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "checkpoint.json cannot be read: No such file"),
        ("[]", "does not describe the checkpoint of step 3"),
        ("{", "is not JSON"),
        ('{"step": 4, "notes": {}, "leaves": {}}', "does not describe the checkpoint of step 3"),
        ('{"step": 3, "notes": [], "leaves": {}}', "does not describe the checkpoint of step 3"),
        ('{"step": 3, "notes": {}}', "does not describe the checkpoint of step 3"),
        ('{"step": 3, "notes": {}, "leaves": {"a": 5}}', "does not have dtype and shape"),
        ('{"step": 3, "notes": {}, "leaves": {"a": ["f", [true]]}}', "does not have dtype"),
        ('{"step": 3, "notes": {}, "leaves": {"a": ["f", [2]]}}', "arrays is missing"),
    ],
)
def test_a_checkpoint_that_was_sealed_without_its_content_is_not_whole(tmp_path, content, reason):
    directory = CheckpointDirectory(tmp_path)
    directory.path_of(3).mkdir()
    if content is not None:
        (directory.path_of(3) / "checkpoint.json").write_text(content)
    checksums.write(directory.path_of(3))
    step, (rejected,) = directory.first_whole([3])
    assert step is None
    assert reason in rejected.reason
    assert directory.steps_by_metric("top1", "max") == []


def test_steps_are_ordered_by_finite_numbers_alone(tmp_path):
    """Of equal ones the last is the best, whichever way is up."""
    directory = CheckpointDirectory(tmp_path)
    values = (0.25, -3, 0.0, "0.9", None, [1.0], 0.25, 10**400)
    for step, value in enumerate(values):
        write(directory, step, "text", top1=value)
    write(directory, len(values), "text")
    (directory.path_of(6) / "arrays" / "text").write_text("damaged, but for its notes")
    assert directory.steps_by_metric("top1", "max") == [6, 0, 2, 1]
    assert directory.steps_by_metric("top1", "min") == [1, 2, 6, 0]
    assert directory.steps_by_metric("loss", "max") == []


@pytest.mark.parametrize(
    ("shapes", "has_arrays", "whole"),
    [
        ({"a": [2], "b": [0, 3]}, True, True),
        ({"a": [2], "b": [0, 3]}, False, False),
        ({"b": [0, 3]}, False, True),
        ({"a": []}, False, False),  # one number
        ({}, False, True),
    ],
)
def test_arrays_are_missing_where_there_are_numbers_alone(tmp_path, shapes, has_arrays, whole):
    directory = CheckpointDirectory(tmp_path)
    staging = directory.staging_path(3, 1)
    staging.mkdir()
    if has_arrays:
        (staging / "arrays").mkdir()
    specs = {name: ArraySpec("float32", tuple(shape)) for name, shape in shapes.items()}
    directory.publish(staging, 3, {}, specs)
    assert directory.first_whole([3])[0] == (3 if whole else None)
