"""Run directories and the main job: nothing lost, nothing half written, nothing overwritten."""

import builtins
import dataclasses
import errno
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX import proto
from tqdm import tqdm

from hcl_jax.geometry import Geometry
from hcl_jax.training import runner
from scripts import reproduce, train
from scripts.experiments import datasets, program
from scripts.experiments.experiment import Experiment
from scripts.experiments.program import program_of
from scripts.runs import figures, run_directory, side_by_side, tables
from scripts.runs.exit_status import NonFiniteError
from scripts.runs.loop import run
from scripts.runs.progress import steps_bar
from scripts.runs.run_directory import open_run
from scripts.runs.run_files import RunDirectoryError, read_class_means, read_metrics

SHORT = Experiment(
    data="triangle", objective="HSCL", beta=5.0, epochs=4, evaluations=2, seeds=(0, 1)
)


def run_quietly(experiment, path):
    with tqdm(disable=True) as progress:
        return run(experiment, path, progress)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    path = tmp_path_factory.mktemp("run")
    return path, run_quietly(SHORT, path)


def test_what_a_run_leaves_behind(finished):
    path, results = finished
    config = json.loads((path / "config.json").read_text())
    assert config["experiment"] == json.loads(json.dumps(dataclasses.asdict(SHORT)))
    assert config["environment"]["versions"]["jax"] == jax.__version__
    records = read_metrics(path)
    assert [(r["epoch"], r["step"], r["seed"]) for r in records] == [
        (epoch, 2 * epoch, seed) for epoch in (0, 2, 4) for seed in (0, 1)
    ]
    assert records[-2:] == results == json.loads((path / "results.json").read_text())
    arrays = np.load(path / "embeddings.npz")
    assert arrays["train_embeddings"].shape == (2, 300, 2)
    means = [arrays["train_embeddings"][1][arrays["train_labels"] == c].mean(0) for c in range(3)]
    np.testing.assert_allclose(arrays["class_means"][1], means, atol=1e-6)
    np.testing.assert_allclose(
        np.linalg.norm(np.mean(means, axis=0)), results[1]["zero_sum"], atol=1e-6
    )
    assert {*Geometry._fields, "top1", "top5", "nearest_mean"} <= results[0].keys()
    assert not list(path.glob("*.partial"))


def test_probes_are_recorded(tmp_path):
    chosen = dataclasses.replace(SHORT, epochs=1, evaluations=1, seeds=(0,), probes=True)
    (result,) = run_quietly(chosen, tmp_path)
    z = np.load(tmp_path / "embeddings.npz")["train_embeddings"][0].astype(float)
    squared = np.sum((z[:, None] - z) ** 2, axis=2)
    np.fill_diagonal(squared, np.inf)
    expected = np.log(np.exp(-2 * squared).sum() / (len(z) * (len(z) - 1)))
    np.testing.assert_allclose(result["uniformity"], expected, atol=1e-5)
    assert 1 / 3 < result["knn"] <= 1
    assert 1 / 3 < result["linear_probe"] <= 1


def test_tensorboard_can_be_read(finished):
    path, results = finished
    (events,) = path.glob("events.out.tfevents.*")
    data, scalars = events.read_bytes(), {}
    while data:
        length = int.from_bytes(data[:8], "little")
        event = proto.event_pb2.Event.FromString(data[12 : 12 + length])
        scalars |= {(v.tag, event.step): v.simple_value for v in event.summary.value}
        data = data[16 + length :]
    assert not {tag for tag, _ in scalars} & {"seed1/beta", "seed1/temperature", "seed1/dim"}
    found = scalars["seed1/equal_inner_product", 8]
    np.testing.assert_allclose(found, results[1]["equal_inner_product"], rtol=1e-6)


def test_tensorboards_own_reader_reads_it(finished):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    path, _ = finished
    found = reading.EventAccumulator(str(path))
    found.Reload()
    records = read_metrics(path)
    numbers = {k for r in records for k, v in r.items() if isinstance(v, (int, float))}
    numbers -= {"seed", "step", "epoch", "beta", "temperature", "dim"}
    assert set(found.Tags()["scalars"]) == {f"seed{s}/{name}" for s in (0, 1) for name in numbers}
    for name in ("equal_inner_product", "top1"):
        of_seed = [(r["step"], r[name]) for r in records if r["seed"] == 1]
        events = [(event.step, event.value) for event in found.Scalars(f"seed1/{name}")]
        np.testing.assert_allclose(events, of_seed, rtol=1e-6)


