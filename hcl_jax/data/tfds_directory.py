"""Finds and checks a directory that TensorFlow Datasets prepared, and reads its splits.

Image shape, classes and the number of records are checked against the metadata beside the records.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from hcl_jax.data.array_records import ARRAY_RECORD_MODULE, LabelledImages, read_split
from hcl_jax.data.decoding import ArrayLayout, listing_of, load_or_decode
from hcl_jax.data.image_sets import ImageSetSpec
from hcl_jax.data.instructions import import_or_explain, preparation_command
from hcl_jax.data.splits import DatasetError

UNLABELLED = "unlabelled"
"""The split of images without labels, as TFDS calls it."""

Arrays = dict[str, Shaped[np.ndarray, "..."]]
ClassNames = dict[str, tuple[str, ...]]


def read_labelled(
    data_dir: Path, spec: ImageSetSpec
) -> tuple[LabelledImages, LabelledImages, ClassNames]:
    """The training split, the test split, and the names of the classes of each kind of label."""
    directory = _find(data_dir, spec)
    layouts = _layouts(spec)
    arrays = _load_or_decode(directory, "", lambda: _decode_labelled(directory, spec), layouts)
    splits = [
        LabelledImages(
            arrays[f"{split}_images"],
            {label: arrays[f"{split}_{label}"] for label in spec.classes},
        )
        for split in ("train", "test")
    ]
    names = {label: tuple(map(str, arrays[f"{label}_names"])) for label in spec.classes}
    return splits[0], splits[1], names


def read_further(data_dir: Path, spec: ImageSetSpec, split: str) -> LabelledImages:
    """A split that `read_labelled` does not read; cached in a file of its own.

    Labels are checked, and are all `NO_CLASS` in the split `UNLABELLED`.
    """
    directory = _find(data_dir, spec)

    def decode() -> Arrays:
        builder = _open_as(directory, spec)
        found = read_split(builder, split, directory, spec, labelled=split != UNLABELLED)
        return {"images": found.images, **found.labels}

    layouts = {"images": ArrayLayout(np.uint8, ("n", *spec.image_shape))}
    layouts |= {label: ArrayLayout(np.int32, ("n",)) for label in spec.classes}
    arrays = _load_or_decode(directory, f"-{split}", decode, layouts)
    return LabelledImages(arrays["images"], {label: arrays[label] for label in spec.classes})


def _layouts(spec: ImageSetSpec) -> dict[str, ArrayLayout]:
    """The arrays of the labelled splits, as `_decode_labelled` makes them."""
    layouts = {
        f"{label}_names": ArrayLayout(np.str_, (count,)) for label, count in spec.classes.items()
    }
    for split in ("train", "test"):
        layouts[f"{split}_images"] = ArrayLayout(np.uint8, (split, *spec.image_shape))
        for label in spec.classes:
            layouts[f"{split}_{label}"] = ArrayLayout(np.int32, (split,))
    return layouts


def _find(data_dir: Path, spec: ImageSetSpec) -> Path:
    advice = f", in a checkout of hcl-jax, with\n    {preparation_command(spec.name, data_dir)}"
    return find_prepared(data_dir, spec.tfds_name or spec.name, advice)


def find_prepared(data_dir: Path, name: str, advice: str) -> Path:
    """The directory of the highest version that is prepared of a data set, or of a configuration.

    DatasetError says what was looked for, and what to prepare it with.
    """
    versions = [
        path.parent
        for path in (data_dir / name).glob("*/dataset_info.json")
        if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name)
    ]
    if not versions:
        raise DatasetError(
            f"{name} is not prepared in {data_dir}: looked for a directory "
            f"{data_dir / name}/VERSION with dataset_info.json and array_record files. "
            f"Prepare it{advice}"
        )
    return max(versions, key=lambda path: tuple(map(int, path.name.split("."))))


def _load_or_decode(
    directory: Path, suffix: str, decode: Callable[[], Arrays], layouts: dict[str, ArrayLayout]
) -> Arrays:
    """What `decode` makes of the records in this directory, cached in a file named after it."""
    name, version = directory.parent.name, directory.name
    cache = directory.parent.parent / "decoded" / f"{name}-{version}{suffix}.npz"
    return load_or_decode(cache, listing_of(directory), decode, layouts=layouts)


def _decode_labelled(directory: Path, spec: ImageSetSpec) -> Arrays:
    builder = _open_as(directory, spec)
    arrays = {}
    for split in ("train", "test"):
        found = read_split(builder, split, directory, spec, labelled=True)
        arrays[f"{split}_images"] = found.images
        arrays |= {f"{split}_{label}": values for label, values in found.labels.items()}
    for label in spec.classes:
        arrays[f"{label}_names"] = np.array(builder.info.features[label].names)
    return arrays


def _open_as(directory: Path, spec: ImageSetSpec) -> Any:
    """The TFDS builder of a data set that is already prepared, its metadata checked."""
    builder = open_prepared(directory)
    _check_features(builder.info.features, directory, spec)
    return builder


def open_prepared(directory: Path) -> Any:
    """The TFDS builder of array_record files that are already prepared."""
    purpose = f"reading {directory}"
    for module in (ARRAY_RECORD_MODULE, "PIL.Image"):
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
    return builder


def _check_features(features: Any, directory: Path, spec: ImageSetSpec) -> None:
    for name in ("image", *spec.classes):
        if name not in features:
            raise DatasetError(f"the records in {directory} have no feature {name!r}")
    shape = tuple(features["image"].shape)
    if shape != spec.image_shape:
        raise DatasetError(
            f"{spec.name} has images of shape {spec.image_shape}, "
            f"but {directory} holds images of shape {shape}"
        )
    for label, count in spec.classes.items():
        if features[label].num_classes != count:
            raise DatasetError(
                f"{spec.name} has {count} classes of {label!r}, "
                f"but {directory} has {features[label].num_classes}"
            )
        names = directory / f"{label}.labels.txt"
        if spec.named_classes and not names.is_file():
            raise DatasetError(f"the file with the names of the classes, {names}, is missing")
