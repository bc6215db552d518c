"""Prepares a data set once, from its original archive, and shows what is in it.

    python -m scripts.prepare_data cifar100 --data-dir data
    python -m scripts.prepare_data cifar100 --data-dir data --archive-dir ~/downloads

The first downloads the archive, the second takes it from a directory. The archives are those of the
data sets' own pages; TensorFlow is not needed.
"""

import dataclasses
import shutil
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from hcl_jax.data import SVHN, DatasetError, ImageSet, channel_statistics
from hcl_jax.data.instructions import import_or_explain
from hcl_jax.data.tfds_directory import UNLABELLED
from hcl_jax.system.command_line import parsed
from hcl_jax.system.command_output import run_command
from hcl_jax.system.help_screen import Page
from scripts.data_preparation.idx_copies import copy_idx_files
from scripts.data_preparation.unpacking import unpack
from scripts.experiments.datasets import DATASETS, Archive
from scripts.experiments.options import one_of
from scripts.runs.exit_status import run_job

PREPARED = {
    name.replace("_", "-"): (defaults.archive, defaults.load)
    for name, defaults in DATASETS.items()
    if defaults.archive is not None
}
"""Archives and loaders of the data sets that have to be prepared."""

TFDS_NAMES = {SVHN.name: SVHN.tfds_name or SVHN.name}
"""The folders of those that TFDS calls otherwise."""

PACKAGES = (
    "tensorflow_datasets",
    "array_record.python.array_record_module",
    "importlib_resources",
    "PIL.Image",
)
"""Modules that preparing needs and training does not."""


PAGE = Page(
    "python -m scripts.prepare_data",
    "NAME --data-dir PATH [--archive-dir PATH]",
    "Prepares a data set once, from its original archive, and shows what is in it. NAME is one of\n"
    + "\n".join(textwrap.wrap(", ".join(PREPARED), 98)),
    {"Options": ("data_dir", "archive_dir")},
    "python -m scripts.prepare_data cifar100 --data-dir data --archive-dir ~/downloads",
)


@dataclasses.dataclass(frozen=True)
class Prepare:
    """A data set, and where it is to lie.

    Attributes:
        name: which data set.
        data_dir: where it is prepared, and later read from.
        archive_dir: a directory that holds the original archive; without it, the archive is
            downloaded to `data_dir/downloads`. Tiny-ImageNet and MNIST's kind are not downloaded.
    """

    name: tyro.conf.Positional[Annotated[str, one_of(PREPARED)]]
    data_dir: Path
    archive_dir: Path | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    settings = parsed(Prepare, PAGE, arguments)
    return run_job(
        lambda: prepare(settings),
        settings.data_dir,
        if_interrupted="the same command begins again",
    )


def prepare(settings: Prepare) -> None:
    """Makes the files that the loaders of `hcl_jax` read, unless they are there, and shows them.

    Files that turn out to be bad do not stay if they were made here; what was there before is left
    to the user.

    Raises:
        DatasetError: if the archive is missing or damaged, or a package is missing.
    """
    archive, load = PREPARED[settings.name]
    place = settings.data_dir / (archive.folder or TFDS_NAMES.get(settings.name, settings.name))
    was_there = place.is_dir()
    if archive.folder is None:
        _prepare_records(settings.name, archive, settings.data_dir, settings.archive_dir)
    elif not was_there and archive.idx_set is not None:
        archive_dir = _given(settings.archive_dir, archive, place)
        copy_idx_files(archive.idx_set, archive_dir, settings.data_dir)
    elif not was_there:
        _unpack(settings.name, archive, archive.folder, settings.data_dir, settings.archive_dir)
    try:
        loaded = load(settings.data_dir)
    except DatasetError as error:
        advice = f"remove {place} to have it made anew from {archive.file}"
        if not was_there:
            shutil.rmtree(place)
            advice = f"what was made from {archive.file} was removed again"
        raise DatasetError(f"{error}; {advice}") from error
    assert isinstance(loaded, ImageSet)
    _show(settings.name, settings.data_dir, loaded)


def _prepare_records(name: str, archive: Archive, data_dir: Path, archive_dir: Path | None) -> None:
    """Has TFDS write records of the images in an archive."""
    for package in PACKAGES:
        import_or_explain(package, f"preparing {name}")
    import tensorflow_datasets as tfds

    from scripts.data_preparation.tfds_builders import BUILDERS, shuffled_in_memory

    if archive_dir is not None:
        for file in (archive.file, *archive.more):
            _archive_path(name, file, archive_dir)
    try:
        builder = BUILDERS[name](data_dir=str(data_dir), file_format="array_record")
        with shuffled_in_memory():
            builder.download_and_prepare(
                download_dir=str(data_dir / "downloads"),
                download_config=tfds.download.DownloadConfig(manual_dir=archive_dir),
            )
    except Exception as error:  # of the network, the archive, the disk or TFDS
        reason = " ".join(str(error).split())
        raise DatasetError(
            f"{name} could not be prepared in {data_dir} from {archive.file}: {reason}"
        ) from error
    if UNLABELLED in builder.info.splits:
        count = builder.info.splits[UNLABELLED].num_examples
        print(f"{name} has {count} images without labels, decoded when they are first trained on")


def _archive_path(name: str, file: str, archive_dir: Path) -> Path:
    path = archive_dir / file
    if not path.is_file():
        problem = "is not a file" if path.exists() else "does not exist"
        raise DatasetError(f"the archive of {name}, {path}, {problem}")
    return path


def _unpack(
    name: str, archive: Archive, folder: str, data_dir: Path, archive_dir: Path | None
) -> None:
    """Unpacks an archive, of which the loader needs no other package than Pillow."""
    import_or_explain("PIL.Image", f"preparing {name}")
    archive_dir = _given(archive_dir, archive, data_dir / folder)
    unpack(_archive_path(name, archive.file, archive_dir), folder, data_dir)


def _given(archive_dir: Path | None, archive: Archive, place: Path) -> Path:
    """The directory of an archive that is not downloaded."""
    if archive_dir is None:
        raise DatasetError(
            f"{place} does not exist; download {archive.file} and give the directory as "
            "--archive-dir"
        )
    return archive_dir


def _show(name: str, data_dir: Path, loaded: ImageSet) -> None:
    measured = channel_statistics(loaded.train.images)
    print(
        f"{name} is ready in {data_dir}: {len(loaded.train.labels)} training and "
        f"{len(loaded.test.labels)} test images of {loaded.num_classes} classes, "
        f"{loaded.train.images.shape[1:]}\n"
        f"channel means {_rounded(measured.mean)}, published {_rounded(loaded.mean)}\n"
        f"standard deviations {_rounded(measured.std)}, published {_rounded(loaded.std)}"
    )


def _rounded(channels: tuple[float, ...]) -> str:
    return " ".join(f"{value:.4f}" for value in channels)


if __name__ == "__main__":
    sys.exit(run_command(main))
