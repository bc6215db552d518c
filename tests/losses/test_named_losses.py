"""SupCon, NT-Xent and CLIP's loss: the numbers of other codes, in every form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec
from references import peer_formulas
from references.loss_cases import batch
from references.loss_forms import MESH, every_pair

import hcl_jax
from hcl_jax import hardening, parallel, psi
from hcl_jax.collectives import SINGLE

T = 0.2
Z, LABELS, _ = batch(count=24, dim=4, classes=5)
LABELS = LABELS.at[0].set(LABELS[1])
VIEWS = Z.reshape(12, 2, 4)
NEAR = (
    Z[:12, None]
    + jnp.array([0, 1])[:, None] * jnp.linspace(0.1, 2, 12)[:, None, None] * (Z[12:, None])
)  # pairs of views from close to far
NEAR /= jnp.linalg.norm(NEAR, axis=-1, keepdims=True)
OF_IMAGES = jnp.arange(12) % 5


def on_one_device(loss, *arrays, **options):
    return loss(*arrays, temperature=T, quiet=True, **options)


def over_devices(exchange, loss, *arrays, **options):
    def local(*shards):
        where = parallel.over_axis("devices", exchange=exchange)
        return loss(*shards, temperature=T, collectives=where, **options)

    spec = PartitionSpec("devices")
    return jax.shard_map(local, mesh=MESH, in_specs=spec, out_specs=PartitionSpec())(*arrays)


FORMS = {
    "dense": functools.partial(on_one_device, implementation="dense"),
    "blockwise": functools.partial(on_one_device, implementation="blockwise"),
    "gather": functools.partial(over_devices, "gather"),
    "ring": functools.partial(over_devices, "ring"),
}


def tilted_supcon(features):
    s = features.reshape(24, 4) @ features.reshape(24, 4).T
    same = np.repeat(np.asarray(OF_IMAGES), 2)
    positive = (same[:, None] == same) & ~np.eye(24, dtype=bool)
    weights = jnp.where(np.eye(24, dtype=bool), 0, jnp.exp(3 * s))
    total = 23 * (weights * jnp.exp(s / T)).sum(1) / weights.sum(1)
    losses = jnp.log(total)[:, None] - s / T
    return ((losses * positive).sum(1) / positive.sum(1)).mean()


def negatives_only(features):
    s = features.reshape(24, 4) @ features.reshape(24, 4).T / T
    labels = np.repeat(np.asarray(OF_IMAGES), 2)
    total = jnp.where(labels[:, None] != labels, jnp.exp(s), 0).sum(1)
    return (jnp.log(total) - s[np.arange(24), np.arange(24) ^ 1]).mean()


def mixed(loss, mix, features):
    """A share of self-supervised pairs beside supervised ones."""
    return (1 - mix) * loss(features, OF_IMAGES) + mix * loss(features)


def debiased(views, *, temperature, collectives=SINGLE, **options):
    """DCL and, with hardening, HCL: scl of views with a psi of its own."""
    first = collectives.index() * len(views)
    return hcl_jax.objective(
        views,
        jnp.arange(len(views)) + first,
        supervised=True,
        psi=psi.debiased(tau_plus=0.1, temperature=temperature),
        collectives=collectives,
        **options,
    )


def ranked(queries, texts, hard, **options):
    """One direction of clip, with more texts: MultipleNegativesRankingLoss."""
    anchors = jnp.repeat(jnp.array([1.0, 0.0]), len(queries))
    return hcl_jax.clip(queries, texts, weights=anchors, bank=hcl_jax.Bank(hard), **options)


def queued(queries, keys, queue, *, collectives=SINGLE, **options):
    """nt_xent whose only negatives are those of a queue: MoCo."""
    n = len(queries)
    return hcl_jax.nt_xent(
        jnp.concatenate([queries, keys]),
        jnp.zeros(2 * n, int),
        groups=jnp.tile(jnp.arange(n) + collectives.index() * n, 2),
        weights=jnp.repeat(jnp.array([1.0, 0.0]), n),
        bank=hcl_jax.Bank(queue),
        collectives=collectives,
        **options,
    )


CASES = {
    "one direction and hard negatives": (
        lambda form: lambda *z: form(ranked, *z),
        functools.partial(peer_formulas.multiple_negatives, temperature=T),
        (Z[:6], Z[6:12], Z[12:]),
    ),
    "queue": (
        lambda form: lambda *z: form(queued, *z),
        functools.partial(peer_formulas.moco, temperature=T),
        (Z[:6], Z[6:12], Z[12:]),
    ),
    "nscl": (
        lambda form: lambda z: form(hcl_jax.nscl, z, OF_IMAGES),
        negatives_only,
        (VIEWS,),
    ),
    "mix": (
        lambda form: functools.partial(mixed, functools.partial(form, hcl_jax.supcon), 0.3),
        functools.partial(
            mixed,
            functools.partial(peer_formulas.supcontrast, temperature=T, base_temperature=T),
            0.3,
        ),
        (VIEWS,),
    ),
    "supcon of classes": (
        lambda form: lambda z: form(hcl_jax.supcon, z, OF_IMAGES),
        lambda z: peer_formulas.supcontrast(z, OF_IMAGES, temperature=T, base_temperature=T),
        (VIEWS,),
    ),
    "supcon of images": (
        lambda form: lambda z: form(hcl_jax.supcon, z),
        lambda z: peer_formulas.supcontrast(z, temperature=T, base_temperature=T),
        (VIEWS,),
    ),
    "hard supcon": (
        lambda form: (
            lambda z: form(
                hcl_jax.supcon,
                z,
                OF_IMAGES,
                hardening=hardening.exponential(3.0),
                stop_gradient_hardening=False,
            )
        ),
        tilted_supcon,
        (VIEWS,),
    ),
    "nt_xent of classes": (
        lambda form: lambda z: form(hcl_jax.nt_xent, z, LABELS),
        lambda z: optax.losses.ntxent(z, LABELS, temperature=T),
        (Z,),
    ),
    "nt_xent of images": (
        lambda form: lambda z: form(hcl_jax.nt_xent, z),
        lambda z: peer_formulas.supcontrast(z, temperature=T, base_temperature=T),
        (VIEWS,),
    ),
    "clip": (
        lambda form: lambda x, y: form(hcl_jax.clip, x, y),
        lambda x, y: peer_formulas.clip(x, y, temperature=T),
        (VIEWS[:, 0], VIEWS[:, 1]),
    ),
    "HCL": (
        lambda form: (
            lambda z: form(
                hcl_jax.nt_xent,
                z,
                hardening=hardening.exponential(0.5 / T),
                stop_gradient_hardening=False,
            )
        ),
        lambda z: peer_formulas.hard_debiased(
            z[:, 0], z[:, 1], temperature=T, tau_plus=0.0, beta=0.5
        ),
        (VIEWS,),
    ),
}


def of_one_view(features):
    """SupContrast's contrast_mode "one": the anchors are the first views."""
    s = features.reshape(24, 4) @ features.reshape(24, 4).T / T
    labels = np.repeat(np.asarray(OF_IMAGES), 2)
    others = ~np.eye(24, dtype=bool)
    positive = (labels[:, None] == labels) & others
    losses = jnp.log(jnp.where(others, jnp.exp(s), 0).sum(1))[:, None] - s
    return ((losses * positive).sum(1) / positive.sum(1))[::2].mean()


