"""The bar of steps, and what is said of few of them."""

import io

import pytest
from tqdm import tqdm

from scripts.experiments.experiment import Experiment
from scripts.experiments.own_data import OwnData
from scripts.runs import progress
from scripts.runs.runtime import Runtime


def test_the_time_left_leaves_out_what_was_compiled(monkeypatch):
    """A minute of compiling, then ten steps in a second."""
    seconds = [0.0]
    monkeypatch.setattr("tqdm.std.time", lambda: seconds[0])
    monkeypatch.setattr(progress.time, "time", lambda: seconds[0])
    with tqdm(total=50, mininterval=0, maxinterval=0, file=io.StringIO()) as bar:
        seconds[0] = 60.0
        progress.count_untimed(bar, 10)
        assert bar.n == 10
        assert not bar.format_dict["rate"]
        seconds[0] = 61.0
        bar.update(10)
        assert bar.format_dict["rate"] == 10
        assert "<00:03" in str(bar)


@pytest.mark.parametrize(
    ("images", "words"),
    [(128, "1 step an epoch of 128 images each, 50 in all: "), (2560, None)],
)
def test_few_steps_of_ones_own_data_are_said(monkeypatch, images, words):
    loaded = type("Loaded", (), {"labels": range(images)})
    monkeypatch.setattr(progress, "load_dataset", lambda source, place: loaded)
    monkeypatch.setattr(progress, "training_split", lambda found: found)
    own = OwnData((9, 9, 3), 2, ("cat", "dog"), images, (0.5,) * 3, (0.2,) * 3, "abc")
    said = progress.few_steps(Experiment(data="folder:/pets", own=own, epochs=50), Runtime())
    assert said == words or (words and said and said.startswith(words))
    digits = Experiment(data="digits", batch_size=64)
    assert progress.few_steps(digits, Runtime()) is None
