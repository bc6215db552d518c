"""What benchmarks share, and the committed results; nothing about speed is asserted."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from hcl_jax.networks import resnet
from scripts import (
    benchmark_convolutions,
    benchmark_evaluation,
    benchmark_losses,
    benchmark_training,
    benchmark_views,
)
from scripts.benchmarking import contenders, convolution_shapes, machine_load, results, targets
from scripts.benchmarking.contenders import Contender, DisagreementError
from scripts.benchmarking.machine_load import CpuTimes, share_of_others

COMMITTED = Path(__file__).parents[2] / "benchmarks"
RESULTS = {
    "convolutions": benchmark_convolutions,
    "evaluation": benchmark_evaluation,
    "losses": benchmark_losses,
    "losses-h100-float32": benchmark_losses,
    "losses-h100-bfloat16": benchmark_losses,
    "training": benchmark_training,
    "training-epyc": benchmark_training,
    "training-h100-resnet50": benchmark_training,
    "training-h100-small": benchmark_training,
    "views": benchmark_views,
}


def test_all_committed_results_are_checked():
    assert {path.stem for path in COMMITTED.glob("*.json")} == set(RESULTS)


@pytest.mark.parametrize("name", RESULTS)
def test_committed_tables_are_those_of_the_committed_times(name):
    results = json.loads((COMMITTED / f"{name}.json").read_text())
    assert RESULTS[name].report(results) == (COMMITTED / f"{name}.md").read_text()


@pytest.mark.slow
def test_losses_are_measured_and_shown():
    chosen = benchmark_losses.LossBenchmark(
        rows=(32,), dim=8, rounds=3, classes=4, draws=4, torch=False, machine="here"
    )
    results = json.loads(json.dumps(benchmark_losses.measure(chosen), default=str))
    (shape,) = results["shapes"]
    assert (results["machine"], shape["rows"], shape["rounds"]) == ("here", 32, 3)
    labels = np.random.default_rng(32)
    labels.normal(size=(32, 8))
    same = np.equal.outer(*[labels.integers(0, 4, 32)] * 2)
    assert shape["draws"] == 4 * (same.sum() - 32)
    times = {c["name"]: c["seconds"] for c in shape["contenders"]}
    assert all(len(seconds) == 3 and min(seconds) > 0 for seconds in times.values())
    assert set(shape["agreement"]) == {
        *("ours, blockwise", "ours, dense", "ours, default", "ours, blockwise, beta = 0"),
        *("ours, blockwise, no hardening", "ours, dense, no hardening"),
        *("ours, learned temperature", "ours, SupCon", "ours, SupCon, normalised"),
        *("ours, NT-Xent", "ours, NT-Xent of two halves", "ours, NT-Xent of two views"),
        "optax.losses.ntxent",
    }
    compilations = [c["compilation"] for c in shape["contenders"]]
    assert all(c["compiling"] > 0 and c["instructions"] > 0 for c in compilations)
    text = benchmark_losses.report(results)
    assert "| tracing, s | compiling, s | HLO instructions |" in text
    assert all(f"| {name} | " in text for name in times)
    assert benchmark_losses.figure(results).startswith(b"\x89PNG")


def test_losses_that_disagree_are_refused():
    def contender(name, gradient):
        return Contender(name, "hscl", lambda _: (np.float64(2), np.array(gradient)))

    first = contender("first", [1.0, -2.0])
    near = contender("near", [1.0, -2.0001])
    assert benchmark_losses.check_agreement([first, near], 1e-4)["near"] == pytest.approx([0, 5e-5])
    with pytest.raises(DisagreementError, match="far disagrees"):
        benchmark_losses.check_agreement([first, contender("far", [1.0, -2.001])], 1e-4)


@pytest.mark.slow
def test_views_are_measured_and_shown():
    chosen = benchmark_views.ViewsBenchmark(rounds=3, seconds=0.0, step_images=2, machine="here")
    results = json.loads(json.dumps(benchmark_views.measure(chosen, ((4, 16),)), default=str))
    (part,) = results["batches"]
    names = [c["name"] for c in part["contenders"]]
    assert names[-1] == benchmark_views.STEP
    assert {benchmark_views.PIPELINE, "grayscale"} < set(names)
    assert [c["scale"] for c in part["contenders"]] == [1.0] * (len(names) - 1) + [2.0]
    assert all(len(c["seconds"]) == 3 and min(c["seconds"]) > 0 for c in part["contenders"])
    assert all(f"| {name} | " in benchmark_views.report(results) for name in names)


@pytest.mark.slow
def test_convolutions_are_measured_and_shown():
    pytest.importorskip("torch")
    chosen = benchmark_convolutions.ConvolutionBenchmark(
        networks=("convnet",), batch=2, rounds=2, machine="here"
    )
    results = json.loads(json.dumps(benchmark_convolutions.measure(chosen), default=str))
    shapes = [shape["shape"] for shape in results["shapes"]]
    assert shapes[:2] == ["28 x 28, 1 -> 8, 3 x 3", "28 x 28, 8 -> 16, 3 x 3, stride 2"]
    times = results["shapes"][0]["times"]
    assert {which: set(names) for which, names in times.items()} == {
        "forward": {"ours", "XLA", "windows", "torch"},
        "by maps": {"ours", "torch"},
        "by kernel": {"ours", "XLA", "torch"},
    }
    assert all(len(pairs) == 2 for names in times.values() for pairs in names.values())
    assert "| all 3 of convnet |" in benchmark_convolutions.report(results)


@pytest.mark.slow
def test_evaluation_is_measured_and_shown():
    pytest.importorskip("torch")
    chosen = benchmark_evaluation.EvaluationBenchmark(
        train=2000, test=1000, dim=8, classes=3, rounds=3, seconds=0.0, machine="here"
    )
    results = json.loads(json.dumps(benchmark_evaluation.measure(chosen), default=str))
    assert len(results["seconds"]) == 9
    assert all(len(seconds) == 3 and min(seconds) > 0 for seconds in results["seconds"].values())
    assert all(0.4 < accuracy < 1 for accuracy in results["accuracies"].values())
    text = benchmark_evaluation.report(results)
    assert all(f"| {name} | " in text for name in results["seconds"])


def test_evaluations_that_disagree_are_refused():
    with pytest.raises(DisagreementError, match=r"probe: torch has accuracy 0\.51"):
        benchmark_evaluation.check_agreement({"probe: ours": 0.5, "probe: torch": 0.51})


def test_a_resnet_has_its_twenty_convolutions():
    counts = convolution_shapes.convolutions_of(resnet(5, depth=18, width=4), 2, 32, 3)
    assert sum(counts.values()) == 20
    assert counts[convolution_shapes.Shape(2, 32, 4, 8, 1, 2)] == 1
    assert counts[convolution_shapes.Shape(2, 4, 32, 32, 3, 1)] == 3


def test_convolutions_that_disagree_are_refused(monkeypatch):
    pytest.importorskip("torch")
    shape = convolution_shapes.Shape(2, 4, 2, 3, 3, 1)
    monkeypatch.setattr(benchmark_convolutions, "ALLOWED", -1.0)
    with pytest.raises(DisagreementError, match="4 x 4, 2 -> 3, 3 x 3, forward: ours is off"):
        list(benchmark_convolutions._contenders(shape))


def test_a_turn_is_a_mean_over_the_least_duration(monkeypatch):
    clock = iter(np.arange(100) * 0.02)
    monkeypatch.setattr(contenders.time, "perf_counter", lambda: next(clock))
    calls = []
    contender = Contender("it", "", calls.append, scale=10.0, fixed=0.01)
    assert contender.turn() == pytest.approx(0.02)
    assert calls == [False] * 3
    assert contender.extrapolated(0.02) == pytest.approx(0.11)


def test_all_take_turns_until_the_time_is_over():
    order = []

    def turn(name):
        return lambda: order.append(name) or float(len(order))

    turns = {name: turn(name) for name in "ab"}
    assert contenders.take_turns(turns, 4, 1e9) == {"a": [1, 3, 5, 7], "b": [2, 4, 6, 8]}
    order.clear()
    assert contenders.take_turns(turns, 4, 0.0) == {"a": [1, 3, 5], "b": [2, 4, 6]}
    order.clear()
    assert contenders.take_turns(turns, 2, 0.0) == {"a": [1, 3], "b": [2, 4]}


@pytest.mark.skipif(sys.platform != "linux", reason="measured on Linux only")
def test_the_peak_is_what_one_call_needs():
    def run(_):
        np.ones(2**23)
        np.ones(2**22)

    with contenders.nothing_kept_by_malloc():
        peaks = [contenders.peak_memory(Contender("it", "", run), "cpu") for _ in range(2)]
    slack = 2**20  # the kernel counts resident pages in batches
    assert all(2**26 - slack <= peak < 1.25 * 2**26 for peak in peaks)
    assert contenders.peak_memory(Contender("it", "", run, temporaries=5), "gpu") == 5


def test_the_share_of_others_is_of_all_cores():
    assert share_of_others(CpuTimes(0, 0, 0), CpuTimes(150, 100, 200)) == 0.25
    assert share_of_others(CpuTimes(0, 0, 0), CpuTimes(90, 100, 200)) == 0.0
    assert share_of_others(None, CpuTimes(1, 1, 1)) is None
    assert share_of_others(CpuTimes(0, 0, 0), CpuTimes(0, 1, 0)) is None  # as some containers tell


def test_idle_cores_and_waiting_ones_do_not_work(tmp_path, monkeypatch):
    counters = tmp_path / "stat"
    monkeypatch.setattr(machine_load, "COUNTERS", counters)
    assert machine_load.cpu_times() is None
    counters.write_text("cpu  10 1 5 100 7 0 2 3 900 900\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
    found = machine_load.cpu_times()
    assert (found.busy, found.total) == (21, 128)
    assert found.own == pytest.approx(os.sysconf("SC_CLK_TCK") * sum(os.times()[:4]), abs=50)


def test_results_are_written_together_and_printed(tmp_path, capsys):
    def run(report, out=tmp_path / "new" / "folder"):
        status = results.run_benchmark(
            "it", out, lambda: {"seconds": [1.5]}, report, lambda results: b"picture"
        )
        assert status == 0
        return out

    out = run(lambda results: f"{results['seconds'][0]} s\n")
    assert capsys.readouterr().out == "1.5 s\n\n"
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert before == {
        "it.json": b'{\n "seconds": [\n  1.5\n ]\n}\n',
        "it.md": b"1.5 s\n",
        "it.png": b"picture",
    }
    with pytest.raises(KeyError):
        run(lambda results: results["nothing"])
    assert before == {path.name: path.read_bytes() for path in out.iterdir()}


def test_a_table_of_targets_has_the_batch_size_where_it_is_wanted():
    target = targets.Target(7, 512, "slow", "fast", gate=2.0, aim=3.0)
    compared = [targets.gate_result(target, t) for t in ({"slow": 5.0, "fast": 2.0}, {})]
    assert targets.gate_table(compared) == [
        "| # | rows | ratio | measured | gate | aim | |",
        "|---|---|---|---|---|---|---|",
        "| 7 | 512 | slow / fast | 2.5 | 2 | 3 | met |",
        "| 7 | 512 | slow / fast |  | 2 | 3 | not measured |",
    ]
    assert targets.gate_table(compared[:1], with_rows=False) == [
        "| # | ratio | measured | gate | aim | |",
        "|---|---|---|---|---|---|",
        "| 7 | slow / fast | 2.5 | 2 | 3 | met |",
    ]
