"""Training in one call: the epochs of the commands, and errors that name what does not fit."""

import contextlib
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hcl_jax import augmentation, data, networks, training
from hcl_jax.conventions import Conventions
from hcl_jax.training import ClassBalance, Program, batch_loss, epochs
from hcl_jax.training.program import check_pairs

IMAGES, LABELS = (
    np.asarray(array)
    for array in data.gaussian_classes(
        jax.random.key(0), num_classes=4, dim=8, train_per_class=12
    ).train
)
PROGRAM = Program(networks.mlp(8, 3, depth=1, width=8), optax.adam(1e-2), batch_size=16)
VIEWS = PROGRAM._replace(positives="views", augmentation=augmentation.gaussian_noise(0.01))
HSCL = training.traced_objective(supervised=True, beta=2.0)
HUCL = training.traced_objective(supervised=False, beta=2.0)
KEY = jax.random.key(1)


def fit(images=IMAGES, labels=LABELS, target=HSCL, program=PROGRAM, *, key=KEY, **options):
    return training.fit(key, images, labels, target, program, **{"epochs": 2, **options})


@pytest.fixture(scope="module")
def fitted():
    return fit()


def test_it_takes_the_steps_of_the_epochs(fitted):
    """Those of `train_epoch` in a loop, from the same key."""
    state, losses = training.init_state(KEY, PROGRAM), []
    split = data.Split(jnp.asarray(IMAGES), jnp.asarray(LABELS))
    for _ in range(2):
        state, infos = training.train_epoch(state, split, HSCL, PROGRAM)
        losses.append(np.asarray(infos.loss))
    np.testing.assert_allclose(fitted.infos.loss, losses, rtol=1e-6)
    chex.assert_trees_all_close(fitted.state.variables, state.variables, rtol=1e-5, atol=1e-7)
    assert int(fitted.state.step) == 6


def test_streamed_images_and_several_devices_give_the_same(fitted, monkeypatch):
    monkeypatch.setattr(epochs, "STREAMED_BYTES", 2 * 16 * IMAGES[:1].nbytes)  # 2 steps, then 1
    streamed = fit(resident_bytes=0)
    shared = fit(devices=jax.devices()[:2])
    for found in (streamed, shared):
        np.testing.assert_allclose(found.infos.loss, fitted.infos.loss, rtol=1e-5)
        assert found.infos.pairs.tolist() == fitted.infos.pairs.tolist()
        chex.assert_trees_all_equal_shapes_and_dtypes(found.state, fitted.state)


def test_every_epoch_is_shown_and_may_end_training(fitted):
    seen = []

    def look(epoch, state, infos):
        seen.append((epoch, int(state.step), infos.loss.tolist()))
        if epoch == 2:
            raise StopIteration

    with pytest.raises(StopIteration):
        fit(epochs=3, after_epoch=look)
    assert seen == [(n + 1, 3 * n + 3, fitted.infos.loss[n].tolist()) for n in range(2)]


def test_class_targets_and_views_without_labels():
    simplex = fit(target=training.simplex_targets(4, 3))
    assert (np.diff(simplex.infos.loss.mean(axis=1)) < 0).all()
    without = fit(labels=None, target=HUCL, program=VIEWS).infos
    np.testing.assert_array_equal(without.pairs, 32)
    given = fit(labels=-np.ones(48, int), target=HUCL, program=VIEWS).infos
    np.testing.assert_array_equal(without.loss, given.loss)


