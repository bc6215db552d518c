"""Reads data sets that TensorFlow Datasets prepared as array_record files, without TensorFlow.

Everything is checked against the metadata that lie beside the records: image shape, classes, the
number of records in each file. Records carry checksums of their own.
"""

import importlib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from hcl_jax.data.decoding import decode_in_threads, decoded_once
from hcl_jax.data.optional_packages import import_or_explain
from hcl_jax.data.splits import DatasetError

RECORDS = "array_record.python.array_record_module"
CHUNK = 256
"""Records that one job decodes."""

UNLABELLED = "unlabelled"
"""The split of images without labels, as TFDS calls it."""

NO_CLASS = -1
"""What stands in place of a label there."""


class Expected(NamedTuple):
    """What the data set of a name must look like.

    Attributes:
        name: as in TFDS.
        image_shape: of every image.
        classes: the number of classes of each label.
    """

    name: str
    image_shape: tuple[int, int, int]
    classes: dict[str, int]


class Records(NamedTuple):
    """One split as it was prepared: images, and the labels by name."""

    images: UInt8[np.ndarray, "n height width channel"]
    labels: dict[str, Int[np.ndarray, " n"]]


def read_prepared(
    data_dir: Path, expected: Expected
) -> tuple[Records, Records, dict[str, tuple[str, ...]]]:
    """The training and the test split of a prepared data set.

    Args:
        data_dir: the directory that TFDS prepared data sets in.
        expected: which data set, and what it must look like.

    Returns:
        Training records, test records, and the names of the classes of each label. Images that were
        decoded once are kept in `data_dir/decoded/`.

    Raises:
        DatasetError: if it is not prepared, damaged or of another kind, or a package is missing.

    Example:
        >>> read_prepared(Path("nowhere"), Expected("cifar10", (32, 32, 3), {"label": 10}))
        Traceback (most recent call last):
            ...
        hcl_jax.data.splits.DatasetError: cifar10 is not prepared in nowhere: looked for a directory
        nowhere/cifar10/VERSION with dataset_info.json and array_record files. Prepare it with
            python -m scripts.prepare_data cifar10 --data-dir nowhere
    """
    directory = _find(data_dir, expected.name)
    arrays = _decoded_once(directory, "", lambda: _decode(directory, expected))
    splits = [
        Records(
            arrays[f"{split}_images"],
            {label: arrays[f"{split}_{label}"] for label in expected.classes},
        )
        for split in ("train", "test")
    ]
    names = {label: tuple(map(str, arrays[f"{label}_names"])) for label in expected.classes}
    return splits[0], splits[1], names


def read_unlabelled(data_dir: Path, expected: Expected) -> UInt8[np.ndarray, "n height width 3"]:
    """The images without labels of a prepared data set, which `read_prepared` does not read.

    Args:
        data_dir: the directory that TFDS prepared data sets in.
        expected: which data set, and what it must look like.

    Returns:
        The images. Once decoded they are kept in a file of their own in `data_dir/decoded/`.

    Raises:
        DatasetError: as `read_prepared`; or if the data set was prepared without these images.

    Example:
        >>> read_unlabelled(Path("nowhere"), Expected("stl10", (96, 96, 3), {"label": 10}))
        Traceback (most recent call last):
            ...
        hcl_jax.data.splits.DatasetError: stl10 is not prepared in nowhere: looked for a directory
        nowhere/stl10/VERSION with dataset_info.json and array_record files. Prepare it with
            python -m scripts.prepare_data stl10 --data-dir nowhere
    """
    directory = _find(data_dir, expected.name)

    def decode() -> dict[str, np.ndarray]:
        builder = _open(directory, expected)
        return {"images": _decode_split(builder, UNLABELLED, directory, expected).images}

    return _decoded_once(directory, f"-{UNLABELLED}", decode)["images"]


