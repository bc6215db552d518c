"""What docs/extending.md adds to a copy of the repository arrives where it says."""

import doctest
import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
from references.checkout import ROOT, copy_checkout

PAGE = (ROOT / "docs" / "extending.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"^## ", PAGE, flags=re.M)[1:]}
OWN_CODE = SECTIONS.pop("In code of your own")
ADDITION = re.compile(
    r"^(A new file|At the end of|In) `([^`]+)`[^\n]*:\n\n```\w+\n(.*?)^```", re.M | re.S
)


def apply_hunk(text, hunk):
    """Exchanges the lines of a hunk that are marked by nothing or "-" for those without "-"."""
    lines = hunk.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] != "+")
    after = "".join(line[1:] for line in lines if line[0] != "-")
    assert text.count(before) == 1, f"not once in the file:\n{before}"
    return text.replace(before, after)


def add(root, how, path, block):
    file = root / path
    if how == "A new file":
        assert not file.exists()
        file.write_text(block)
    elif how == "At the end of":
        file.write_text(f"{file.read_text()}\n\n{block}")
    else:
        text = file.read_text()
        for hunk in block.split("@@\n"):
            text = apply_hunk(text, hunk)
        file.write_text(text)


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A copy of the repository with everything that the page adds."""
    root = copy_checkout(
        tmp_path_factory.mktemp("x") / "copy", ("hcl_jax", "theory", "scripts", "tests", "docs")
    )
    for how, path, block in ADDITION.findall(PAGE):
        add(root, how, path, block)
    return root


def run(root, *command):
    ran = subprocess.run(
        [sys.executable, *map(str, command)], cwd=root, capture_output=True, text=True, check=False
    )
    assert not ran.returncode, f"{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def test_every_section_touches_at_most_four_files():
    assert len(SECTIONS) == 9
    for title, section in SECTIONS.items():
        assert 1 <= len({path for _, path, _ in ADDITION.findall(section)}) <= 4, title
    in_sections = sum(len(ADDITION.findall(section)) for section in SECTIONS.values())
    blocks = len(re.findall(r"^```(?:python|diff)", PAGE, re.M))
    assert in_sections == blocks - OWN_CODE.count("```python")


def test_code_of_ones_own_runs_as_it_stands():
    examples = doctest.DocTestParser().get_doctest(OWN_CODE, {}, "own code", None, None)
    assert len(examples.examples) > 5
    assert doctest.DocTestRunner().run(examples).failed == 0


LOSSES = """
import doctest, hcl_jax, jax, jax.numpy as jnp
from pathlib import Path
from hcl_jax import hardening, normalization, psi
from hcl_jax.data import synthetic
from hcl_jax.geometry import spectrum

assert Path(hcl_jax.__file__).is_relative_to(Path.cwd())
runner = doctest.DocTestRunner()
new = (psi.exponential_sum, hardening.floored_exponential, normalization.soft_ball)
for function in (*new, synthetic.corners, spectrum.participation_ratio):
    for examples in doctest.DocTestFinder().find(function, globs=function.__globals__):
        runner.run(examples)
