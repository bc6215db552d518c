"""Checkpoints of a run, of which a SIGKILL, a full disk or a damaged file costs at most the latest.

    checkpoints.py   `Checkpoints`: saves in the background while training continues
    restoring.py     `restore_latest`, `restore_best`: reading, also while a run is saving
    directory.py     names and renames in the directory; its docstring draws the directory
    checksums.py     the hash of every file
    tree_spec.py     dtype and shape of every array by its path in the tree
    arrays.py        arrays on the disk: the only file that knows Orbax

Orbax writes and reads the arrays. Its `CheckpointManager` is not used, because it lacks what the
tests of this package demand (orbax-checkpoint 0.12.8, one bit, byte or file of a checkpoint damaged
at a time):

- Hashes of the content. A flipped bit in the data of an array is not noticed: `restore` returns
  wrong numbers without an error.
- Walking back. Where damage is noticed, `restore` raises an error of the file format, and
  `latest_step` names the same step again; here the latest checkpoint that is whole is restored,
  the damaged ones are reported, and the next save sets them aside.
- Whole directories on the disk. It renames a finished directory, but does not sync its JSON files
  and the renames to the disk first. Here a name is given after all content has reached the disk,
  and a process killed in a rename, a removal or a recovery leaves nothing that a reader could take
  for a checkpoint.
- Replacing a checkpoint of the same step, and a lock against a second process that saves.
"""

from hcl_jax.checkpoints.checkpoints import Checkpoints
from hcl_jax.checkpoints.directory import CheckpointError, Mode, Rejected
from hcl_jax.checkpoints.restoring import (
    CheckpointMismatchError,
    Restored,
    restore_best,
    restore_latest,
)

__all__ = [
    "CheckpointError",
    "CheckpointMismatchError",
    "Checkpoints",
    "Mode",
    "Rejected",
    "Restored",
    "restore_best",
    "restore_latest",
]


def __dir__() -> list[str]:
    return __all__
