"""Builders of TensorFlow Datasets that read the original archives without TensorFlow.

TFDS downloads, checks, describes and writes the data sets; only its reading of the archives, its
encoding of arrays as PNG and its shuffling of large splits go through TensorFlow, and those are
replaced here. What is written is what TFDS itself writes, and `tfds.data_source` reads it.
"""

import contextlib
import functools
import itertools
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image
from scipy.io import loadmat
from tensorflow_datasets.core import shuffle
from tensorflow_datasets.datasets.stl10 import stl10_dataset_builder
from tensorflow_datasets.datasets.svhn_cropped import svhn_cropped_dataset_builder
from tensorflow_datasets.image_classification import cifar

from hcl_jax.data.splits import NO_CLASS
from hcl_jax.data.tfds_directory import UNLABELLED

CIFAR_BYTES = 3 * 32 * 32
STL10_BYTES = 3 * 96 * 96

# The annotations of TFDS assume TensorFlow.
_Cifar10 = cast(Any, cifar.Cifar10)
_Cifar100 = cast(Any, cifar.Cifar100)
_Stl10 = cast(Any, stl10_dataset_builder.Builder)
_Svhn = cast(Any, svhn_cropped_dataset_builder.Builder)


class _CifarArchive:
    """One record is a byte for each label, then red, green and blue planes, row by row."""

    def _split_generators(self: Any, dl_manager: Any) -> Any:
        info = self._cifar_info
        archive = dl_manager.download(info.url)
        for label, name in zip(info.label_keys, info.label_files, strict=True):
            self.info.features[label].names = _lines(archive, info.prefix + name)
        return {
            split: self._generate_examples(archive, split, files)
            for split, files in (("train", info.train_files), ("test", info.test_files))
        }

    def _generate_examples(self: Any, archive: Path, split: str, files: list[str]) -> Any:
        keys = self._cifar_info.label_keys
        index = 0
        for name in files:
            with _member(archive, self._cifar_info.prefix + name) as file:
                for record in _records(file, name, len(keys) + CIFAR_BYTES):
                    planes = record[len(keys) :].reshape(3, 32, 32)
                    labels = dict(zip(keys, record[: len(keys)].tolist(), strict=True))
                    image = _image(planes.transpose(1, 2, 0))
                    yield index, {"id": f"{split}_{index:05d}", "image": image, **labels}
                    index += 1


class Cifar10(_CifarArchive, _Cifar10, skip_registration=True):  # pyright: ignore
    """CIFAR-10."""


class Cifar100(_CifarArchive, _Cifar100, skip_registration=True):  # pyright: ignore
    """CIFAR-100."""


class Stl10(_Stl10, skip_registration=True):  # pyright: ignore
    """STL-10: planes are column by column; labels begin at one, and -1 stands for none."""

    name = "stl10"
    pkg_dir_path = Path(stl10_dataset_builder.__file__).parent
    url_infos = _Stl10.url_infos

    def _split_generators(self, dl_manager: Any) -> Any:
        archive = dl_manager.download(stl10_dataset_builder.URL)
        names = _lines(archive, "stl10_binary/class_names.txt")
        self.info.features["label"].names = names
        labelled = {split: self._labelled(archive, split) for split in ("train", "test")}
        return labelled | {UNLABELLED: self._generate_examples(archive, "unlabeled")}

    def _labelled(self, archive: Path, split: str) -> Any:
        with _member(archive, f"stl10_binary/{split}_y.bin") as file:
            labels = np.frombuffer(file.read(), np.uint8).astype(int) - 1
        return self._generate_examples(archive, split, labels.tolist())

    def _generate_examples(self, archive: Path, split: str, labels: list | None = None) -> Any:
        with _member(archive, f"stl10_binary/{split}_X.bin") as file:
            images = _records(file, f"{split}_X.bin", STL10_BYTES)
            pairs = (
                zip(images, itertools.repeat(NO_CLASS))
                if labels is None
                else zip(images, labels, strict=True)
            )
            for index, (record, label) in enumerate(pairs):
                planes = record.reshape(3, 96, 96)
                yield index, {"image": _image(planes.transpose(2, 1, 0)), "label": label}


class Svhn(_Svhn, skip_registration=True):  # pyright: ignore
    """SVHN, cropped: MATLAB's files of images along the last axis; label 10 stands for 0."""

    name = "svhn_cropped"
    pkg_dir_path = Path(svhn_cropped_dataset_builder.__file__).parent
    url_infos = _Svhn.url_infos

    def _generate_examples(self, split_prefix: str, filepath: Path) -> Any:
        images, labels = _matlab_arrays(Path(filepath))
        for index, label in enumerate(labels.tolist()):
            identity = f"{split_prefix}{index:06d}"
            image = _image(images[..., index])
            yield index, {"id": identity, "image": image, "label": label % 10}


BUILDERS: dict[str, type[tfds.core.GeneratorBasedBuilder]] = {
    "cifar10": Cifar10,
    "cifar100": Cifar100,
    "stl10": Stl10,
    "svhn": Svhn,
}


@contextlib.contextmanager
def shuffled_in_memory() -> Iterator[None]:
    """Keeps TFDS from shuffling splits above 1 GB on disk; in memory the order is the same."""
    before = shuffle.MAX_MEM_BUFFER_SIZE
    shuffle.MAX_MEM_BUFFER_SIZE = sys.maxsize
    try:
        yield
    finally:
        shuffle.MAX_MEM_BUFFER_SIZE = before


@contextlib.contextmanager
def _member(archive: Path, name: str) -> Iterator[IO[bytes]]:
    """A file inside a tar archive, of which no more is decompressed than up to its end."""
    with tarfile.open(archive) as tar:
        found = next((member for member in tar if member.name == name), None)
        file = tar.extractfile(found) if found else None
        if file is None:
            raise ValueError(f"{archive} holds no file {name}")
        yield file


def _matlab_arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (32, 32, 3, n) and labels 1 to 10 of a file of MATLAB; nothing in it is run."""
    found = loadmat(path, variable_names=("X", "y"))
    missing = sorted({"X", "y"} - set(found))
    if missing:
        raise ValueError(f"{path} has no variable {missing[0]}")
    images, labels = found["X"], found["y"].reshape(-1)
    if images.dtype != np.uint8 or images.shape != (32, 32, 3, len(labels)):
        raise ValueError(
            f"{path} must hold bytes X of shape (32, 32, 3, n) for the {len(labels)} labels y, got "
            f"{images.dtype} of shape {images.shape}"
        )
    if not np.isin(labels, np.arange(1, 11)).all():
        raise ValueError(f"{path} must hold labels 1 to 10, got {labels.min()} to {labels.max()}")
    return images, labels.astype(int)


def _lines(archive: Path, name: str) -> list[str]:
    with _member(archive, name) as file:
        return [line for line in file.read().decode().splitlines() if line]


def _records(file: IO[bytes], name: str, size: int) -> Iterator[np.ndarray]:
    """The records of a file, one in memory at a time."""
    for data in iter(functools.partial(file.read, size), b""):
        if len(data) != size:
            raise ValueError(f"{name} ends within a record of {size} bytes")
        yield np.frombuffer(data, np.uint8)


def _image(array: np.ndarray) -> Image.Image:
    """A Pillow image, which TFDS writes as PNG without TensorFlow."""
    return Image.fromarray(np.ascontiguousarray(array))
