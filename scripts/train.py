"""Trains one objective on one data set.

    python -m scripts.train --data digits --objective HUCL --beta 2 --seeds 0 1 2

Writes the run directory (metrics as JSON lines and for TensorBoard, embeddings, class means) and
prints the last evaluation of every seed.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from scripts.experiments import Experiment
from scripts.running import progress_bar, reported, run


@dataclasses.dataclass(frozen=True)
class Train:
    """One experiment, and where it is written.

    Attributes:
        experiment: what is trained.
        out: the directory of run directories; the run is named after the experiment.
    """

    experiment: tyro.conf.OmitArgPrefixes[Experiment] = dataclasses.field(
        default_factory=Experiment
    )
    out: Path = Path("runs/train")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    settings = tyro.cli(Train, args=arguments, description=__doc__)
    return reported(settings.out, lambda: _train(settings.experiment, settings.out))


def _train(experiment: Experiment, out: Path) -> None:
    path = out / experiment.name
    with progress_bar([experiment]) as progress:
        results = run(experiment, path, progress)
    for result in results:
        print(
            f"{experiment.method}, seed {result['seed']}: loss {result['loss']:.4f}, "
            f"equal-ip {result['equal_inner_product']:.4f}, "
            f"{result['directions']} of {result['dim']} directions, "
            f"top-1 {100 * result['top1']:.1f} %"
        )
    print(f"the run is in {path}")


if __name__ == "__main__":
    sys.exit(main())
