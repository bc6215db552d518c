"""Labels and groups of a batch: none, few, hashes, and rows that have none."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references.places import EMBEDDINGS, LABELS

import hcl_jax
from hcl_jax import hardening, pairs, parallel
from hcl_jax.collectives import over_axis


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
@pytest.mark.parametrize("what", ["labels", "groups"])
def test_hashes_as_labels_stay_different(unchecked, what, dtype):
    """Labels modulo 2^32 would be 0 0 1 1 0 1."""
    z = EMBEDDINGS[:6]
    hashes = np.array([0, 0, 1, 1, 2**32, 2**33 + 1], dtype)
    small = jnp.array([0, 0, 1, 1, 2, 3])
    options = {"supervised": True, "hardening": hardening.no_hardening()}
    if what == "labels":
        found, wanted = (hcl_jax.objective(z, y, **options) for y in (hashes, small))
    else:
        labels = jnp.array([0, 0, 0, 1, 1, 1])
        found, wanted = (hcl_jax.objective(z, labels, groups=g, **options) for g in (hashes, small))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dtypes", [(np.int64, np.int64), (np.uint64, np.int64)])
@pytest.mark.parametrize("what", ["labels", "groups"])
def test_hashes_of_a_batch_and_a_bank_are_compared_as_they_are(unchecked, what, dtypes):
    """Ranks of the batch alone would be 0 0 1 1 2 3, of which the bank has 1; 0 0 2 2 3 4 of both.

    float64 cannot tell the last two apart.
    """
    z, stored = EMBEDDINGS[:6], EMBEDDINGS[6:8]
    hashes = np.array([0, 0, 2**32, 2**32, 2**62, 2**62 + 1], dtypes[0])
    wanted_of = jnp.array([0, 0, 2, 2, 3, 4]), jnp.array([1, 4])
    of_bank = np.array([1, 2**62 + 1], dtypes[1])
    if what == "labels":

        def loss(y, of):
            return hcl_jax.scl(z, y, bank=hcl_jax.Bank(stored, of))
    else:
        y = jnp.array([0, 0, 0, 1, 1, 1])

        def loss(g, of):
            return hcl_jax.scl(z, y, groups=g, bank=hcl_jax.Bank(stored, jnp.array([0, 1]), of))

    np.testing.assert_array_equal(loss(hashes, of_bank), loss(*wanted_of))
    np.testing.assert_array_equal(
        loss(np.array([0, 0, 2, 2, 3, 4]), np.int64(wanted_of[1])), loss(*wanted_of)
    )


def test_hashes_of_images_stay_different(unchecked):
    views = EMBEDDINGS[:8].reshape(4, 2, -1)
    hashes = np.array([0, 2**32, 5, 2**32 + 5])
    np.testing.assert_array_equal(hcl_jax.scl(views, hashes), hcl_jax.scl(views, jnp.arange(4)))
    unsigned = np.array([0, 2**63, 5, 2**64 - 1], np.uint64)  # none of which is negative
    np.testing.assert_array_equal(hcl_jax.scl(views, unsigned), hcl_jax.scl(views, jnp.arange(4)))


def test_rows_of_hashes_are_refused_with_the_remedy(unchecked):
    with pytest.raises(ValueError, match=r"labels must fit in int32.*numpy\.unique"):
        pairs.rows(np.array([0, 2**32]))
    with pytest.raises(ValueError, match="groups must fit in int32"):
        pairs.rows(np.array([0, 1]), groups=np.array([0, -(2**40)]))


def test_rows_without_a_label_are_refused_by_name():
    """They are no class of their own; with groups, UCL and HUCL do not look at labels."""
    labels = LABELS.at[-2:].set(-1)
    for loss in (hcl_jax.scl, hcl_jax.ucl):
        with pytest.raises(ValueError, match=r"labels must not be negative, got -1.*\(2 negative"):
            loss(EMBEDDINGS, labels)
    groups = jnp.arange(8) // 2
    with pytest.raises(ValueError, match="labels must not be negative"):
        hcl_jax.hscl(EMBEDDINGS, labels, beta=1.0, groups=groups)
    found = hcl_jax.hucl(EMBEDDINGS, labels, beta=1.0, groups=groups)
    assert found == hcl_jax.hucl(EMBEDDINGS, LABELS, beta=1.0, groups=groups) > 0


def test_groups_without_labels_are_the_classes(unchecked):
    """Whatever their numbers, and those of images with several views too."""
    groups, images = jnp.array([-3, 5, 5, -3, 0, 9, 9, 0]), jnp.array([7, -2, 7, -2])
    classes, of_images = (np.unique(g, return_inverse=True)[1] for g in (groups, images))
    for loss in (hcl_jax.scl, hcl_jax.ucl, hcl_jax.supcon, hcl_jax.nt_xent):
        assert loss(EMBEDDINGS, groups=groups) == loss(EMBEDDINGS, classes) > 0
    compiled = jax.jit(lambda z: hcl_jax.scl(z, groups=groups))
    np.testing.assert_allclose(compiled(EMBEDDINGS), hcl_jax.scl(EMBEDDINGS, classes), rtol=1e-6)
    views = EMBEDDINGS.reshape(4, 2, -1)
    assert hcl_jax.scl(views, groups=images) == hcl_jax.scl(views, of_images) > 0
    for message, options in (
        ("groups must have shape (8,)", {"groups": images}),
        ("groups must be integers", {"groups": EMBEDDINGS[:, 0]}),
        ("the batch labels too", {"groups": groups, "bank": hcl_jax.Bank(EMBEDDINGS, groups)}),
        ("ignore_label is for labels", {"groups": groups, "ignore_label": -3}),
    ):
        with pytest.raises((ValueError, TypeError), match=re.escape(message)):
            hcl_jax.hscl(EMBEDDINGS, beta=1.0, **options)


VIEWS = EMBEDDINGS.reshape(4, 2, 3)


OF_IMAGES = {
    "scl": (hcl_jax.scl, {}),
    "hscl": (hcl_jax.hscl, {"beta": 2.0}),
    "ucl": (hcl_jax.ucl, {}),
    "hucl": (hcl_jax.hucl, {"beta": 2.0}),
}


@pytest.mark.parametrize("name", OF_IMAGES)
def test_views_without_labels_are_classes_of_their_image(name):
    loss, given = OF_IMAGES[name]
    wanted = loss(VIEWS, jnp.arange(4), **given)
    assert loss(VIEWS, **given) == wanted

    def local(views):
        return loss(views, collectives=over_axis("devices"), **given)

    found = jax.jit(jax.vmap(local, axis_name="devices"))(VIEWS.reshape(2, 2, 2, 3))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    with pytest.raises(
        ValueError, match=r"give labels or groups, or embeddings \(batch, views, dim\)"
    ):
        loss(EMBEDDINGS, **given)


def test_objectives_without_labels_over_devices_number_their_images(unchecked):
    given = {"supervised": True, "hardening": hardening.exponential(2.0)}

    def local(views):
        return parallel.objective(views, axis_name="devices", **given)

    found = jax.jit(jax.vmap(local, axis_name="devices"))(VIEWS.reshape(2, 2, 2, 3))
    wanted = jax.jit(lambda views: hcl_jax.objective(views, **given))(VIEWS)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    with pytest.raises(ValueError, match="ignore_label is for labels, and none are given"):
        hcl_jax.objective(VIEWS, ignore_label=1, **given)
    with pytest.raises(ValueError, match="a pair rule needs keys of the rows"):
        hcl_jax.objective(VIEWS, pair_rule=hcl_jax.PairRule(lambda a, c: a == c), **given)
