"""The training benchmark, end to end on a narrow network; nothing about speed is asserted."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from hcl_jax.networks import residual
from scripts import benchmark_training as benchmark
from scripts.benchmarking import resnets_torch, training_report
from scripts.benchmarking.contenders import Contender, DisagreementError
from scripts.benchmarking.host_work import EPOCHS
from scripts.benchmarking.training_cases import SMALL_STEPS, epoch_of, recipe_of
from scripts.runs.exit_status import RefusedError

# What torch.compile imports speaks of itself.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

CHOSEN = benchmark.TrainingBenchmark(
    cases=("mlp-8", "convnet-8", "resnet18-8"),
    side=8,
    width=8,  # with four channels PyTorch's gradient of a strided kernel is wrong on some CPUs
    steps=2,
    classes=20,
    draws=16,
    rounds=3,
    seconds=0.0,
    machine="here",
)


@pytest.fixture(scope="module")
def results():
    """With one block a stage instead of two, of which everything compiles in half the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(residual.ARCHITECTURES, 18, residual.Architecture((1, 1, 1, 1), False))
        patch.setitem(resnets_torch.BLOCKS, 18, (1, 1, 1, 1))
        patch.setattr(benchmark, "HOST_NETWORK", "convnet")  # of which an epoch takes half the time
        return benchmark.measure(CHOSEN)


@pytest.mark.slow
def test_everything_is_timed_in_turns_and_agrees(results):
    written = json.loads(json.dumps(results, default=str))
    assert [case["case"] for case in written["cases"]] == list(CHOSEN.cases)
    text = benchmark.report(results)
    for case in results["cases"]:
        kinds = [c["mathematics"] for c in case["contenders"]]
        expected = {"exact": 3, "epoch": 2}
        if case["case"] == "resnet18-8":
            expected |= {"sampled": 2, "part": 8, "epoch": 1}
        assert {k: kinds.count(k) for k in set(kinds)} == expected
        assert all(len(c["seconds"]) == 3 and min(c["seconds"]) > 0 for c in case["contenders"])
        checked = ("exact", "sampled")
        compared = {c["name"] for c in case["contenders"] if c["mathematics"] in checked}
        if expected["epoch"] == 2:
            compared.add(f"ours, epoch of {case['steps']} steps over 2 devices, exact, float32")
        assert case["agreement"].keys() == compared
        assert all(f"| {name}" in text for name in compared)
        assert case["threads"].keys() == {name for name in compared if name.startswith("torch")}
        assert f"\n## {case['case']}\n" in text
    assert text.count("\nOver 2 devices: ") == 2


@pytest.mark.slow
def test_the_work_of_the_host_is_a_part_of_the_time(results):
    host = results["host"]
    assert host["steps"] == 1437 // CHOSEN.host_batch
    assert len(host["host"]) == len(host["seconds"]) == EPOCHS - 2
    assert all(0 < work < whole for work, whole in zip(host["host"], host["seconds"], strict=True))
    assert "the thread of the host works" in benchmark.report(results)


@pytest.mark.parametrize("case", ["resnet18", "resnet34-8", "mlp-1", "mlp-", "mlp-8-8", "MLP-8"])
def test_a_case_that_there_is_not_is_refused(case):
    with pytest.raises(RefusedError, match=f"as resnet18-32, got '{case}'"):
        recipe_of(case, CHOSEN)


def test_an_epoch_has_every_class_of_a_batch_twice():
    for case, image, kind in (("mlp-8", (64,), "f"), ("convnet-6", (28, 28, 1), "u")):
        images, labels = epoch_of(recipe_of(case, CHOSEN))
        size = int(case[-1])
        assert (images.shape, images.dtype.kind) == ((SMALL_STEPS * size, *image), kind)
        assert all(np.bincount(y).tolist() == [2] * (size // 2) for y in labels.reshape(-1, size))


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
        contender("ours, epoch", "epoch", 7.0),
        contender("ours, epoch over 2 devices", "epoch", 7.0001, norm=1.0005),
    ]
    assert len(benchmark.check_agreement(found, DRAWN)) == 5


def test_factors_that_a_gpu_rounds_may_differ_by_an_eighth_of_bfloat16():
    ours = contender("ours, exact, float32", "exact", 2.007, norm=1.012)
    with pytest.raises(DisagreementError, match=r"0\.0001, 0\.001"):
        benchmark.check_agreement([EAGER, ours], DRAWN)
    found = benchmark.check_agreement([EAGER, ours], DRAWN, rounds_factors=True)
    assert found["ours, exact, float32"][1::2] == [0.00375, 0.0125]
    other = contender("ours, exact, float32", "exact", 2.008)
    with pytest.raises(DisagreementError, match=r"0\.00375, 0\.0125"):
        benchmark.check_agreement([EAGER, other], DRAWN, rounds_factors=True)


def test_epochs_of_one_device_and_of_several_must_agree():
    epochs = [contender("ours, epoch", "epoch", 7.0), contender("over 2", "epoch", 7.01)]
    with pytest.raises(DisagreementError, match="over 2 disagrees"):
        benchmark.check_agreement([EAGER, *epochs], DRAWN)


def timed(name, kind, seconds):
    return {"name": name, "mathematics": kind, "seconds": [seconds] * 3}


def outcomes(settings, case, contenders):
    """The last cells of the table of targets."""
    results = {
        "settings": settings,
        "cases": [{"case": case, "batch": 512, "steps": 4, "contenders": contenders}],
    }
    rows = [line for line in training_report.target_lines(results) if line.startswith("| ")]
    return [row.split("|")[-2].strip() for row in rows[1:]]


def test_targets_of_gpus_are_compared_on_the_case_they_are_for():
    recipe, best, loss = (t.numerator for t in training_report.training_targets(9))
    seconds = {"ours, exact, bfloat16": 1.0, recipe: 4.0, best: 0.9, loss: 0.02}
    contenders = [timed(name, "exact", time) for name, time in seconds.items()]
    settings = {"device": "gpu", "draws": 9}
    assert outcomes(settings, "resnet50-512", contenders) == ["met", "gate missed", "aim met"]
    assert outcomes(settings, "resnet50-256", contenders) == ["not measured"] * 3


@pytest.mark.parametrize(
    ("torch", "outcome"), [(1.0, "gate missed"), (1.6, "met"), (2.1, "aim met")]
)
def test_targets_of_cpus_compare_a_step_in_an_epoch_with_the_fastest_of_pytorch(torch, outcome):
    contenders = [
        timed("ours, exact, float32", "exact", 9.0),
        timed("ours, epoch of 4 steps, exact, float32", "epoch", 5.0),
        timed("ours, epoch of 4 steps over 2 devices, exact, float32", "epoch", 4.0),
        timed("torch, exact, eager, float32", "exact", 9.0),
        timed("torch, exact, compiled, channels last, float32", "exact", torch),
        timed("torch, exact, compiled, channels last, bfloat16", "exact", 0.1),
        timed("torch, the authors' recipe, K = 9, float32", "sampled", 0.1),
    ]
    assert outcomes({"device": "cpu", "draws": 9}, "convnet-512", contenders) == [outcome]
    assert outcomes({"device": "cpu", "draws": 9}, "convnet-8", contenders) == []
