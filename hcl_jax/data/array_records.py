"""Reads one split from array_record files, without TensorFlow.

The number of records in each file, the shape of each image and the range of each label are checked;
records carry checksums of their own.
"""

import importlib
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from hcl_jax.data.decoding import decode_in_threads, jobs_of, open_image
from hcl_jax.data.image_sets import ImageSetSpec
from hcl_jax.data.splits import NO_CLASS, DatasetError

ARRAY_RECORD_MODULE = "array_record.python.array_record_module"


class LabelledImages(NamedTuple):
    """One split as it was prepared: images, and the labels of each kind by name."""

    images: UInt8[np.ndarray, "n height width channel"]
    labels: dict[str, Int[np.ndarray, " n"]]


def read_split(
    builder: Any, split: str, directory: Path, spec: ImageSetSpec, *, labelled: bool
) -> LabelledImages:
    """Decodes a split of a TFDS builder, checked against what is known of the data set."""
    _check_presence(builder, split, directory, spec)
    info = builder.info.splits[split]
    paths = [Path(path) for path in info.filepaths]
    check_lengths(info)
    found = LabelledImages(
        np.empty((info.num_examples, *spec.image_shape), np.uint8),
        {label: np.empty(info.num_examples, np.int32) for label in spec.classes},
    )
    # Images are left as PNG, to be decoded here: TFDS advises on its choice of decoder at length.
    undecoded = {"image": importlib.import_module("tensorflow_datasets").decode.SkipDecoding()}
    source = builder.as_data_source(split, decoders=undecoded)

    def decode(job: tuple[Path, range]) -> int:
        path, numbers = job
        examples, images = _decode(source, path, numbers, spec)
        for number, example, image in zip(numbers, examples, images, strict=True):
            _check_image(image, spec, path, number)
            _check_labels(example, spec, path, number, labelled=labelled)
            found.images[number] = image
            for label in spec.classes:
                found.labels[label][number] = example[label]
        return len(numbers)

    jobs = _jobs(paths, info.shard_lengths)
    description = f"decoding {spec.name} ({split})"
    decode_in_threads(decode, jobs, total=info.num_examples, description=description)
    return found


def _check_presence(builder: Any, split: str, directory: Path, spec: ImageSetSpec) -> None:
    if split not in builder.info.splits:
        raise DatasetError(
            f"{directory} holds no split {split!r}, only {', '.join(builder.info.splits)}; "
            f"remove that directory and prepare {spec.name} anew"
        )


def check_lengths(info: Any) -> None:
    """Raises DatasetError unless the files of a TFDS split hold the records that it says."""
    for path, length in zip(info.filepaths, info.shard_lengths, strict=True):
        _check_length(Path(path), length)


def _check_length(path: Path, length: int) -> None:
    array_record = importlib.import_module(ARRAY_RECORD_MODULE)
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


def _jobs(paths: list[Path], lengths: list[int]) -> list[tuple[Path, range]]:
    """Jobs of one file each, with the positions of their records in the split."""
    jobs, start = [], 0
    for path, length in zip(paths, lengths, strict=True):
        jobs += [(path, numbers) for numbers in jobs_of(start, start + length)]
        start += length
    return jobs


def _decode(
    source: Any, path: Path, numbers: range, spec: ImageSetSpec
) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """The records at these positions of the split, and the image of each, which is a PNG."""
    opener = importlib.import_module("PIL.PngImagePlugin").PngImageFile
    height, width, _ = spec.image_shape

    def read(content: bytes) -> np.ndarray:
        return np.asarray(open_image(opener, io.BytesIO(content), height=height, width=width))

    try:
        examples = source.__getitems__(numbers)
        images = [read(example["image"]) for example in examples]
    except Exception as error:  # array_record, protobuf and Pillow each raise their own
        raise DatasetError(f"{path} is damaged: {error}") from error
    return examples, images


def _check_image(image: np.ndarray, spec: ImageSetSpec, path: Path, number: int) -> None:
    if image.shape != spec.image_shape or image.dtype != np.uint8:
        raise DatasetError(
            f"{path} holds an image of shape {image.shape} and dtype {image.dtype} instead of "
            f"{spec.image_shape} and uint8, at position {number} of its split"
        )


def _check_labels(
    example: dict[str, Any], spec: ImageSetSpec, path: Path, number: int, *, labelled: bool
) -> None:
    for label, count in spec.classes.items():
        allowed = range(count) if labelled else (NO_CLASS,)
        if example[label] not in allowed:
            raise DatasetError(
                f"{path} holds {label} {example[label]}, out of {allowed[0]}..{allowed[-1]}, "
                f"at position {number} of its split"
            )
