"""A good call of every public function, for tests that hold all functions to one rule.

The functions are found in the packages, so that a new one fails `test_every_public_function_has_a_
call` until it has its line here. Functions that read the files of a data set are left out.
"""

import functools
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import hcl_jax
from hcl_jax import (
    augmentation,
    checkpoints,
    data,
    encoders,
    hardening,
    losses,
    pairs,
    parallel,
    psi,
)

PACKAGES = (
    "hcl_jax",
    "hcl_jax.augmentation",
    "hcl_jax.checkpoints",
    "hcl_jax.data",
    "hcl_jax.encoders",
    "hcl_jax.evaluation",
    "hcl_jax.geometry",
    "hcl_jax.hardening",
    "hcl_jax.losses",
    "hcl_jax.normalization",
    "hcl_jax.pairs",
    "hcl_jax.parallel",
    "hcl_jax.psi",
)
READS_FILES = {
    "data.cifar10",
    "data.cifar100",
    "data.class_folders",
    "data.digits",
    "data.emnist",
    "data.fashion_mnist",
    "data.hugging_face_set",
    "data.kmnist",
    "data.list_class_folders",
    "data.mnist",
    "data.npz_set",
    "data.stl10",
    "data.svhn",
    "data.tfds_set",
    "data.tiny_imagenet",
    "encoders.load_encoder",
}


class Call(NamedTuple):
    """A function of arguments by name, and good ones."""

    function: Callable[..., Any]
    arguments: dict[str, Any]


def public_functions():
    """Every public function by the name of its package without `hcl_jax` and its own."""
    found = {}
    for package in PACKAGES:
        module = importlib.import_module(package)
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value) or hasattr(value, "__wrapped__"):
                found[f"{package}.{name}".removeprefix("hcl_jax.")] = value
    return {name: value for name, value in found.items() if name not in READS_FILES}


RNG = np.random.default_rng(0)
N, DIM, CLASSES = 6, 3, 2
Z = jnp.asarray(RNG.normal(size=(N, DIM)), jnp.float32)
Y = jnp.asarray([0, 1, 0, 1, 0, 1], jnp.int32)
MEANS = jnp.asarray(RNG.normal(size=(CLASSES, DIM)), jnp.float32)
IMAGE = jnp.asarray(RNG.uniform(size=(4, 5, 3)), jnp.float32)
BYTES = RNG.integers(0, 256, (2, 4, 5, 3)).astype(np.uint8)
KEY = jax.random.key(0)
ROWS = pairs.rows(Y)
PAIRS = pairs.supervised(ROWS)
SPLIT = data.Split(BYTES, np.zeros(2, np.int32))
LOSSES = losses.AnchorLosses(jnp.ones(N), jnp.ones(N, jnp.int32), jnp.ones(N, bool))
BATCHES = np.zeros((2, 2), np.int64)


def made(make, **good):
    """A function that makes an augmentation, called with what it is made of, a key and an image."""

    def apply(key, image, **options):
        return make(**options)(key, image)

    return Call(apply, {"key": KEY, "image": IMAGE, **good})


def hardened(make, **good):
    """A hardening function, called with its numbers, of two similarities."""
    return Call(lambda **given: make(**given).log_eta(jnp.asarray([0.5, 0.25])), good)


def loss_function(make, **good):
    """A loss function psi, called with its numbers, of two differences."""
    return Call(lambda **given: make(**given).of_differences(jnp.asarray([0.5, 0.25])), good)


def over_devices(function, **good):
    """A function of the rows of one device, mapped over two; `good` names the rows."""

    def apply(**given):
        arguments = {name: jnp.stack([value] * 2) for name, value in given.items()}
        return jax.vmap(lambda part: function(**part), axis_name="devices")(arguments)

    return Call(apply, good)


def sharded(function):
    """A sharded loss of embeddings and labels, which makes the pairs itself."""

    def of_rows(embeddings, labels):
        first = jax.lax.axis_index("devices") * len(labels)
        return function(embeddings, pairs.supervised(pairs.rows(labels, first=first)))

    return over_devices(of_rows, embeddings=Z, labels=Y)


def composed(key, image, augmentation_):
    return augmentation.compose(augmentation_, augmentation_)(key, image)