REFUSED = {
    "images must be a NumPy or JAX array of numbers, got a list": {"images": IMAGES.tolist()},
    "images must have shape": {"images": IMAGES[:, 0]},
    "images must be uint8 or floating point, got dtype int32": {"images": IMAGES.astype("int32")},
    "images must be finite, but 1 of 48 rows": {
        "images": np.where(IMAGES == IMAGES[5, 5], np.nan, IMAGES)
    },
    r"images must lie in \[0, 1\]": {"images": 255 * np.ones((48, 2, 2, 2), np.float32)},
    r"images must have shape \(batch, 8\)": {"images": IMAGES[:, :5]},
    r"labels must have shape \(48,\), one for each image": {"labels": LABELS[:-1]},
    "labels must be integers, got dtype float": {"labels": LABELS.astype(float)},
    "labels must not be negative, got -1 at position 0": {"labels": LABELS - 1},
    'labels must be given; positives="views"': {"labels": None},
    "labels must be given": {"labels": None, "program": VIEWS},
    "labels must not be negative": {"labels": LABELS - 1, "program": VIEWS},
    r"labels must lie in 0\.\.2, got 3": {"target": training.simplex_targets(3, 3)},
    "must have one dimension, got 3 and 4": {"target": training.simplex_targets(4, 4)},
    "no image of the first epoch had a positive and a negative: 48 images of 47 classes": {
        "labels": np.arange(48) % 47,
        "program": PROGRAM._replace(batch_size=3),
    },
    "no two training images are of one class": {"labels": np.arange(48)},
    "all training images are of one class": {"labels": np.zeros(48, int)},
    "a batch of 2 images has no anchor": {"program": PROGRAM._replace(batch_size=2)},
    "target must be an Objective, .* got a str": {"target": "HSCL"},
    "program must be a Program, such as .*, got a Model": {"program": PROGRAM.model},
    "a batch of 49 is more than all training images": {"program": PROGRAM._replace(batch_size=49)},
    "batch_size must be at least 2": {"program": PROGRAM._replace(batch_size=1)},
    "cannot be spread evenly over 3 devices": {"devices": jax.devices()[:3]},
    "the number of devices must be at least 1": {"devices": []},
    "16 images of a batch on one device cannot be cut into 3": {
        "program": PROGRAM._replace(parts=3)
    },
    "every class must have at least per_class = 16 rows": {
        "program": PROGRAM._replace(balance=ClassBalance(16, 4), batch_size=32)
    },
    "devices must be different": {"devices": [jax.devices()[0]] * 2},
    "labels must fit in int32": {"labels": LABELS + np.int64(2**40)},
    "after_epoch must be a function, got 3": {"after_epoch": 3},
    "resident_bytes must be at least 0, got -1": {"resident_bytes": -1},
    "epochs must be at least 1": {"epochs": 0},
    "key must be a PRNG key": {"key": 0},
    "key must be a single PRNG key": {"key": jax.random.split(KEY)},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_does_not_fit_is_refused(unchecked, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fit(**REFUSED[message])


@pytest.mark.parametrize(
    ("size", "positives", "itself"),
    [(2, "class", False), (3, "class", False), (2, "class", True), (2, "views", False)],
)
def test_batches_that_are_refused_are_those_without_a_gradient(size, positives, itself):
    """Over all ways to label a batch, at embeddings without symmetry."""
    conventions = Conventions(self_positives=itself, self_negatives=itself)
    program = PROGRAM._replace(batch_size=size, positives=positives, conventions=conventions)
    points = jax.random.normal(KEY, (size * (2 if positives == "views" else 1), 3)) / 4

    @jax.jit
    def gradients(target, labels):
        def loss(embeddings, labels):
            batch = data.Split(jnp.zeros((size, 8)), labels)
            rows = batch_loss.rows_of_views(KEY, batch, program)[1]
            return jnp.sum(batch_loss.target_losses(KEY, embeddings, rows, target, program).total)

        return jax.vmap(jax.grad(loss), (None, 0))(points, labels)

    labels = np.array(list(itertools.product(range(size), repeat=size)))
    for target, supervised in ((HSCL, True), (HUCL, False)):
        learns = np.abs(gradients(target, labels)).max() > 1e-6
        assert learns == (size > 2 or itself or positives == "views")
        expected = contextlib.nullcontext()
        if not learns:
            expected = pytest.raises(ValueError, match="a batch of 2 images has no anchor")
        with expected:
            check_pairs(np.arange(9) // 3, program, supervised=supervised)


def test_a_number_that_is_not_finite_ends_it():
    program = PROGRAM._replace(optimizer=optax.sgd(1e38))
    with pytest.raises(FloatingPointError, match=r"is (nan|inf) at step [123] of epoch 1"):
        fit(program=program)
