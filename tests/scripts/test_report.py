"""Reports of runs: what is read, what is predicted, charts that can be drawn, one page."""

import json
import math
import os
import re
import shutil
from html.parser import HTMLParser
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import vl_convert
from tqdm import tqdm

import hcl_jax
from hcl_jax.geometry import simplex_etf
from hcl_jax.psi import infonce
from scripts import report
from scripts.experiments.datasets import load_dataset
from scripts.experiments.experiment import Experiment
from scripts.experiments.own_data import OwnData
from scripts.run_report import charts, grams
from scripts.run_report.page import _page
from scripts.run_report.predictions import predict
from scripts.run_report.reading import FinishedRun, _same_data, read_runs
from scripts.run_report.trained import configuration
from scripts.runs.loop import run
from scripts.runs.metrics import METRICS

SHORT = Experiment(data="triangle", objective="HSCL", epochs=2, evaluations=2, seeds=(0, 1))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "a run"
    with tqdm(disable=True) as progress:
        run(SHORT, path, progress)
    return path


def changed(path, to, **changes):
    """A copy of a run, said to be of another experiment."""
    shutil.copytree(path, to)
    config = json.loads((to / "config.json").read_text())
    config["experiment"] |= changes
    (to / "config.json").write_text(json.dumps(config))
    return to


class Shown(HTMLParser):
    """What a page fetches, and its ids."""

    def __init__(self):
        super().__init__()
        self.fetched, self.ids = [], []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.ids += [attributes["id"]] if "id" in attributes else []
        link = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
        self.fetched += [link] if link and not link.startswith("data:") else []


def json_in(page, name):
    [text] = re.findall(rf'<script type="application/json" id="{name}">(.*?)</script>', page, re.S)
    return json.loads(text)


