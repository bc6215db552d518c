"""Forward mode, second and third derivatives of every form: those of the dense form."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from references.loss_cases import batch
from references.loss_forms import MESH, supervised_forms

import hcl_jax
from hcl_jax import hardening, parallel, psi

Z, LABELS, _ = batch(count=24, dim=4, classes=4)
V = np.asarray(jax.random.normal(jax.random.key(5), Z.shape))
NUMBERS = {"beta": 2.0, "center": 0.3, "alpha": 0.7, "q": 2.0, "temperature": 0.4}
MOVED = {"beta": 0.3, "center": -0.1, "alpha": 0.2, "q": 1.0, "temperature": -0.2}

LAWS = {
    "sigmoid": lambda n: hardening.sigmoid(n["beta"], n["center"]),
    "exponential": lambda n: hardening.exponential(n["beta"]),
    "exponential of 0": lambda n: hardening.exponential(n["beta"] - 2.0),
    "threshold": lambda n: hardening.threshold(n["center"]),
    "relu power": lambda n: hardening.relu_power(1.0, n["beta"]),
    "none": lambda n: hardening.no_hardening(),
    "margin": lambda n: hcl_jax.without_false_negatives(hardening.exponential(2.0), margin=0.1),
}


def made(numbers, law="sigmoid", debiased=False):
    if debiased:
        loss = psi.debiased(tau_plus=0.1, temperature=numbers["temperature"])
    else:
        names = ("alpha", "q", "temperature")
        loss = psi.infonce(**{name: numbers[name] for name in names})
    return {"hardening": LAWS[law](numbers), "psi": loss}


FORMS = supervised_forms(LABELS)


def point(dtype):
    """Embeddings and numbers, and a direction."""
    numbers = {name: jnp.asarray(value, dtype) for name, value in NUMBERS.items()}
    moved = {name: jnp.asarray(value, dtype) for name, value in MOVED.items()}
    return (jnp.asarray(Z, dtype), numbers), (jnp.asarray(V, dtype), moved)


def product(one, other):
    parts = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return sum(jnp.vdot(a, b) for a, b in parts)


def forward_over_reverse(loss, at, along):
    return jax.jvp(jax.grad(loss, (0, 1)), at, along)


def reverse_over_reverse(loss, at, along):
    return jax.grad(lambda *x: product(jax.grad(loss, (0, 1))(*x), along), (0, 1))(*at)


def reverse_over_forward(loss, at, along):
    return jax.grad(lambda *x: jax.jvp(loss, x, along)[1], (0, 1))(*at)


def forward_over_forward(loss, at, along):
    return jax.jvp(lambda *x: jax.jvp(loss, x, along), at, along)


def third(loss, at, along):
    """Reverse over reverse over reverse, and forward over that of numbers alone."""
    z, numbers = at

    def of_numbers(numbers):
        first = jax.grad(loss)
        second = jax.grad(lambda z: jnp.vdot(first(z, numbers), along[0]))
        return jax.grad(lambda z: jnp.vdot(second(z), along[0]))(z)

    return jax.jvp(of_numbers, (numbers,), (along[1],))


def linearized(loss, at, along):
    return jax.linearize(loss, *at)[1](*along)


def hessian(loss, at, along):
    return jax.hessian(loss)(*at)


def over_a_batch(loss, at, along):
    """Inside and outside `jax.vmap`."""
    scales = jnp.asarray([1.0, 0.5], V.dtype)

    def of_all(z, numbers):
        return jnp.sum(jax.vmap(lambda scale: jax.grad(loss)(scale * z, numbers))(scales))

    return forward_over_reverse(of_all, at, along)


def rematerialized(loss, at, along):
    return forward_over_reverse(jax.checkpoint(loss), at, along)


MODES = (
    forward_over_reverse,
    reverse_over_reverse,
    reverse_over_forward,
    forward_over_forward,
    third,
    linearized,
    hessian,
    over_a_batch,
    rematerialized,
)
PRODUCTS = (forward_over_reverse, reverse_over_reverse, reverse_over_forward)

LITTLE_OPTIMIZED = {"xla_backend_optimization_level": 0}
"""For programs of nine derivatives, which take most of their time to compile."""


def derivatives(loss, modes, dtype, law="sigmoid", debiased=False, **chosen):
    """The derivatives of a loss by each mode, of one program."""

    def of(z, numbers):
        return loss(z, made(numbers, law, debiased), **chosen)

    whole = jax.jit(lambda at, along: [mode(of, at, along) for mode in modes])
    return whole.lower(*point(dtype)).compile(compiler_options=LITTLE_OPTIMIZED)(*point(dtype))


@functools.cache
def of_the_dense_form(dense, *which, **chosen):
    """The same of the dense form, with which several forms are compared."""
    return derivatives(functools.partial(dense, "dense"), *which, **chosen)


def assert_same_derivatives(form, modes, law="sigmoid", *, debiased=False, **chosen):
    """Equal to those of the dense form to rounding; of float32 for kernels."""
    dtype = jnp.float32 if form == "pallas" else jnp.float64
    rtol = 1e-4 if form == "pallas" else 1e-11
    loss, dense = FORMS[form]
    found = derivatives(loss, modes, dtype, law, debiased, **chosen)
    wanted = of_the_dense_form(dense, modes, dtype, law, debiased, **chosen)
    for mode, *both in zip(modes, found, wanted, strict=True):
        for got, expected in zip(*map(jax.tree.leaves, both), strict=True):
            scale = np.abs(expected).max()
            np.testing.assert_allclose(
                got, expected, rtol=rtol, atol=rtol * scale, err_msg=mode.__name__
            )


@pytest.mark.parametrize(
    ("form", "detached", "modes"),
    [
        ("blockwise", False, (forward_over_reverse, reverse_over_reverse, hessian)),
        pytest.param("blockwise", True, MODES, marks=pytest.mark.slow),
        pytest.param("ring", True, (third, linearized), marks=pytest.mark.slow),
        pytest.param("ring", False, PRODUCTS, marks=pytest.mark.slow),
        pytest.param("gather", False, PRODUCTS, marks=pytest.mark.slow),
        pytest.param("two sets", False, PRODUCTS, marks=pytest.mark.slow),
        pytest.param("two sets", True, PRODUCTS, marks=pytest.mark.slow),
        pytest.param("pallas", True, PRODUCTS, marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("x64")
def test_every_form_has_the_derivatives_of_the_dense_form(form, detached, modes):
    assert_same_derivatives(form, modes, stop_gradient_hardening=detached)


@pytest.mark.slow
@pytest.mark.parametrize("law", [law for law in LAWS if law != "sigmoid"])
@pytest.mark.usefixtures("x64")
def test_every_law(law):
    for form, detached in (("blockwise", False), ("two sets", True)):
        assert_same_derivatives(
            form, (forward_over_reverse,), law, stop_gradient_hardening=detached
        )


@pytest.mark.slow
@pytest.mark.parametrize("form", ["blockwise", "two sets", "ring"])
@pytest.mark.usefixtures("x64")
def test_the_debiased_loss(form):
    assert_same_derivatives(form, (reverse_over_reverse,), debiased=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("exchange", "transform"), [("ring", "pmap"), ("gather", "vmap"), ("ring", "shard_map")]
)
@pytest.mark.usefixtures("x64")
def test_inside_a_function_of_one_device(exchange, transform):
    """Of numbers every device has its part, as of first derivatives."""
    (z, numbers), (v, moved) = point(jnp.float64)
    _, dense = FORMS[exchange]
    [(_, wanted)] = of_the_dense_form(dense, (forward_over_reverse,), jnp.float64)

    def of_device(z, labels, v):
        def loss(z, numbers):
            return parallel.objective(
                z,
                labels,
                axis_name="devices",
                supervised=True,
                exchange=exchange,
                **made(numbers),
            )

        return forward_over_reverse(loss, (z, numbers), (v, moved))[1]

    shards = [x.reshape(3, 8, *x.shape[1:]) for x in (z, LABELS, v)]
    if transform == "shard_map":
        spec = PartitionSpec("devices")
        run = jax.shard_map(
            lambda *x: jax.tree.map(lambda y: y[None], of_device(*(y[0] for y in x))),
            mesh=MESH,
            in_specs=spec,
            out_specs=spec,
            check_vma=False,
        )
        parts = jax.jit(run)(*shards)
    elif transform == "pmap":
        parts = jax.pmap(of_device, axis_name="devices", devices=jax.devices()[:3])(*shards)
    else:
        parts = jax.jit(jax.vmap(of_device, axis_name="devices"))(*shards)
    np.testing.assert_allclose(parts[0].reshape(z.shape), wanted[0], rtol=1e-11, atol=1e-14)
    for name in numbers:
        np.testing.assert_allclose(parts[1][name].sum(), wanted[1][name], rtol=1e-11)


def test_what_has_no_loss_has_no_curvature():
    """Undefined anchors, a beta of 0, and a hardening with weights of 0: zeros, no NaN."""

    @jax.jit
    def curvature(labels, beta):
        def loss(z, beta):
            return hcl_jax.hscl(z, labels, beta=beta, implementation="blockwise")

        return jax.jvp(jax.grad(loss, (0, 1)), (Z, beta), (jnp.asarray(V), 1.0))[1]

    with jax.debug_nans(True):
        for labels in (jnp.arange(24), jnp.zeros(24, jnp.int32)):
            of_rows, of_beta = curvature(labels, 0.0)
            assert not of_rows.any()
            assert of_beta == 0
        assert curvature(LABELS, 0.0)[1] != 0


def test_curvature_in_linear_memory():
    """Both products with the Hessian in one program, compiled and never run."""

    def products(z, v, labels):
        def loss(z):
            return hcl_jax.hscl(z, labels, beta=5.0)

        by_reverse = jax.grad(lambda z: jnp.vdot(jax.grad(loss)(z), v))(z)
        return jax.jvp(jax.grad(loss), (z,), (v,)), by_reverse

    def temporaries(rows):
        z = jax.ShapeDtypeStruct((rows, 64), jnp.float32)
        labels = jax.ShapeDtypeStruct((rows,), jnp.int32)
        compiled = jax.jit(products).lower(z, z, labels).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    small, large = temporaries(8192), temporaries(32768)
    assert large <= 4.2 * small
    assert large <= 256 * 2**20
