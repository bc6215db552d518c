"""Which images are in which batch of an epoch."""

import jax
import numpy as np
from jaxtyping import Array, Int

from hcl_jax.data import class_balanced_batches
from hcl_jax.training.program import Program
from hcl_jax.training.states import TrainState, step_keys
from hcl_jax.validation.numbers import check_count


def epoch_batches(
    state: TrainState, labels: Int[Array | np.ndarray, " n"], program: Program
) -> Int[Array, "steps batch"]:
    """The shuffled indices of the batches of the epoch that begins at this state.

    Args:
        state: its key and step decide the order, so that a resumed run shuffles as the first.
        labels: the class of every image of the split, looked at where batches are balanced.
        program: supplies the size of a batch, whose rest of the split is dropped, and the balance.

    Returns:
        One row of indices for each step.

    Raises:
        ValueError: if the batch size is below 2 or above the size of the split, or not a multiple
            of the images of each class; of concrete labels as `class_balanced_batches`.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.networks import mlp
        >>> program = Program(mlp(4, 2, depth=1, width=8), optax.adam(1e-3), batch_size=3)
        >>> state = TrainState(None, None, jax.numpy.zeros((), int), jax.random.key(0))
        >>> epoch_batches(state, jax.numpy.zeros(7, int), program).shape
        (2, 3)
    """
    size, batch_size = len(labels), check_count("batch_size", program.batch_size, minimum=2)
    if batch_size > size:
        raise ValueError(f"batch_size must be at most the {size} training images, got {batch_size}")
    steps = size // batch_size
    _, _, order_key = step_keys(state)
    if program.balance is not None:
        per_class, num_classes = program.balance
        if batch_size % per_class:
            raise ValueError(
                f"batch_size must be a multiple of the {per_class} images of each class, got "
                f"{batch_size}"
            )
        return class_balanced_batches(
            order_key,
            labels,
            num_classes=num_classes,
            per_class=per_class,
            classes_per_batch=batch_size // per_class,
        )
    order = jax.random.permutation(order_key, size)
    return order[: steps * batch_size].reshape(steps, batch_size)