def test_the_page_needs_nothing_else(trained, tmp_path, capsys):
    other = changed(trained, tmp_path / "<script>b", beta=2.0)
    third = changed(trained, tmp_path / "third", beta=2.0, learning_rate=0.01)
    out = tmp_path / "page.html"
    assert report.main([str(trained), str(other), str(third), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"the report is {out}\n"
    page, found = out.read_text(), Shown()
    found.feed(page)
    assert found.fetched == []
    assert len(set(found.ids)) == len(found.ids)
    assert "<script>b" not in page
    assert "&lt;script&gt;b" in page
    assert "\\u003cscript>b" in page
    specs = json_in(page, "specs")
    assert {f"curve-{i}" for i in range(8)} | {"spectra", "means-0", "means-1"} < set(specs)
    assert set(specs) < set(found.ids)
    epochs = [[start for start, _ in frames] for frames in json_in(page, "frames").values()]
    assert epochs == [[-charts.LARGEST_EPOCH, 1, 2]] * 3
    assert "learning_rate" in page


def test_by_default_it_is_written_into_the_directory_of_the_run(trained, capsys):
    assert report.main([str(trained)]) == 0
    assert "HSCL 5 on triangle" in (trained / "report.html").read_text()
    assert str(trained / "report.html") in capsys.readouterr().out


def test_what_was_trained_is_what_was_used(trained, tmp_path):
    used = {"views": "identity", "network": "mlp", "head": "linear", "dim": 2, "batch_size": 150}
    assert json.loads((trained / "config.json").read_text())["used"] == used
    other = changed(trained, tmp_path / "run", initialization="near_nc", fit_epochs=3)
    runs = read_runs([trained, other])
    shared = dict(configuration(runs, shared=True))
    train, test = (len(split.labels) for split in load_dataset(SHORT.source)[:2])
    expected = used | {"training images": train, "test images": test, "seeds": "0, 1"}
    expected |= {"steps an epoch": train // 150, "probes": "no"}
    assert shared.items() >= {name: str(value) for name, value in expected.items()}.items()
    assert not shared.keys() & {"own", "image_size", "imbalance_profile", "split_seed"}
    assert ("fit_epochs", "", "3") in configuration(runs, shared=False)


def spoil_results(path):
    (path / "results.json").unlink()


def spoil_means(path):
    file = path / "class_means.npy"
    file.write_bytes(file.read_bytes()[:-3])


def spoil_shape(path):
    with (path / "class_means.npy").open("wb") as file:
        np.save(file, np.zeros((2, 4, 2), np.float32))


def spoil_finite(path):
    with (path / "class_means.npy").open("wb") as file:
        np.save(file, np.full((2, 3, 2), np.nan, np.float32))


def spoil_number(path):
    with (path / "class_means.npy").open("ab") as file:
        np.save(file, np.zeros((2, 3, 2), np.float32))


def spoil_pickle(path):
    with (path / "class_means.npy").open("wb") as file:
        np.save(file, np.array([{}], object), allow_pickle=True)


def spoil_by_a_fifo(path):
    (path / "class_means.npy").unlink()
    os.mkfifo(path / "class_means.npy")


def spoil_metrics(path):
    (path / "metrics.jsonl").write_text("{}\n")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (spoil_results, "holds a run that has not finished"),
        (spoil_means, "class_means.npy is damaged"),
        (spoil_shape, r"does not hold class means of shape \(2, 3, 2\)"),
        (spoil_finite, r"does not hold class means of shape \(2, 3, 2\)"),
        (spoil_number, "class means of 4 evaluations, and there are 3"),
        (spoil_pickle, "class_means.npy is damaged"),
        (spoil_by_a_fifo, "class_means.npy is not a regular file"),
        (spoil_metrics, "metrics.jsonl, line 1, is no evaluation"),
    ],
)
def test_what_is_damaged_is_named_in_one_line(trained, tmp_path, capsys, spoil, message):
    path = tmp_path / "run"
    shutil.copytree(trained, path)
    spoil(path)
    assert report.main([str(path), "--out", str(tmp_path / "out.html")]) == 1
    [said] = capsys.readouterr().err.strip().splitlines()
    assert re.search(message, said)
    assert not (tmp_path / "out.html").exists()


def test_what_does_not_go_together_is_refused(trained, tmp_path, capsys):
    other = changed(trained, tmp_path / "digits", data="digits")
    for name in ("metrics.jsonl", "results.json"):
        text = (other / name).read_text().replace('"triangle"', '"digits"')
        (other / name).write_text(text)
    (other / "class_means.npy").unlink()
    arrays = dict(np.load(other / "embeddings.npz"))
    wide = {n: np.repeat(a, 9, axis=2)[..., :9] for n, a in arrays.items() if a.ndim == 3}
    np.savez(other / "embeddings.npz", **(arrays | wide))
    out = ["--out", str(tmp_path / "out.html")]
    for arguments, status, message in (
        ([trained, other], 2, "runs on different data do not go into one report"),
        ([trained, trained], 2, "a run is given twice"),
        ([], 2, "give run directories"),
        ([tmp_path / "none"], 1, "none is not a run directory: it has no config.json"),
        ([trained / "config.json"], 1, "config.json is not a run directory"),
    ):
        assert report.main([*map(str, arguments), *out]) == status
        assert message in capsys.readouterr().err


def on(digest, *, classes=("cat", "dog"), **options):
    """A run on data of one's own."""
    found = OwnData((9, 9, 3), len(classes), classes, 40, (0.5,) * 3, (0.2,) * 3, digest)
    return Experiment(**{"data": "folder:/pets", "own": found} | options)


def test_data_of_ones_own_are_told_apart_by_content():
    first = on("abc")
    assert _same_data(first, on("abc", beta=2.0))
    assert _same_data(first, on("abc", data="folder:/moved"))
    assert _same_data(first, on("def", image_size=64))
    assert _same_data(first, on("def", damaged="skip"))
    assert not _same_data(first, on("def"))
    assert not _same_data(first, on("def", data="folder:/other", image_size=64))
    assert not _same_data(first, on("def", classes=("cat", "dog", "owl"), image_size=64))
    assert not _same_data(first, Experiment(data="digits"))


def test_class_means_have_the_names_of_classes_where_they_are_known():
    run = invented(3, 2)
    assert {row["label"][2] for row in _points(charts.class_means(run)[0])} == {2}
    named = run._replace(experiment=on("abc", classes=("cat", "dog", "owl"), epochs=200))
    labels = [row["label"] for row in _points(charts.class_means(named)[0])]
    assert labels == [["cat", "dog", "owl"]] * 3


def _points(spec):
    """The rows of a chart that have labels."""
    return [row for rows in spec["datasets"].values() for row in rows if "label" in row]


def test_a_run_without_its_class_means_has_the_rest(trained, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(trained, path)
    (path / "class_means.npy").unlink()
    assert read_runs([path])[0].means == []
    assert report.main([str(path)]) == 0
    assert "did not keep its class means" in (path / "report.html").read_text()


def invented(classes, dim, evaluations=3):
    """A run that nobody trained."""
    experiment = Experiment(data="digits", objective="HUCL", epochs=200)
    epochs = [*range(evaluations - 1), 200]
    numbers = dict.fromkeys(METRICS, 0.5)
    records = [
        {"seed": 0, "epoch": e, "spectrum": [1.0, 0.5, 0.0], **numbers, "loss": e or None}
        for e in epochs
    ]
    rng = np.random.default_rng(0)
    means = [(e, rng.normal(size=(1, classes, dim)).astype(np.float32)) for e in epochs]
    return FinishedRun("invented", experiment, {}, records, means, [5] * classes, 7)


@pytest.mark.parametrize(("classes", "dim"), [(3, 2), (4, 3), (4, 9), (30, 29), (5, 1)])
def test_charts_of_class_means_can_be_drawn(classes, dim):
    run = invented(classes, dim)
    spec, words = charts.class_means(run)
    drawn = vl_convert.vegalite_to_svg(spec)
    assert drawn.count('aria-label="label: ') >= classes or drawn.count("<path") > classes
    assert ("All" in words) == (dim <= (3 if classes == 4 else 2))
    spec = charts.spectra([run])
    assert "<svg" in vl_convert.vegalite_to_svg(spec)


def test_many_evaluations_and_classes_stay_small():
    run = invented(300, 40, evaluations=120)
    assert len(charts._frames(run.epochs)) == charts.FRAMES
    frames = grams.gram_frames(run)
    assert 2 <= len(frames) <= grams.PIXELS // grams.LARGEST**2
    assert frames[0][0] == -charts.LARGEST_EPOCH
    assert frames[-1][0] == 200
    assert sum(len(picture) for _, picture in frames) < 700_000


def test_a_page_of_100_evaluations_of_100_classes_stays_below_2_megabytes():
    run = invented(100, 99, evaluations=100)
    changes = {"spectrum": np.linspace(1, 1 / 3, 99).tolist(), "dim": 99, "step": 400}
    records = [r | changes for r in run.records]
    assert len(_page([run._replace(records=records)])) < 2e6


def test_colours_of_the_gram_matrix():
    from base64 import b64decode
    from io import BytesIO

    from PIL import Image

    picture = grams.picture(np.array([[1.0, -1.0], [0.0, 5.0]]))
    pixels = Image.open(BytesIO(b64decode(picture.partition(",")[2]))).convert("RGB")
    red, blue, white, over = (pixels.getpixel(place) for place in ((0, 0), (1, 0), (0, 1), (1, 1)))
    assert red == over
    assert red[0] > 2 * red[2]
    assert blue[2] > 2 * blue[0]
    assert min(white) > 230


@pytest.mark.parametrize("temperature", [1.0, 0.4])
@pytest.mark.parametrize("objective", ["SCL", "UCL", "HUCL"])
def test_predictions_are_the_shipped_losses_at_neural_collapse(objective, temperature, x64):
    beta = 1.0 if objective == "HUCL" else 0.0
    experiment = Experiment(
        data="digits", objective=objective, beta=beta, temperature=temperature, per_class=3
    )
    found = predict(experiment, [9] * 10).levels
    labels = jnp.repeat(jnp.arange(10), 3)
    rows = simplex_etf(num_classes=10, dim=9).astype(jnp.float64)[labels]
    loss = getattr(hcl_jax, objective.lower())
    options: dict[str, Any] = {"psi": infonce(temperature=temperature)}
    options |= {"beta": beta} if beta else {}
    expected = float(jax.jit(lambda z: loss(z, labels, **options))(rows))
    assert math.isclose(found.get("neural collapse", found["least"]), expected, rel_tol=1e-12)
    assert found["least"] <= expected + 1e-12


@pytest.mark.parametrize("objective", ["SCL", "HUCL"])
def test_the_page_says_which_levels_of_the_loss_are_drawn_how(objective):
    beta = 1.0 if objective == "HUCL" else 0.0
    experiment = Experiment(data="digits", objective=objective, beta=beta, per_class=3)
    records = invented(10, 9).records
    records = [r | {"epoch": e} for r, e in zip(records, (0, 40, 80), strict=True)]
    records = [r | {"step": 2 * r["epoch"], "dim": 9} for r in records]
    run = FinishedRun("a run", experiment, {}, records, [], [9] * 10, 7)
    page = _page([run]).decode()
    chart = json_in(page, "specs")["curve-0"]
    [layer] = [part for part in chart["layer"] if "strokeDash" in part["encoding"]]
    drawn = {row["what"] for row in chart["datasets"][layer["data"]["name"]]}
    assert drawn == ({"least", "neural collapse"} if objective == "HUCL" else {"least"})
    said = {"least": "Least (dashed): ", "neural collapse": "Neural collapse (dotted): "}
    assert [what in drawn for what in said] == [words in page for words in said.values()]
    strokes = layer["encoding"]["strokeDash"]["scale"]
    assert strokes["domain"] == list(said)
    assert strokes["range"] == [charts.DASHES["dashed"], charts.DASHES["dotted"]]
    axes = [part["encoding"]["x"]["scale"] for part in chart["layer"] if "x" in part["encoding"]]
    assert {tuple(axis["domain"]) for axis in axes} == {(0, 80)}


@pytest.mark.parametrize(
    ("changes", "sizes", "reason"),
    [
        ({"normalization": "none"}, [9] * 10, "neither in the unit ball"),
        ({}, [9] * 9 + [20], "not of equal size"),
        ({}, [9] * 9 + [0], "without a class"),
        ({"objective": "UCL", "beta": 0.0, "positives": "views"}, [9] * 10, "two views"),
        ({"objective": "HUCL", "num_negatives": 4}, [9] * 10, "samples estimator"),
        ({"objective": "HUCL", "hardening": "threshold", "beta": 0.5}, [9] * 10, "exponential"),
        ({"objective": "HUCL", "batch_size": 8}, [9] * 10, "one image of a class"),
    ],
)
def test_no_bound_without_its_hypotheses(changes, sizes, reason):
    found = predict(Experiment(data="digits", **changes), sizes)
    assert found.levels == {}
    assert reason in found.words


def test_no_axis_of_an_accuracy_goes_beyond_100_per_cent():
    assert charts._scale("top1", [99.1, 100.0]).domain == [90, 100]
    assert charts._scale("nearest_mean", [12.5, 99.9]).domain == [12.5, 99.9]
    low, high = charts._scale("top1", [50.0, 51.0]).domain
    assert (low, high) == pytest.approx((47.95, 53.05))
