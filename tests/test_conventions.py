"""The one door: what is refused there, alike for one device and many, and what beats what."""

import dataclasses
import inspect
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hcl_jax
from hcl_jax import hardening, pairs, parallel, psi, validation
from hcl_jax.collectives import SINGLE, over_axis
from hcl_jax.conventions import REFERENCE_CONVENTIONS, Conventions, Objective, batch_losses
from hcl_jax.losses import average_loss

N, DIM = 4, 3
EMBEDDINGS = jax.random.normal(jax.random.key(0), (2 * N, DIM))
EMBEDDINGS /= jnp.linalg.norm(EMBEDDINGS, axis=1, keepdims=True)
LABELS = jnp.array([0, 0, 1, 1, 0, 2, 2, 1])
KEY = jax.random.key(1)
SAMPLES = {"num_negatives": 3, "key": KEY}


def on_one_device(embeddings, labels, **options):
    given = {"supervised": False, "hardening": hardening.exponential(2.0), **options}
    return hcl_jax.objective(embeddings, labels, **given)


def on_two_devices(embeddings, labels, **options):
    """The same call on each of two devices, each with one half of the rows."""
    given = {"supervised": False, "hardening": hardening.exponential(2.0), **options}

    def loss(embeddings, labels):
        return parallel.objective(embeddings, labels, axis_name="devices", **given)

    halves = [jnp.reshape(x, (2, len(x) // 2, *x.shape[1:])) for x in (embeddings, labels)]
    return jax.vmap(loss, axis_name="devices")(*halves)[0]


PLACES = {"one device": on_one_device, "two devices": on_two_devices}

REFUSED = {
    r"labels must have shape \(\d+,\), one for each embedding, got shape": lambda loss: loss(
        EMBEDDINGS, LABELS[:6]
    ),
    "embeddings must be floating point, got dtype int32": lambda loss: loss(
        jnp.ones((8, 3), jnp.int32), LABELS
    ),
    r"embeddings must have shape \(n, dim\), or \(n, views, dim\) for.*, got shape": lambda loss: (
        loss(EMBEDDINGS[:, :, None, None], LABELS)
    ),
    "labels must be integers, got dtype float32": lambda loss: loss(EMBEDDINGS, LABELS * 1.0),
    "implementation must be one of .*, got 'nonsense'": lambda loss: loss(
        EMBEDDINGS, LABELS, implementation="nonsense"
    ),
    "implementation must be one of .*'nonsense'": lambda loss: loss(
        EMBEDDINGS, LABELS, implementation="nonsense", **SAMPLES
    ),
    "implementation='dense' is a form of the weights estimator": lambda loss: loss(
        EMBEDDINGS, LABELS, implementation="dense", **SAMPLES
    ),
    "average must be one of 'pairs', 'anchors', got 'mean'": lambda loss: loss(
        EMBEDDINGS, LABELS, average="mean"
    ),
    r"unknown options \['tau'\]": lambda loss: loss(EMBEDDINGS, LABELS, tau=1.0),
    "got num_negatives=3 and no key": lambda loss: loss(EMBEDDINGS, LABELS, num_negatives=3),
    "got num_negatives=None and a key": lambda loss: loss(EMBEDDINGS, LABELS, key=KEY),
    "num_negatives must be at least 1, got 0": lambda loss: loss(
        EMBEDDINGS, LABELS, num_negatives=0, key=KEY
    ),
    "num_negatives must be an integer, got 2.5": lambda loss: loss(
        EMBEDDINGS, LABELS, num_negatives=2.5, key=KEY
    ),
    "temperature and psi exclude each other": lambda loss: loss(
        EMBEDDINGS, LABELS, psi=psi.infonce(), temperature=0.5
    ),
    "self_negatives=True has no meaning for SCL and HSCL": lambda loss: loss(
        EMBEDDINGS, LABELS, supervised=True, self_negatives=True
    ),
    "self_positives must be one of False, True, got 'yes'": lambda loss: loss(
        EMBEDDINGS, LABELS, self_positives="yes"
    ),
    "precision must be one of .*got 'exact'": lambda loss: loss(
        EMBEDDINGS, LABELS, precision="exact"
    ),
    "reference_conventions must be one of False, True, got 1.5": lambda loss: loss(
        EMBEDDINGS, LABELS, reference_conventions=1.5
    ),
    "needs a product hardening": lambda loss: loss(
        EMBEDDINGS, LABELS, hardening=hardening.threshold_any(0.0)
    ),
    "samples estimator needs a product hardening": lambda loss: loss(
        EMBEDDINGS, LABELS, hardening=hardening.threshold_any(0.0), **SAMPLES
    ),
    "hardening must be a Hardening": lambda loss: loss(EMBEDDINGS, LABELS, hardening=5.0),
    "psi must be a Psi": lambda loss: loss(EMBEDDINGS, LABELS, psi=jnp.exp),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("message", REFUSED)
def test_refused_alike_on_one_device_and_many(unchecked, message, place):
    with pytest.raises((ValueError, TypeError), match=message):
        REFUSED[message](PLACES[place])


ONLY_OVER_DEVICES = {
    "exchange must be one of 'gather', 'ring', got 'nonsense'": {"exchange": "nonsense"},
    "over several devices the loss has the blockwise form, not 'dense'": {
        "implementation": "dense"
    },
    "over several devices the loss has the blockwise form, not 'pallas'": {
        "implementation": "pallas"
    },
    "samples estimator gathers the candidates": {"exchange": "ring", **SAMPLES},
    "InfoNCE": {"psi": psi.logistic_sum()},
}


@pytest.mark.parametrize("message", ONLY_OVER_DEVICES)
def test_refused_over_devices(unchecked, message):
    with pytest.raises(ValueError, match=message):
        on_two_devices(EMBEDDINGS, LABELS, **ONLY_OVER_DEVICES[message])


@pytest.mark.parametrize(("labels", "rows"), [(11, 12), (13, 12), (1, 12), (3, 4)])
def test_labels_that_do_not_fit_the_rows_of_a_device(unchecked, labels, rows):
    def loss(embeddings):
        numbers = jnp.zeros(labels, jnp.int32)
        return parallel.objective(
            embeddings,
            numbers,
            axis_name="devices",
            supervised=True,
            hardening=hardening.no_hardening(),
        )

    with pytest.raises(ValueError, match=rf"labels must have shape \({rows},\)"):
        jax.vmap(loss, axis_name="devices")(jnp.ones((2, rows, 2)))


@pytest.mark.parametrize("place", PLACES)
def test_an_explicit_option_beats_the_preset(place):
    loss = PLACES[place]
    preset = {"self_positives": True, "self_negatives": True}
    for average in ("pairs", "anchors"):
        found = loss(EMBEDDINGS, LABELS, reference_conventions=True, average=average)
        np.testing.assert_array_equal(found, loss(EMBEDDINGS, LABELS, average=average, **preset))
    pooled, by_anchor = (
        loss(EMBEDDINGS, LABELS, reference_conventions=True, average=a)
        for a in ("pairs", "anchors")
    )
    assert abs(pooled - by_anchor) > 1e-3
    without = loss(EMBEDDINGS, LABELS, reference_conventions=True, self_negatives=False)
    assert abs(without - pooled) > 1e-3


@pytest.mark.parametrize("supervised", [True, False])
def test_the_reference_preset_is_for_all_four(supervised):
    found = on_one_device(EMBEDDINGS, LABELS, supervised=supervised, reference_conventions=True)
    rows = pairs.rows(LABELS)
    minimised = Objective(supervised, hardening.exponential(2.0))
    losses = batch_losses(EMBEDDINGS, rows, minimised, REFERENCE_CONVENTIONS)
    np.testing.assert_array_equal(found, average_loss(losses))


@pytest.mark.parametrize("supervised", [True, False])
def test_whether_pairs_are_supervised_may_be_traced(supervised):
    conventions = Conventions(self_positives=True, self_negatives=True, implementation="dense")

    @jax.jit
    def loss(supervised, beta):
        minimised = Objective(supervised, hardening.exponential(beta))
        losses = batch_losses(EMBEDDINGS, pairs.rows(LABELS), minimised, conventions)
        return average_loss(losses)

    expected = on_one_device(EMBEDDINGS, LABELS, supervised=supervised, reference_conventions=True)
    np.testing.assert_allclose(loss(supervised, 2.0), expected, rtol=1e-6)


def test_conventions_are_static_and_collectives_equal_by_value():
    assert hash(Conventions()) == hash(
        dataclasses.replace(REFERENCE_CONVENTIONS, self_positives=False, self_negatives=False)
    )
    assert over_axis("devices") == over_axis("devices") != over_axis("devices", exchange="ring")
    assert SINGLE != over_axis("devices")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Conventions().average = "anchors"


def test_precision_reaches_the_products():
    def text(**options):
        return str(jax.make_jaxpr(lambda z: on_one_device(z, LABELS, **options))(EMBEDDINGS))

    for implementation in ("dense", "blockwise"):
        assert "HIGHEST" in text(implementation=implementation)
        lower = text(implementation=implementation, precision=jax.lax.Precision.DEFAULT)
        assert "HIGHEST" not in lower


def test_a_concrete_array_is_looked_at_once(monkeypatch):
    looked_at = []
    real = validation._all_finite
    monkeypatch.setattr(
        validation, "_all_finite", lambda x: looked_at.append(np.shape(x)) or real(x)
    )
    hcl_jax.hscl(EMBEDDINGS, LABELS, beta=2.0)
    assert looked_at.count(EMBEDDINGS.shape) == 1


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


WITHOUT_LOSS = {
    "no anchor of this batch has a positive, as the labels or groups of all 8 rows differ": (
        hcl_jax.ucl,
        jnp.arange(8),
    ),
    "no anchor of this batch has a negative, as all 8 labels are the same": (
        hcl_jax.scl,
        jnp.zeros(8, jnp.int32),
    ),
}


@pytest.mark.parametrize("message", WITHOUT_LOSS)
def test_a_batch_without_any_loss_is_said(message):
    loss, labels = WITHOUT_LOSS[message]
    with pytest.warns(hcl_jax.BatchWarning, match=message) as said:
        assert inspect.unwrap(loss)(EMBEDDINGS, labels) == 0
    assert said[0].filename == __file__
    with pytest.warns(hcl_jax.BatchWarning, match=message):
        jax.grad(loss)(EMBEDDINGS, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(EMBEDDINGS, labels, quiet=True)
        loss(EMBEDDINGS, LABELS)
        jax.jit(loss)(EMBEDDINGS, labels)


SEVERAL = jnp.arange(16).reshape(8, 2) == 16
RULE = hcl_jax.PairRule(lambda a, c: (a == c) & (a > 9), lambda a, c: a != c)
ALONE = hcl_jax.PairRule(lambda a, c: a + c == 4, lambda a, c: (a == 1) & (c != 1))
OTHERS = hcl_jax.Bank(EMBEDDINGS, 9 + jnp.arange(8))
ODDLY_WITHOUT_LOSS = {
    "no anchor .* a positive, as no row has a class": {"labels": SEVERAL},
    "no anchor .* a positive, as no two rows share a class": {"labels": jnp.eye(8, dtype=bool)},
    "no anchor .* a negative, as all rows share a class": {"labels": ~SEVERAL},
    "no anchor .* a positive by the pair rule": {"pair_rule": RULE},
    "no anchor .* a negative by the pair rule": {
        "pair_rule": hcl_jax.PairRule(lambda a, c: (a >= 0) & (c >= 0))
    },
    "no anchor .* has both a positive and a negative": {"pair_rule": ALONE},
    "no anchor .* a positive in the batch or the bank": {"labels": jnp.arange(8), "bank": OTHERS},
    "no anchor .* a negative in the batch or the bank": {
        "labels": jnp.zeros(8, int),
        "bank": hcl_jax.Bank(EMBEDDINGS, jnp.zeros(8, int)),
    },
    "no row of this batch has a label": {"labels": -jnp.ones(8, int), "ignore_label": -1},
    "the weights of all anchors that have a loss are 0": {"weights": jnp.zeros(8)},
    "the hardening function gives all negatives of this batch the weight 0": {
        "hardening": hardening.threshold(1.0)
    },
}


@pytest.mark.parametrize("message", ODDLY_WITHOUT_LOSS)
def test_whatever_leaves_no_loss_is_said(message):
    given = {"labels": LABELS, "hardening": hardening.no_hardening(), **ODDLY_WITHOUT_LOSS[message]}
    with pytest.warns(hcl_jax.BatchWarning, match=message):
        assert hcl_jax.objective(EMBEDDINGS, supervised=True, **given) == 0


def test_weights_of_some_anchors_and_a_bank_of_positives_are_no_cause_for_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hcl_jax.scl(EMBEDDINGS, LABELS, weights=jnp.arange(8.0)) > 0
        stored = hcl_jax.Bank(EMBEDDINGS[::-1], jnp.arange(8))
        assert hcl_jax.scl(EMBEDDINGS, jnp.arange(8), bank=stored) > 0


VIEWS = EMBEDDINGS.reshape(4, 2, DIM)
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

    found = jax.vmap(local, axis_name="devices")(VIEWS.reshape(2, 2, 2, DIM))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    with pytest.raises(
        ValueError, match=r"give labels or groups, or embeddings \(batch, views, dim\)"
    ):
        loss(EMBEDDINGS, **given)


def test_objectives_without_labels_over_devices_number_their_images(unchecked):
    given = {"supervised": True, "hardening": hardening.exponential(2.0)}

    def local(views):
        return parallel.objective(views, axis_name="devices", **given)

    found = jax.vmap(local, axis_name="devices")(VIEWS.reshape(2, 2, 2, DIM))
    np.testing.assert_allclose(found, hcl_jax.objective(VIEWS, **given), rtol=1e-6)
    with pytest.raises(ValueError, match="ignore_label is for labels, and none are given"):
        hcl_jax.objective(VIEWS, ignore_label=1, **given)
    with pytest.raises(ValueError, match="a pair rule needs keys of the rows"):
        hcl_jax.objective(VIEWS, pair_rule=RULE, **given)


UNKNOWN = {
    "scl has no hardness, hscl.embeddings, labels, beta=5.0. has": (hcl_jax.scl, {"beta": 5}),
    "ucl has no hardness, hucl.embeddings, labels, beta=...": (hcl_jax.ucl, {"beta": KEY}),
    r"hucl takes beta, .* call hcl_jax.objective\(.., supervised=False": (
        hcl_jax.hucl,
        {"beta": 1.0, "hardening": hardening.threshold(0.0)},
    ),
    r"scl has none, .* call hcl_jax.objective\(.., supervised=True": (
        hcl_jax.scl,
        {"hardening": hardening.threshold(0.0)},
    ),
    "supervised: scl and hscl are, ucl and hucl are not": (hcl_jax.scl, {"supervised": True}),
    "of supcon; did you mean temperature. known are": (hcl_jax.supcon, {"temprature": 1.0}),
    "tau: here temperature; known": (hcl_jax.nscl, {"tau": 1.0}),
    "axis_name: here collectives=hcl_jax.parallel.over_axis": (hcl_jax.nt_xent, {"axis_name": "d"}),
    r"unknown options \['collectives'\] of parallel.objective": (
        parallel.objective,
        {"axis_name": "d", "supervised": True, "hardening": None, "collectives": SINGLE},
    ),
}


@pytest.mark.parametrize("message", UNKNOWN)
def test_unknown_options_are_refused_with_what_may_have_been_meant(unchecked, message):
    loss, given = UNKNOWN[message]
    with pytest.raises(TypeError, match=message):
        loss(EMBEDDINGS, LABELS, **given)


def test_embeddings_outside_the_unit_ball_are_said():
    with pytest.warns(hcl_jax.BatchWarning, match="embeddings have norms up to 10,") as said:
        inspect.unwrap(hcl_jax.hscl)(10 * EMBEDDINGS, LABELS, beta=2.0)
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hcl_jax.hscl(10 * EMBEDDINGS, LABELS, beta=2.0, quiet=True)
        hcl_jax.hscl(EMBEDDINGS.astype(jnp.bfloat16), LABELS, beta=2.0)
        jax.jit(lambda z: hcl_jax.hscl(z, LABELS, beta=2.0))(10 * EMBEDDINGS)


def test_constants_of_a_traced_loop_are_checked_like_any_concrete_array():
    """Embeddings closed over by a loop are concrete, though what is computed there is traced."""

    def every_draw(embeddings):
        draws = jax.random.split(jax.random.key(3), 4)
        return jax.lax.map(
            lambda key: hcl_jax.hscl(embeddings, LABELS, beta=2.0, num_negatives=3, key=key), draws
        )

    alone = hcl_jax.hscl(
        EMBEDDINGS, LABELS, beta=2.0, num_negatives=3, key=jax.random.split(jax.random.key(3), 4)[1]
    )
    np.testing.assert_allclose(every_draw(EMBEDDINGS)[1], alone, rtol=1e-6)
    with pytest.warns(hcl_jax.BatchWarning, match="embeddings have norms up to 10,"):
        every_draw(10 * EMBEDDINGS)


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