def test_class_means_of_every_evaluation_are_kept(finished):
    path, _ = finished
    kept = read_class_means(path, SHORT, 3)
    last = np.load(path / "embeddings.npz")["class_means"]
    assert [means.shape for means in kept] == [(2, 3, 2)] * 3
    np.testing.assert_array_equal(kept[-1], last)
    norms = [float(np.linalg.norm(means[1].mean(axis=0))) for means in kept]
    recorded = [r["zero_sum"] for r in read_metrics(path) if r["seed"] == 1]
    np.testing.assert_allclose(norms, recorded, atol=1e-6)


def test_a_finished_run_is_not_run_again(finished, monkeypatch):
    path, results = finished
    monkeypatch.setattr(runner, "train_epoch_of_seeds", None)
    assert run_quietly(SHORT, path) == results


def test_a_finished_run_is_not_said_to_be_compiled(finished):
    path, _ = finished
    with steps_bar([SHORT]) as progress:
        assert progress.desc == "compiling the first step"
        run(SHORT, path, progress)
        assert (progress.desc, progress.n) == ("", progress.total)


def test_another_objective_compiles_nothing(finished, tmp_path, caplog):
    other = dataclasses.replace(SHORT, objective="UCL", beta=0.0)
    with jax.log_compiles(), caplog.at_level("WARNING"):
        jax.jit(lambda x: x + 41.5)(1.0)
        run_quietly(other, tmp_path)
    compiled = [m for m in caplog.messages if m.startswith("Compiling ")]
    assert len(compiled) == 1, compiled


def test_another_experiment_is_refused_with_the_difference(finished):
    path, _ = finished
    before = {file.name: file.read_bytes() for file in path.iterdir()}
    other = dataclasses.replace(SHORT, beta=2.0, seeds=(0,))
    with pytest.raises(RunDirectoryError) as caught:
        run_quietly(other, path)
    assert "beta: the directory has 5.0, asked was 2.0" in str(caught.value)
    assert "seeds: the directory has [0, 1], asked was [0]" in str(caught.value)
    assert "objective" not in str(caught.value)
    assert before == {file.name: file.read_bytes() for file in path.iterdir()}


