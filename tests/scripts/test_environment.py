"""What decides the numbers of a run is recorded when it begins, and compared when it resumes."""

import contextlib
import json
import shutil

import jax
import pytest
from references.whole_run import COMMAND, RUN, train_whole

from scripts import train


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return train_whole(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def unfinished(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "runs")
    (tmp_path / "runs" / RUN / "results.json").unlink()
    return tmp_path / "runs"


def config(out):
    return json.loads((out / RUN / "config.json").read_text())


def test_settings_are_recorded(whole):
    environment = config(whole)["environment"]
    assert environment["settings"] == {
        "enable_x64": False,
        "default_prng_impl": "threefry2x32",
        "threefry_partitionable": True,
        "default_matmul_precision": None,
    }
    assert environment["platform"] == jax.devices()[0].platform
    assert environment["device"] == jax.devices()[0].device_kind
    assert {"hcl-jax", "jax", "jaxlib", "numpy"} <= environment["versions"].keys()


@contextlib.contextmanager
def setting(name, value):
    before = getattr(jax.config, name)
    jax.config.update(name, value)
    try:
        yield
    finally:
        jax.config.update(name, before)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("jax_enable_x64", True, "enable_x64 was False and is True"),
        ("jax_default_prng_impl", "rbg", "default_prng_impl was 'threefry2x32' and is 'rbg'"),
        ("jax_threefry_partitionable", False, "threefry_partitionable was True and is False"),
    ],
)
def test_other_settings_are_refused(unfinished, capsys, name, value, said):
    with setting(name, value):
        assert train.main([*COMMAND, "--out", str(unfinished)]) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in line
    assert "--resume-anyway" in line
    assert not (unfinished / RUN / "results.json").exists()


def test_other_settings_are_accepted_on_request(unfinished, capsys):
    before = config(unfinished)
    with setting("jax_threefry_partitionable", False):
        assert train.main([*COMMAND, "--resume-anyway", "--out", str(unfinished)]) == 0
    assert "threefry_partitionable was True and is False" in capsys.readouterr().err
    assert config(unfinished) == before


def test_another_version_or_machine_is_named(unfinished, capsys):
    before = config(unfinished)
    before["environment"]["versions"]["jax"] = "0.4.1"
    before["environment"]["device"] = "abacus"
    del before["environment"]["versions"]["numpy"]
    (unfinished / RUN / "config.json").write_text(json.dumps(before))
    assert train.main([*COMMAND, "--out", str(unfinished)]) == 0
    said = capsys.readouterr().err
    assert f"jax was '0.4.1' and is '{jax.__version__}'" in said
    assert "device was 'abacus' and is" in said
    assert "numpy was 'not recorded' and is" in said
    assert config(unfinished) == before, "how it began stays as it was"


def test_another_precision_is_named(unfinished, capsys):
    with setting("jax_default_matmul_precision", "highest"):
        assert train.main([*COMMAND, "--out", str(unfinished)]) == 0
    assert "default_matmul_precision was None and is 'highest'" in capsys.readouterr().err


def test_the_same_environment_is_not_worth_a_word(unfinished, capsys):
    assert train.main([*COMMAND, "--out", str(unfinished)]) == 0
    said = capsys.readouterr().err
    assert "resumes after epoch 1" in said
    assert "numbers may differ" not in said


@pytest.mark.parametrize("damage", [None, [], 5, "text"])
def test_a_record_that_is_damaged_counts_as_other_settings(unfinished, capsys, damage):
    changed = config(unfinished)
    changed["environment"]["settings"] = damage
    (unfinished / RUN / "config.json").write_text(json.dumps(changed))
    assert train.main([*COMMAND, "--out", str(unfinished)]) == 2
    assert "enable_x64 was 'not recorded' and is False" in capsys.readouterr().err


def test_a_run_that_cannot_be_continued_stays_finished(whole, tmp_path, capsys):
    shutil.copytree(whole, tmp_path / "runs")
    longer = [*COMMAND, "--epochs", "2", "--continue", "--out", str(tmp_path / "runs")]
    with setting("jax_threefry_partitionable", False):
        assert train.main(longer) == 2
    assert (tmp_path / "runs" / RUN / "results.json").exists()
    assert config(tmp_path / "runs") == config(whole)
    assert train.main(longer) == 0
