"""Argument checks that name what was found and what was expected.

Shapes and dtypes are always known and always checked. Values are checked only where they are
concrete: inside `jax.jit`, `jax.grad` or `jax.vmap` an array is traced and its numbers do not
exist yet, so there the value checks pass without a word.
"""

from hcl_jax.validation.arrays import (
    check_array,
    check_booleans,
    check_finite_rows,
    check_floating,
    check_integers,
    check_key,
    fits_int32,
)
from hcl_jax.validation.batches import (
    check_classes,
    check_embeddings,
    check_labels,
    check_no_negative_labels,
    check_weights,
)
from hcl_jax.validation.concrete import (
    NOT_TRACEABLE,
    is_concrete,
)
from hcl_jax.validation.numbers import (
    check_count,
    check_finite,
    check_integer,
    check_interval,
    check_non_negative,
    check_positive,
    check_probability,
    check_real,
    check_scalar,
)
from hcl_jax.validation.options import (
    check_choice,
    check_function,
    check_kind,
    check_path,
    check_precision,
)

__all__ = [
    "NOT_TRACEABLE",
    "check_array",
    "check_booleans",
    "check_choice",
    "check_classes",
    "check_count",
    "check_embeddings",
    "check_finite",
    "check_finite_rows",
    "check_floating",
    "check_function",
    "check_integer",
    "check_integers",
    "check_interval",
    "check_key",
    "check_kind",
    "check_labels",
    "check_no_negative_labels",
    "check_non_negative",
    "check_path",
    "check_positive",
    "check_precision",
    "check_probability",
    "check_real",
    "check_scalar",
    "check_weights",
    "fits_int32",
    "is_concrete",
]
