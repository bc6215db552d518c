"""MNIST and its relatives, from the idx files in which they are published, compressed or not.

An idx file is a magic number, its dimensions as big-endian integers of 32 bits, and bytes. Files
are judged by what is in them once decompressed, since distributions of the same data differ in the
headers of gzip: dimensions, the published number of images of every class, and, where this project
has seen the data, their SHA-256. A further set is one `IdxSet` and one function in this file.
"""

import gzip
import hashlib
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8

from hcl_jax.data.image_sets import ChannelStatistics, ImageSet, ImageSetSpec
from hcl_jax.data.instructions import preparation_command
from hcl_jax.data.splits import DatasetError, Split

SIDE = 28
"""Height and width of every image."""

MAGIC_UINT8 = 0x0800
"""Magic number of unsigned bytes, without the number of dimensions."""


Counts = tuple[int, ...] | int
"""The number of images of every class; of all of them where the others are not published."""


class ZipArchive(NamedTuple):
    """An archive that holds the idx files of a set, each compressed by gzip, in any folder.

    Attributes:
        file: its name.
        sha256: its published SHA-256.
    """

    file: str
    sha256: str


class IdxSet(NamedTuple):
    """What is known of a data set of idx files before they are read.

    Attributes:
        spec: name, shape, classes and statistics.
        prefixes: how the names of the files of the training and of the test split begin.
        counts: published number of images in both splits.
        class_names: one name for each class.
        first_label: the label of the first class in the files.
        transposed: whether images lie column by column in the files.
        digests: SHA-256 of the decompressed content by name of the file, as far as it is known.
        archive: the published archive, where the files are in one.
    """

    spec: ImageSetSpec
    prefixes: tuple[str, str]
    counts: tuple[Counts, Counts]
    class_names: tuple[str, ...]
    first_label: int = 0
    transposed: bool = False
    digests: Mapping[str, str] = {}
    archive: ZipArchive | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The names of its four files, uncompressed."""
        return tuple(
            f"{prefix}-{kind}"
            for prefix in self.prefixes
            for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
        )


def idx_spec(name: str, classes: int, mean: float, std: float) -> ImageSetSpec:
    """The description of a set of gray images of 28 x 28 pixels."""
    return ImageSetSpec(
        name, (SIDE, SIDE, 1), {"label": classes}, ChannelStatistics((mean,), (std,))
    )


MNIST = IdxSet(
    idx_spec("mnist", 10, 0.1307, 0.3081),
    ("train", "t10k"),
    (
        (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    ),
    tuple("0123456789"),
)

FASHION_MNIST = IdxSet(
    idx_spec("fashion-mnist", 10, 0.2860, 0.3530),
    ("train", "t10k"),
    ((6000,) * 10, (1000,) * 10),
    (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    digests={
        "train-images-idx3-ubyte": (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
        ),
        "train-labels-idx1-ubyte": (
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
        ),
        "t10k-images-idx3-ubyte": (
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
        ),
        "t10k-labels-idx1-ubyte": (
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
        ),
    },
)

KMNIST = IdxSet(
    idx_spec("kmnist", 10, 0.1918, 0.3483),
    ("train", "t10k"),
    ((6000,) * 10, (1000,) * 10),
    ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
)


def mnist(data_dir: Path | str) -> ImageSet:
    """MNIST: 28 x 28 gray images of ten handwritten digits, 60 000 to train and 10 000 to test.

    Args:
        data_dir: directory of data sets, which holds the four idx files in `mnist/`.

    Returns:
        The images in the order of the files. Mean and standard deviation are the widely published
        ones of the training set.

    Raises:
        DatasetError: if a file is missing or damaged, or holds something else than it should.

    Example:
        >>> from pathlib import Path
        >>> mnist(Path("nowhere"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hcl_jax.data.splits.DatasetError: mnist is not in nowhere: looked for
        nowhere/mnist/train-images-idx3-ubyte, with .gz or without. Put the four files there; or
        run, in a checkout of hcl-jax,
            python -m scripts.prepare_data mnist --data-dir ...nowhere --archive-dir ARCHIVES
        where ARCHIVES is the directory that holds them
    """
    return read_idx_set(Path(data_dir), MNIST)


def fashion_mnist(data_dir: Path | str) -> ImageSet:
    """Fashion-MNIST: 28 x 28 gray photographs of ten kinds of clothes, 60 000 + 10 000.

    Args:
        data_dir: directory of data sets, which holds the four idx files in `fashion-mnist/`.

    Returns:
        As `mnist`.

    Raises:
        DatasetError: as `mnist`.

    Example:
        >>> from hcl_jax.data.idx_files import FASHION_MNIST
        >>> FASHION_MNIST.class_names[:3]
        ('T-shirt/top', 'Trouser', 'Pullover')
    """
    return read_idx_set(Path(data_dir), FASHION_MNIST)


def kmnist(data_dir: Path | str) -> ImageSet:
    """Kuzushiji-MNIST: 28 x 28 gray images of ten cursive hiragana, 60 000 + 10 000.

    Args:
        data_dir: directory of data sets, which holds the four idx files in `kmnist/`.

    Returns:
        As `mnist`.

    Raises:
        DatasetError: as `mnist`.

    Example:
        >>> from hcl_jax.data.idx_files import KMNIST
        >>> KMNIST.files[0]
        'train-images-idx3-ubyte'
    """
    return read_idx_set(Path(data_dir), KMNIST)


def read_idx_set(data_dir: Path, idx_set: IdxSet) -> ImageSet:
    """The images of a set in `data_dir`, all of them checked.

    Raises:
        DatasetError: if a file is missing or damaged, or holds something else than it should.
    """
    spec = idx_set.spec
    directory = data_dir / spec.name
    splits = []
    for number, prefix in enumerate(idx_set.prefixes):
        counts = idx_set.counts[number]
        count = counts if isinstance(counts, int) else sum(counts)
        images = _read(directory, f"{prefix}-images-idx3-ubyte", (count, SIDE, SIDE), idx_set)
        labels = _read(directory, f"{prefix}-labels-idx1-ubyte", (count,), idx_set)
        labels = labels.astype(np.int32) - idx_set.first_label
        _check_counts(directory / prefix, labels, counts, idx_set)
        images = images.swapaxes(1, 2) if idx_set.transposed else images
        splits.append(Split(np.ascontiguousarray(images)[..., None], labels))
    return ImageSet(
        train=splits[0],
        test=splits[1],
        num_classes=spec.num_classes,
        class_names=idx_set.class_names,
        mean=spec.statistics.mean,
        std=spec.statistics.std,
    )


def find_idx_file(directory: Path, name: str, idx_set: IdxSet) -> Path:
    """The file of this name, compressed or not; DatasetError says what to do if there is none."""
    for path in (directory / name, directory / f"{name}.gz"):
        if path.is_file():
            return path
    data_set = idx_set.spec.name
    them = f"{idx_set.archive.file} or the four files in it" if idx_set.archive else "them"
    raise DatasetError(
        f"{data_set} is not in {directory.parent}: looked for {directory / name}, with .gz or "
        "without. Put the four files there; or run, in a checkout of hcl-jax,\n"
        f"    {preparation_command(data_set, directory.parent)} --archive-dir ARCHIVES\n"
        f"where ARCHIVES is the directory that holds {them}"
    )


def _read(
    directory: Path, name: str, shape: tuple[int, ...], idx_set: IdxSet
) -> UInt8[np.ndarray, "..."]:
    """The array in a file, of this shape."""
    path = find_idx_file(directory, name, idx_set)
    content = _decompressed(path, 4 * (1 + len(shape)) + math.prod(shape))
    array = _parse(path, content, shape)
    expected = idx_set.digests.get(name)
    if expected is not None and (found := hashlib.sha256(content).hexdigest()) != expected:
        raise DatasetError(
            f"{path} is damaged, or not of {idx_set.spec.name}: the SHA-256 of its decompressed "
            f"content is {found}, expected {expected}"
        )
    return array


def _decompressed(path: Path, size: int) -> bytes:
    """The content of a file, of which no more is decompressed than a byte above `size`."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            content = file.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    if len(content) != size:
        found = f"more than {size}" if len(content) > size else len(content)
        raise DatasetError(f"{path} must hold {size} bytes once decompressed, but holds {found}")
    return content


def _parse(path: Path, content: bytes, shape: tuple[int, ...]) -> UInt8[np.ndarray, "..."]:
    """The array of an idx file, whose header must be that of bytes of this shape."""
    header = np.frombuffer(content, ">u4", 1 + len(shape)).tolist()
    expected = [MAGIC_UINT8 + len(shape), *shape]
    if header != expected:
        raise DatasetError(f"{path} must begin with the integers {expected}, but has {header}")
    return np.frombuffer(content, np.uint8, offset=4 * len(header)).reshape(shape)


def _check_counts(
    path: Path, labels: Shaped[np.ndarray, " n"], counts: Counts, idx_set: IdxSet
) -> None:
    """Raises unless there are as many labels of every class as published, or some where not."""
    classes, first = idx_set.spec.num_classes, idx_set.first_label
    if labels.min() >= 0 and labels.max() < classes:
        found = np.bincount(labels, minlength=classes)
        wrong = found == 0 if isinstance(counts, int) else found != counts
        if not wrong.any():
            return
        label = int(np.argmax(wrong))
        expected = "some" if isinstance(counts, int) else counts[label]
        reason = f"class {label} has {found[label]} images, expected {expected}"
    else:
        reason = (
            f"labels reach from {labels.min() + first} to {labels.max() + first} instead of "
            f"{first} to {classes - 1 + first}"
        )
    raise DatasetError(
        f"the labels in {path}-labels-idx1-ubyte are not the published ones: {reason}"
    )