def with_weights(form, features):
    """The same by weights of rows, which are 0 for all but the first view."""
    labels, weights = jnp.repeat(OF_IMAGES, 2), jnp.tile(jnp.array([1.0, 0.0]), 12)
    return form(
        lambda z, y, w, **o: hcl_jax.supcon(z, y, weights=w, **o), features, labels, weights
    )


CASES["supcon of one view"] = (
    lambda form: lambda z: with_weights(form, z.reshape(24, 4)),
    of_one_view,
    (VIEWS,),
)
CASES |= {
    f"debiased, beta = {beta}": (
        lambda form, beta=beta: (
            lambda z: form(
                debiased,
                z,
                hardening=hardening.exponential(beta / T),
                stop_gradient_hardening=False,
            )
        ),
        lambda z, beta=beta: peer_formulas.hard_debiased(
            z[:, 0], z[:, 1], temperature=T, tau_plus=0.1, beta=beta
        ),
        (NEAR,),
    )
    for beta in (0.0, 0.5)
}
QUICK = {
    ("debiased, beta = 0.5", "dense"),
    ("debiased, beta = 0.5", "blockwise"),
    ("supcon of classes", "dense"),
    ("nt_xent of classes", "dense"),
    ("supcon of classes", "blockwise"),
    ("nscl", "dense"),
    ("clip", "ring"),
    ("one direction and hard negatives", "ring"),
    ("queue", "dense"),
}
EVERY_CASE = every_pair(CASES, FORMS, QUICK)


