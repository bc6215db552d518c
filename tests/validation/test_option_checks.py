"""Checks of what is no number: what was found stands in the message."""

import numpy as np
import pytest

from hcl_jax.psi import Psi, infonce
from hcl_jax.validation import options

REFUSED = {
    "flag must be one of False, True": lambda: options.check_choice(
        "flag", np.array([True, False]), (False, True)
    ),
    "directory must be a path, got None": lambda: options.check_path("directory", None),
    "directory must be a path with a name": lambda: options.check_path("directory", ""),
    "augmentation must be a function, got None": (
        lambda: options.check_function("augmentation", None)
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_odd_options_are_refused_by_name(message):
    with pytest.raises((ValueError, TypeError), match=message):
        REFUSED[message]()


FOUND = {
    "None": None,
    "True": True,
    "5": 5,
    "5.0": 5.0,
    "'infonce'": "infonce",
    "a str": 40 * "x",
    "a list": [1.0],
    "a ndarray": np.ones(2),
    "the function infonce": infonce,
    "the class Psi": Psi,
    "a Made": type("Made", (), {"__call__": lambda self: None})(),
}


@pytest.mark.parametrize("found", FOUND)
def test_what_is_of_another_class_is_named(found):
    with pytest.raises(TypeError, match=f"psi must be a Psi, such as infonce.., got {found}$"):
        options.check_kind("psi", FOUND[found], Psi, "infonce()")
