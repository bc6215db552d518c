"""Tiny-ImageNet from the folder that its published archive unpacks to.

The validation images are the test split, as everywhere; those in `test/` have no published labels.
What there must be in the folder: `hcl_jax.data.image_lists`.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from hcl_jax.data.decoding import (
    ArrayLayout,
    decode_in_threads,
    digest_of_files,
    jobs_of,
    load_or_decode,
    open_image,
)
from hcl_jax.data.image_lists import (
    ImageList,
    list_class_names,
    list_classes,
    list_train,
    list_val,
)
from hcl_jax.data.image_sets import ChannelStatistics, ImageSet, ImageSetSpec
from hcl_jax.data.instructions import import_or_explain, preparation_command
from hcl_jax.data.splits import DatasetError, Split

TINY_IMAGENET = ImageSetSpec(
    name="tiny-imagenet",
    image_shape=(64, 64, 3),
    classes={"label": 200},
    statistics=ChannelStatistics((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)),
)

FOLDER = "tiny-imagenet-200"
"""The folder in the published archive."""


def tiny_imagenet(data_dir: Path | str, *, cache_dir: Path | str | None = None) -> ImageSet:
    """Tiny-ImageNet: 64 x 64 images of 200 classes, 100 000 to train and 10 000 to test.

    The first call decodes all images in threads, under a progress bar, and caches them in one file;
    that takes minutes. Later calls read that file, after checking that the folder is the same:
    names, classes, sizes and times of change of all images.

    Validation images may lie in one folder, as published, or in one for each class, as
    `ImageFolder` of torchvision wants them; labels and order are the same.

    Args:
        data_dir: directory of data sets, which holds the folder `tiny-imagenet-200/`.
        cache_dir: directory in which decoded images are cached; `data_dir/decoded` by default.

    Returns:
        Classes in the order of wnids.txt and named as in words.txt; grayscale images have three
        equal channels. Mean and standard deviation are the widely published ones of the training
        set.

    Raises:
        DatasetError: if a file is missing, unexpected or damaged, or Pillow is missing.

    Example:
        >>> from pathlib import Path
        >>> tiny_imagenet(Path("nowhere"))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        hcl_jax.data.splits.DatasetError: Tiny-ImageNet is not in nowhere: looked for the folder
        nowhere/tiny-imagenet-200 with wnids.txt, train/ and val/. Unpack tiny-imagenet-200.zip
        there; or run, in a checkout of hcl-jax,
            python -m scripts.prepare_data tiny-imagenet --data-dir ...nowhere
            --archive-dir ARCHIVES
        where ARCHIVES is the directory that holds tiny-imagenet-200.zip
    """
    data_dir = Path(data_dir)
    folder = data_dir / FOLDER
    if not folder.is_dir():
        raise DatasetError(
            f"Tiny-ImageNet is not in {data_dir}: looked for the folder {folder} with wnids.txt, "
            f"train/ and val/. Unpack {FOLDER}.zip there; or run, in a checkout of hcl-jax,\n"
            f"    {preparation_command(TINY_IMAGENET.name, data_dir)} --archive-dir ARCHIVES\n"
            f"where ARCHIVES is the directory that holds {FOLDER}.zip"
        )
    classes = list_classes(folder)
    names = list_class_names(folder / "words.txt", classes)
    train, test = list_train(folder / "train", classes), list_val(folder / "val", classes)
    cache = (data_dir / "decoded" if cache_dir is None else Path(cache_dir)) / f"{FOLDER}.npz"
    images = load_or_decode(
        cache,
        digest_of_files(
            folder,
            (*train.paths, *test.paths),
            np.concatenate([train.labels, test.labels]).tolist(),
        ),
        lambda: {"train": _decode(train, "training"), "test": _decode(test, "validation")},
        layouts={
            name: ArrayLayout(np.uint8, (len(split.paths), *TINY_IMAGENET.image_shape))
            for name, split in (("train", train), ("test", test))
        },
    )
    return ImageSet(
        train=Split(images["train"], train.labels),
        test=Split(images["test"], test.labels),
        num_classes=len(classes),
        class_names=names,
        mean=TINY_IMAGENET.statistics.mean,
        std=TINY_IMAGENET.statistics.std,
    )


def _decode(split: ImageList, name: str) -> UInt8[np.ndarray, "n 64 64 3"]:
    """The images of a split, whose name the progress bar shows."""
    import_or_explain("PIL.Image", "reading Tiny-ImageNet")
    opener = importlib.import_module("PIL.JpegImagePlugin").JpegImageFile
    images = np.empty((len(split.paths), *TINY_IMAGENET.image_shape), np.uint8)

    def decode(numbers: range) -> int:
        for number in numbers:
            images[number] = _read_image(opener, split.paths[number])
        return len(numbers)

    decode_in_threads(
        decode,
        jobs_of(0, len(images)),
        total=len(images),
        description=f"decoding Tiny-ImageNet ({name})",
    )
    return images


def _read_image(opener: Callable[[Any], Any], path: Path) -> UInt8[np.ndarray, "64 64 3"]:
    height, width, _ = TINY_IMAGENET.image_shape
    try:
        with open_image(opener, path, height=height, width=width) as image:
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow raises OSError, SyntaxError and others on damaged files
        raise DatasetError(f"{path} is damaged or not a JPEG: {error}") from error
