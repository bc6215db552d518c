"""What the pages name exists: links, paths, modules, commands; their numbers are the committed."""

import importlib
import inspect
import json
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import hcl_jax
from hcl_jax import Options
from hcl_jax.losses import choose_implementation
from scripts.benchmarking.results import medians
from scripts.benchmarking.training_report import ours_and_torch

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    page
    for pattern in (
        "*.md",
        "docs/*.md",
        "docs/migration/*.md",
        "docs/reference/*.md",
        "benchmarks/*.md",
    )
    for page in ROOT.glob(pattern)
)
FOLDERS = ("hcl_jax", "theory", "scripts", "tests", "docs", "benchmarks", "examples")
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def found(pattern, page):
    return sorted(set(re.findall(pattern, page.read_text(), re.MULTILINE)))


def resolves(name):
    """Whether a dotted name is a module, or something in one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            fields = getattr(value, "__annotations__", {})
            if not hasattr(value, part) and part not in fields:
                return False
            value = getattr(value, part, None)
        return True
    return False


@every_page
def test_links_lead_somewhere(page):
    for link in found(r"\]\((?!https?:)([^)\s]+)\)", page):
        path, _, heading = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE) if heading else []
        slugs = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
        assert not heading or heading in slugs, link


@every_page
def test_paths_exist(page):
    pattern = rf"(?<![\w/.])((?:{'|'.join(FOLDERS)})/[\w./-]*)"
    new = re.findall(r"^A new file `(.*)`", page.read_text(), re.MULTILINE)
    paths = [path.rstrip(".") for path in found(pattern, page)]
    assert not [path for path in paths if not (ROOT / path).exists() and path not in new]


@every_page
def test_names_and_commands_exist(page):
    names = found(r"(?<![\w/.@-])((?:hcl_jax|theory|scripts)(?:\.(?!md\b)[a-zA-Z_]\w*)+)", page)
    if page.name != "extending.md":
        imported = found(r"from ((?:hcl_jax|theory|scripts)[\w.]*) import (\w+(?:, \w+)*)", page)
        names += [f"{module}.{name}" for module, line in imported for name in line.split(", ")]
    assert not [name for name in names if not resolves(name)]


def test_the_reference_has_every_module_that_exports_something():
    page = (ROOT / "docs" / "reference" / "index.md").read_text()
    names = {module.name for module in pkgutil.iter_modules(hcl_jax.__path__)}
    modules = {name: importlib.import_module(f"hcl_jax.{name}") for name in names}
    public = {n for n in names if n in hcl_jax.__all__ or hasattr(modules[n], "__all__")}
    listed = re.findall(r"^   (hcl_jax[\w.]*)$", page, re.MULTILINE)
    assert set(listed) == {"hcl_jax"} | {f"hcl_jax.{name}" for name in public}


def test_what_is_exported_is_documented():
    for name in ("hcl_jax", *(f"hcl_jax.{n.name}" for n in pkgutil.iter_modules(hcl_jax.__path__))):
        module = importlib.import_module(name)
        for exported in getattr(module, "__all__", ()):
            value = getattr(module, exported)
            documented = inspect.isroutine(value) or inspect.isclass(value)
            assert not documented or inspect.getdoc(value), f"{name}.{exported}"


def test_every_option_of_the_losses_is_on_the_page_of_conventions():
    table = rows_of((ROOT / "docs" / "conventions.md").read_text())
    options = {name for cell in table for name in re.findall(r"`(\w+)`", cell)}
    assert options == set(Options.__annotations__)


def rows_of(text):
    cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines())
    return {first: rest for first, *rest in cells if rest}


def test_times_of_the_loss_are_the_committed_ones():
    shapes = json.loads((ROOT / "benchmarks" / "losses.json").read_text())["shapes"]
    times, marks, memories = {}, {}, {}
    for shape in shapes:
        for contender in shape["contenders"]:
            name = contender["name"]
            times.setdefault(name, {})[shape["rows"]] = 1e3 * np.median(contender["seconds"])
            memory = max(contender["peak"], contender["temporaries"] or 0)
            memories.setdefault(name, {})[shape["rows"]] = memory
            marks[name] = "*" if contender["extrapolated_by"] != 1 else ""
    rows = rows_of((ROOT / "docs" / "results.md").read_text())
    shown = {name: cells for name, cells in rows.items() if name in times}
    assert len(shown) >= 13
    for name, (*cells, memory) in shown.items():
        for cell, count in zip(cells, (512, 2048, 8192), strict=True):
            if cell:
                assert cell.endswith("*") == bool(marks[name])
                assert float(cell.strip("*")) == pytest.approx(times[name][count], rel=6e-3), name
        if memory:
            assert float(memory) == pytest.approx(memories[name][8192] / 2**20, abs=0.5), name


def test_the_readme_shows_numbers_of_the_results():
    results = (ROOT / "docs" / "results.md").read_text()
    readme = (ROOT / "README.md").read_text()
    _, rest = results.split("**20 synthetic classes")
    rows, shown = rows_of(rest.partition("**Handwritten digits")[0]), rows_of(readme)
    methods = [name for name in shown if re.match(r"H?[SU]CL", name)]
    assert len(methods) >= 5
    for name in methods:
        assert [rows[name][column] for column in (4, 5, 8, 9)] == shown[name]
    times = re.findall(r"\d+(?:, \d+ and \d+)? ms", readme.partition("## Speed")[2])
    times = re.findall(r"\d+", " ".join(times))
    assert len(times) == 6
    assert all(f" {time} |" in results for time in times)


def cases_of(page):
    """The cases of a page of benchmarks, by their rows or names."""
    report = json.loads((ROOT / "benchmarks" / f"{page}.json").read_text())
    cases = report.get("shapes", report.get("cases"))
    return {case["rows" if "rows" in case else "case"]: case for case in cases}


def test_ratios_of_a_gpu_in_the_readme_are_of_a_call_without_options():
    cases = cases_of("losses-h100-float32")
    readme = " ".join((ROOT / "README.md").read_text().split())
    (said,) = re.findall(r"loss takes ([\d.]+) and ([\d.]+) times .*?\(([\d.]+) in", readme)
    forms = [
        choose_implementation(rows, rows, backend="gpu", one_set=True).implementation
        for rows in (2048, 8192)
    ]
    for number, rows, form in zip(said, (2048, 8192, 8192), [*forms, "dense"], strict=True):
        times = medians(cases[rows]["contenders"])
        ratio = times[f"ours, {form}"] / times["torch.compile, same mathematics"]
        assert float(number) == pytest.approx(ratio, abs=5e-3)


def test_steps_of_a_gpu_are_the_committed_ones():
    section = (ROOT / "docs" / "training.md").read_text().partition("### On a GPU")[2]
    steps = {"perceptron": ("small", "mlp-256"), "small network": ("small", "convnet-512")}
    steps["ResNet-50"] = ("resnet50", "resnet50-512")
    shown = {name.partition(",")[0]: cells for name, cells in rows_of(section).items()}
    for name, (page, case) in steps.items():
        found = cases_of(f"training-h100-{page}")[case]
        times = medians(found["contenders"])
        epoch = next(name for name in times if name.startswith("ours, epoch of"))
        ours, torch = ours_and_torch(found, times, epoch)
        _, of_ours, of_torch, ratio = shown[name]
        assert float(of_ours) == pytest.approx(1e3 * ours, rel=5e-3)
        assert float(of_torch.split()[0]) == pytest.approx(1e3 * torch, rel=5e-3)
        assert float(ratio) == pytest.approx(ours / torch, abs=5e-3)


def test_examples_can_be_read_at_once():
    lengths = {p.name: p.read_text().count("\n") for p in (ROOT / "examples").glob("*.py")}
    assert max(lengths.values()) < 60, lengths


@every_page
def test_links_have_a_text(page):
    """Which a site would fill in, and a reader of the repository would not see."""
    assert not found(r"\[\]\([^)]*\)", page)
