"""Every field of what a training run is told changes something: a program, a number or a file.

The fields are found by walking the dataclass of the command line. Each is given other values, by
its choices or its type, and what it is there for has to differ. Equal values have to agree. That
the fields of a `Program` are in what is compiled is in tests/training/test_program_fields.py.
"""

import dataclasses
import functools
import itertools
import warnings
from pathlib import Path
from typing import get_args, get_origin, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from tqdm import tqdm

from hcl_jax.collectives import over_axis
from hcl_jax.data import DatasetError, Split
from hcl_jax.training import AXIS, SingleDevice, init_state, train_epoch
from scripts import train
from scripts.experiments import program
from scripts.experiments.catalogue import METHODS_ALONE, changed_name, described
from scripts.experiments.datasets import load_dataset
from scripts.experiments.experiment import CHOICES, Experiment
from scripts.experiments.networks import HEADS, NETWORKS, NetworkInputs, has_batch_norm
from scripts.experiments.own_data import OwnData
from scripts.experiments.program import keys_of, objective_of, program_of
from scripts.runs import loop, resuming
from scripts.runs.evaluation import place_dataset
from scripts.runs.exit_status import CommandError
from scripts.runs.progress import epoch_before_training, evaluation_epochs
from scripts.runs.run_files import as_json
from scripts.runs.runners import runner_of
from scripts.runs.runtime import Runtime
from scripts.train import Train

SMALL = Experiment(data="triangle", epochs=2, evaluations=1)
DIGITS = Experiment(data="digits", positives="views", views="identity")
PICTURES = Experiment(data="folder:pictures", image_size=8)
NEAR = dataclasses.replace(SMALL, initialization="near_nc")
ONE = Runtime(devices=1)
OFTEN = Runtime(devices=1, checkpoint_seconds=0.0)


def own(**found):
    """An experiment on data of one's own in which this was found; nothing is read."""
    usual = {"image_shape": (8,), "num_classes": 4, "class_names": ("a", "b", "c", "d")}
    more = {"num_train": 32, "mean": None, "std": None, "digest": "0" * 64}
    return Experiment(data="npz:/own.npz", own=OwnData(**{**usual, **more, **found}))


STANDARDISED = own(mean=(0.5,) * 8, std=(0.5,) * 8)


@pytest.fixture(scope="module", autouse=True)
def folders(tmp_path_factory):
    """A directory to be in, with folders of pictures: of two classes, in splits, one torn."""
    place = tmp_path_factory.mktemp("fields")
    for folder in ("pictures", "torn", "split/train", "split/test", "split/val"):
        for number in range(12):
            path = place / folder / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            colour = (20 * number, 9 * len(folder), 99)
            Image.new("RGB", (9 + number, 9), colour).save(path)
    (place / "torn" / "a" / "0.png").write_bytes(b"torn")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        yield
    load_dataset.cache_clear()


@functools.cache
def epoch(experiment):
    """An epoch of one of two devices, as it is given to the compiler."""
    chosen = program_of(experiment, steps_per_epoch=3, axis_name=AXIS)
    chosen = chosen._replace(collectives=over_axis(AXIS))
    shape, size = experiment.defaults.image_shape, 2 * experiment.images_per_step
    split = Split(
        jax.ShapeDtypeStruct((size, *shape), np.float32), jax.ShapeDtypeStruct((size,), np.int32)
    )

    def of_one(key, split, target):
        return train_epoch(init_state(key, chosen), split, target, chosen)

    shared = jax.vmap(of_one, in_axes=(0, None, None), axis_name=AXIS)
    keys = jax.random.split(jax.random.key(0), 2)
    return jax.jit(shared).lower(keys, split, objective_of(experiment)).as_text()


def settings(experiment):
    """What its program says besides functions that are made for it."""
    found = program_of(experiment)
    fixed = found.batch_size, found.positives, found.parts, found.balance, found.conventions
    return *fixed, found.normalization


def optimizer(experiment):
    """A step of its optimizer, as it is given to the compiler."""
    chosen, params = program_of(experiment, steps_per_epoch=3).optimizer, jnp.zeros(2)
    return jax.jit(chosen.update).lower(params, chosen.init(params), params).as_text()


def standardized(experiment):
    """An image as the network takes it."""
    return program_of(experiment).standardized(jnp.full((1, 8), 0.25)).tolist()