assert runner.summarize(verbose=False) == (0, 10), runner.summarize()
z = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
labels = jnp.array([0, 0, 1, 1])
print(float(hcl_jax.scl(z, labels, psi=psi.exponential_sum(scale=0.5))))
print(float(hcl_jax.objective(
    z, labels, supervised=False, hardening=hardening.floored_exponential(jnp.log(3.0))
)))
print(float(hcl_jax.scl(0.75 * z, labels, normalize="soft_ball")))
"""


def test_a_psi_an_eta_and_a_normalisation_arrive_in_the_loss(extended):
    psi, eta, normalized = map(float, run(extended, "-c", LOSSES).split())
    assert normalized == pytest.approx(math.log1p(math.exp(-2 * 0.36)))
    assert psi == pytest.approx(math.exp(-1))
    # One negative at t = 1 has weight 1 + 3, two at t = -1 have weight 1 + 1/3 each.
    assert eta == pytest.approx(math.log(1 + 0.6 + 0.4 * math.exp(-2)))


def test_a_psi_and_an_eta_arrive_in_the_theory_command(extended):
    model = {
        "k": 1,
        "psi": {"type": "exponential_sum", "scale": "1/2"},
        "eta": {"type": "floored_exp", "beta": 0},
        "prior": ["1/2", "1/2"],
        "class_pmf": [[1, 0], [0, 1]],
        "features": [[1], [-1]],
    }
    (extended / "model.json").write_text(json.dumps(model))
    found = run(extended, "-m", "scripts.verify_theory", "--case", "model.json")
    losses = json.loads(found)
    assert "0.3678794411714423" in json.dumps(losses)  # SCL = HSCL = exp(-2 / 2)
    assert "0.683939720585721" in json.dumps(losses)  # UCL = (1 + exp(-1)) / 2


def records(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def test_an_experiment_with_a_data_set_an_eta_an_option_and_a_metric_arrives_in_a_run(extended):
    epoch = ("--epochs", 1, "--evaluations", 1, "--devices", 1, "--out", "runs")
    own = {"hardening": "floored_exponential", "normalization": "soft_ball"}
    options = [word for name, value in own.items() for word in (f"--{name}", value)]
    options += ["--clip-norm", 0.5]
    run(extended, "-m", "scripts.train", "corners-hscl5-cosine", *options, *epoch)
    changes = "-".join(f"{name}={value}" for name, value in own.items())
    name = f"corners-hscl5-cosine-{changes}-epochs=1-evaluations=1-clip_norm=0.5"
    path = extended / "runs" / name
    config = json.loads((path / "config.json").read_text())
    for name, value in {"data": "corners", "schedule": "cosine", **own}.items():
        assert f'"{name}": "{value}"' in json.dumps(config)
    [last] = json.loads((path / "results.json").read_text())
    assert last["hardening"] == "floored_exponential"
    spectrum = np.asarray(last["spectrum"])
    for record in (last, records(path)[-1]):
        ratio = spectrum.sum() ** 2 / (spectrum**2).sum()
        assert record["participation_ratio"] == pytest.approx(ratio, rel=1e-4)
    report = (path / "report.html").read_text()
    assert ">participation ratio</th>" in report
    assert 'aria-label="participation ratio against epochs"' in report


CALLED = ("psi.exponential_sum", "hardening.floored_exponential", "normalization.soft_ball")
CALLED += ("data.corners", "geometry.participation_ratio")
HOUSE = [
    "tests/test_house_rules.py",
    "tests/theory/test_theory_kinds.py",
    "tests/scripts/test_every_field.py::test_the_fields_are_those_of_the_command_line",
    "tests/scripts/test_every_field.py::test_every_field_changes_something[Experiment.clip_norm]",
    "tests/scripts/test_catalogue.py::test_the_tables_in_the_documentation_are_those_of_the_program",
    "tests/test_hardening.py::test_no_number_of_a_family_makes_logits_that_cannot_be_added",
    "tests/test_promotion.py::test_every_public_function_has_a_call",
    *(f"tests/test_promotion.py::test_works_under_strict_promotion[{name}]" for name in CALLED),
]
"""What would find that something is missing."""


@pytest.mark.slow
def test_what_is_added_keeps_the_rules(extended):
    run(extended, "-m", "pytest", "-q", "-p", "no:cacheprovider", *HOUSE)


CLAIM = """
from scripts import verify_theory
from scripts.theory_report import sections

verify_theory.MODULES = verify_theory.MODULES[:1]
sections.SECTIONS = sections.SECTIONS[:1]
raise SystemExit(verify_theory.main(["--quick", "--report", "report"]))
"""


def test_a_claim_arrives_in_the_table_and_in_the_report(extended):
    table = run(extended, "-c", CLAIM)
    assert "no hardness, no hardening" in table
    assert "no hardness, no hardening" in (extended / "report" / "report.html").read_text()
    assert "no hardness, no hardening" in (extended / "report" / "results.json").read_text()