BATCH = {"embeddings": Z, "labels": Y}
CLASSIFIED = {**BATCH, "num_classes": CLASSES}
PROBED = {"train_features": Z, "train_labels": Y, "features": Z, "labels": Y}
NEIGHBOURS = {"train_embeddings": Z, "train_labels": Y, "embeddings": Z, "labels": Y, "k": 3}
KEYS = {"anchors": PAIRS.anchors, "candidates": PAIRS.candidates}
SMALL = {"dim": 3, "train_per_class": 2, "test_per_class": 2}
GROUPED = {"num_classes": 4, "classes_per_group": 2, "group_scale": 3.0, "class_scale": 0.5}
STRENGTHS = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
TREE = {"kernel": Z}
EQUAL = pairs.PairRule(lambda anchors, candidates: anchors["time"] == candidates["time"])
noise, flip = augmentation.gaussian_noise(0.01), augmentation.horizontal_flip(0.5)

SPECIAL = {
    "scl": Call(hcl_jax.scl, BATCH),
    "hscl": Call(hcl_jax.hscl, {**BATCH, "beta": 2.0}),
    "ucl": Call(hcl_jax.ucl, BATCH),
    "hucl": Call(hcl_jax.hucl, {**BATCH, "beta": 2.0}),
    "supcon": Call(hcl_jax.supcon, {**BATCH, "temperature": 0.5}),
    "nt_xent": Call(hcl_jax.nt_xent, {**BATCH, "temperature": 0.5}),
    "nscl": Call(hcl_jax.nscl, {**BATCH, "groups": Y, "temperature": 0.5}),
    "without_false_negatives": Call(
        lambda hardening, above: hcl_jax.without_false_negatives(hardening, above=above).log_eta(
            jnp.asarray([0.5, 0.25])
        ),
        {"hardening": hardening.exponential(2.0), "above": 0.6},
    ),
    "with_statistics": Call(
        lambda loss: hcl_jax.with_statistics(loss)(Z, Y), {"loss": hcl_jax.scl}
    ),
    "clip": Call(hcl_jax.clip, {"images": Z, "texts": Z, "temperature": 0.5}),
    "objective": Call(
        hcl_jax.objective, {**BATCH, "supervised": True, "hardening": hardening.exponential(2.0)}
    ),
    "batch_losses": Call(
        hcl_jax.batch_losses,
        {
            "embeddings": Z,
            "rows": ROWS,
            "objective": hcl_jax.Objective(False, hardening.exponential(2.0)),
        },
    ),
    "augmentation.blur": Call(
        augmentation.blur, {"image": IMAGE, "sigma": jnp.float32(0.5), "kernel_size": 3}
    ),
    "augmentation.color_jitter": made(augmentation.color_jitter, **STRENGTHS, probability=0.5),
    "augmentation.compose": Call(composed, {"key": KEY, "image": IMAGE, "augmentation_": flip}),
    "augmentation.draw_jitter": Call(augmentation.draw_jitter, {"key": KEY, **STRENGTHS}),
    "augmentation.gaussian_blur": made(
        augmentation.gaussian_blur, kernel_size=3, sigma=(0.1, 2.0), probability=0.5
    ),
    "augmentation.gaussian_noise": made(augmentation.gaussian_noise, variance=0.01),
    "augmentation.grayscale": made(augmentation.grayscale, probability=0.5),
    "augmentation.horizontal_flip": made(augmentation.horizontal_flip, probability=0.5),
    "augmentation.identity": Call(augmentation.identity, {"key": KEY, "image": IMAGE}),
    "augmentation.jitter": Call(
        augmentation.jitter,
        {"image": IMAGE, "drawn": augmentation.draw_jitter(KEY, **STRENGTHS)},
    ),
    "augmentation.random_box": Call(
        augmentation.random_box,
        {"key": KEY, "height": 4, "width": 5, "scale": (0.2, 1.0), "ratio": (0.75, 1.25)},
    ),
    "augmentation.random_crop": made(augmentation.random_crop, size=3, padding=1),
    "augmentation.random_resized_crop": made(
        augmentation.random_resized_crop, size=3, scale=(0.2, 1.0), ratio=(0.75, 1.25)
    ),
    "augmentation.random_shift": made(augmentation.random_shift, max_pixels=1),
    "augmentation.resized_crop": Call(
        augmentation.resized_crop,
        {"image": IMAGE, "box": augmentation.Box(*jnp.asarray([0, 1, 3, 2])), "size": 3},
    ),
    "augmentation.simclr": made(
        augmentation.simclr, size=4, strength=0.5, scale=(0.2, 1.0), blur=True
    ),
    "augmentation.sometimes": made(augmentation.sometimes, augmentation=flip, probability=0.5),
    "augmentation.standardize": Call(
        augmentation.standardize,
        {"images": IMAGE, "mean": (0.5, 0.4, 0.3), "std": np.asarray([0.2, 0.2, 0.3])},
    ),
    "augmentation.to_grayscale": Call(augmentation.to_grayscale, {"image": IMAGE}),
    "augmentation.to_unit_floats": Call(augmentation.to_unit_floats, {"images": BYTES}),
    "augmentation.views": Call(
        augmentation.views,
        {"key": KEY, "images": Z, "augmentation": noise, "num_views": 2, "first": 0},
    ),
    "checkpoints.restore_best": Call(
        checkpoints.restore_best,
        {"directory": Path("no-such-run"), "like": TREE, "metric": "top1", "mode": "max"},
    ),
    "checkpoints.restore_latest": Call(
        checkpoints.restore_latest, {"directory": Path("no-such-run"), "like": TREE}
    ),
    "data.channel_statistics": Call(data.channel_statistics, {"images": BYTES}),
    "data.chunks": Call(
        lambda **given: list(data.chunks(**given)),
        {"split": SPLIT, "batches": BATCHES, "steps_per_chunk": 1},
    ),
    "data.class_balanced_batches": Call(
        data.class_balanced_batches,
        {"key": KEY, "labels": np.arange(12) % 3, "num_classes": 3, "per_class": 2},
    ),
    "data.gaussian_class_means": Call(data.gaussian_class_means, {"key": KEY, "dim": 3, **GROUPED}),
    "data.gaussian_classes": Call(
        data.gaussian_classes, {"key": KEY, **SMALL, **GROUPED, "noise": 0.3}
    ),
    "data.long_tailed": Call(data.long_tailed, {"labels": np.arange(12) % 3, "imbalance": 2.0}),
    "data.place_split": Call(data.place_split, {"split": SPLIT, "budget_bytes": 10**6}),
    "data.stratified_split": Call(
        data.stratified_split, {"labels": np.arange(12) % 3, "test_fraction": 0.25}
    ),
    "data.three_gaussians": Call(data.three_gaussians, {"key": KEY, **SMALL}),
    "encoders.metadata_path": Call(encoders.metadata_path, {"path": "run/encoder"}),
    "evaluation.class_mean_scores": Call(
        hcl_jax.evaluation.class_mean_scores, {"embeddings": Z, "means": MEANS}
    ),
    "evaluation.knn_accuracy": Call(hcl_jax.evaluation.knn_accuracy, NEIGHBOURS),
    "evaluation.linear_probe_accuracy": Call(
        hcl_jax.evaluation.linear_probe_accuracy,
        {**PROBED, "kind": "ridge", "regularization": 1.0},
    ),
    "evaluation.nearest_mean_scores": Call(
        hcl_jax.evaluation.nearest_mean_scores, {"embeddings": Z, "means": MEANS}
    ),
    "evaluation.top_k_accuracy": Call(
        hcl_jax.evaluation.top_k_accuracy, {"scores": Z, "labels": Y, "k": 2}
    ),
    "hardening.exponential": hardened(hardening.exponential, beta=2.0),
    "hardening.no_hardening": hardened(hardening.no_hardening),
    "hardening.relu_power": hardened(hardening.relu_power, shift=1.0, power=2.0),
    "hardening.sigmoid": hardened(hardening.sigmoid, beta=2.0, center=0.5),
    "hardening.sum_relu_power": hardened(hardening.sum_relu_power, shift=1.0, power=2.0),
    "hardening.threshold": hardened(hardening.threshold, level=0.0),
    "hardening.threshold_any": hardened(hardening.threshold_any, level=0.0),
    "hardening.weighted_exponential": hardened(
        hardening.weighted_exponential, betas=jnp.asarray([1.0, 2.0])
    ),
    "losses.average_loss": Call(losses.average_loss, {"losses": LOSSES, "average": "anchors"}),
    "losses.choose_exchange": Call(losses.choose_exchange, {"rows": 8, "dim": 3, "devices": 2}),
    "losses.choose_implementation": Call(
        losses.choose_implementation, {"anchors": 5, "candidates": 6}
    ),
    "losses.contrastive_loss": Call(losses.contrastive_loss, {"anchors": Z, "pairs": PAIRS}),
    "losses.loss_statistics": Call(
        lambda **given: losses.loss_statistics(
            losses.contrastive_loss(**given, pairs=PAIRS, statistics=True)
        ),
        {"anchors": Z},
    ),
    "losses.sampled_contrastive_loss": Call(
        losses.sampled_contrastive_loss,
        {"key": KEY, "anchors": Z, "pairs": PAIRS, "num_negatives": 2},
    ),
    "losses.sharded_contrastive_loss": sharded(
        functools.partial(losses.sharded_contrastive_loss, axis_name="devices")
    ),
    "losses.sharded_sampled_contrastive_loss": sharded(
        functools.partial(
            losses.sharded_sampled_contrastive_loss, KEY, axis_name="devices", num_negatives=2
        )
    ),
    "losses.sum_and_weight": Call(losses.sum_and_weight, {"losses": LOSSES}),
    "pairs.is_negative": Call(pairs.is_negative, KEYS),
    "pairs.is_positive": Call(pairs.is_positive, KEYS),
    "pairs.joined": Call(pairs.joined, {"batch": ROWS, "stored": ROWS}),
    "pairs.masks": Call(pairs.masks, {"pairs": PAIRS}),
    "pairs.multilabel_rows": Call(
        pairs.multilabel_rows, {"classes": Y[:, None] == jnp.arange(3), "groups": Y, "first": 3}
    ),
    "pairs.rows_by_rule": Call(
        lambda **given: pairs.masks(pairs.supervised(pairs.rows_by_rule(EQUAL, **given))),
        {"keys": {"time": Z[:, 0]}, "groups": Y, "first": 3},
    ),
    "pairs.rows": Call(pairs.rows, {"labels": Y, "groups": Y, "first": 3}),
    "pairs.supervised": Call(
        pairs.supervised, {"anchors": ROWS, "candidates": ROWS, "self_positives": True}
    ),
    "pairs.unsupervised": Call(
        pairs.unsupervised,
        {"anchors": ROWS, "candidates": ROWS, "self_positives": True, "self_negatives": False},
    ),
    "parallel.choose_exchange": Call(parallel.choose_exchange, {"rows": 8, "dim": 3, "devices": 2}),
    "parallel.launch": Call(lambda: parallel.launch(jnp.positive, axis_name="devices"), {}),
    "parallel.objective": over_devices(
        functools.partial(
            parallel.objective,
            axis_name="devices",
            supervised=True,
            hardening=hardening.exponential(2.0),
        ),
        **BATCH,
    ),
    "parallel.over_axis": Call(parallel.over_axis, {"axis_name": "devices"}),
    "psi.debiased": loss_function(psi.debiased, tau_plus=0.1, temperature=0.5),
    "psi.infonce": loss_function(psi.infonce, alpha=1.0, q=2.0, temperature=0.5),
    "psi.linear": loss_function(psi.linear),
    "psi.logistic_sum": loss_function(psi.logistic_sum, scale=2.0),
    "psi.squared_hinge": loss_function(psi.squared_hinge, margin=0.5),
    "psi.triplet_max": loss_function(psi.triplet_max, margin=0.5),
    "psi.triplet_sum": loss_function(psi.triplet_sum, margin=0.5),
}
OF_MEANS = ("equal_inner_product", "etf_distance", "nc2", "singular_values", "unit_norm")
OF_MEANS += ("zero_sum",)
ESCAPING = {"class_means": MEANS, "supervised": False, "beta": 2.0, "temperature": 0.5}
ESCAPING |= {"per_class": 3}
OF_CLASSES = ("alignment", "cdnv", "class_means", "measure", "nc1", "within_class")
GEOMETRY = {
    **{name: {"means": MEANS} for name in OF_MEANS},
    **dict.fromkeys(OF_CLASSES, CLASSIFIED),
    **{name: {"spectrum": jnp.asarray([1.0, 0.5])} for name in ("directions", "effective_rank")},
    **dict.fromkeys(("escape_matrix", "escape_rate"), ESCAPING),
    "collapsed_scl": {
        "gram": jnp.eye(3),
        "priors": jnp.asarray([2.0, 1.0, 1.0]),
        "temperature": 1.0,
        "beta": 1.0,
    },
    "hucl_optimum": {"num_classes": 10, "beta": 2.0, "temperature": 1.0, "per_class": 2},
    "hucl_threshold": {"num_classes": 10, "temperature": 1.0, "per_class": 2},
    "minority_collapse_threshold": {"majority": 2, "minority": 2, "temperature": 1.0},
    "scl_optimum": {"priors": jnp.asarray([2.0, 1.0, 1.0]), "temperature": 1.0},
    "simplex_etf": {"num_classes": 3, "dim": 4},
    "uniformity": {"embeddings": Z, "scale": 2.0},
}
NORMALIZATION = ("unit_ball", "unit_sphere", "unnormalized")
CALLS = {
    **SPECIAL,
    **{
        f"geometry.{name}": Call(getattr(hcl_jax.geometry, name), good)
        for name, good in GEOMETRY.items()
    },
    **{
        f"normalization.{name}": Call(getattr(hcl_jax.normalization, name), {"projections": Z})
        for name in NORMALIZATION
    },
}
"""Every public function in a good call."""
