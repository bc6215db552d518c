"""Functions of a user's own in a `Psi` or a `Hardening`, and what can be differentiated how."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from jax.tree_util import Partial
from references.loss_cases import batch
from references.loss_forms import MESH

from hcl_jax import Conventions, Objective, hardening, objective, pairs, parallel, psi
from hcl_jax.dispatch import batch_losses
from hcl_jax.losses import average_loss, contrastive_loss, sampled_contrastive_loss

Z, LABELS, _ = batch(count=24, dim=4, classes=4)
KEY = jax.random.key(5)


def tripled(similarities):
    return 3 * similarities


def log_one_plus(x, count):
    return jnp.logaddexp(0, x)


OWN = hardening.Hardening(tripled, None)
SHIPPED = hardening.exponential(3.0)


def own_psi():
    """InfoNCE with plain functions in every place."""

    def of_differences(v):
        return jnp.logaddexp(0, jax.nn.logsumexp(v, axis=-1) - jnp.log(v.shape[-1]))

    return psi.Psi(of_differences, log_one_plus)


def two_sets(z, **options):
    keys = pairs.supervised(pairs.rows(LABELS), pairs.rows(LABELS), same_batch=True)
    return average_loss(contrastive_loss(z, keys, z + 0, **options))


def over_devices(**chosen):
    def loss(z, **options):
        def local(z, labels):
            options_here = {**options, **chosen}
            return parallel.objective(
                z, labels, axis_name="devices", supervised=True, **options_here
            )

        spec = PartitionSpec("devices")
        shards = jax.shard_map(local, mesh=MESH, in_specs=spec, out_specs=PartitionSpec())
        return shards(z, LABELS)

    return loss


def on_one_device(**chosen):
    return lambda z, **options: objective(z, LABELS, supervised=True, **chosen, **options)


FORMS = {
    "dense": on_one_device(implementation="dense"),
    "blockwise": on_one_device(implementation="blockwise"),
    "samples": on_one_device(num_negatives=3, key=KEY),
    "two sets": lambda z, **options: two_sets(z, implementation="blockwise", **options),
    "gathered": over_devices(exchange="gather"),
    "ring": over_devices(exchange="ring"),
    "samples over devices": over_devices(num_negatives=3, key=KEY),
}
OTHERS = ("two sets", "gathered", "ring", "samples over devices")
EVERY_FORM = [
    pytest.param(form, marks=pytest.mark.slow if form in OTHERS else ()) for form in FORMS
]


@pytest.mark.parametrize("form", EVERY_FORM)
def test_plain_functions_are_as_good_as_shipped_ones(form):
    def value(z, eta, function):
        return FORMS[form](z, hardening=eta, psi=function)

    found = jax.jit(jax.value_and_grad(lambda z: value(z, OWN, own_psi())))(Z)
    wanted = jax.jit(jax.value_and_grad(lambda z: value(z, SHIPPED, psi.infonce())))(Z)
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-6)
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("form", EVERY_FORM)
def test_closures_over_traced_numbers(form):
    """One compilation serves every number, as with a `Partial` of it."""
    traces = []

    @jax.jit
    def gradient(beta, scale):
        traces.append(form)
        eta = hardening.Hardening(lambda t: beta * t)
        own = psi.Psi(
            lambda v: scale * jnp.max(v, axis=-1), lambda x, _: scale * jnp.logaddexp(0, x)
        )
        return jax.grad(lambda z: FORMS[form](z, hardening=eta, psi=own))(Z)

    for beta, scale in ((3.0, 1.0), (0.5, 2.0)):
        eta = hardening.exponential(beta)
        own = psi.Psi(Partial(hardest, scale), Partial(scaled_softplus, scale))
        wanted = jax.jit(
            jax.grad(lambda z, eta=eta, own=own: FORMS[form](z, hardening=eta, psi=own))
        )
        np.testing.assert_allclose(gradient(beta, scale), wanted(Z), rtol=1e-5, atol=1e-7)
    assert len(traces) == 1


def hardest(scale, differences):
    return scale * jnp.max(differences, axis=-1)


def scaled_softplus(scale, x, count):
    return scale * jnp.logaddexp(0, x)


@pytest.mark.parametrize("implementation", ["dense", "blockwise"])
def test_plain_terms_of_separable_losses(implementation):
    margin = jnp.float32(0.25)

    def own(margin):
        return psi.Psi(
            lambda v: jnp.sum(v + margin, axis=-1), term=lambda v: jax.nn.relu(v + margin)
        )

    def loss(z, function):
        return objective(
            z, LABELS, supervised=False, hardening=OWN, psi=function, implementation=implementation
        )

    found = jax.jit(lambda margin: jax.grad(lambda z: loss(z, own(margin)))(Z))(margin)
    wanted = jax.jit(jax.grad(lambda z: loss(z, psi.triplet_sum(margin=margin))))(Z)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-7)


def test_numbers_closed_over_have_gradients():
    def loss(beta, implementation):
        eta = hardening.Hardening(lambda t: beta * t)
        return objective(Z, LABELS, supervised=True, hardening=eta, implementation=implementation)

    def shipped(beta):
        eta = hardening.exponential(beta)
        return objective(Z, LABELS, supervised=True, hardening=eta, implementation="dense")

    slope = jax.jit(jax.grad(loss), static_argnums=1)
    wanted = jax.jit(jax.grad(shipped))(3.0)
    np.testing.assert_allclose(slope(3.0, "dense"), wanted, rtol=1e-5)
    np.testing.assert_allclose(slope(3.0, "blockwise"), wanted, rtol=1e-5)


def test_a_joint_function_that_is_not_used_is_not_called():
    def of_three(differences):
        assert differences.shape[-1] == 3
        return differences.sum(axis=-1)

    own = psi.Psi(of_three, log_one_plus)
    keys = pairs.supervised(pairs.rows(LABELS))

    @jax.jit
    def totals(z):
        found = contrastive_loss(z, keys, psi=own, implementation="blockwise")
        wanted = contrastive_loss(z, keys, implementation="dense")
        drawn = sampled_contrastive_loss(KEY, z, keys, num_negatives=3, psi=own)
        return found.total, wanted.total, drawn.total

    found, wanted, drawn = totals(Z)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert np.isfinite(drawn).all()


@pytest.mark.parametrize("make", [psi.infonce, psi.triplet_max, psi.squared_hinge, psi.linear])
def test_a_psi_goes_through_jit(make):
    """A `Psi` is a pytree of numbers: none of its leaves decides a shape."""

    def loss(function):
        return objective(
            Z, LABELS, supervised=False, hardening=SHIPPED, psi=function, num_negatives=3, key=KEY
        )

    np.testing.assert_allclose(jax.jit(loss)(make()), jax.jit(lambda: loss(make()))(), rtol=1e-6)


FORWARD = {
    "jvp": lambda loss: jax.jvp(loss, (Z,), (Z,)),
    "jvp under jit": lambda loss: jax.jit(lambda z: jax.jvp(loss, (z,), (z,)))(Z),
    "jacfwd": lambda loss: jax.jacfwd(loss)(Z),
    "jacfwd under jit": lambda loss: jax.jit(jax.jacfwd(loss))(Z),
    "linearize": lambda loss: jax.linearize(loss, Z)[1](Z),
    "hessian": lambda loss: jax.hessian(loss)(Z),
    "reverse over reverse": lambda loss: jax.jacrev(jax.grad(loss))(Z),
}


@pytest.mark.parametrize(
    ("form", "mode"),
    [("samples", mode) for mode in FORWARD]
    + [
        pytest.param("samples over devices", mode, marks=pytest.mark.slow)
        for mode in ("jvp under jit", "hessian")
    ],
)
def test_forward_mode_and_second_derivatives_are_refused_in_our_words(form, mode):
    with pytest.raises(NotImplementedError, match="can be differentiated once, in reverse mode"):
        FORWARD[mode](lambda z: FORMS[form](z, hardening=SHIPPED))


def test_stopped_hardening_stops_embeddings_and_not_beta():
    """The gradient with respect to beta is a covariance under the law, detached or not."""

    def loss(beta, stopped):
        rows = pairs.rows(LABELS)
        losses = batch_losses(
            Z,
            rows,
            Objective(True, hardening.exponential(beta)),
            Conventions(stop_gradient_hardening=stopped, implementation="dense"),
        )
        return average_loss(losses)

    step = 1e-2
    compiled = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    slope = (compiled(2 + step, True)[0] - compiled(2 - step, True)[0]) / (2 * step)
    for stopped in (True, False):
        np.testing.assert_allclose(compiled(2.0, stopped)[1], slope, rtol=1e-3)


NOT_MONOTONE = {
    "even, flat at both ends": lambda t: 4 * t**2,
    "even, falling": lambda t: -4 * t**2,
    "waves": lambda t: 3 * jnp.sin(7 * t),
    "peak far above both ends": lambda t: 200 * jnp.exp(-(t**2) / 0.1),
}


@pytest.mark.parametrize("detached", [True, False])
@pytest.mark.parametrize("name", NOT_MONOTONE)
def test_functions_that_are_not_monotone_are_the_same_blockwise(x64, name, detached):
    z = np.asarray(Z, np.float64)

    def loss(z, form):
        eta = hardening.Hardening(NOT_MONOTONE[name], None)
        return FORMS[form](z, hardening=eta, stop_gradient_hardening=detached)

    value_and_gradient = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    wanted = value_and_gradient(z, "dense")
    found = value_and_gradient(z, "blockwise")
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-12)
    scale = float(jnp.abs(wanted[1]).max())
    np.testing.assert_allclose(found[1], wanted[1], atol=1e-10 * scale)


@partial(jax.jit, static_argnums=2)
@jax.grad
def gradient_under_sigmoid(z, beta, form):
    return FORMS[form](z, hardening=hardening.sigmoid(beta, 0.1), temperature=0.1)


@pytest.mark.parametrize("beta", [-8.0, -60.0])
def test_falling_sigmoids_have_the_same_gradient_blockwise(beta):
    """log eta + s / temperature then rises and falls, and is above its values at both ends."""
    wanted = gradient_under_sigmoid(Z, beta, "dense")
    found = gradient_under_sigmoid(Z, beta, "blockwise")
    np.testing.assert_allclose(found, wanted, atol=1e-5 * float(jnp.abs(wanted).max()))


WRONG = {
    "python number": (lambda t: 0.0, "floating point of shape"),
    "nothing": (lambda t: None, "got NoneType"),
    "sum": (lambda t: t.sum(), "as many numbers as it gets"),
    "other shape": (lambda t: jnp.zeros(3), r"got float32\[3\]"),
    "integers": (lambda t: (t > 0).astype(jnp.int32), "got int32"),
    "complex": (lambda t: t + 1j, "got complex64"),
    "math": (math.exp, "must be written with jax.numpy"),
    "numpy": (np.exp, "must be written with jax.numpy"),
    "branch": (lambda t: t if t > 0 else 2 * t, "must be written with jax.numpy"),
    "pytree": (Partial(lambda t: t.sum()), "as many numbers as it gets"),
}


@pytest.mark.parametrize("form", ["dense", "blockwise", "samples"])
@pytest.mark.parametrize("name", WRONG)
def test_wrong_functions_of_similarities_are_named(unchecked, form, name):
    function, message = WRONG[name]
    with pytest.raises(TypeError, match=f"log_factor of the hardening .*{message}"):
        FORMS[form](Z, hardening=hardening.Hardening(function))


@pytest.mark.parametrize("name", [name for name in WRONG if name != "branch"])
def test_wrong_functions_of_differences_are_named(unchecked, name):
    function, _ = WRONG[name]
    sampled = psi.Psi(lambda v: jnp.zeros(v.shape))
    separable = psi.Psi(lambda v: v.sum(-1), term=function)
    with pytest.raises(TypeError, match="term of psi must"):
        FORMS["dense"](Z, hardening=SHIPPED, psi=separable)
    with pytest.raises(
        TypeError, match="of_differences of psi must return one number for each row"
    ):
        FORMS["samples"](Z, hardening=SHIPPED, psi=sampled)


@pytest.mark.parametrize("form", ["dense", "blockwise"])
def test_a_link_returns_a_number_for_each_pair(unchecked, form):
    with pytest.raises(TypeError, match="link of psi must return as many numbers as it gets"):
        FORMS[form](Z, hardening=SHIPPED, psi=own_psi()._replace(link=lambda x, count: x.sum()))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"temperature": 0.0}, "temperature of psi must be positive, got 0.0"),
        ({"temperature": "1"}, "temperature of psi must be a real number"),
        ({"temperature": jnp.ones(2)}, "temperature of psi must be a single number"),
        ({"link": "exp"}, "link of psi must be a function"),
        ({"of_differences": None}, "of_differences of psi must be a function"),
        ({"term": jnp.abs}, r"must have a link \(InfoNCE\) or a term .*, got both"),
    ],
)
def test_a_psi_of_wrong_parts_is_refused(unchecked, parts, message):
    with pytest.raises((ValueError, TypeError), match=message):
        FORMS["dense"](Z, hardening=SHIPPED, psi=own_psi()._replace(**parts))


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        ((None, None), "must have a log_factor .* got neither"),
        ((tripled, tripled), "must have a log_factor .* got both"),
        (("exp", None), "log_factor of the hardening must be a function, got 'exp'"),
    ],
)
def test_a_hardening_of_wrong_parts_is_refused(unchecked, functions, message):
    with pytest.raises((ValueError, TypeError), match=message):
        FORMS["dense"](Z, hardening=hardening.Hardening(*functions))


@pytest.mark.parametrize("form", ["dense", "blockwise", "samples"])
def test_numbers_of_another_floating_point_are_converted(form):
    def narrow(t):
        return (3 * t).astype(jnp.bfloat16)

    def rounded(t):
        return narrow(t).astype(jnp.float32)

    found, wanted = (
        FORMS[form](Z, hardening=hardening.Hardening(eta)) for eta in (narrow, rounded)
    )
    assert found == wanted


@pytest.mark.parametrize("form", ["dense", "blockwise", "samples"])
def test_nan_of_a_hardening_is_seen(form):
    assert jnp.isnan(FORMS[form](Z, hardening=hardening.Hardening(lambda t: t * jnp.nan)))