def _find(data_dir: Path, name: str) -> Path:
    """The directory of the highest version that is prepared."""
    versions = [
        path.parent
        for path in (data_dir / name).glob("*/dataset_info.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name)
    ]
    if not versions:
        raise DatasetError(
            f"{name} is not prepared in {data_dir}: looked for a directory "
            f"{data_dir / name}/VERSION with dataset_info.json and array_record files. "
            f"Prepare it with\n    python -m scripts.prepare_data {name} --data-dir {data_dir}"
        )
    return max(versions, key=lambda path: tuple(map(int, path.name.split("."))))


def _decoded_once(
    directory: Path, suffix: str, decode: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """What `decode` makes of the records in this directory, kept in a file named after it."""
    name, version = directory.parent.name, directory.name
    kept = directory.parent.parent / "decoded" / f"{name}-{version}{suffix}.npz"
    return decoded_once(kept, _listing(directory), decode)


def _listing(directory: Path) -> str:
    """Names, sizes and times of all files: what tells one preparation from another."""
    files = sorted((path.name, path.stat()) for path in directory.iterdir())
    return "\n".join(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in files)


def _decode(directory: Path, expected: Expected) -> dict[str, np.ndarray]:
    builder = _open(directory, expected)
    arrays = {}
    for split in ("train", "test"):
        records = _decode_split(builder, split, directory, expected)
        arrays[f"{split}_images"] = records.images
        arrays |= {f"{split}_{label}": values for label, values in records.labels.items()}
    for label in expected.classes:
        arrays[f"{label}_names"] = np.array(builder.info.features[label].names)
    return arrays


def _open(directory: Path, expected: Expected) -> Any:
    """The builder of TFDS for files that are there, its metadata checked."""
    purpose = f"reading {expected.name}"
    for module in (RECORDS, "PIL.Image"):
        import_or_explain(module, purpose)
    tfds = import_or_explain("tensorflow_datasets", purpose)
    try:
        builder = tfds.builder_from_directory(directory)
    except Exception as error:  # whatever parsing damaged metadata raises
        raise DatasetError(
            f"the metadata in {directory} (dataset_info.json, features.json) "
            f"cannot be read: {error}"
        ) from error
    kind = builder.info.file_format.value
    if kind != "array_record":
        raise DatasetError(
            f"{directory} holds {kind} files, which only TensorFlow reads; "
            "prepare the data set with file_format='array_record'"
        )
    _check_features(builder.info.features, directory, expected)
    return builder


def _check_features(features: Any, directory: Path, expected: Expected) -> None:
    for name in ("image", *expected.classes):
        if name not in features:
            raise DatasetError(f"the records in {directory} have no feature {name!r}")
    shape = tuple(features["image"].shape)
    if shape != expected.image_shape:
        raise DatasetError(
            f"{expected.name} has images of shape {expected.image_shape}, "
            f"but {directory} holds images of shape {shape}"
        )
    for label, count in expected.classes.items():
        if features[label].num_classes != count:
            raise DatasetError(
                f"{expected.name} has {count} classes of {label!r}, "
                f"but {directory} has {features[label].num_classes}"
            )
        if not (directory / f"{label}.labels.txt").is_file():
            raise DatasetError(f"the names of the classes, {directory / label}.labels.txt, miss")


def _decode_split(builder: Any, split: str, directory: Path, expected: Expected) -> Records:
    if split not in builder.info.splits:
        raise DatasetError(
            f"{directory} holds no split {split!r}, only {', '.join(builder.info.splits)}; "
            f"remove that directory and prepare {expected.name} anew"
        )
    info = builder.info.splits[split]
    paths = [Path(path) for path in info.filepaths]
    for path, length in zip(paths, info.shard_lengths, strict=True):
        _check_length(path, length)
    records = Records(
        np.empty((info.num_examples, *expected.image_shape), np.uint8),
        {label: np.empty(info.num_examples, np.int32) for label in expected.classes},
    )
    # Images are left as PNG, to be decoded here: TFDS advises on its choice of decoder at length.
    undecoded = {"image": importlib.import_module("tensorflow_datasets").decode.SkipDecoding()}
    source = builder.as_data_source(split, decoders=undecoded)
    decode_in_threads(
        lambda job: _decode_range(source, *job, records, expected, labelled=split != UNLABELLED),
        _ranges(paths, info.shard_lengths),
        total=info.num_examples,
        description=f"decoding {expected.name} ({split})",
    )
    return records


def _check_length(path: Path, length: int) -> None:
    array_record = importlib.import_module(RECORDS)
    try:
        reader = array_record.ArrayRecordReader(str(path))
        found = reader.num_records()
        reader.close()
    except RuntimeError as error:
        raise DatasetError(f"{path} is missing, truncated or damaged: {error}") from error
    if found != length:
        raise DatasetError(
            f"{path} holds {found} records, but the dataset_info.json beside it says {length}"
        )


def _ranges(paths: list[Path], lengths: list[int]) -> list[tuple[Path, int, int]]:
    """Jobs of at most CHUNK records, each of one file."""
    jobs, start = [], 0
    for path, length in zip(paths, lengths, strict=True):
        end = start + length
        jobs += [(path, first, min(first + CHUNK, end)) for first in range(start, end, CHUNK)]
        start = end
    return jobs


def _decode_range(
    source: Any,
    path: Path,
    start: int,
    stop: int,
    records: Records,
    expected: Expected,
    *,
    labelled: bool,
) -> int:
    pillow = importlib.import_module("PIL.Image")
    try:
        examples = source.__getitems__(range(start, stop))
        images = [np.asarray(pillow.open(io.BytesIO(example["image"]))) for example in examples]
    except Exception as error:  # array_record, protobuf and Pillow each raise their own
        raise DatasetError(f"{path} is damaged: {error}") from error
    for index, example, image in zip(range(start, stop), examples, images, strict=True):
        if image.shape != expected.image_shape or image.dtype != np.uint8:
            raise DatasetError(
                f"{path} holds an image of shape {image.shape} and dtype {image.dtype} instead of "
                f"{expected.image_shape} and uint8, at position {index} of its split"
            )
        records.images[index] = image
        for label, count in expected.classes.items():
            allowed = range(count) if labelled else (NO_CLASS,)
            if example[label] not in allowed:
                raise DatasetError(
                    f"{path} holds {label} {example[label]}, out of {allowed[0]}..{allowed[-1]}, "
                    f"at position {index} of its split"
                )
            records.labels[label][index] = example[label]
    return stop - start
