"""Prepares a data set once, from its original archive, and shows what is in it.

    python -m scripts.prepare_data cifar100 --data-dir data
    python -m scripts.prepare_data cifar100 --data-dir data --archive-dir ~/downloads

The first downloads the archive, the second takes it from a directory. The archives are those of the
data sets' own pages; TensorFlow is not needed.
"""

import dataclasses
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import tyro

from hcl_jax.data import (
    DatasetError,
    ImageSet,
    channel_statistics,
    cifar10,
    cifar100,
    stl10,
    tiny_imagenet,
)
from hcl_jax.data.image_folder import FOLDER
from hcl_jax.data.instructions import import_or_explain
from hcl_jax.data.tfds_directory import UNLABELLED

ARCHIVES = {
    "cifar10": "cifar-10-binary.tar.gz",
    "cifar100": "cifar-100-binary.tar.gz",
    "stl10": "stl10_binary.tar.gz",
    "tiny-imagenet": f"{FOLDER}.zip",
}
LOADERS: dict[str, Callable[[Path], ImageSet]] = {
    "cifar10": cifar10,
    "cifar100": cifar100,
    "stl10": stl10,
    "tiny-imagenet": tiny_imagenet,
}
PACKAGES = (
    "tensorflow_datasets",
    "array_record.python.array_record_module",
    "importlib_resources",
    "PIL.Image",
)


@dataclasses.dataclass(frozen=True)
class Prepare:
    """A data set, and where it is to lie.

    Attributes:
        name: which data set.
        data_dir: where it is prepared, and later read from.
        archive_dir: a directory that holds the original archive; without it, the archive is
            downloaded to `data_dir/downloads`. Tiny-ImageNet is not downloaded.
    """

    name: tyro.conf.Positional[Literal["cifar10", "cifar100", "stl10", "tiny-imagenet"]]
    data_dir: Path
    archive_dir: Path | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; returns the exit status."""
    settings = tyro.cli(Prepare, args=arguments, description=__doc__)
    try:
        prepare(settings)
        _show(settings.name, settings.data_dir, LOADERS[settings.name](settings.data_dir))
    except DatasetError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the same command begins again", file=sys.stderr)
        return 130
    return 0


def prepare(settings: Prepare) -> None:
    """Makes the files that the loaders of `hcl_jax` read, unless they are there.

    Args:
        settings: what, where to and where from.

    Raises:
        DatasetError: if the archive is missing or damaged, or a package is missing.
    """
    if settings.name == "tiny-imagenet":
        _unpack(settings.data_dir, settings.archive_dir)
    else:
        _prepare_records(settings.name, settings.data_dir, settings.archive_dir)


def _prepare_records(name: str, data_dir: Path, archive_dir: Path | None) -> None:
    for package in PACKAGES:
        import_or_explain(package, f"preparing {name}")
    import tensorflow_datasets as tfds

    from scripts.data_preparation.tfds_builders import BUILDERS, shuffled_in_memory

    if archive_dir is not None:
        _archive(name, archive_dir)
    try:
        builder = BUILDERS[name](data_dir=str(data_dir), file_format="array_record")
        with shuffled_in_memory():
            builder.download_and_prepare(
                download_dir=str(data_dir / "downloads"),
                download_config=tfds.download.DownloadConfig(manual_dir=archive_dir),
            )
    except Exception as error:  # of the network, the archive, the disk or TFDS
        raise DatasetError(f"{name} could not be prepared in {data_dir}: {error}") from error
    if UNLABELLED in builder.info.splits:
        count = builder.info.splits[UNLABELLED].num_examples
        print(f"{name} has {count} images without labels, decoded when they are first trained on")


def _archive(name: str, archive_dir: Path) -> Path:
    path = archive_dir / ARCHIVES[name]
    if not path.is_file():
        raise DatasetError(f"the archive of {name}, {path}, does not exist")
    return path


def _unpack(data_dir: Path, archive_dir: Path | None) -> None:
    """Unpacks Tiny-ImageNet beside its place and moves it there as a whole."""
    if (data_dir / FOLDER).is_dir():
        return
    if archive_dir is None:
        raise DatasetError(
            f"{data_dir / FOLDER} does not exist; download {ARCHIVES['tiny-imagenet']} and give "
            "its directory as --archive-dir"
        )
    archive = _archive("tiny-imagenet", archive_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=data_dir, prefix="incomplete-"))
    try:
        with zipfile.ZipFile(archive) as file:
            file.extractall(temporary)
        (temporary / FOLDER).rename(data_dir / FOLDER)
    except (OSError, EOFError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{archive} cannot be unpacked to {data_dir}: {error}") from error
    finally:
        shutil.rmtree(temporary)


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
    sys.exit(main())
