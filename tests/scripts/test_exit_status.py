"""What commands say of errors that a user can understand: one line, and an exit status."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from hcl_jax.system import command_output
from scripts import (
    benchmark_convolutions,
    benchmark_evaluation,
    benchmark_losses,
    benchmark_training,
    compile_experiments,
    compile_for_tpu,
    sweep,
    train,
    verify_theory,
)
from scripts.benchmarking import tpu_compilation
from scripts.runs.exit_status import (
    CommandError,
    NonFiniteError,
    PreemptedError,
    RefusedError,
    run_job,
)

ROOT = Path(__file__).parents[2]
COMMANDS = (
    *("reproduce", "train", "sweep", "export", "prepare_data", "verify_theory"),
    *("benchmark_losses", "benchmark_training", "benchmark_convolutions", "benchmark_evaluation"),
    *("benchmark_views", "report", "compile_for_tpu", "compile_experiments"),
)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CommandError("why"), 1),
        (NonFiniteError("why"), 1),
        (RefusedError("why"), 2),
        (PreemptedError("why"), 143),
        (OSError(28, "why", "file"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_an_error_is_one_line_and_a_status(error, status, tmp_path, capsys):
    def job():
        raise error

    assert run_job(job, tmp_path, if_interrupted="why") == status
    said = capsys.readouterr().err
    assert said.strip().endswith("why")
    assert said.startswith("error: ") == (status in (1, 2))


def test_other_errors_are_not_hidden(tmp_path):
    with pytest.raises(ZeroDivisionError):
        run_job(lambda: print(1 / 0), tmp_path)

    def job():
        raise RuntimeError("another error of JAX")

    with pytest.raises(RuntimeError, match="another error of JAX"):
        run_job(job, tmp_path)


NO_PLATFORM = "Unable to initialize backend 'nonsense': not in the list of known backends"


def test_a_platform_that_jax_does_not_have_is_refused_in_one_line(tmp_path, capsys, monkeypatch):
    def job(*_, **__):
        raise RuntimeError(f"{NO_PLATFORM}\nand more lines")

    assert run_job(job, tmp_path) == 2
    assert capsys.readouterr().err == f"error: {NO_PLATFORM}\n"
    monkeypatch.setattr(verify_theory, "run", job)
    assert verify_theory.main(["--quick"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {NO_PLATFORM}"


def test_a_sweep_with_a_value_that_does_not_fit_is_refused(tmp_path, capsys):
    assert sweep.main(["grouped-scl", "--epochs", "0", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == "error: epochs must be at least 1, got 0\n"


def test_a_sweep_without_names_is_refused(tmp_path, capsys):
    assert sweep.main(["--out", str(tmp_path / "runs")]) == 2
    assert "give names of experiments" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


ONE = ["--devices", "1", "--keep", "0", "--epochs", "1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits-hscl5", "--network", "mlp"], r"an mlp takes vectors"),
        (["grouped-hscl5", "--network", "convnet"], r"convnet takes images"),
        (["grouped-hscl5", "--parts", "3"], r"the 256 images .* cut into 3 equal parts"),
        (["grouped-hucl5", "--positives", "views", "--parts", "3"], "the 512 images"),
        (["grouped-hucl5", "--parts", "7"], "the 256 images .* cut into 7 equal parts"),
        (["grouped-hscl5", "--batch-size", "100000"], "is more than all training images"),
        (["grouped-hscl5", "--network", "resnet18"], "resnet18 takes images"),
        (["grouped-hucl5", "--views", "simclr"], "simclr views are of images"),
        (
            ["grouped-hucl5", "--positives", "views", "--views", "shift"],
            "shift views are of images",
        ),
        (["grouped-hscl5", "--head", "none"], "without a head, dim must be the number of features"),
        (["grouped-hscl5", "--devices", "9"], "devices must be at most 8, as many as there are"),
        (["triangle-hscl5", "--seeds", "0", "1", "--resident-gib", "0"], "seeds run one by one"),
        (["grouped-hscl"], "there is no experiment 'grouped-hscl'"),
    ],
)
def test_a_training_that_does_not_fit_is_refused(arguments, message, tmp_path, capsys):
    assert train.main([*arguments[:1], *ONE, *arguments[1:], "--out", str(tmp_path / "runs")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()  # no progress bar before it
    assert re.search(message, line), line
    assert not (tmp_path / "runs").exists()


def test_a_sweep_in_which_one_does_not_fit_is_refused_at_once(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sweep, "run", None)
    command = ["triangle-scl", "digits-scl", "--devices", "9", "--out", str(tmp_path / "runs")]
    assert sweep.main(command) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "devices must be at most 8, as many as there are" in line
    assert not (tmp_path / "runs").exists()


def refused(command, arguments, out, capsys):
    """What a command says that ends with status 2 before it makes its directory."""
    try:
        status = command.main([*arguments, "--out", str(out)])
    except SystemExit as stopped:
        status = stopped.code
    assert status == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "Traceback" not in said
    assert not out.exists()
    return said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size", "1"], "batch_size must be at least 2, got 1"),
        (["--initialization", "near_nc", "--dim", "3"], "needs dim of at least 19"),
        (["--resident-gib", "1e300"], "resident_gib must be finite in float32"),
        (["--beta", "1e300"], "beta must be finite in float32"),
        (["--weight-decay", "1e300"], "weight_decay must be finite in float32"),
        (["--learning-rate", "1e-300"], "learning_rate must be positive in float32"),
        (["--epochs", "0"], "epochs must be at least 1, got 0"),
        (["--seeds", "0", "0"], "seeds must be different and at least one"),
        (["--seeds"], "seeds must be different and at least one"),
        (["--seeds", "-1"], "seed must be at least 0, got -1"),
        (["--seeds", "4294967296"], "seeds must be at most 2147483647"),
        (["--stop-signals", "SIGKILL"], "SIGKILL"),
        (["--continue", "--keep", "0"], "keep must be at least 1"),
        (["--keep", "0", "--checkpoint-seconds", "5"], "is for checkpoints: keep must be at least"),
        (["--data-dir", __file__], "data_dir must be a directory"),
        (["--data-dir", ""], "--data-dir: a path must not be empty"),
    ],
)
def test_a_value_that_cannot_be_is_refused(arguments, message, tmp_path, capsys):
    assert message in refused(train, ["grouped-hscl5", *arguments], tmp_path / "runs", capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0", "0"], "seeds must be different and at least one, got (0, 0)"),
        (["--seeds"], "seeds must be different and at least one, got ()"),
        (["--seeds", "-1"], "seed must be at least 0, got -1"),
        (["--resident-gib", "1e300"], "resident_gib must be finite in float32"),
        (["--keep", "-1"], "keep must be at least 0, got -1"),
    ],
)
def test_a_value_that_cannot_be_is_refused_by_a_sweep(arguments, message, tmp_path, capsys):
    assert message in refused(sweep, ["grouped-scl", *arguments], tmp_path / "runs", capsys)


def test_a_sweep_shows_its_options(capsys):
    with pytest.raises(SystemExit):
        sweep.main(["--help"])
    said = capsys.readouterr().out
    assert "--devices" in said
    assert "--runtime." not in said


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train triangle-scl", "sweep triangle-scl", "reproduce"])
def test_a_platform_that_is_not_there_is_refused(command, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "nonsense"}
    module, *words = command.split()
    done = subprocess.run(
        [sys.executable, "-m", f"scripts.{module}", *words, "--out", str(tmp_path / "runs")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 2
    assert "Unable to initialize backend 'nonsense'" in line
    assert not list(tmp_path.iterdir())


def test_a_benchmark_on_a_device_that_is_not_there_is_refused(tmp_path, capsys):
    arguments = ["--device", "gpu", "--no-torch", "--out", str(tmp_path)]
    if any(device.platform == "gpu" for device in jax.devices()):
        pytest.skip("there is a GPU")
    assert benchmark_losses.main(arguments) == 2
    assert "JAX finds no gpu" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "benchmark",
    [benchmark_losses, benchmark_training, benchmark_convolutions, benchmark_evaluation],
)
def test_a_benchmark_without_pytorch_says_what_to_install(benchmark, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert benchmark.main(["--out", str(tmp_path)]) == 1
    assert "pip install hcl-jax[benchmark]" in capsys.readouterr().err


def test_compiling_an_unknown_experiment_is_refused(capsys):
    assert compile_experiments.main(["cifar-hscl5"]) == 2
    assert "there is no experiment 'cifar-hscl5'" in capsys.readouterr().err


@pytest.mark.parametrize("command", [compile_experiments, compile_for_tpu])
def test_compiling_without_libtpu_says_what_to_install(command, capsys, monkeypatch):
    monkeypatch.setattr(tpu_compilation, "libtpu_installed", lambda: False)
    assert command.main([]) == 1
    assert "pip install hcl-jax[scripts,tpu]" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_commands_run_as_modules(command, monkeypatch):
    """With the status of their `main`; in processes of their own above."""
    ran = []
    monkeypatch.setattr(command_output, "run_command", lambda main: ran.append(main.__name__) or 7)
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module(f"scripts.{command}", run_name="__main__")
    assert (ran, stopped.value.code) == (["main"], 7)
