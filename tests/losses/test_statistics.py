"""Statistics that come with the loss, in every form of it, against loops over the pairs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from references.loss_cases import batch
from references.loss_forms import every_pair, forms

import hcl_jax
from hcl_jax import hardening, losses, pairs, psi, with_statistics
from hcl_jax.losses._blockwise.loss import blockwise_losses
from hcl_jax.losses._blockwise.options import TileOptions
from hcl_jax.losses.tilted_infonce import tilted_infonce

Z, LABELS, _ = batch(count=18, dim=4, classes=4)
LABELS = LABELS.at[3].set(7)  # a row without positives
STORED, OF_STORED, _ = batch(count=6, dim=4, classes=4, seed=1)


def in_tiles(z, arrays, **options):
    """Tiles of 8 rows, some of them half empty."""
    chosen = pairs.supervised if options["supervised"] else pairs.unsupervised
    found = blockwise_losses(
        tilted_infonce(None, options["hardening"]),
        z,
        chosen(pairs.rows(arrays["labels"])),
        None,
        TileOptions(block=8, statistics=True),
    )
    return losses.average_loss(found), losses.loss_statistics(found)


FORMS = forms(with_statistics(hcl_jax.objective)) | {"tiles": in_tiles}


def looped(z, stored, supervised, log_eta):
    """The similarities of positives and of negatives, and the effective numbers."""
    everyone = np.concatenate([z, stored])
    labels = np.concatenate([LABELS, OF_STORED[: len(stored)]])
    similar, others, effective = [], [], []
    for i in range(len(z)):
        positives = [j for j in range(len(everyone)) if j != i and labels[i] == labels[j]]
        negatives = [
            j for j in range(len(everyone)) if (labels[i] != labels[j] if supervised else j != i)
        ]
        similar += [z[i] @ everyone[j] for j in positives]
        others += [z[i] @ everyone[j] for j in negatives]
        weights = np.exp(log_eta(everyone[negatives] @ z[i]))
        if positives and weights.sum() > 0:
            effective.append(weights.sum() ** 2 / np.square(weights).sum())
    return np.array(similar), np.array(others), np.array(effective)


def check(found, z, stored, supervised, log_eta, rtol=1e-12):
    similar, others, effective = looped(z, stored, supervised, log_eta)
    for part, wanted in ((found.positives, similar), (found.negatives, others)):
        assert part.pairs == len(wanted)
        np.testing.assert_allclose(part.mean, wanted.mean(), rtol=rtol, atol=rtol)
        np.testing.assert_allclose(part.variance, wanted.var(), rtol=rtol, atol=rtol)
        edges = np.linspace(-1, 1, 129)
        np.testing.assert_array_equal(
            part.histogram, np.histogram(np.clip(wanted, -1, 1), edges)[0]
        )
        for share in (0.0, 0.25, 0.5, 0.9, 1.0):
            exact = np.quantile(wanted, share, method="inverted_cdf")
            assert abs(part.quantile(share) - exact) <= 1 / 64 + 1e-6
    np.testing.assert_allclose(found.effective_negatives, effective.mean(), rtol=rtol)
    assert (found.defined, found.undefined) == (len(effective), len(z) - len(effective))


ETAS = {
    "exponential": lambda beta: hardening.exponential(beta),
    "threshold": lambda beta: hardening.threshold(0.1 * beta),
    "none": lambda beta: hardening.no_hardening(),
}
LOGS = {
    "exponential": lambda beta, s: beta * s,
    "threshold": lambda beta, s: np.where(s >= 0.1 * beta, 0, -np.inf),
    "none": lambda beta, s: 0 * s,
}
QUICK = {("exponential", "tiles"), ("exponential", "ring"), ("none", "dense")}


@pytest.mark.parametrize(
    ("eta", "form"),
    every_pair(ETAS, FORMS, QUICK),
)
@pytest.mark.usefixtures("x64")
def test_every_form_is_the_loop(eta, form):
    """Also where sums less a constant leave the range, and where eta is constant."""
    supervised = form in ("tiles", "gather", "dense")
    stored = STORED if form in ("blockwise", "gather") else STORED[:0]

    @jax.jit
    def step(z, beta):
        arrays = {"labels": LABELS}
        if len(stored):
            arrays["bank"] = hcl_jax.Bank(jnp.float64(stored), OF_STORED)

        def loss(z):
            options = {"supervised": supervised, "hardening": ETAS[eta](beta)}
            return FORMS[form](z, arrays, **options)

        return jax.value_and_grad(loss, has_aux=True)(z)

    z = jnp.float64(Z)
    for beta in (0.0, 3.0, 900.0) if eta == "exponential" else (3.0,):
        (value, found), gradient = step(z, beta)
        log_eta = functools.partial(LOGS[eta], min(beta, 900.0))
        exact = [np.asarray(z), np.asarray(stored, np.float64)]
        if beta < 900:
            check(found, *exact, supervised, log_eta)
        else:  # only the most similar negative has weight
            np.testing.assert_allclose(found.effective_negatives, 1, rtol=1e-3)
        assert jnp.isfinite(value)
        assert jnp.isfinite(gradient).all()


def test_the_value_is_that_without_statistics():
    @functools.partial(jax.jit, static_argnums=1)
    def both(z, implementation):
        options = {"beta": 3.0, "implementation": implementation}
        value, _ = with_statistics(hcl_jax.hucl)(z, LABELS, **options)
        return value, hcl_jax.hucl(z, LABELS, **options)

    for name in ("dense", "blockwise"):
        np.testing.assert_allclose(*both(Z, name), rtol=1e-6)


def test_statistics_are_constants_and_survive_collapse():
    """Nearly equal similarities have their variance, and a batch without pairs has zeros."""
    z = jnp.array([[1.0, 0.0], [1.0, 1e-4], [1.0, 2e-4], [0.0, 1.0]])
    z /= jnp.linalg.norm(z, axis=1, keepdims=True)
    labels = jnp.array([0, 0, 0, 1])

    def spread(z, labels):
        found = with_statistics(hcl_jax.scl)(z, labels, quiet=True)[1]
        return found.positives.variance + found.negatives.mean, found

    with jax.debug_nans(True):
        gradient, found = jax.jit(jax.grad(spread, has_aux=True))(z, labels)
        _, nothing = jax.jit(spread)(z, jnp.arange(4))
    assert not gradient.any()
    s = np.asarray(z, np.float64) @ np.asarray(z, np.float64).T
    exact = np.array([s[0, 1], s[0, 2], s[1, 2]] * 2)
    assert abs(found.positives.variance - exact.var()) < 2.0**-24 * 2e-7 + 2.0**-46
    assert nothing.positives.pairs == nothing.positives.mean == nothing.effective_negatives == 0
    assert nothing.positives.quantile(0.5) == 0
    assert nothing.undefined == 4


def test_similarities_beyond_the_ball_are_in_the_outermost_intervals():
    z, labels = jnp.array([[3.0], [2.0], [-2.0], [-3.0]]), jnp.array([0, 0, 1, 1])
    found = jax.jit(with_statistics(hcl_jax.scl))(z, labels)[1]
    assert found.positives.histogram[-1] == 4
    assert found.negatives.histogram[0] == 8
    assert found.negatives.quantile(0.0) < -1 + 1 / 64


def test_masked_negatives_count_as_pairs_and_not_as_effective():
    eta = hcl_jax.without_false_negatives(hardening.no_hardening(), margin=0.2)
    for implementation in ("dense", "blockwise"):
        loss = functools.partial(hcl_jax.nt_xent, hardening=eta, implementation=implementation)
        found = jax.jit(with_statistics(loss))(Z, LABELS)[1]
        assert found.negatives.pairs == jnp.sum(LABELS[:, None] != LABELS)
        assert found.effective_negatives < found.negatives.pairs / 18 - 1


def test_a_traced_share_out_of_range_has_no_quantile():
    quantile = jax.jit(with_statistics(hcl_jax.scl)(Z, LABELS)[1].negatives.quantile)
    assert np.isnan([quantile(share) for share in (-0.1, 1.1, jnp.nan)]).all()
    assert np.isfinite([quantile(share) for share in (0.0, 0.5, 1.0)]).all()


@pytest.mark.parametrize(
    ("message", "call"),
    {
        "the samples estimator has no statistics": lambda: with_statistics(hcl_jax.scl)(
            Z, LABELS, num_negatives=2, key=jax.random.key(0)
        ),
        "the pallas form of this loss has no statistics": lambda: with_statistics(hcl_jax.scl)(
            Z, LABELS, implementation="pallas"
        ),
        "the blockwise form of this loss has no statistics": lambda: with_statistics(hcl_jax.scl)(
            Z, LABELS, psi=psi.linear(), implementation="blockwise"
        ),
        "compiled already": lambda: with_statistics(jax.jit(hcl_jax.scl)),
        "compiled already; give it first": lambda: with_statistics(
            functools.partial(jax.jit(hcl_jax.scl), temperature=1.0)
        ),
        "or a functools.partial of one, got a function that takes no": lambda: with_statistics(
            lambda z: hcl_jax.scl(z, LABELS)
        ),
        "loss must be a function, got None": lambda: with_statistics(None),
        "loss must be a loss of hcl_jax that takes": lambda: with_statistics(
            lambda z, report: z.sum()
        )(Z),
        "report must be a function": lambda: hcl_jax.scl(Z, LABELS, report=1),
        "these losses have no statistics": lambda: losses.loss_statistics(
            losses.contrastive_loss(Z, pairs.supervised(pairs.rows(LABELS)))
        ),
        "share must lie between 0 and 1": lambda: with_statistics(hcl_jax.scl)(Z, LABELS)[
            1
        ].positives.quantile(1.5),
        "statistics must be one of": lambda: losses.contrastive_loss(
            Z, pairs.supervised(pairs.rows(LABELS)), statistics="all"
        ),
    }.items(),
)
@pytest.mark.usefixtures("unchecked")
def test_errors(message, call):
    with pytest.raises((ValueError, TypeError, NotImplementedError), match=message):
        call()
