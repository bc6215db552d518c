"""Named experiments: every run of the paper is there, and means what its name says."""

import dataclasses
import itertools
import re
from fnmatch import fnmatch
from pathlib import Path

import jax
import numpy as np
import pytest

from hcl_jax import REFERENCE_CONVENTIONS
from scripts import sweep, train
from scripts.experiments import catalogue
from scripts.experiments.catalogue import UnknownExperimentError, find_experiment
from scripts.experiments.paper import METHODS, paper_values
from scripts.experiments.program import program_of
from scripts.runs import listing


def test_every_run_of_the_paper_is_there():
    known = catalogue.catalogue()
    for data, normalization, start, (objective, beta) in itertools.product(
        ("cifar10", "cifar100", "tiny_imagenet"),
        ("unit_ball", "unit_sphere", "none"),
        ("random", "near_nc"),
        METHODS,
    ):
        found = [
            e
            for e in known.values()
            if (e.data, e.normalization, e.initialization) == (data, normalization, start)
            and (e.objective, e.beta, e.batch_size) == (objective, beta, None)
            and not e.reference_conventions
            and (e.positives, e.hardening) == ("class", "exponential")
        ]
        assert len(found) == 1, (data, normalization, start, objective, beta)
        assert found[0].epochs == 401
        assert found[0].weight_decay == (1e-6 if "UCL" in objective else 0)
        assert found[0].images_per_step == 512
    for size in (256, 2048):
        assert find_experiment(f"cifar100-hucl5-batch{size}").images_per_step == size


def test_every_run_of_the_paper_has_its_like_on_photographs_that_two_cores_train():
    known = catalogue.catalogue()
    for method in METHODS:
        name = f"fashion_mnist-{method.word}"
        for normalization, start in itertools.product(
            ("", "-unit_sphere", "-none"), ("", "-near_nc")
        ):
            assert known[f"{name}{normalization}{start}"].method == known[name].method
        assert [known[f"{name}-lr{rate}"].learning_rate for rate in ("0.0003", "0.003")] == [
            3e-4,
            3e-3,
        ]
        assert [known[f"{name}-batch{n}"].images_per_step for n in (256, 2048)] == [256, 2048]
        for data in ("emnist_balanced", "emnist_byclass", "svhn", "svhn_extra", "grouped100"):
            assert known[f"{data}-{method.word}"].data == data


def test_a_sweep_shows_learning_rates_apart():
    names = ("fashion_mnist-scl", "fashion_mnist-scl-lr0.003", "fashion_mnist-scl-batch256")
    groups = sweep._groups({name: find_experiment(name) for name in names})
    assert [len(members) for members in groups.values()] == [1, 1, 1]
    assert "fashion_mnist, unit_ball, supervised, lr 0.003" in groups


def test_names_are_different_experiments():
    known = catalogue.catalogue()
    assert len(set(known.values())) == len(known)


def test_the_reference_is_the_authors_code():
    reference = find_experiment("cifar100-hscl5-reference")
    program = program_of(reference)
    assert program.conventions == dataclasses.replace(REFERENCE_CONVENTIONS, num_negatives=256)
    last = program.model.init(jax.random.key(0)).params["head"]["layers"][3]
    largest = np.abs(last["bias"]).max()
    assert 0.8 * 512**-0.5 < largest <= 512**-0.5, "PyTorch's uniform law"


def test_what_the_paper_gives_is_expected_where_it_gives_it():
    assert paper_values(find_experiment("cifar100-hscl5")).top1 == "58.4"
    assert paper_values(find_experiment("cifar100-hscl5-reference")).top1 == "58.4"
    for name in ("cifar100-hscl5-unit_sphere", "cifar100-hscl5-near_nc", "cifar10-hscl5"):
        assert paper_values(find_experiment(name)) is None
    assert sum(paper_values(e) is not None for e in catalogue.catalogue().values()) == 20


@pytest.mark.parametrize("name", ["cifar100-hscl-relu_power5", "digits-hucl10", "stl10-ucl-simclr"])
def test_names_are_understood(name, capsys):
    assert train.main(["--list", name]) == 0
    assert f"| `{name}` |" in capsys.readouterr().out


def test_a_list_is_of_one_part_of_a_name(capsys):
    assert train.main(["--list", "digits", "--epochs", "3"]) == 2
    assert "--list takes one part of a name, got digits --epochs 3" in capsys.readouterr().err


def test_an_unknown_name_says_what_it_is_like(capsys):
    with pytest.raises(UnknownExperimentError, match="did you mean digits-hscl5"):
        find_experiment("digit-hscl5")
    assert train.main(["cifar-hscl5"]) == 2
    assert "there is no experiment 'cifar-hscl5'" in capsys.readouterr().err


def test_a_pattern_without_experiments_is_refused(tmp_path, capsys):
    assert sweep.main(["qmnist-*", "--out", str(tmp_path)]) == 2
    assert "no experiment fits 'qmnist-*'" in capsys.readouterr().err


def test_a_sweep_resumes_and_reports(tmp_path, capsys, monkeypatch):
    command = ["triangle-scl", "triangle-hscl5", "triangle-ucl", "--devices", "1", "--keep", "0"]
    command += ["--epochs", "2", "--out", str(tmp_path)]
    assert sweep.main(command) == 0
    first = capsys.readouterr().out
    assert "| HSCL 5 |" in first
    assert "| UCL |" in first
    figure = tmp_path / "triangle-unit_ball-supervised.png"
    assert figure.stat().st_size > 5000
    before = (tmp_path / "triangle-hscl5" / "results.json").stat().st_mtime_ns
    assert sweep.main(command) == 0
    assert capsys.readouterr().out == first
    assert (tmp_path / "triangle-hscl5" / "results.json").stat().st_mtime_ns == before


def test_the_tables_in_the_documentation_are_those_of_the_program():
    documented = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text()
    assert listing.overview() in documented


def test_the_list_of_names_has_the_values_of_the_paper():
    rows = listing.listing("cifar100-*").splitlines()
    assert sum("of 99" in row for row in rows) == 2 * len(METHODS)


def test_the_overview_has_every_experiment():
    rows = re.findall(r"^\| `(\S*-)` \| ([^|]*) \|", listing.overview(), re.MULTILINE)
    shown = [data + form.strip("`") for data, forms in rows for form in forms.split(", ")]
    for name in catalogue.catalogue():
        assert any(re.fullmatch(form.replace("METHOD", "[a-z]+[0-9]*"), name) for form in shown)


def test_what_is_said_to_be_run_has_names():
    for pattern in listing.REPORTED:
        assert any(fnmatch(name, pattern) for name in catalogue.catalogue())