@functools.cache
def network(experiment):
    """Its network on two images, as it is given to the compiler."""
    model, shape = program_of(experiment).model, experiment.defaults.image_shape
    variables = jax.eval_shape(model.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((2, *shape), np.float32)
    return jax.jit(functools.partial(model.apply, training=True)).lower(variables, images).as_text()


def numbers(experiment):
    """What is minimised, and the keys."""
    objective, keys = objective_of(experiment), jax.random.key_data(keys_of(experiment))
    leaves = [np.asarray(leaf).tolist() for leaf in jax.tree.leaves(objective)]
    return leaves, str(jax.tree.structure(objective)), keys.tolist()


def images(experiment):
    """Images and labels of both splits, or why there are none."""
    load_dataset.cache_clear()
    try:
        with warnings.catch_warnings(action="ignore"):  # what is skipped is named
            loaded = load_dataset(experiment.source)
    except DatasetError as error:
        return str(error)
    return [np.asarray(array).tobytes() for split in loaded[:2] for array in split]


def plan(experiment):
    """When it begins and ends, and when it is measured."""
    return epoch_before_training(experiment), sorted(evaluation_epochs(experiment))


def record(experiment):
    """What is in a line of its metrics."""
    return (trained(experiment, ONE) / "metrics.jsonl").read_text()


def written(experiment):
    """What is in config.json, and the name of the directory."""
    return as_json(experiment), changed_name("hscl5", METHODS_ALONE["hscl5"], experiment)


NUMBER = itertools.count()


def trained(experiment, runtime, path=None):
    """The directory of a run."""
    path = path or Path("runs") / str(next(NUMBER))
    with tqdm(disable=True) as progress:
        loop.run(experiment, path, progress, runtime)
    return path


def checkpoints(runtime):
    """The checkpoints of a run."""
    return sorted(path.name for path in trained(SMALL, runtime).glob("checkpoints/*"))


def profile(runtime):
    """What is in the directory of profiles."""
    trained(SMALL, runtime)
    return [path.suffix for path in Path("profile").rglob("*.pb")]


def continued(runtime):
    """What becomes of a run that is finished and is to have another epoch."""
    path = trained(SMALL, ONE)
    try:
        trained(dataclasses.replace(SMALL, epochs=3), runtime, path)
    except CommandError as error:
        return str(error).replace(str(path), "")
    return len((path / "metrics.jsonl").read_text().splitlines())


def resumed(runtime):
    """What is said where a run began in another environment."""
    path = trained(SMALL, ONE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resuming, "changed_settings", lambda before, now: ["of another kind"])
        try:
            return list(resuming.changes_since_the_beginning(path, runtime))
        except CommandError as error:
            return str(error).replace(str(path), "")


class SeenError(Exception):
    """What was to be seen has been."""


def passed_to(module, name, call):
    """The arguments with which a call calls a function, which then is left."""
    seen = []

    def stop(*arguments, **options):
        seen.append((arguments, options))
        raise SeenError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, stop)
        try:
            call()
        except SeenError:
            return seen
    return None


def signals(runtime):
    """The signals that are listened to."""
    return passed_to(loop, "preemption", lambda: trained(SMALL, runtime))


def hosts(runtime):
    """How the other hosts are found."""
    return passed_to(jax.distributed, "initialize", runtime.begin)


def devices(runtime):
    """How many copies of the data there are."""
    return runner_of(SMALL, runtime).replicate(np.zeros(3)).shape


def decoded(runtime):
    """Where decoded pictures are kept."""
    load_dataset.cache_clear()
    described(PICTURES, runtime.data_dir)
    return (runtime.data_dir / "decoded").is_dir(), runtime.data_dir


def resident(runtime):
    """Whether the data live on the device."""
    placed = place_dataset(
        load_dataset(SMALL.source), SingleDevice(program_of(SMALL)), runtime.resident_bytes
    )
    return placed.trained.resident is None


def directory(settings):
    """Where a run is written."""
    [(arguments, _)] = passed_to(train, "run", lambda: train.train("small", SMALL, settings))
    return arguments[1]


