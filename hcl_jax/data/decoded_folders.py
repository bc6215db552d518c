"""A folder of one's own images, with a subfolder for each class, as a data set.

What lies where: `hcl_jax.data.folder_lists`.
Images of every format that Pillow reads become RGB squares: turned as their EXIF says, transparent
parts white, scaled until the shorter side fits, and cut at the centre. They are decoded once, in
threads, into one file that later calls map into memory, so that no set is too large for it.
"""

import hashlib
import itertools
import json
import os
import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Int

from hcl_jax.data.decoding import decode_in_threads, jobs_of, version_of
from hcl_jax.data.folder_lists import ClassFolders, list_class_folders
from hcl_jax.data.image_sets import ChannelStatistics, ImageSet, channel_statistics
from hcl_jax.data.splits import DatasetError, Split
from hcl_jax.data.square_images import read_square
from hcl_jax.system.atomic_files import atomic_open
from hcl_jax.validation import check_choice, check_count, check_path

Damaged = Literal["refuse", "skip"]
"""What becomes of images that cannot be read."""


def class_folders(
    path: Path | str,
    *,
    image_size: int,
    cache_dir: Path | str,
    test_fraction: float = 0.2,
    split_seed: int = 0,
    damaged: Damaged = "refuse",
) -> ImageSet:
    """The images of a folder as a data set, decoded once.

    Args:
        path: the folder, see `hcl_jax.data.folder_lists`.
        image_size: height and width of the squares that images become, in pixels.
        cache_dir: directory in which decoded images are kept; a folder whose files, sizes or times
            of change differ is decoded again.
        test_fraction: share of every class that is held out where there are no folders of splits.
        split_seed: seed of that choice.
        damaged: "refuse", or "skip" images that cannot be read, with a warning that names them.

    Returns:
        uint8 images (n, image_size, image_size, 3), mapped from the file, and the statistics of
        their channels over the training images.

    Raises:
        DatasetError: as `list_class_folders`; if images are damaged, with their number and the
            first ones; or if none of a class is left.
        ValueError, TypeError: if the size is not a positive integer, or for another `damaged`.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("cat/a.png", "cat/b.png", "dog/a.png", "dog/b.png"):
        ...     (folder / "pets" / name).parent.mkdir(parents=True, exist_ok=True)
        ...     Image.new("RGB", (20, 30)).save(folder / "pets" / name)
        >>> pets = class_folders(folder / "pets", image_size=16, cache_dir=folder / "decoded")
        >>> pets.class_names, pets.train.images.shape
        (('cat', 'dog'), (2, 16, 16, 3))
    """
    check_count("image_size", image_size)
    check_choice("damaged", damaged, get_args(Damaged))
    listed = list_class_folders(path, test_fraction=test_fraction, split_seed=split_seed)
    source = _digest(listed, image_size)
    place = hashlib.sha256(os.fsencode(listed.root.resolve())).hexdigest()[:8]
    name = f"{listed.root.resolve().name}-{place}-{image_size}.npy"
    cache = check_path("cache_dir", cache_dir) / name
    decoded = _kept(cache, source)
    if decoded is None:
        decoded = _decode_into(cache, listed, image_size, source)
    if decoded.damaged:
        _refuse_or_warn(decoded.damaged, refuse=damaged == "refuse")
    kept = np.delete(np.arange(len(listed.paths)), [number for number, _ in decoded.damaged])
    labels, num_train = listed.labels[kept], int((kept < listed.num_train).sum())
    _check_no_class_is_lost(listed, labels[:num_train])
    images = np.load(cache, mmap_mode="r")
    return ImageSet(
        train=Split(images[:num_train], labels[:num_train]),
        test=Split(images[num_train:], labels[num_train:]),
        num_classes=len(listed.class_names),
        class_names=listed.class_names,
        mean=decoded.statistics.mean,
        std=decoded.statistics.std,
    )


class _Decoded(NamedTuple):
    """What a cache says of its images; the damaged ones, by number and reason, are not in it."""

    statistics: ChannelStatistics
    damaged: list[tuple[int, str]]


def _digest(listed: ClassFolders, image_size: int) -> str:
    """Changes once an image is added, removed, renamed, replaced, or moved to another split."""
    digest = hashlib.sha256(f"{image_size} {listed.num_train}\n".encode())
    for path, label in zip(listed.paths, listed.labels.tolist(), strict=True):
        try:
            version = version_of(path)
        except OSError as error:
            raise DatasetError(f"{path} cannot be read: {error}") from error
        name = os.fsencode(path.relative_to(listed.root))
        digest.update(name + f" {label} {version}\n".encode())
    return digest.hexdigest()


