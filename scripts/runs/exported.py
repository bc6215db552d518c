"""The encoder that was exported into a run directory, and whether the run has gone on since."""

from pathlib import Path

from hcl_jax.encoders.reader import metadata_path
from scripts.experiments.experiment import Experiment
from scripts.runs.run_files import read_json

EXPORT = "export"
ENCODER = "encoder.jaxexport"


def outdated_export(run: Path, experiment: Experiment) -> str | None:
    """That the exported encoder is of another epoch than the last, in words; None if it is not.

    Raises:
        RunDirectoryError: if what is written beside the encoder is damaged.
    """
    metadata = metadata_path(run / EXPORT / ENCODER)
    if not metadata.exists():
        return None
    match read_json(metadata):
        case {"source": {"epoch": epoch}} if epoch == experiment.epochs:
            return None
        case {"source": {"epoch": epoch}}:
            of = f"of epoch {epoch}"
        case _:
            of = "of an epoch that it does not say"
    return (
        f"{run / EXPORT} is {of}, and the run is now at epoch {experiment.epochs}: "
        f"python -m scripts.export {run} exports it again"
    )
