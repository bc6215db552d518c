"""Unpacks the zip archive of a data set, after a look at what it says of itself."""

import zipfile
from pathlib import Path

from hcl_jax.data import DatasetError
from scripts.data_preparation.whole_folders import whole_folder

MAX_BYTES = 700 * 2**20
"""Tiny-ImageNet takes about 240 MiB."""

MAX_FILES = 200_000
"""Tiny-ImageNet has about 120 000."""

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
"""Methods of compression that Python reads."""


def unpack(path: Path, folder: str, data_dir: Path) -> None:
    """Unpacks an archive into a temporary folder, and moves its one folder to its place as a whole.

    What it would unpack to is looked at first, and then no more than that is written.

    Raises:
        DatasetError: if the archive is damaged, encrypted, too large, or without that folder.
    """
    try:
        with whole_folder(data_dir / folder) as unpacked, zipfile.ZipFile(path) as file:
            _check_members(file.infolist(), folder)
            file.extractall(unpacked.parent)
    except Exception as error:  # zipfile, its decompressors and the disk each raise their own
        raise DatasetError(f"{path} cannot be unpacked to {data_dir}: {error}") from error


def _check_members(members: list[zipfile.ZipInfo], folder: str) -> None:
    if not any(member.filename.startswith(f"{folder}/") for member in members):
        raise DatasetError(f"it holds no folder {folder}")
    for member in members:
        if member.flag_bits & 1:
            raise DatasetError(f"{member.filename} is encrypted")
        if member.compress_type not in METHODS:
            raise DatasetError(
                f"{member.filename} is compressed by the method {member.compress_type}, "
                "which Python does not read"
            )
    size = sum(member.file_size for member in members)
    if size > MAX_BYTES or len(members) > MAX_FILES:
        raise DatasetError(
            f"it would unpack to {len(members)} files of {size / 2**20:.0f} MiB, more than "
            f"{MAX_FILES} or {MAX_BYTES / 2**20:.0f} MiB"
        )
