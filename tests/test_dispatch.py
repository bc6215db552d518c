"""The one function: what is refused there, alike for one device and many, and what it computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references.places import EMBEDDINGS, LABELS, PLACES, on_one_device, on_two_devices

import hcl_jax
from hcl_jax import hardening, pairs, parallel, psi
from hcl_jax.conventions import Conventions, Objective
from hcl_jax.dispatch import batch_losses
from hcl_jax.losses import average_loss
from hcl_jax.validation import arrays, numbers
from hcl_jax.validation.concrete import all_finite

KEY = jax.random.key(1)
SAMPLES = {"num_negatives": 3, "key": KEY}


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


def test_precision_reaches_the_products():
    def text(**options):
        return str(jax.make_jaxpr(lambda z: on_one_device(z, LABELS, **options))(EMBEDDINGS))

    for implementation in ("dense", "blockwise"):
        assert "HIGHEST" in text(implementation=implementation)
        lower = text(implementation=implementation, precision=jax.lax.Precision.DEFAULT)
        assert "HIGHEST" not in lower


def test_a_concrete_array_is_looked_at_once(monkeypatch):
    looked_at = []
    for module in (arrays, numbers):
        monkeypatch.setattr(
            module, "all_finite", lambda x: looked_at.append(np.shape(x)) or all_finite(x)
        )
    hcl_jax.hscl(EMBEDDINGS, LABELS, beta=2.0)
    assert looked_at.count(EMBEDDINGS.shape) == 1


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
