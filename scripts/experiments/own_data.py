"""Data of one's own: files and folders that an experiment names by their kind and place."""

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tyro.constructors import PrimitiveConstructorSpec

from hcl_jax import data
from hcl_jax.data import Dataset, ImageSet
from hcl_jax.data.own_splits import EvaluateOn, IdleSeedError
from hcl_jax.data.splitting import Profile
from hcl_jax.data.squares import Damaged
from hcl_jax.system.paths import parsed_path

KINDS = {"npz": "FILE", "folder": "DIR", "hf": "DIR", "tfds": "NAME[:CONFIG]"}
"""What stands before the colon, and what comes after it."""

SQUARES = ("folder", "hf", "tfds")
"""Kinds whose images may be of any size, and become squares."""

IMAGE_SIZE = 32
"""Pixels of a side of what images of any size become, unless an experiment says otherwise."""


class Source(NamedTuple):
    """What decides which images are trained on and which are held out.

    Attributes:
        data: the name of a data set, or data of one's own.
        image_size: side of the squares that images of any size become.
        test_fraction: share of every class that is held out of data of one's own.
        split_seed: seed of that choice, and of the images that a long tail keeps.
        evaluate_on: which split is held out where there are several.
        damaged: what becomes of images that cannot be read.
        imbalance: the size of the largest class over that of the smallest, for a long tail.
        imbalance_profile: how sizes of classes fall.
    """

    data: str
    image_size: int
    test_fraction: float
    split_seed: int
    evaluate_on: EvaluateOn | None
    damaged: Damaged
    imbalance: float
    imbalance_profile: Profile


@dataclasses.dataclass(frozen=True)
class OwnData:
    """What was found in data of one's own.

    Attributes:
        image_shape: shape of one image, or the length of a vector.
        num_classes: number of classes.
        class_names: one name for each label.
        num_train: number of training images.
        mean: mean of each channel; none where images are taken as they are.
        std: standard deviation of each channel, or 1 where it is 0; none where images are taken as
            they are.
        digest: SHA-256 of all images and labels, or of that of the file of decoded images.
    """

    image_shape: tuple[int, ...]
    num_classes: int
    class_names: tuple[str, ...]
    num_train: int
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    digest: str


def kind_of(name: str) -> str | None:
    """What stands before the colon of data of one's own; None for the name of a data set."""
    kind, colon, _ = name.partition(":")
    return kind if colon and kind in KINDS else None


def load_own(source: Source, data_dir: Path) -> Dataset | ImageSet:
    """Loads data of one's own; images of a folder are decoded to `data_dir` the first time.

    Where the data say themselves what is held out, the seed is that of a long tail alone.
    """
    try:
        return _load(source, data_dir)
    except IdleSeedError:
        if source.imbalance == 1:
            raise
        return _load(source._replace(split_seed=0), data_dir)


def _load(source: Source, data_dir: Path) -> Dataset | ImageSet:
    kind, _, place = source.data.partition(":")
    split: dict[str, Any] = {
        "test_fraction": source.test_fraction,
        "split_seed": source.split_seed,
        "evaluate_on": source.evaluate_on,
    }
    if kind == "npz":
        return data.npz_set(Path(place), **split)
    squares = {
        "image_size": source.image_size,
        "cache_dir": data_dir / "decoded",
        "damaged": source.damaged,
        **split,
    }
    if kind == "tfds":
        return data.tfds_set(place.replace(":", "/"), data_dir, **squares)
    load = data.class_folders if kind == "folder" else data.hugging_face_set
    return load(Path(place), **squares)


def found_in(loaded: Dataset | ImageSet) -> OwnData:
    """What an experiment records of data of one's own."""
    statistics = (None, None)
    if isinstance(loaded, ImageSet):
        # A channel that is the same everywhere becomes 0.
        statistics = (loaded.mean, tuple(std or 1.0 for std in loaded.std))
    return OwnData(
        tuple(loaded.train.images.shape[1:]),
        loaded.num_classes,
        loaded.class_names,
        len(loaded.train.labels),
        *statistics,
        _digest(loaded),
    )


def _digest(loaded: Dataset | ImageSet) -> str:
    """The digest that came with the data, or that of all images and labels."""
    if isinstance(loaded, ImageSet) and loaded.digest is not None:
        return loaded.digest
    digest = hashlib.sha256()
    for split in (loaded.train, loaded.test):
        for array in split:
            digest.update(f"{array.shape} {array.dtype}\n".encode())
            for start in range(0, len(array), 1024):
                digest.update(np.asarray(array[start : start + 1024]).tobytes())
    return digest.hexdigest()


def _own_at(word: str) -> str:
    """How data of one's own are named that lie where a word says, if any do."""
    place = parsed_path([word])
    if place.is_dir():
        return f"; the folder that is there is folder:{word}"
    return f"; the file that is there is npz:{word}" if place.is_file() else ""


def name_or_own(names: Sequence[str]) -> PrimitiveConstructorSpec[str]:
    """Annotates an option that is a name of a table, or data of one's own with its path."""

    def parsed(words: list[str]) -> str:
        (word,) = words
        kind = kind_of(word)
        place = word.partition(":")[2]
        if kind and not place:
            raise ValueError(f"{word!r} does not say which {KINDS[kind]}")
        if kind == "tfds":
            return word
        if kind:
            return f"{kind}:{os.path.abspath(parsed_path([place]))}"
        if word not in names:
            raise ValueError(f"{word!r} is no data set{_own_at(word)}; there are {known}")
        return word

    own = tuple(f"{kind}:{rest}" for kind, rest in KINDS.items())
    known = ", ".join((*names, *own))
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="{" + ",".join((*names, *own)) + "}",
        instance_from_str=parsed,
        is_instance=lambda value: (
            value in names or (isinstance(value, str) and bool(kind_of(value)))
        ),
        str_from_instance=lambda name: [name],
    )
