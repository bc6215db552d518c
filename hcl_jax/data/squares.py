"""Images of any kind and size as RGB squares of one size, decoded once into a file.

Images come as an `ImageSource`: folders, Hugging Face data sets and TFDS have one each. They are
decoded in threads into one array file that later calls map into memory, so that no set is too large
for it; beside it lies a description of what it was decoded from.
"""

import hashlib
import itertools
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Int

from hcl_jax.data.decoding import decode_in_threads, is_broken_link, jobs_of
from hcl_jax.data.image_sets import ChannelStatistics, ImageSet, channel_statistics
from hcl_jax.data.splits import DatasetError, Split
from hcl_jax.data.square_images import read_square
from hcl_jax.system.atomic_files import atomic_open, remove_partial_files
from hcl_jax.system.counting import counted
from hcl_jax.system.json_files import JsonError, json_bytes, read_json
from hcl_jax.system.locking import waiting_lock
from hcl_jax.validation.numbers import check_count
from hcl_jax.validation.options import check_choice, check_path

Damaged = Literal["refuse", "skip"]
"""What becomes of images that cannot be read."""


VERSION = 1
"""To be raised when the same files become other squares."""


class ImageSource(NamedTuple):
    """Labelled images that can be opened one by one: those to train on, then those to test with.

    Attributes:
        name: what the data set is called.
        place: the folder they come from.
        digest: what it holds; another one is decoded anew.
        order: the number of each image in that place.
        labels: the class of each image.
        num_train: how many are training images.
        class_names: one name for each label.
        open: the file of an image by its number there, as a path or as bytes.
        describe: how messages call the image of a number.
    """

    name: str
    place: Path
    digest: str
    order: Int[np.ndarray, " n"]
    labels: Int[np.ndarray, " n"]
    num_train: int
    class_names: tuple[str, ...]
    open: Callable[[int], Path | BinaryIO]
    describe: Callable[[int], str]


def decoded_squares(
    source: ImageSource, *, image_size: int, cache_dir: Path | str, damaged: Damaged
) -> ImageSet:
    """The images of a source as a data set, mapped from the file that they were decoded to.

    DatasetError names the images that cannot be read, unless they are to be skipped, and a class
    of which none is left.
    """
    check_count("image_size", image_size)
    check_choice("damaged", damaged, get_args(Damaged))
    _check_every_class(source, source.labels[: source.num_train], "training image")
    name = f"{source.name}-{image_size}-{_digest(source)[:16]}.npy"
    cache = check_path("cache_dir", cache_dir) / name
    decoded = _kept(cache)
    if decoded is None:
        decoded = _decode_alone(cache, source, image_size)
    if decoded.damaged:
        _refuse_or_warn(decoded.damaged, refuse=damaged == "refuse")
    kept = np.delete(np.arange(len(source.labels)), [number for number, _ in decoded.damaged])
    labels, num_train = source.labels[kept], int((kept < source.num_train).sum())
    _check_every_class(source, labels[:num_train], "training image that can be read")
    images = np.load(cache, mmap_mode="r")
    return ImageSet(
        train=Split(images[:num_train], labels[:num_train]),
        test=Split(images[num_train:], labels[num_train:]),
        num_classes=len(source.class_names),
        class_names=source.class_names,
        mean=decoded.statistics.mean,
        std=decoded.statistics.std,
        digest=_digest_of_content(decoded.sha256, labels, num_train),
    )


def _digest_of_content(sha256: str, labels: Int[np.ndarray, " kept"], num_train: int) -> str:
    """The same wherever the same images lie: from the digest of their file, and the labels."""
    digest = hashlib.sha256(f"{sha256} {num_train}\n".encode())
    digest.update(np.ascontiguousarray(labels, np.int64).tobytes())
    return digest.hexdigest()


class _Decoded(NamedTuple):
    """What a cache says of its images; the damaged ones, by number and reason, are not in it."""

    sha256: str
    statistics: ChannelStatistics
    damaged: list[tuple[int, str]]


def _digest(source: ImageSource) -> str:
    """Differs where another image, or the same ones in another order, would be decoded."""
    from PIL import __version__ as pillow_version

    facts = (VERSION, pillow_version, str(source.place.resolve()), source.digest, source.num_train)
    digest = hashlib.sha256(repr(facts).encode(errors="surrogateescape"))
    for numbers in (source.order, source.labels):
        digest.update(np.ascontiguousarray(numbers, np.int64).tobytes())
    return digest.hexdigest()