def test_same_experiment_same_numbers(finished, tmp_path):
    path, _ = finished
    run_quietly(SHORT, tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == (path / "metrics.jsonl").read_text()


def test_an_interrupted_run_is_readable_and_begins_again(finished, tmp_path, monkeypatch):
    _, results = finished
    train_epoch = runner.train_epoch_of_seeds
    calls = []

    def interrupted(*arguments, **options):
        calls.append(None)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train_epoch(*arguments, **options)

    monkeypatch.setattr(runner, "train_epoch_of_seeds", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_quietly(SHORT, tmp_path)
    assert [r["epoch"] for r in read_metrics(tmp_path)] == [0, 0, 2, 2]
    assert not (tmp_path / "results.json").exists()
    monkeypatch.setattr(runner, "train_epoch_of_seeds", train_epoch)
    assert run_quietly(SHORT, tmp_path) == results
    assert [r["epoch"] for r in read_metrics(tmp_path)] == [0, 0, 2, 2, 4, 4]


def test_a_loss_that_is_not_finite_stops_with_its_place(tmp_path, monkeypatch):
    train_epoch = runner.train_epoch_of_seeds

    def spoiled(states, split, aim, program):
        first_epoch = int(states.step[0]) == 0
        states, infos = train_epoch(states, split, aim, program)
        loss = infos.loss if first_epoch else infos.loss.at[1, 1].set(jnp.nan)
        return states, infos._replace(loss=loss)

    monkeypatch.setattr(runner, "train_epoch_of_seeds", spoiled)
    message = r"loss is nan at step 4 of HSCL 5 \(beta = 5, seed 1, triangle, unit_ball\)"
    with pytest.raises(NonFiniteError, match=message):
        run_quietly(SHORT, tmp_path)
    assert [r["epoch"] for r in read_metrics(tmp_path)] == [0, 0]
    diagnostic = json.loads((tmp_path / "diagnostic.json").read_text())
    assert (diagnostic["step"], diagnostic["seed"], diagnostic["epoch"]) == (4, 1, 2)
    assert diagnostic["loss"][1] == "nan"
    assert diagnostic["loss"][0] > 0
    for name in ("gradient_norm", "parameter_norm", "projection_norm", "pairs"):
        assert len(diagnostic[name]) == 2
        assert min(diagnostic[name]) > 0


def test_tables_and_figures_take_null_for_a_number_that_was_not_finite(finished):
    _, (one, other) = finished
    spoiled = one | {"equal_inner_product": None, "top1": None, "spectrum": [1.0, None]}
    table = tables.geometry_table([spoiled, other])
    assert "nan ± nan" in table
    assert "nan" not in tables.geometry_table([one, other])
    assert "nan" in tables.normalization_table([spoiled])
    for figure in (
        figures.geometry_figure("null", {"HSCL 5": [spoiled]}),
        figures.normalization_figure([spoiled]),
    ):
        figure.canvas.draw()


@pytest.mark.parametrize(
    ("seeds", "cell"), [((4,), "4"), ((4, 4), "4 ± 0"), ((4, 3, 4), "3.7 ± 0.5")]
)
def test_seeds_that_differ_in_directions_are_seen_to_differ(seeds, cell, finished):
    _, (one, _) = finished
    rows = [one | {"directions": directions} for directions in seeds]
    for table in (tables.geometry_table(rows), tables.normalization_table(rows)):
        assert f"| {cell} of {one['dim']} |" in table


def test_a_torn_last_line_is_left_out_and_a_torn_middle_named(finished, tmp_path):
    path, (one, other) = tmp_path / "metrics.jsonl", finished[1]
    lines = [json.dumps(record) for record in (one, other)]
    path.write_text("\n".join([*lines, '{"epo']))
    assert read_metrics(tmp_path) == [one, other]
    path.write_text("\n".join([lines[0], '{"epo', lines[1], ""]))
    with pytest.raises(RunDirectoryError, match=r"metrics\.jsonl, line 2, is not JSON"):
        read_metrics(tmp_path)


def test_a_corrupt_config_is_named(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunDirectoryError, match=r"config\.json is not JSON"):
        run_quietly(SHORT, tmp_path)


def test_a_full_disk_leaves_the_old_file_whole(tmp_path, monkeypatch):
    path = tmp_path / "summary.json"
    run_directory.write_json(path, [1])

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        run_directory.write_json(path, [2])
    assert json.loads(path.read_text()) == [1]
    assert [file.name for file in tmp_path.iterdir()] == ["summary.json"]


@pytest.fixture
def tiny_plan(monkeypatch):
    """The main job with every part, but on three classes and for one epoch."""
    caches = (datasets.load_dataset, program._program)
    for name in ("grouped", "digits"):
        monkeypatch.setitem(datasets.DATASETS, name, datasets.DATASETS["triangle"])
    for cache in caches:
        cache.cache_clear()
    full = reproduce.make_plan(quick=False)
    chosen = ("SCL", "HUCL 30")

    def shorten(part):
        part = [e for e in part if e.method in chosen]
        return tuple(dataclasses.replace(e, epochs=1, evaluations=1) for e in part)

    parts = {field.name: shorten(getattr(full, field.name)) for field in dataclasses.fields(full)}
    monkeypatch.setattr(reproduce, "make_plan", lambda quick: reproduce.Plan(**parts))
    yield
    for cache in caches:
        cache.cache_clear()


def test_main_job(tiny_plan, tmp_path, capsys, monkeypatch):
    assert reproduce.main(["--quick", "--out", str(tmp_path)]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text())
    wanted = {
        *("data", "objective", "beta", "normalization", "seed", "zero_sum", "unit_norm"),
        *("equal_inner_product", "within_class", "directions", "dim", "top1", "loss"),
    }
    assert all(wanted <= set(result) for result in summary)
    assert len(summary) == 2 * 3 + 2 * 3 + 2 * 2 + 2 * 2
    assert not any("spectrum" in result for result in summary)
    figures = ("grouped-supervised", "digits-unsupervised", "normalizations", "triangle")
    for name in figures:
        for suffix in ("png", "pdf"):
            assert (tmp_path / f"{name}.{suffix}").stat().st_size > 5000
    printed = capsys.readouterr().out
    assert (tmp_path / "tables.md").read_text() in printed
    assert "| HUCL 30 |" in printed
    written = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*")}
    monkeypatch.setattr(reproduce, "write_report", lambda *_: None)
    monkeypatch.setattr(reproduce, "DRAWN", dict.fromkeys(reproduce.DRAWN, lambda *_: None))
    assert reproduce.main(["--out", str(tmp_path)]) == 0
    again = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*")}
    assert again == written, "a second time continues the first"


def test_main_job_errors_are_one_line_and_a_status(tiny_plan, tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    assert reproduce.main(["--out", str(tmp_path / "file")]) == 1
    assert "cannot read or write" in capsys.readouterr().err

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(side_by_side, "run", interrupted)
    assert reproduce.main(["--out", str(tmp_path / "other")]) == 130
    assert "interrupted; what was measured so far is in" in capsys.readouterr().err


def test_the_plan_covers_the_paper():
    plan = reproduce.make_plan(quick=False)
    methods = {(e.data, e.normalization, e.positives, e.method) for e in plan.experiments}
    for method in ("SCL", "HSCL 2", "HSCL 30", "UCL", "HUCL 5", "HUCL 30"):
        for data in ("grouped", "digits"):
            assert (data, "unit_ball", "class", method) in methods
        for normalization in ("unit_sphere", "none"):
            assert ("grouped", normalization, "class", method) in methods
        for positives in ("class", "views"):
            assert ("triangle", "unit_ball", positives, method) in methods
    names = [e.name for e in plan.experiments]
    assert len(names) == len(set(names))
    programs = {id(program_of(e)) for e in plan.grouped}
    assert len(programs) == 1, "one compiled program trains all objectives"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "SCL", "beta": 2.0}, "SCL has no hard negatives.*use HSCL"),
        ({"beta": -1.0}, "beta must not be negative, got -1.0"),
        ({"beta": 2e6}, r"beta must be at most 1e\+06 in float32.*got 2e\+06"),
        ({"beta": 2e6, "hardening": "relu_power"}, r"power must be at most 1e\+06 in float32"),
        ({"data": "none"}, "data must be one of 'grouped', 'grouped100', 'digits', .* got 'none'"),
        ({"parts": 0}, "parts must be at least 1"),
        ({"warmup_epochs": 80}, "warmup_epochs must be below epochs, 80, got 80"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"seeds": (1, 1)}, "seeds must be different and at least one"),
        ({"num_negatives": 0}, "num_negatives must be at least 1"),
        ({"learning_rate": 0.0}, "learning_rate must be positive"),
    ],
)
def test_experiment_errors(changes, message):
    with pytest.raises(ValueError, match=message):
        Experiment(**changes)