def on_the_sphere(arrays):
    return [a / jnp.linalg.norm(a, axis=-1, keepdims=True) for a in map(jnp.float64, arrays)]


@pytest.mark.parametrize(("case", "form"), EVERY_CASE)
@pytest.mark.usefixtures("x64")
def test_every_form_has_the_numbers_of_the_formula(case, form):
    ours, theirs, arrays = CASES[case]
    arrays = on_the_sphere(arrays)
    places = tuple(range(len(arrays)))
    found, wanted = (
        jax.jit(jax.value_and_grad(loss, argnums=places))(*arrays)
        for loss in (ours(FORMS[form]), theirs)
    )
    if "nt_xent of classes" == case:  # optax takes norms itself, to which it adds 1e-16
        wanted = wanted[0], tuple(_tangential(g, a) for g, a in zip(wanted[1], arrays, strict=True))
        found = found[0], tuple(_tangential(g, a) for g, a in zip(found[1], arrays, strict=True))
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-9)
    for got, expected in zip(found[1], wanted[1], strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-9 * np.abs(expected).max())


def _tangential(gradient, points):
    """The part of a gradient along the sphere, which is all that a normalisation lets through."""
    return gradient - points * (gradient * points).sum(-1, keepdims=True)


def test_some_pairs_are_at_the_bound_of_the_debiased_loss_and_some_are_not():
    s = np.array(NEAR[:, 0] @ NEAR.reshape(24, 4).T) / T
    for k in range(12):
        s[k, 2 * k] = -np.inf
    positive = s[np.arange(12), 2 * np.arange(12) + 1]
    negatives = np.exp(s).sum(1) - np.exp(positive)
    bounded = (negatives / 22 - 0.1 * np.exp(positive)) / 0.9 < np.exp(-1 / T)
    assert 0 < bounded.sum() < 12


def of_projections(loss, *arrays):
    """Value and gradient with respect to projections that are then normalised."""

    def of_unnormalised(*projections):
        return loss(*map(hcl_jax.normalization.unit_sphere, projections))

    return jax.value_and_grad(of_unnormalised, argnums=tuple(range(len(arrays))))(*arrays)


def of_torch(torch, loss, *arrays):
    tensors = [torch.tensor(np.asarray(a), requires_grad=True) for a in arrays]
    value = loss(*tensors)
    value.backward()
    return value.item(), [tensor.grad.numpy() for tensor in tensors]


def assert_equal(found, wanted):
    """To the five digits that small constants of the other code leave."""
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5)
    for got, expected in zip(found[1], wanted[1], strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-5 * np.abs(expected).max())