SETTINGS = ("normalization", "positives", "batch_size", "per_class", "parts", "num_negatives")
SETTINGS += ("stop_gradient_hardening", "average", "reference_conventions")
HOSTS = ("hosts", "coordinator", "host_count", "host")
SEEN = {
    Experiment: {
        **dict.fromkeys(SETTINGS, (settings, SMALL)),
        "optimizer": (optimizer, dataclasses.replace(SMALL, weight_decay=0.1)),
        "learning_rate": (optimizer, SMALL),
        "schedule": (optimizer, SMALL),
        "warmup_epochs": (optimizer, SMALL),
        "weight_decay": (optimizer, SMALL),
        "dim": (network, SMALL),
        "data": (images, SMALL),
        "image_size": (images, PICTURES),
        "test_fraction": (images, PICTURES),
        "split_seed": (images, PICTURES),
        "evaluate_on": (images, dataclasses.replace(PICTURES, data="folder:split")),
        "damaged": (images, dataclasses.replace(PICTURES, data="folder:torn")),
        "imbalance": (images, SMALL),
        "imbalance_profile": (images, Experiment(data="digits", imbalance=3)),
        "objective": (numbers, Experiment(objective="SCL", beta=0.0)),
        "beta": (numbers, SMALL),
        "temperature": (numbers, SMALL),
        "hardening": (numbers, Experiment(beta=0.5)),
        "seeds": (numbers, SMALL),
        "initialization": (plan, SMALL),
        "fit_epochs": (plan, NEAR),
        "epochs": (plan, SMALL),
        "evaluations": (plan, SMALL),
        "probes": (record, SMALL),
        "network": (network, DIGITS),
        "head": (network, dataclasses.replace(SMALL, dim=128)),
        "dtype": (network, dataclasses.replace(DIGITS, network="resnet18")),
        "views": (epoch, DIGITS),
        "synchronized": (epoch, DIGITS),
    },
    OwnData: {
        "image_shape": (network, own()),
        "num_classes": (network, own()),
        "num_train": (settings, own()),
        "mean": (standardized, STANDARDISED),
        "std": (standardized, STANDARDISED),
        "class_names": (written, own()),
        "digest": (written, own()),
    },
    Runtime: {
        "devices": (devices, ONE),
        "data_dir": (decoded, ONE),
        "resident_gib": (resident, ONE),
        "checkpoint_seconds": (checkpoints, ONE),
        "keep": (checkpoints, ONE),
        "continues": (continued, ONE),
        "resume_anyway": (resumed, ONE),
        "stop_signals": (signals, ONE),
        "profile": (profile, ONE),
        **dict.fromkeys(HOSTS, (hosts, Runtime(hosts=True))),
    },
    Train: {"out": (directory, Train(SMALL, ONE))},
}
"""Where a field is to be seen, and in what."""

VALUES = {
    "data": ["digits"],
    "evaluate_on": ["val"],
    "objective": ["UCL"],
    "network": ["resnet18"],
    "head": ["none", "paper"],
    "per_class": [50],
    "parts": [3],
    "image_shape": [(9,)],
    "mean": [(0.25,) * 8],
    "std": [(0.25,) * 8],
    "class_names": [("a", "b", "c", "e")],
    "digest": ["1" * 64],
    "devices": [2],
    "data_dir": [Path("elsewhere")],
    "resident_gib": [0.0],
    "checkpoint_seconds": [0.0],
    "keep": [0],
    "stop_signals": [("SIGUSR1",)],
    "profile": [Path("profile")],
    "out": [Path("elsewhere")],
}
"""Values where choices and types do not give them: what needs files, fits together or is small."""


def others(kind, name, value):
    """Other values of a field: given, its other choices, or another of its type."""
    hint = get_type_hints(kind)[name]
    if name in VALUES:
        return VALUES[name]
    if name in CHOICES:
        return [choice for choice in CHOICES[name] if choice != value]
    if hint is bool:
        return [not value]
    if hint is float:
        return [2 * value + 0.25]
    if hint is int:
        return [value + 1]
    if get_origin(hint) is tuple:
        return [(7,)]
    return ["x:1"] if str in get_args(hint) else [4]


def fields_of(kind):
    """The fields of a dataclass and of those in it, with the dataclass each is of."""
    for name, hint in get_type_hints(kind).items():
        inner = [k for k in (hint, *get_args(hint)) if dataclasses.is_dataclass(k)]
        yield from itertools.chain.from_iterable(map(fields_of, inner)) if inner else [(kind, name)]


