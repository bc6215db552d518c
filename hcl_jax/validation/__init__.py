"""Argument checks that name what was found and what was expected.

Shapes and dtypes are always known and always checked. Values are checked only where they are
concrete: inside `jax.jit`, `jax.grad` or `jax.vmap` an array is traced and its numbers do not
exist yet, so there the value checks pass without a word. Those of a number that has a range return
it, and a traced one is NaN outside of it: what is computed with it then is NaN too.
"""
