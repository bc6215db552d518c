"""Checks of arrays and keys: what is none of JAX is refused by name, with the way to one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcl_jax.validation import arrays


class Tensor:
    """As one of torch looks."""

    dtype, __array__ = "torch.float32", None


Tensor.__module__ = "torch"


NOT_ARRAYS = {
    "got a float": 0.5,
    "got a list; jax.numpy.array makes one": [1.0],
    "got a list; number texts by numpy.unique": ["cat"],
    "got dtype <U3; number texts by numpy.unique": np.array(["cat"]),
    "got dtype object; number texts by numpy.unique": np.array(["cat"], object),
    "got dtype torch.float32; jax.numpy.from_dlpack": Tensor(),
    "got a ShapeDtypeStruct": jax.ShapeDtypeStruct((2,), np.float32),
    "got a MaskedArray": np.ma.masked_less(np.ones(2), 2),
    "got dtype >f4": np.ones(2, ">f4"),
    "got dtype object": np.ones(2, object),
    r"got dtype datetime64\[s\]": np.zeros(2, "datetime64[s]"),
}


@pytest.mark.parametrize("found", NOT_ARRAYS)
def test_what_is_no_array_of_jax_is_refused(found):
    with pytest.raises(TypeError, match=f"z must be a NumPy or JAX array of numbers, {found}"):
        arrays.check_array("z", NOT_ARRAYS[found])


REFUSED = {
    "labels must be integers of at least 8 bits, got dtype int4": (
        lambda: arrays.check_integers("labels", jnp.zeros(2, jnp.int4))
    ),
    "key must be a PRNG key, such as .*, got 3": lambda: arrays.check_key("key", 3),
    "key must be a PRNG key, such as .*, got dtype float32": (
        lambda: arrays.check_key("key", jnp.zeros(2))
    ),
    r"key must be a single PRNG key, of shape \(\), got \(2,\)": (
        lambda: arrays.check_key("key", jax.random.split(jax.random.key(0)))
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_odd_arrays_and_keys_are_refused_by_name(message):
    with pytest.raises((ValueError, TypeError), match=message):
        REFUSED[message]()


def test_keys_of_both_kinds_pass():
    arrays.check_key("key", jax.random.key(0))
    arrays.check_key("key", jax.random.PRNGKey(0))
    jax.jit(lambda key: arrays.check_key("key", key))(jax.random.key(0))