def changed(base, kind, name, value):
    """The same with another value of a field, which may be of what is in it."""
    if isinstance(base, kind):
        return dataclasses.replace(base, **{name: value})
    return dataclasses.replace(base, own=dataclasses.replace(base.own, **{name: value}))


def test_the_fields_are_those_of_the_command_line():
    listed = {(kind, name) for kind, fields in SEEN.items() for name in fields}
    assert set(fields_of(Train)) == listed
    assert {name for _, name in listed} >= set(VALUES)


SLOW = {"probes", "views", "synchronized", "dtype"}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(
            *field,
            id=".".join([field[0].__name__, field[1]]),
            marks=pytest.mark.slow if field[1] in SLOW else (),
        )
        for field in fields_of(Train)
    ],
)
def test_every_field_changes_something(kind, name):
    look, base = SEEN[kind][name]
    inner = base if isinstance(base, kind) else base.own
    before = look(base)
    for value in others(kind, name, getattr(inner, name)):
        assert look(changed(base, kind, name, value)) != before, value


@pytest.mark.parametrize("look", [settings, optimizer, network, numbers, images, checkpoints])
def test_what_is_equal_looks_the_same(look):
    """The control: nothing but what is said makes a difference."""
    base = OFTEN if look is checkpoints else SMALL
    again = getattr(look, "__wrapped__", look)
    before = again(base)
    program._program.cache_clear()
    assert again(dataclasses.replace(base)) == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fit_epochs": 5}, "fit_epochs is for initialization 'near_nc'"),
        ({"imbalance_profile": "step"}, "imbalance_profile is for imbalance above 1"),
        ({"split_seed": 1}, "split_seed is for a long tail .* and data of one's own, not for"),
        (
            {"objective": "SCL", "beta": 0.0, "hardening": "sigmoid"},
            "hardening is for HSCL and HUCL, not for SCL",
        ),
        (
            {"dtype": "bfloat16"},
            "bfloat16 is for resnet18 and resnet50, not for the mlp of grouped",
        ),
        (
            {"objective": "UCL", "beta": 0.0, "stop_gradient_hardening": False},
            "stop_gradient_hardening is for HSCL and HUCL, not for UCL",
        ),
        (
            {"synchronized": True},
            "synchronized is for networks with batch norm, and a mlp with head linear has none",
        ),
    ],
)
def test_what_would_change_nothing_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Experiment(**fields)


def batch_norm_of(name, head):
    """Whether a network has statistics of batches."""
    shape, dim = ((8,), 128) if name == "mlp" else ((8, 8, 1), 4)
    if head == "none" and name != "mlp":
        dim = {"convnet": 32, "resnet18": 512, "resnet50": 2048}[name]
    model = NETWORKS[name](NetworkInputs(shape, 3, dim, HEADS[head]))
    return bool(jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0)).batch_stats))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_with_batch_norm_are_known(name, head):
    assert has_batch_norm(name, head) == batch_norm_of(name, head)


@pytest.mark.parametrize("options", [{"checkpoint_seconds": 5.0}, {"resume_anyway": True}])
def test_what_is_of_checkpoints_needs_them(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} is for checkpoints: keep must be at least 1"):
        Runtime(keep=0, **options)


def test_a_profile_that_comes_too_late_is_said(tmp_path, capsys):
    words = ["triangle-scl", "--epochs", "2", "--devices", "1", "--out", str(tmp_path)]
    assert train.main(words) == 0
    assert train.main([*words, "--profile", str(tmp_path / "p")]) == 0
    assert "no profile is written: the second epoch is over" in capsys.readouterr().err
    longer = [*words, "--epochs", "3", "--continue", "--profile", str(tmp_path / "p")]
    assert train.main(longer) == 0
    assert "no profile is written: the second epoch is over" in capsys.readouterr().err
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize("options", [{"coordinator": "a:1"}, {"host_count": 2}, {"host": 0}])
def test_what_is_for_several_hosts_needs_them(options):
    with pytest.raises(ValueError, match="are for training over several hosts: give hosts"):
        Runtime(**options)


def test_a_profile_needs_a_second_epoch(tmp_path, capsys):
    words = ["triangle-scl", "--epochs", "1", "--devices", "1", "--profile", "p"]
    assert train.main([*words, "--out", str(tmp_path)]) == 2
    assert "--profile is of the second epoch, and there is only one" in capsys.readouterr().err
