"""A run, trained and exported from the command line, and its encoder used in a fresh process."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hcl_jax.data import digits
from scripts import export, train
from scripts.runs.exported import outdated_export
from scripts.runs.provenance import commit
from scripts.runs.run_files import experiment_of, read_json

ROOT = Path(__file__).parents[2]

USER = """
import sys
import numpy as np
from hcl_jax.encoders import load_encoder
out = sys.argv[1]
images = np.load(out + "/images.npy")
embedded = load_encoder(out + "/encoder.jaxexport")(images)
np.save(out + "/found.npy", embedded.embeddings)
loaded = [name for name in sys.modules if name.startswith(("hcl_jax.training", "flax", "optax"))]
assert not [name for name in loaded if name != "hcl_jax"], loaded
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    command = ["digits-hscl5", "--epochs", "2", "--seeds", "4", "7", "--devices", "1"]
    assert train.main([*command, "--no-probes", "--out", str(out)]) == 0
    return out / "digits-hscl5-probes=False-seeds=4,7"


def test_the_encoder_gives_the_embeddings_of_the_run(trained, tmp_path, capsys):
    out = tmp_path / "export"
    assert export.main([str(trained), "--seed", "7", "--out", str(out)]) == 0
    assert (
        "HSCL 5 on digits, seed 7, epoch 2: images (n, 8, 8, 1) of float32"
        in capsys.readouterr().out
    )
    source = read_json(out / "encoder.jaxexport.json")["source"]
    assert source == {"run": trained.name, "seed": 7, "epoch": 2, "commit": commit()}
    np.save(out / "images.npy", np.asarray(digits().test.images))
    subprocess.run([sys.executable, "-c", USER, str(out)], cwd=ROOT, check=True)
    expected = np.load(trained / "embeddings.npz")["test_embeddings"][1]
    np.testing.assert_allclose(np.load(out / "found.npy"), expected, atol=1e-6)
    kept = np.load(out / "embeddings.npz")
    np.testing.assert_array_equal(kept["test_embeddings"], expected)
    means = np.load(out / "class_means.npz")["class_means"]
    labels = kept["train_labels"]
    own = [kept["train_embeddings"][labels == c].mean(axis=0) for c in range(10)]
    np.testing.assert_allclose(means, own, atol=1e-6)
    accuracy = np.mean((expected @ means.T).argmax(axis=1) == kept["test_labels"])
    reported = {r["seed"]: r["top1"] for r in read_json(trained / "results.json")}
    np.testing.assert_allclose(accuracy, reported[7], atol=1e-6)


def test_an_export_that_the_run_has_left_behind_is_said_to_be(trained):
    experiment = experiment_of(trained)
    assert outdated_export(trained, experiment) is None
    (trained / "export").mkdir()
    metadata = trained / "export" / "encoder.jaxexport.json"
    metadata.write_text('{"source": {"epoch": 1}}')
    assert "is of epoch 1, and the run is now at epoch 2" in str(
        outdated_export(trained, experiment)
    )
    metadata.write_text('{"source": {"epoch": 2}}')
    assert outdated_export(trained, experiment) is None
    shutil.rmtree(trained / "export")


def test_what_cannot_be_exported_says_why(trained, tmp_path, capsys):
    assert export.main([str(tmp_path)]) == 1
    assert "is not a run directory: it has no config.json" in capsys.readouterr().err
    assert export.main([str(trained), "--seed", "5"]) == 2
    assert "the run has seeds (4, 7), not 5" in capsys.readouterr().err
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "config.json").write_bytes((trained / "config.json").read_bytes())
    assert export.main([str(unfinished)]) == 1
    assert "is not finished" in capsys.readouterr().err
    (unfinished / "results.json").write_bytes((trained / "results.json").read_bytes())
    assert export.main([str(unfinished)]) == 1
    assert "has no checkpoint" in capsys.readouterr().err


def without(name):
    def spoil(path):
        with np.load(path) as arrays:
            np.savez(path, **{key: arrays[key] for key in arrays.files if key != name})

    return spoil


def replaced(**changes):
    def spoil(path):
        with np.load(path) as arrays:
            np.savez(path, **{**arrays, **changes})

    return spoil


OTHER_ARRAYS = "embeddings.npz is damaged: it does not hold the arrays of a run"
EMBEDDINGS = {
    "missing": (lambda path: path.unlink(), "there is no .*embeddings.npz"),
    "garbage": (lambda path: path.write_bytes(b"garbage"), "embeddings.npz is damaged"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-9]), "embeddings.npz is damaged"),
    "no labels": (without("test_labels"), OTHER_ARRAYS),
    "objects": (replaced(test_labels=np.array([{}], object)), "embeddings.npz is damaged: Object"),
    "a number": (
        replaced(class_means=np.float32(1)),
        OTHER_ARRAYS,
    ),
    "one seed": (
        replaced(class_means=np.ones((1, 10, 9))),
        OTHER_ARRAYS,
    ),
    "other names": (
        replaced(class_names=np.array(["a", "b"])),
        OTHER_ARRAYS,
    ),
    "vectors": (
        replaced(class_means=np.ones((2, 9))),
        OTHER_ARRAYS,
    ),
}


@pytest.mark.parametrize("case", EMBEDDINGS)
def test_damaged_embeddings_are_named_before_anything_is_written(trained, tmp_path, capsys, case):
    spoil, message = EMBEDDINGS[case]
    run, out = tmp_path / "run", tmp_path / "out"
    shutil.copytree(trained, run)
    spoil(run / "embeddings.npz")
    assert export.main([str(run), "--seed", "7", "--out", str(out)]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not out.exists()


def test_no_platform_is_refused(trained, tmp_path, capsys):
    assert export.main([str(trained), "--platforms", "--out", str(tmp_path / "out")]) == 2
    assert "--platforms must name at least one" in capsys.readouterr().err
