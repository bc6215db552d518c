"""The scripts about scale: targets, reading HLO, and compiling for TPUs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.benchmarking import hlo_text, targets
from scripts.benchmarking.tpu_compilation import libtpu_installed


def outcome(ratio, number):
    target = next(t for t in targets.loss_targets(256) if t.number == number and t.rows == 8192)
    times = {target.numerator: ratio, target.denominator: 1.0}
    if "ours, fastest exact" in times:
        times["ours, blockwise"] = times.pop("ours, fastest exact")
    results = targets.loss_gate_results({8192: times}, 256)
    return {result.target: result.outcome for result in results}[target]


def test_outcomes_follow_the_direction_of_a_target():
    assert [outcome(r, 1) for r in (1.0, 1.3, 1.4)] == ["aim met", "met", "gate missed"]
    assert [outcome(r, 4) for r in (5000, 3000, 2999)] == ["aim met", "met", "gate missed"]
    assert targets.loss_gate_results({}, 256)[0].outcome == "not measured"


def test_a_permute_that_encloses_nothing_is_seen():
    start = "%s.1 = (f32[8]) collective-permute-start(%x), pairs\n"
    done = "%d = f32[8] collective-permute-done(%s.1)"
    idle = "%c = f32[8] copy(%x)\n"
    assert hlo_text.overlap(start + idle + done) == "0 of 1 enclose work"
    busy = "%w = f32[8] while(%y), body=%b\n"
    assert hlo_text.overlap(start + busy + done) == "1 of 1 enclose work"
    assert hlo_text.overlap(idle) == ""


def run_apart(code):
    """In a process of its own, since libtpu is set up once."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "XLA_FLAGS": "", "PYTHONPATH": str(root)}
    environment["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # programs for TPUs are not read back here
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, env=environment)


@pytest.mark.slow
@pytest.mark.skipif(not libtpu_installed(), reason="libtpu is not installed")
def test_a_large_batch_compiles_for_tpu_within_its_memory():
    code = """
from scripts import compile_for_tpu as tpu
chips = tpu.tpu_devices("v5e:2x4")
row = tpu.compile_loss("", 131072, tpu.loss_on_one_device("blockwise"), chips[:1], units=2)
assert row.compiles == "yes" and row.temporaries <= 256 * tpu.MIB, row
row = tpu.compile_loss("", 131072, tpu.loss_over_devices("ring", chips), chips, units=3)
assert row.compiles == "yes" and row.temporaries <= 256 * tpu.MIB, row
assert row.collectives["collective-permute"] > 0 and not row.overlap.startswith("0 of"), row
"""
    run_apart(code)


@pytest.mark.slow
@pytest.mark.skipif(not libtpu_installed(), reason="libtpu is not installed")
def test_an_epoch_compiles_for_tpu():
    """A convolutional network with batch norm over 8 chips, as training runs it there."""
    code = """
from scripts.compile_experiments import compile_epoch
from scripts.benchmarking.tpu_compilation import tpu_devices
from scripts.experiments.catalogue import find_experiment
chips = tpu_devices("v5e:2x4")
row = compile_epoch("", find_experiment("digits-hucl2"), chips, images=1437)
assert row.compiles == "yes", row
assert row.collectives["all-reduce"] > 0, row
"""
    run_apart(code)
