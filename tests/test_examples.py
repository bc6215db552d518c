"""Every example runs as a program of its own, and does what it is an example of."""

import importlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hcl_jax import data, evaluation, geometry

EXAMPLES = Path(__file__).parent.parent / "examples"
NEEDS = {"equinox_module": "equinox", "keras_on_jax": "keras", "pytorch_dlpack": "torch"}
ON_DIGITS = [
    "arrays_in_one_call",
    "plain_functions",
    "flax_nnx",
    "flax_linen",
    "equinox_module",
    "keras_on_jax",
    "pytorch_dlpack",
    "epoch_as_scan",
]

pytestmark = pytest.mark.slow


def last_line_of(name, *arguments, **environment):
    # Looked for only, since importing Keras chooses its backend.
    if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
        pytest.skip(f"{NEEDS[name]} is not installed")
    found = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *arguments],
        env=os.environ | environment,
        cwd=EXAMPLES.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def accuracy_of_the_pixels():
    digits = data.digits()
    train, test = (part.images.reshape(-1, 64) for part in (digits.train, digits.test))
    scores = evaluation.nearest_mean_scores(
        test, geometry.class_means(train, digits.train.labels, 10)
    )
    return float(evaluation.top_k_accuracy(scores, digits.test.labels))


@pytest.mark.parametrize("name", ON_DIGITS)
def test_training_separates_the_digits(name, accuracy_of_the_pixels):
    line = last_line_of(name)
    if directions := re.search(r"(\d+) of 9 directions", line):
        assert int(directions[1]) == 9
    else:
        assert float(line.split()[-1]) > accuracy_of_the_pixels


def test_pairs_find_each_other_over_eight_devices():
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
    line = last_line_of("clip_over_devices", XLA_FLAGS=flags)
    assert float(re.search(r"found (\S+) of the texts", line)[1]) > 0.5  # by chance 0.01


def test_an_accumulated_gradient_is_that_of_the_batch():
    line = last_line_of("gradient_accumulation", JAX_ENABLE_X64="1")
    assert float(line.split()[-1]) < 1e-12


def test_a_run_in_two_halves_ends_where_one_run_ends(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    resumable_run = importlib.import_module("resumable_run")
    at_once = resumable_run.main(str(tmp_path / "whole"), steps=20, every=10)
    resumable_run.main(str(tmp_path / "halves"), steps=10, every=10)
    resumed = resumable_run.main(str(tmp_path / "halves"), steps=20, every=10)
    np.testing.assert_array_equal(resumed, at_once)


def test_every_example_is_tried_and_shown():
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {*ON_DIGITS, "clip_over_devices", "gradient_accumulation", "resumable_run"}
    page = (EXAMPLES.parent / "docs" / "use_with.md").read_text()
    assert all(f"../examples/{name}.py" in page for name in names)
