"""Where and how carefully an experiment runs; none of it changes what is trained."""

import dataclasses
import signal
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import jax
import tyro

from hcl_jax.data.streaming import BUDGET_BYTES
from hcl_jax.validation.numbers import check_count, check_non_negative
from hcl_jax.validation.options import check_choice
from scripts.experiments.datasets import DATA_DIR
from scripts.runs.exit_status import RefusedError

SignalName = Literal["SIGTERM", "SIGINT", "SIGUSR1", "SIGUSR2", "SIGHUP"]


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
            the final state; an unfinished run that has some is then refused, not begun again.
        continues: train on to more epochs; whether the run is finished or not, the result is that
            of one run of that length.
        resume_anyway: whether a run resumes although a setting of JAX differs from those it began
            with, and the rest of it gets other numbers.
        stop_signals: signals after which the present epoch ends, the state is saved, and the
            command exits with status 143. Slurm sends SIGUSR1 before the end if asked to.
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
    continues: Annotated[bool, tyro.conf.arg(name="continue"), tyro.conf.FlagCreatePairsOff] = False
    resume_anyway: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    stop_signals: tuple[SignalName, ...] = ("SIGTERM",)
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
        if not self.hosts and {self.coordinator, self.host_count, self.host} != {None}:
            raise ValueError(
                "coordinator, host_count and host are for training over several hosts: give hosts"
            )
        if self.data_dir.exists() and not self.data_dir.is_dir():
            raise ValueError(f"data_dir must be a directory, {self.data_dir} is a file")
        if self.continues and not self.keep:
            raise ValueError("a run is continued from its last checkpoint: keep must be at least 1")
        for name in ("checkpoint_seconds", "resume_anyway"):
            if getattr(self, name) != getattr(Runtime, name) and not self.keep:
                raise ValueError(f"{name} is for checkpoints: keep must be at least 1")
        for name in self.stop_signals:
            check_choice("stop_signals", name, get_args(SignalName))
            if not hasattr(signal, name):
                raise ValueError(f"this system has no signal {name}")

    @property
    def resident_bytes(self) -> int:
        """A split up to this size lives on the device."""
        return round(self.resident_gib * 2**30)

    @property
    def signals(self) -> tuple[signal.Signals, ...]:
        """The signals that ask the run to stop."""
        return tuple(signal.Signals[name] for name in self.stop_signals)

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
                f"devices must be at most {len(found)}, as many as there are, got {self.devices}"
            )
        return found[: self.devices]


ONE_DEVICE = Runtime(devices=1, keep=0)
"""For runs of seconds: nothing to resume."""
