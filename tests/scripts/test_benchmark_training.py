"""The training benchmark, end to end on a narrow network; nothing about speed is asserted."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from scripts import benchmark_training as benchmark
from scripts.benchmarking import training_report
from scripts.benchmarking.contenders import Contender, DisagreementError
from scripts.benchmarking.host_work import EPOCHS, host_work

# What torch.compile imports speaks of itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

CHOSEN = benchmark.TrainingBenchmark(
    batch=8, side=8, width=4, steps=2, classes=20, draws=16, rounds=3, seconds=0.0, machine="here"
)


def host_of_a_small_network(network, batch_size):
    """The residual network, whose width is not chosen here, takes twice as long."""
    assert (network, batch_size) == (CHOSEN.network, CHOSEN.host_batch)
    return host_work("convnet", batch_size)


@pytest.fixture(scope="module")
def results():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "host_work", host_of_a_small_network)
        return benchmark.measure(CHOSEN)


@pytest.mark.slow
def test_everything_is_timed_in_turns_and_agrees(results, tmp_path):
    assert json.loads(json.dumps(results, default=str))["settings"]["batch"] == 8
    kinds = [c["mathematics"] for c in results["contenders"]]
    assert {k: kinds.count(k) for k in set(kinds)} == {
        "exact": 3,
        "sampled": 2,
        "epoch": 1,
        "part": 8,
    }
    assert all(len(c["seconds"]) == 3 and min(c["seconds"]) > 0 for c in results["contenders"])
    compared = {c["name"] for c in results["contenders"] if c["mathematics"] in kinds[:2]}
    assert results["agreement"].keys() == compared
    text = benchmark.report(results)
    assert all(name in text for name in compared)
    assert text.count("not measured") == 3


@pytest.mark.slow
def test_the_work_of_the_host_is_a_part_of_the_time(results):
    host = results["host"]
    assert host["steps"] == 1437 // CHOSEN.host_batch
    assert len(host["host"]) == len(host["seconds"]) == EPOCHS - 1
    assert all(0 < work < whole for work, whole in zip(host["host"], host["seconds"], strict=True))
    assert "the thread of the host works" in benchmark.report(results)


def contender(name, kind, loss, norm=1.0):
    return Contender(name, kind, lambda wanted: (loss, norm))


EAGER = contender("torch, exact, eager, float32", "exact", 2.0)
DRAWN = np.array([1.0, 1.1, 0.9, 1.0])


@pytest.mark.parametrize(
    "other",
    [
        contender("ours, exact, float32", "exact", 2.001),
        contender("ours, exact, float32", "exact", 2.0, norm=1.02),
        contender("ours, exact, bfloat16", "exact", 2.1),
        contender("ours, exact, float32", "exact", float("nan")),
        contender("ours, sampled, K = 9, float32", "sampled", 1.6),
    ],
    ids=["loss", "gradient", "bfloat16", "nan", "sampled"],
)
def test_contenders_that_disagree_are_refused(other):
    with pytest.raises(DisagreementError, match=other.name):
        benchmark.check_agreement([EAGER, other], DRAWN)


def test_contenders_that_agree_are_kept():
    found = [
        EAGER,
        contender("ours, exact, float32", "exact", 2.0001, norm=1.0005),
        contender("ours, exact, bfloat16", "exact", 2.03),
        contender("ours, sampled, K = 9, float32", "sampled", 1.3),
        contender("part", "part", float("nan")),
    ]
    assert len(benchmark.check_agreement(found, DRAWN)) == 4


def test_targets_are_compared_on_the_shape_they_are_for():
    recipe, best, loss = (t.numerator for t in training_report.training_targets(9))
    medians = {"ours, exact, bfloat16": 1.0, recipe: 4.0, best: 0.9, loss: 0.02}
    settings = {"device": "gpu", "network": "resnet50", "batch": 512, "draws": 9}

    def outcomes(**changes):
        lines = training_report.target_lines({"settings": {**settings, **changes}}, medians)
        return [line.split("|")[-2].strip() for line in lines if line.startswith("| 12")]

    assert outcomes() == ["met", "gate missed", "aim met"]
    for change in ({"device": "cpu"}, {"network": "resnet18"}, {"batch": 256}):
        assert outcomes(**change) == ["not measured"] * 3
