"""Checks of numbers: what is not a real number that JAX can hold is refused by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hcl_jax
from hcl_jax import psi
from hcl_jax.validation import numbers

Z, Y = jnp.eye(4), jnp.array([0, 0, 1, 1])


NOT_NUMBERS = {
    "'1'": "1",
    "None": None,
    "1j": 1j,
    "a list": [None],
    "a dict": {},
    "dtype complex64": np.complex64(1),
    "dtype bool": np.array(True),
    "dtype <U1": np.array("1"),
    "dtype object": np.array(None),
}


@pytest.mark.parametrize("found", NOT_NUMBERS)
def test_what_is_not_a_real_number_is_refused(found):
    for check in (
        numbers.check_finite,
        numbers.check_positive,
        numbers.check_non_negative,
        numbers.check_scalar,
    ):
        with pytest.raises(TypeError, match=f"beta must be .*real number.*, got {found}"):
            check("beta", NOT_NUMBERS[found])


@pytest.mark.parametrize("value", [1e39, -1e39, 1e300, np.float64(1e39), 10**39, [0.0, 1e39]])
def test_numbers_beyond_float32_are_refused(value):
    with pytest.raises(ValueError, match=r"beta must be finite in float32, at most 3.4e\+38"):
        numbers.check_finite("beta", value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.array([1.0, -np.inf]), 10**400])
def test_what_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match="beta must be finite, got"):
        numbers.check_finite("beta", value)


@pytest.mark.parametrize("value", [1e-39, 1e-46, np.float64(1e-300)])
def test_numbers_that_vanish_in_float32_are_not_positive(value):
    with pytest.raises(
        ValueError, match=r"temperature must be positive in float32, at least 1\.2e-38"
    ):
        numbers.check_positive("temperature", value)
    numbers.check_non_negative("temperature", value)


def test_float64_holds_more(x64):
    numbers.check_finite("beta", 1e300)
    numbers.check_positive("temperature", 1e-300)
    with pytest.raises(ValueError, match="beta must be finite, got an integer of 401 digits"):
        numbers.check_finite("beta", 10**400)


@pytest.mark.parametrize(
    "value", [0, 2.5, -1, np.float32(1), jnp.ones(()), jnp.ones((), jnp.bfloat16)]
)
def test_real_numbers_pass(value):
    numbers.check_finite("beta", value)
    numbers.check_scalar("beta", value)


@pytest.mark.parametrize("shape", [(1,), (4, 1), (0,)])
def test_a_scalar_has_no_axes(shape):
    with pytest.raises(ValueError, match=f"beta must be a single number, got shape \\({shape[0]},"):
        numbers.check_scalar("beta", np.zeros(shape))
    with pytest.raises(ValueError, match="beta must be a single number"):
        jax.jit(lambda x: numbers.check_scalar("beta", x))(jnp.zeros(shape))


@pytest.mark.parametrize("options", [{"beta": 1e39}, {"beta": 1.0, "temperature": 1e-39}])
def test_losses_refuse_what_would_be_nan(options):
    with pytest.raises(ValueError, match="in float32"):
        hcl_jax.hucl(Z, Y, **options)


def test_arrays_on_several_devices_are_looked_at_where_they_are():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    where = jax.NamedSharding(mesh, jax.P("data"))
    numbers.check_finite("x", jax.device_put(jnp.ones(8), where))
    with pytest.raises(ValueError, match="x must be finite"):
        numbers.check_finite("x", jax.device_put(jnp.ones(8).at[3].set(jnp.nan), where))


SCALARS = {
    "alpha": lambda x: psi.infonce(alpha=x),
    "temperature": lambda x: psi.infonce(temperature=x),
    "q": lambda x: psi.infonce(q=x),
    "margin": lambda x: psi.triplet_sum(margin=x),
    "scale": lambda x: psi.logistic_sum(scale=x),
    "beta": lambda x: hcl_jax.hardening.exponential(x),
    "level": lambda x: hcl_jax.hardening.threshold(x),
    "shift": lambda x: hcl_jax.hardening.relu_power(x),
    "power": lambda x: hcl_jax.hardening.relu_power(1.0, x),
    "center": lambda x: hcl_jax.hardening.sigmoid(1.0, x),
}


@pytest.mark.parametrize("name", SCALARS)
def test_the_numbers_of_psi_and_hardening_are_single(unchecked, name):
    """A temperature of shape (n,) would be one for each candidate in the dense form."""
    for shape in ((1,), (4,), (4, 1)):
        with pytest.raises(ValueError, match=f"{name} must be a single number, got shape"):
            SCALARS[name](np.full(shape, 0.5))
    with pytest.raises(TypeError, match=f"{name} must be a real number"):
        SCALARS[name](None)
    SCALARS[name](np.float32(0.5))


def test_counts_become_integers_of_python():
    """-np.uint8(3) is 253."""
    count = numbers.check_count("size", np.uint8(3))
    assert type(count) is int
    for wrong in (True, 3.0, np.float32(3), None, "3", jnp.int32(3)):
        with pytest.raises(TypeError, match="size must be an integer"):
            numbers.check_count("size", wrong)


REFUSED = {
    "first must be an integer, got 0.5": lambda: numbers.check_integer("first", 0.5),
    "first must fit in int32": lambda: numbers.check_integer("first", 2**31),
    "first must be integers, got dtype float32": (
        lambda: numbers.check_integer("first", np.float32(1))
    ),
    "order must be of real numbers of JAX, got dtype >i4": (
        lambda: numbers.check_real("order", np.zeros(2, ">i4"))
    ),
    "scale must be .low, high. with 0 < low <= high, got None": (
        lambda: numbers.check_interval("scale", None)
    ),
    "probability must be a real number, got 'often'": (
        lambda: numbers.check_probability("probability", "often")
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_odd_numbers_are_refused_by_name(message):
    with pytest.raises((ValueError, TypeError), match=message):
        REFUSED[message]()
