"""What is carried from step to step: how it begins, its keys, and whether it is still finite."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from hcl_jax.networks import Variables
from hcl_jax.training.program import Program


class TrainState(NamedTuple):
    """What is carried from step to step."""

    variables: Variables
    optimizer_state: optax.OptState
    step: Int[Array, ""]
    key: PRNGKeyArray


def init_state(key: PRNGKeyArray, program: Program) -> TrainState:
    """The state before the first step.

    Args:
        key: randomness of the first parameters and of all training.
        program: what will be trained.

    Returns:
        The state.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.networks import mlp
        >>> program = Program(mlp(4, 2, depth=1, width=8), optax.adam(1e-3), batch_size=8)
        >>> int(init_state(jax.random.key(0), program).step)
        0
    """
    init_key, train_key = jax.random.split(key)
    variables = program.model.init(init_key)
    return TrainState(
        variables, program.optimizer.init(variables.params), jnp.zeros((), jnp.int32), train_key
    )


def restart(state: TrainState, program: Program) -> TrainState:
    """The state before the first step, with a network that is trained already.

    Args:
        state: last state of the training that has ended.
        program: what will be trained.

    Returns:
        The state, with a key of its own.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.networks import mlp
        >>> program = Program(mlp(4, 2, depth=1, width=8), optax.adam(1e-3), batch_size=8)
        >>> state = init_state(jax.random.key(0), program)._replace(step=jax.numpy.int32(7))
        >>> int(restart(state, program).step)
        0
    """
    fresh = program.optimizer.init(state.variables.params)
    key = jax.random.fold_in(state.key, state.step)
    return TrainState(state.variables, fresh, jnp.zeros((), jnp.int32), key)


def all_finite(state: TrainState) -> Bool[Array, ""]:
    """Whether everything that is carried on is finite: parameters, statistics, moments.

    Args:
        state: a state.

    Returns:
        True if no number of it is NaN or infinite.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.networks import mlp
        >>> program = Program(mlp(4, 2, depth=1, width=8), optax.adam(1e-3), batch_size=8)
        >>> bool(all_finite(init_state(jax.random.key(0), program)))
        True
    """
    leaves = jax.tree.leaves((state.variables, state.optimizer_state))
    floats = [leaf for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in floats]).all()


def step_keys(state: TrainState) -> PRNGKeyArray:
    """Keys for the views and the draws of this step, and for the order of an epoch begun here."""
    return jax.random.split(jax.random.fold_in(state.key, state.step), 3)
