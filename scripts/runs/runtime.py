"""Where and how carefully an experiment runs; none of it changes what is trained."""

import dataclasses
from pathlib import Path
from typing import Any

import jax

from hcl_jax.data.streaming import BUDGET_BYTES
from hcl_jax.validation import check_count, check_non_negative
from scripts.experiments.datasets import DATA_DIR
from scripts.runs.exit_status import RefusedError


@dataclasses.dataclass(frozen=True)
class Runtime:
    """Devices, data and checkpoints.

    Attributes:
        devices: how many devices of this host share the batch; if none, all devices of all hosts.
        data_dir: the directory of prepared image data sets.
        resident_gib: a split up to this size lives on the device; a larger one streams from the
            host.
        checkpoint_seconds: after this long the next epoch ends with a checkpoint; 0 for every one.
        keep: how many of the latest checkpoints stay, besides the best; 0 for none at all, not even
            the final state.
        profile: a directory for a profile of the second epoch, for TensorBoard.
        hosts: whether several hosts train together, each with this command. On TPU pods and under
            Slurm the next three options are found out; elsewhere they have to be given.
        coordinator: address and port of the first host, as "10.0.0.1:1234".
        host_count: number of hosts.
        host: number of this host, counted from 0.
    """

    devices: int | None = None
    data_dir: Path = DATA_DIR
    resident_gib: float = BUDGET_BYTES / 2**30
    checkpoint_seconds: float = 60.0
    keep: int = 2
    profile: Path | None = None
    hosts: bool = False
    coordinator: str | None = None
    host_count: int | None = None
    host: int | None = None

    def __post_init__(self) -> None:
        check_count("keep", self.keep, minimum=0)
        check_non_negative("checkpoint_seconds", self.checkpoint_seconds)
        check_non_negative("resident_gib", self.resident_gib)
        if self.devices is not None:
            check_count("devices", self.devices)
            if self.hosts and self.devices:
                raise ValueError("over several hosts all devices are used: leave devices out")

    def begin(self) -> None:
        """Connects to the other hosts, if there are any; call it before anything else uses JAX."""
        if self.hosts:
            jax.distributed.initialize(
                self.coordinator, num_processes=self.host_count, process_id=self.host
            )

    def chosen_devices(self) -> list[Any] | None:
        """The devices that were asked for, or None for all; refuses more than there are."""
        if self.devices is None:
            return None
        found = jax.local_devices()
        if self.devices > len(found):
            raise RefusedError(
                f"devices must be at most the {len(found)} there are: {self.devices}"
            )
        return found[: self.devices]


ONE_DEVICE = Runtime(devices=1, keep=0)
"""For runs of seconds: nothing to resume."""