PROJECTIONS = 3 * np.random.default_rng(0).normal(size=(24, 4))


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_pytorch_metric_learning_has_these_losses():
    torch = pytest.importorskip("torch")
    theirs = pytest.importorskip("pytorch_metric_learning.losses")
    labels = torch.tensor(np.asarray(LABELS))
    for ours, loss in (
        (hcl_jax.supcon, theirs.SupConLoss(temperature=T)),
        (hcl_jax.nt_xent, theirs.NTXentLoss(temperature=T)),
    ):
        found = of_projections(lambda z, f=ours: f(z, LABELS, temperature=T), PROJECTIONS)
        assert_equal(found, of_torch(torch, lambda z, f=loss: f(z, labels), PROJECTIONS))


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_lightly_has_nt_xent_of_images():
    torch = pytest.importorskip("torch")
    lightly = pytest.importorskip("lightly.loss", exc_type=ImportError)
    views = PROJECTIONS[::2], PROJECTIONS[1::2]
    found = of_projections(
        lambda x, y: hcl_jax.nt_xent(jnp.stack([x, y], axis=1), temperature=T), *views
    )
    assert_equal(found, of_torch(torch, lightly.NTXentLoss(temperature=T), *views))


@jax.jit
def with_and_without_the_axis(views):
    images = jnp.arange(12)
    return [
        [
            hcl_jax.hscl(z, repeat(OF_IMAGES), beta=2.0, groups=repeat(images) if g else None)
            for g in (0, 1)
        ]
        for z, repeat in ((views, jnp.asarray), (views.reshape(24, 4), lambda x: jnp.repeat(x, 2)))
    ]


@pytest.mark.usefixtures("x64")
def test_views_are_rows():
    with_axis, without = with_and_without_the_axis(jnp.float64(VIEWS))
    np.testing.assert_allclose(with_axis, without, rtol=1e-12)
    assert abs(with_axis[0] - with_axis[1]) > 1e-3


@jax.jit
def by_default_and_at_the_papers_temperature(x, y):
    return [hcl_jax.clip(x, y, **given) for given in ({}, {"temperature": 0.07})]


def test_the_default_is_the_papers_temperature():
    one, other = by_default_and_at_the_papers_temperature(VIEWS[:, 0], VIEWS[:, 1])
    assert one == other


@pytest.mark.parametrize(
    ("message", "call"),
    {
        "this loss has a psi of its own": lambda: hcl_jax.supcon(Z, LABELS, psi=psi.infonce()),
        "temperature must be positive, got 0.0": lambda: hcl_jax.nt_xent(
            Z, LABELS, temperature=0.0
        ),
        r"give labels or groups, or embeddings \(batch, views, dim\)": lambda: hcl_jax.nt_xent(Z),
        r"give groups, or embeddings \(batch, views, dim\)": lambda: hcl_jax.nscl(Z, LABELS),
        r"images and texts must have one shape.*\(24, 4\) and \(23, 4\)": lambda: hcl_jax.clip(
            Z, Z[1:]
        ),
        "clip pairs row i with row i": lambda: hcl_jax.clip(Z, Z, groups=LABELS),
        "its partner alone; self_positives": lambda: hcl_jax.clip(Z, Z, self_positives=True),
        "reference_conventions stands for": lambda: hcl_jax.clip(Z, Z, reference_conventions=True),
        "labels 0 and 1, .* got 0": lambda: hcl_jax.clip(Z, Z, ignore_label=0),
        r"labels must have shape \(12,\), one for each image": lambda: hcl_jax.supcon(
            VIEWS, LABELS
        ),
        r"embeddings must have shape \(n, dim\), or \(n, views, dim\)": lambda: hcl_jax.scl(
            Z[None, None], LABELS[:1]
        ),
        r"weights must have shape \(12,\), one for each image.*\(12, 2\)": lambda: hcl_jax.supcon(
            VIEWS, weights=jnp.ones((12, 2))
        ),
        r"unknown options \['tau'\]": lambda: hcl_jax.supcon(Z, LABELS, tau=1.0),
        r"unknown options \['beta'\] of supcon; beta: of hscl and hucl": lambda: hcl_jax.supcon(
            Z, LABELS, beta=1.0
        ),
        r"unknown options \['labels'\]": lambda: hcl_jax.clip(Z, Z, labels=LABELS),
        r"collectives must be .* got 'devices'": lambda: hcl_jax.clip(Z, Z, collectives="devices"),
    }.items(),
)
@pytest.mark.usefixtures("unchecked")
def test_errors(message, call):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