def _description(cache: Path) -> Path:
    return cache.with_suffix(".json")


def _kept(cache: Path) -> _Decoded | None:
    """What a cache says of its images; None if there is none, or not a whole one."""
    try:
        found = read_json(_description(cache))
        if found["sha256"] != _sha256(cache):
            return None
        statistics = ChannelStatistics(tuple(found["mean"]), tuple(found["std"]))
        damaged = [(int(number), str(why)) for number, why in found["damaged"]]
        return _Decoded(found["sha256"], statistics, damaged)
    except (OSError, JsonError, KeyError, TypeError, ValueError):
        return None


def _decode_alone(cache: Path, source: ImageSource, image_size: int) -> _Decoded:
    """Decodes all images while no other process does; what a killed one left is removed first."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with waiting_lock(cache.with_suffix(".lock")):
            decoded = _kept(cache)
            if decoded is None:
                for path in (cache, _description(cache)):
                    remove_partial_files(cache.parent, path.name)
                decoded = _decode_into(cache, source, image_size)
    except OSError as error:
        raise DatasetError(
            f"decoded images cannot be kept in {cache}: {error.strerror or error}"
        ) from error
    return decoded


def _decode_into(cache: Path, source: ImageSource, image_size: int) -> _Decoded:
    """Decodes all images into a file beside its description; both are whole or not there."""
    with atomic_open(cache, _description(cache)) as (file, description):
        shape = (len(source.labels), image_size, image_size, 3)
        damaged = _write_images(file, source, shape)
        kept = len(source.labels) - len(damaged)
        before = sum(number < source.num_train for number, _ in damaged)
        if source.num_train == before:
            _refuse_or_warn(damaged, refuse=True)
        start = _write_header(file, (kept, *shape[1:]))
        images = np.memmap(file.name, np.uint8, "r", start, (kept, *shape[1:]))
        statistics = channel_statistics(images[: source.num_train - before])
        file.flush()
        described = {
            "sha256": _sha256(Path(file.name)),
            "mean": statistics.mean,
            "std": statistics.std,
            "damaged": damaged,
        }
        description.write(json_bytes(described))
    return _Decoded(described["sha256"], statistics, damaged)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


def _write_images(file: Any, source: ImageSource, shape: tuple[int, ...]) -> list[tuple[int, str]]:
    """Writes all images that can be read one after the other; returns the others with reasons."""
    start, size = _write_header(file, shape), int(np.prod(shape[1:]))
    file.flush()
    damaged: list[tuple[int, str]] = []

    def decode(numbers: range) -> int:
        for number in numbers:
            name = source.describe(int(source.order[number]))
            try:
                opened = source.open(int(source.order[number]))
                if isinstance(opened, Path) and is_broken_link(opened):
                    raise ValueError("a link that leads to no file")
                image = read_square(opened, shape[1])
            except MemoryError:
                raise
            except Exception as error:  # Pillow raises OSError, SyntaxError, its own, and others
                if isinstance(error, OSError) and error.errno:  # it may be readable another time
                    raise DatasetError(f"{name} cannot be read: {error.strerror}") from error
                reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
                damaged.append((number, f"{name}: {reason}"))
                continue
            os.pwrite(file.fileno(), image.tobytes(), start + number * size)
        return len(numbers)

    total = len(source.labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of metadata and of sizes, which say nothing of the pixels
        decode_in_threads(
            decode, jobs_of(0, total), total=total, description=f"decoding {source.name}"
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
    told = f"{counted(len(damaged), 'image')} cannot be read: {first}{more}"
    if refuse:
        raise DatasetError(f"{told}; damaged='skip' (--damaged skip) leaves such images out")
    warnings.warn(f"{told}; left out", stacklevel=3)


def _check_every_class(source: ImageSource, labels: Int[np.ndarray, " train"], what: str) -> None:
    left = np.bincount(labels, minlength=len(source.class_names))
    if not left.all():
        name = source.class_names[int(np.argmin(left))]
        raise DatasetError(f"{source.place}: class {name} has no {what}")
