"""Saves without end, until it is killed.

It is started by ``python -m tests.references.checkpoint_victim DIRECTORY LOG``.

The log gets a line "saved STEP" whenever `wait` has confirmed a checkpoint, the first among them.
"""

import itertools
import os
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from hcl_jax.checkpoints import Checkpoints, restore_latest

SIZE = 2**17


@jax.jit
def state_of(step):
    """A state that tells which step it is from, in every array."""
    key = jax.random.fold_in(jax.random.key(0), step)
    kernel = jax.random.normal(key, (SIZE,))
    return {"kernel": kernel, "bias": kernel[:7].astype(jnp.bfloat16), "step": step, "key": key}


donate = jax.jit(lambda state: jax.tree.map(jnp.zeros_like, state), donate_argnums=0)


def like():
    return jax.eval_shape(state_of, jnp.int32(0))


def is_exact(restored):
    """Whether a checkpoint is that of its step, in every bit."""
    expected = state_of(jnp.int32(restored.step))
    return restored.notes == {"step": restored.step} and bits(restored.state) == bits(expected)


def bits(state):
    key = np.asarray(jax.random.key_data(state["key"]))
    return [np.asarray(x).tobytes() for x in (key, state["kernel"], state["bias"], state["step"])]


def main(directory, log_path):
    with log_path.open("a") as log, Checkpoints(directory, keep=2) as checkpoints:

        def say(text):
            log.write(text + "\n")
            log.flush()
            os.fsync(log.fileno())

        restored = checkpoints.restore_latest(like())
        assert restored is None or (is_exact(restored) and not restored.rejected)
        first, confirmed = 1 if restored is None else restored.step + 1, False
        for step in itertools.count(first):
            state = state_of(jnp.int32(step))
            checkpoints.save(step, state, {"step": step})
            donate({"kernel": state["kernel"], "bias": state["bias"]})
            if step % 3 == 0 or not confirmed:
                checkpoints.wait()
                assert restore_latest(directory, like()).step == step
                say(f"saved {step}")
                confirmed = True


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
