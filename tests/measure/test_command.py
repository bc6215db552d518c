"""The command from its words to its files, its numbers against `measure` and loops."""

import html.parser
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcl_jax import geometry
from hcl_jax.measure import main, passes
from hcl_jax.measure.arrays import Stored
from hcl_jax.measure.choosing import Classes, Source
from hcl_jax.measure.command import _natural
from hcl_jax.measure.findings import METRICS
from hcl_jax.measure.objective import Asked, batches_of, loss_findings
from hcl_jax.measure.pictures import epochs_of
from hcl_jax.measure.text import loss_lines, short_names

CLASSES, DIM = 5, 6
RNG = np.random.default_rng(0)
LABELS = np.concatenate([np.arange(CLASSES), RNG.integers(0, CLASSES, 68)])
MEANS = RNG.normal(size=(CLASSES, DIM))
ROWS = MEANS[LABELS] + 0.4 * RNG.normal(size=(73, DIM))


def run(capsys, *words):
    """Exit status, standard output, and the last line of standard error."""
    capsys.readouterr()
    status = main([str(word) for word in words])
    captured = capsys.readouterr()
    return status, captured.out, captured.err.strip().split("\n")[-1]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two files, measured in chunks of 20 rows, the second with rows that are left out."""
    folder = tmp_path_factory.mktemp("measured")
    np.savez(folder / "one.npz", embeddings=ROWS, labels=LABELS)
    ignored = np.concatenate([np.full(3, -1), LABELS])
    more = np.concatenate([np.full((3, DIM), np.nan), ROWS])
    np.savez(folder / "two.npz", embeddings=more, labels=ignored)
    words = [
        folder / "one.npz",
        folder / "two.npz",
        "--normalize",
        "sphere",
        "--out",
        folder / "out",
    ]
    words += ["--objective", "hucl", "--beta", 5, "--batch", 20]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passes, "CHUNK", 20 * DIM)
        assert main([str(word) for word in words[:1] + words[2:]]) == 0
        first = json.loads((folder / "out" / "measure.json").read_text())
        words += ["--ignore-label=-1"]
        assert main([str(word) for word in words[1:]]) == 0
        second = json.loads((folder / "out" / "measure.json").read_text())
    return folder, first["files"][0], second["files"][0]


def on_sphere():
    return ROWS / np.linalg.norm(ROWS, axis=1, keepdims=True)


def test_the_numbers_are_those_of_the_library(results, x64):
    rows = jnp.asarray(on_sphere())
    expected = geometry.measure(rows, jnp.asarray(LABELS), CLASSES)._asdict()
    expected["uniformity"] = geometry.uniformity(rows)
    expected["cdnv"] = geometry.cdnv(rows, jnp.asarray(LABELS), CLASSES)
    spectrum = expected.pop("spectrum")
    found = results[1]
    assert found["metrics"].keys() == METRICS.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found["metrics"][name], value, rtol=1e-9, err_msg=name)
    np.testing.assert_allclose(found["spectrum"], spectrum, atol=1e-12)


def test_classes_and_confusion_against_loops(results):
    rows, found = on_sphere(), results[1]
    means = np.array([rows[LABELS == c].mean(axis=0) for c in range(CLASSES)])
    nearest = [int(np.argmin([math.dist(z, m) for m in means])) for z in rows]
    confusion = np.zeros((CLASSES, CLASSES), int)
    for c, d in zip(LABELS, nearest, strict=True):
        confusion[c, d] += 1
    np.testing.assert_array_equal(found["confusion"], confusion)
    assert found["metrics"]["nearest_mean"] == pytest.approx(np.trace(confusion) / 73)
    hits = np.mean(np.argmax(rows @ means.T, axis=1) == LABELS)
    assert found["metrics"]["top1"] == pytest.approx(hits)
    for c, row in enumerate(found["classes"]):
        members = rows[LABELS == c]
        distances = [math.dist(z, means[c]) for z in members]
        others = [math.dist(means[d], means[c]) if d != c else math.inf for d in range(CLASSES)]
        assert row["size"] == len(members)
        assert row["norm"] == pytest.approx(np.linalg.norm(means[c]))
        assert row["row_norm"] == pytest.approx(1)
        assert row["distance"] == pytest.approx(np.mean(distances))
        assert row["spread"] == pytest.approx(math.sqrt(np.mean(np.square(distances))))
        assert row["nearest"] == str(int(np.argmin(others)))
        assert row["nearest_distance"] == pytest.approx(min(others))
    units = means / np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(found["cosines"], units @ units.T, atol=1e-12)
    same = LABELS[:, None] == LABELS
    upper = np.triu(np.ones((73, 73), bool), 1)
    angles = np.degrees(np.arccos(np.clip(rows @ rows.T, -1, 1)))
    for name, pairs in (("within", same), ("between", ~same)):
        counts, _ = np.histogram(angles[pairs & upper], bins=60, range=(0, 180))
        np.testing.assert_allclose(found["angles"][name], counts / counts.sum(), atol=1e-12)


def test_rows_that_are_left_out_change_nothing(results):
    one, two = (found.copy() for found in results[1:])
    assert two.pop("notes") != one.pop("notes")
    assert two.pop("name") != one.pop("name")
    numbers = [jax.tree.leaves({k: v[k] for k in ("metrics", "classes")}) for v in (one, two)]
    for a, b in zip(*numbers, strict=True):
        assert a == (pytest.approx(b, rel=1e-9) if isinstance(b, float) else b)


class Links(html.parser.HTMLParser):
    """What a page would fetch, and the ids that it has."""

    def __init__(self):
        super().__init__()
        self.links, self.ids = [], []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            self.ids += [value] * (name == "id")
            self.links += [value] * (name in ("src", "href", "xlink:href"))


def test_the_page_needs_nothing_else_and_names_are_text(tmp_path, capsys, monkeypatch):
    """A class is named as an attack; two files with equal names are two."""
    monkeypatch.setattr(passes, "CHUNK", 20 * DIM)  # as above, to compile once
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        names = np.array([f"<b>{c}</b>\n" for c in LABELS])
        np.savez(tmp_path / folder / "z.npz", embeddings=ROWS, labels=names)
    out = tmp_path / "out"
    files = [tmp_path / "a" / "z.npz", tmp_path / "b" / "z.npz"]
    status, printed, _ = run(capsys, *files, "--normalize=sphere", "--compare=epochs", "--out", out)
    assert status == 0
    assert printed.count("NO COLLAPSE") == 2
    assert printed.count("\n<b>0</b>\\n  ") == 2
    page = (out / "measure.html").read_text()
    found = Links()
    found.feed(page)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in found.links)
    assert len(found.ids) == len(set(found.ids))
    assert all(link[1:] in found.ids for link in found.links if link.startswith("#"))
    assert not re.search(r"@import|url\((?!#)", page)
    assert "&lt;b&gt;0&lt;/b&gt;\n" in page
    assert "<b>0</b>" not in page
    assert page.count("<svg") == 2 * 3 + 2
    kinds = [f"{name}-{kind}" for name in "ab" for kind in ("spectrum", "gram", "angles")]
    drawn = {f"{name}.{end}" for name in (*kinds, "compared", "spectra") for end in ("svg", "png")}
    assert {path.name for path in out.iterdir()} == drawn | {"measure.html", "measure.json"}


@pytest.mark.parametrize("name", ["scl", "hscl", "ucl", "hucl"])
def test_no_balanced_batch_is_below_the_least_loss(x64, name):
    """The optimum attains it; its rows are a batch of a row for each class, and of two."""
    beta = 8.0 if name in ("hscl", "hucl") else 0.0
    asked = Asked(name, beta, 0.5, None)
    frame = np.asarray(geometry.simplex_etf(CLASSES, DIM))
    norm = geometry.hucl_optimum(CLASSES, beta, 0.5).norm if name == "hucl" else 1.0
    batches = [np.repeat(norm * frame, each, axis=0) for each in (2, 2)]
    best = loss_findings(asked, iter(batches), frame, unused=0)
    assert best.gap == pytest.approx(0, abs=1e-12)
    assert best.norm == pytest.approx(norm)
    assert loss_lines(best)[-1].endswith("there is no collapse to leave")
    collapsed = loss_findings(asked, iter([frame]), frame, unused=1)
    assert collapsed.loss == pytest.approx(collapsed.at_collapse, abs=1e-12)
    assert "that they do not use at the rate" in loss_lines(collapsed)[-1]
    assert (collapsed.gap > 1e-3) == (name == "hucl") == (beta > collapsed.threshold)
    rows = np.sort(LABELS)[:, None] * np.zeros(DIM)
    batch = batches_of(asked, LABELS, np.bincount(LABELS), 0)
    np.testing.assert_array_equal(np.bincount(LABELS[batch[0]]), batch.shape[1] // CLASSES)
    random = loss_findings(asked, iter([on_sphere()[batch[0]]]), frame, unused=0)
    assert random.gap > 0
    assert len(rows) == 73


def test_names_that_tell_files_apart():
    assert short_names(["a/x.npz", "b/y.npz"]) == ["x.npz", "y.npz"]
    assert short_names(["r/s1/out/z.npz", "r/s2/out/z.npz"]) == ["s1", "s2"]
    assert short_names(["z.npz", "r/z.npz"]) == ["1-z.npz", "2-z.npz"]
    assert short_names(["z.npz", "z.npz"]) == ["1-z.npz", "2-z.npz"]
    assert short_names(["a.npz", "A.npz"]) == ["1-a.npz", "2-A.npz"]


def test_names_that_every_file_system_has():
    """One is absolute; some have bytes that are no text, marks of mathematics, or many letters."""
    assert short_names(["sub/z.npz", "/tmp/one/z.npz"]) == ["sub", "tmp-one"]
    assert short_names(["\udcff.npz", "$x$\n.npz", "ü.npz"]) == ["_.npz", "_x__.npz", "ü.npz"]
    long = short_names([f"{'ü' * 230}{end}.npz" for end in "ab"])
    assert long == [f"{'ü' * 22}..{'ü' * 19}{end}.npz" for end in "ab"]
    same = short_names([f"{'x' * 99}{middle}{'x' * 99}" for middle in "ab"])
    assert same == [f"{n}-{'x' * 20}..{'x' * 24}" for n in (1, 2)]


def test_epochs_are_in_the_order_of_their_numbers():
    names = ["run2/epoch10.npy", "run2/epoch9.npy", "run10/epoch1.npy", "run2/epoch.npy"]
    found = sorted(map(Path, names), key=_natural)
    assert [str(path) for path in found] == [names[1], names[0], names[3], names[2]]


def test_the_axis_of_epochs_has_the_numbers_that_tell_files_apart():
    numbers = {
        ("e1-5.npy", "e2-5.npy", "e10-5.npy"): [1, 2, 10],
        ("7", "8"): [7, 8],
        ("a1.npy", "b2.npy"): None,
        ("a1-2.npy", "a2-1.npy"): None,
        ("a1.npy", "a01.npy", "a2.npy"): None,
        ("1-z.npy", "1-z.npy"): None,
    }
    for names, expected in numbers.items():
        assert epochs_of(names) == expected


def test_batches_are_balanced_and_share_no_row():
    sizes = np.bincount(LABELS)
    batches = batches_of(Asked("scl", 0.0, 1.0, 11), LABELS, sizes, 3)
    assert batches.shape == (sizes.min() // 2, 10)
    assert len(np.unique(batches)) == batches.size
    np.testing.assert_array_equal(
        LABELS[batches], np.tile(np.repeat(np.arange(5), 2), (len(batches), 1))
    )


ERRORS = {
    "error: there is no file nowhere.npz": ["nowhere.npz"],
    "error: give a file of embeddings, such as embeddings.npz; --help shows more": [],
    "error: --beta, --temperature and --batch belong to an": ["a.npz", "--beta", "5"],
    "error: --beta, --temperature and --batch belong to an --objective": (
        ["a.npz", "--temperature", "0.5"]
    ),
    "error: --beta, --temperature and --batch": ["a.npz", "--batch", "8"],
    "error: --objective hucl needs a hardness: --beta 5": ["a.npz", "--objective", "hucl"],
    "error: --beta is for hscl and hucl; ucl has no hardness": (
        ["a.npz", "--objective", "ucl", "--beta", "2"]
    ),
    "error: --temperature must be a positive number, got 0.0": (
        ["a.npz", "--objective", "ucl", "--temperature", "0"]
    ),
    "error: --beta must be at most 6e+14, as the logits": (
        ["a.npz", "--objective", "hucl", "--beta", "1e15"]
    ),
    "error: --beta is for hscl and hucl; scl has no hardness": (
        ["a.npz", "--objective", "scl", "--beta", "0"]
    ),
    "error: --temperature must be at least 2.2e-308, got 9.99989e-321": (
        ["a.npz", "--objective", "scl", "--temperature", "1e-320"]
    ),
    "error: --compare epochs is for several epochs, and there is one": (
        ["FILE", "--compare", "epochs"]
    ),
    "error: --seed must be at least 0, got -1": ["a.npz", "--seed=-1"],
    "error: --batch 4 must hold a row of each of the 5 classes": (
        ["FILE", "--objective", "ucl", "--batch", "4"]
    ),
    "error: --batch 500 takes 100 rows of each class, and the smallest class has": (
        ["FILE", "--objective", "ucl", "--batch", "500"]
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors_are_one_line_and_status_2(results, capsys, message):
    words = [results[0] / "one.npz" if word == "FILE" else word for word in ERRORS[message]]
    status, printed, error = run(capsys, *words)
    assert status == 2
    assert printed == ""
    assert error.startswith(message)


def test_no_folder_is_left_where_nothing_is_measured(tmp_path, capsys):
    (tmp_path / "old").mkdir()
    for out in (tmp_path / "new" / "out", tmp_path / "old"):
        assert run(capsys, tmp_path / "a.npz", "--out", out)[0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_chunks_hold_no_more_scores_than_numbers(monkeypatch):
    """In two dimensions a chunk is of as many rows as there is room for their scores."""
    monkeypatch.setattr(passes, "CHUNK", 60)
    numbers = np.arange(40) % 20
    rows = Stored((40, 2), np.dtype(float), lambda: iter([np.zeros((40, 2))]))
    source = Source("a", rows, Classes(numbers, tuple(map(str, range(20))), np.full(20, 2)), ())
    sizes = [len(chunk.rows) for chunk in passes._chunks(source, "rows")]
    assert sizes == [3] * 14


def test_what_is_not_finite_or_outside_the_ball_is_said(tmp_path, capsys):
    rows = ROWS.copy()
    rows[70, 1] = np.inf
    np.savez(tmp_path / "a.npz", z=rows, y=LABELS)
    status, _, error = run(capsys, tmp_path / "a.npz")
    assert (status, "row 70 of" in error) == (2, True)
    np.savez(tmp_path / "a.npz", z=ROWS, y=LABELS)
    status, _, error = run(capsys, tmp_path / "a.npz", "--objective", "scl")
    assert status == 2
    assert re.search(r"in the unit ball, and there are norms up to .*: add --normalize", error)


WITHOUT = """
import sys
sys.modules[{package!r}] = None
from hcl_jax.measure import main
sys.exit(main({words!r}))
"""


@pytest.mark.parametrize(
    ("package", "words"),
    [
        ("tyro", ["--help"]),
        ("jinja2", ["a.npz", "--out", "out"]),
        ("pyarrow", ["a.csv"]),
    ],
)
def test_a_missing_package_is_named_with_its_extra(tmp_path, package, words):
    (tmp_path / "a.csv").write_text("z0,y\n0.5,1\n")
    command = [sys.executable, "-c", WITHOUT.format(package=package, words=words)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert re.fullmatch(rf"error: .* needs {package}: pip install 'hcl-jax\[measure\]'", line)


PEAKS = """
import re, sys
from hcl_jax.measure import main
for path in sys.argv[1:]:
    assert main([path]) == 0
    # Not of getrusage, which counts what the parent held when it forked.
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]
    print(int(peak) * 1024, file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_hardly_grows_with_the_file(tmp_path):
    """The last file is 256 MiB longer; labels and what is made of them take 48 bytes a row.

    The first time programs are compiled. Blocks of 128 KiB and more are given back when they are
    freed (by glibc, which else learns to keep larger ones), so that the peak is of what is held.
    """
    rows, paths = np.random.default_rng(0).normal(size=(2**13, 512)), []
    for copies in (1, 9):
        paths.append(tmp_path / f"{copies}.npz")
        np.savez(paths[-1], z=np.tile(rows, (copies, 1)), y=np.arange(copies * 2**13) % 10)
    command = [sys.executable, "-c", PEAKS, *map(str, (paths[0], paths[0], paths[1]))]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": f"{2**17}"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    _, small, large = (int(line) for line in done.stderr.splitlines() if line.isdigit())
    assert large - small < 2**26
