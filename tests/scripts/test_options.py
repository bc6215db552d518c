"""What an experiment can name: one table for each option, from which the command line follows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tyro

from hcl_jax import data
from scripts import prepare_data, train
from scripts.experiments.datasets import DATASETS
from scripts.experiments.experiment import CHOICES, Experiment
from scripts.experiments.networks import HEADS, NETWORKS
from scripts.experiments.options import HARDENINGS, VIEWS
from scripts.experiments.program import objective_of, program_of

EXCEPTIONS = {
    ("dtype", "bfloat16"): {"data": "cifar10"},
    ("imbalance_profile", "step"): {"imbalance": 2.0},
    ("data", "stl10_unlabelled"): {"objective": "HUCL", "positives": "views"},
    ("damaged", "skip"): {"data": "folder:/flowers"},
    ("evaluate_on", "test"): {"data": "folder:/flowers"},
    ("evaluate_on", "val"): {"data": "folder:/flowers"},
}
"""What else has to be changed for a choice to fit."""


NAMED = {"data": DATASETS, **CHOICES}


@pytest.mark.parametrize(
    ("name", "choice"),
    [(name, choice) for name, choices in NAMED.items() for choice in choices],
)
def test_the_command_line_offers_every_entry_of_a_table(name, choice):
    other = EXCEPTIONS.get((name, choice), {})
    other |= {"beta": 0.0} if name == "objective" and choice in ("SCL", "UCL") else {}
    words = [f"--{key}={value}" for key, value in ({name: choice} | other).items()]
    chosen = tyro.cli(Experiment, args=words)
    assert getattr(chosen, name) == choice
    assert chosen == Experiment(**{name: choice}, **other)


@pytest.mark.parametrize("name", NAMED)
def test_other_names_are_refused_with_the_choices(name, capsys):
    with pytest.raises(ValueError, match=f"{name} must be one of .*, got 'nonsense'"):
        Experiment(**{name: "nonsense"})
    with pytest.raises(SystemExit) as stopped:
        train.main(["grouped-hscl5", f"--{name}", "nonsense"])
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert all(choice in printed for choice in tuple(NAMED[name])[:1])


def test_the_hardening_function_is_the_entry_of_its_name():
    eta = objective_of(Experiment(hardening="relu_power", beta=2.0)).hardening
    np.testing.assert_allclose(eta.log_factor(jnp.float32(0.5)), 2 * np.log(1.5), rtol=1e-6)


@pytest.mark.parametrize("name", HARDENINGS)
def test_hardness_is_data_of_one_program(name):
    chosen = [Experiment(hardening=name, beta=beta) for beta in (0.25, 0.75)]
    one, other = map(objective_of, chosen)
    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(one))
    assert program_of(chosen[0]) is program_of(chosen[1])


@pytest.mark.parametrize("name", DATASETS)
def test_data_sets_name_what_there_is(name):
    defaults = DATASETS[name]
    assert defaults.network in NETWORKS
    assert defaults.head in HEADS
    assert defaults.views in VIEWS
    assert VIEWS[defaults.views](defaults.image_shape) is not None


def test_data_sets_that_have_to_be_prepared_have_the_names_of_the_library():
    specs = [data.CIFAR10, data.CIFAR100, data.STL10, data.SVHN, data.TINY_IMAGENET]
    specs += [idx_set.spec for idx_set in (data.MNIST, data.FASHION_MNIST, data.KMNIST)]
    specs += [idx_set.spec for idx_set in data.EMNIST.values()]
    assert set(prepare_data.PREPARED) == {spec.name for spec in specs}


def test_archives_that_are_not_unpacked_have_a_builder():
    pytest.importorskip("tensorflow_datasets")
    from scripts.data_preparation.tfds_builders import BUILDERS

    archives = {name: archive for name, (archive, _) in prepare_data.PREPARED.items()}
    assert set(BUILDERS) == {name for name, archive in archives.items() if archive.folder is None}