def _description(cache: Path) -> Path:
    return cache.with_suffix(".json")


def _kept(cache: Path, source: str) -> _Decoded | None:
    """What a cache of the same source says; None if there is none, or not a whole one."""
    try:
        found = json.loads(_description(cache).read_text())
        if found["source"] != source or found["bytes"] != cache.stat().st_size:
            return None
        statistics = ChannelStatistics(tuple(found["mean"]), tuple(found["std"]))
        return _Decoded(statistics, [(int(number), str(why)) for number, why in found["damaged"]])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _decode_into(cache: Path, listed: ClassFolders, image_size: int, source: str) -> _Decoded:
    """Decodes all images into a file beside its description; both are whole or not there."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with atomic_open(cache, _description(cache)) as (file, description):
            shape = (len(listed.paths), image_size, image_size, 3)
            damaged = _write_images(file, listed, shape)
            kept = len(listed.paths) - len(damaged)
            before = sum(number < listed.num_train for number, _ in damaged)
            if listed.num_train == before:
                _refuse_or_warn(damaged, refuse=True)
            start = _write_header(file, (kept, *shape[1:]))
            images = np.memmap(file.name, np.uint8, "r", start, (kept, *shape[1:]))
            statistics = channel_statistics(images[: listed.num_train - before])
            described = {
                "source": source,
                "bytes": start + images.nbytes,
                "mean": statistics.mean,
                "std": statistics.std,
                "damaged": damaged,
            }
            description.write(json.dumps(described).encode())
    except OSError as error:
        raise DatasetError(
            f"decoded images cannot be kept in {cache}: {error.strerror or error}"
        ) from error
    return _Decoded(statistics, damaged)


def _write_header(file: Any, shape: tuple[int, ...]) -> int:
    """Writes the header of an array file; returns where the numbers begin.

    NumPy pads headers to multiples of 64 bytes with room to grow, so that its length does not
    depend on the first number of the shape.
    """
    file.seek(0)
    np.lib.format.write_array_header_1_0(
        file, {"descr": "|u1", "fortran_order": False, "shape": shape}
    )
    return file.tell()


def _write_images(file: Any, listed: ClassFolders, shape: tuple[int, ...]) -> list[tuple[int, str]]:
    """Writes all images that can be read one after the other; returns the others with reasons."""
    start, size = _write_header(file, shape), int(np.prod(shape[1:]))
    file.flush()
    damaged: list[tuple[int, str]] = []

    def decode(numbers: range) -> int:
        for number in numbers:
            try:
                image = read_square(listed.paths[number], shape[1])
            except Exception as error:  # Pillow raises OSError, SyntaxError, its own, and others
                reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
                damaged.append((number, f"{listed.paths[number]}: {reason}"))
                continue
            os.pwrite(file.fileno(), image.tobytes(), start + number * size)
        return len(numbers)

    total = len(listed.paths)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata and of sizes, which say nothing of the pixels
        decode_in_threads(
            decode, jobs_of(0, total), total=total, description=f"decoding {listed.root.name}"
        )
    damaged.sort()
    with open(file.name, "r+b") as written:  # for reading too, which `file` is not
        _close_gaps(written.fileno(), start, size, [number for number, _ in damaged], total)
    return damaged


def _close_gaps(descriptor: int, start: int, size: int, gaps: list[int], total: int) -> None:
    """Moves the images behind gaps forward, and cuts off what is left at the end."""
    bounds = [*gaps, total]
    for count, (gap, end) in enumerate(itertools.pairwise(bounds), 1):
        for number in range(gap + 1, end):
            image = os.pread(descriptor, size, start + number * size)
            os.pwrite(descriptor, image, start + (number - count) * size)
    os.ftruncate(descriptor, start + (total - len(gaps)) * size)


def _refuse_or_warn(damaged: list[tuple[int, str]], *, refuse: bool) -> None:
    """Names the first images that cannot be read."""
    first = "; ".join(why for _, why in damaged[:3])
    more = f"; and {len(damaged) - 3} more" if len(damaged) > 3 else ""
    told = f"{len(damaged)} images cannot be read: {first}{more}"
    if refuse:
        raise DatasetError(told)
    warnings.warn(f"{told}; they are left out", stacklevel=3)


def _check_no_class_is_lost(listed: ClassFolders, labels: Int[np.ndarray, " train"]) -> None:
    left = np.bincount(labels, minlength=len(listed.class_names))
    if not left.all():
        name = listed.class_names[int(np.argmin(left))]
        raise DatasetError(f"{listed.root}: class {name} has no training image that can be read")