def test_what_a_kill_left_half_written_is_removed(tmp_path):
    left = tmp_path / "embeddings.npz.0a1b2c3d.partial"
    left.write_bytes(b"half")
    with open_run(tmp_path, SHORT):
        assert not left.exists()


def test_opening_never_truncates_before_the_check(finished, tmp_path, monkeypatch):
    _, (result, _) = finished
    with open_run(tmp_path, SHORT) as directory:
        directory.begin()
        directory.append(result)
    opened = []
    real = builtins.open
    monkeypatch.setattr(builtins, "open", lambda *a, **k: opened.append(a) or real(*a, **k))
    other = dataclasses.replace(SHORT, epochs=9)
    with pytest.raises(RunDirectoryError), open_run(tmp_path, other):
        pass
    assert read_metrics(Path(tmp_path)) == [result]


ONE = ["--devices", "1", "--keep", "0"]


def test_train_command(tmp_path, capsys):
    changes = ["triangle-ucl", "--epochs", "2", "--num-negatives", "16", *ONE]
    changes += ["--reference-conventions", "--seeds", "3"]
    assert train.main([*changes, "--out", str(tmp_path)]) == 0
    assert "UCL, seed 3: loss" in capsys.readouterr().out
    path = tmp_path / "triangle-ucl-seeds=3-num_negatives=16-reference_conventions=True"
    assert len(read_metrics(path)) == 3
    assert (path / "metrics.png").stat().st_size > 5000
    assert train.main([*changes, "--epochs", "1", "--out", str(tmp_path)]) == 1
    assert "epochs: the directory has 2, asked was 1" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_promotes_nothing_by_itself(tmp_path):
    command = ["triangle-hscl5-near_nc", "--epochs", "1", "--fit-epochs", "1", *ONE, "--probes"]
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        assert train.main([*command, "--out", str(tmp_path)]) == 0
