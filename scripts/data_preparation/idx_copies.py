"""Copies the idx files of a data set to where they are read, from a folder or from an archive."""

import hashlib
import shutil
import zipfile
from pathlib import Path

from hcl_jax.data import DatasetError
from hcl_jax.data.idx_files import IdxSet, ZipArchive, find_idx_file
from scripts.data_preparation.whole_folders import whole_folder


def copy_idx_files(idx_set: IdxSet, archive_dir: Path, data_dir: Path) -> None:
    """Copies the files in `archive_dir` to the folder of the set, all of them or none.

    They are taken from the archive of the set, if it is there.

    Raises:
        DatasetError: if a file is missing, the archive is not the published one, or if they cannot
            be copied.
    """
    archive = idx_set.archive
    if archive is not None and (archive_dir / archive.file).is_file():
        _check_archive(archive_dir / archive.file, archive)
        paths = None
    else:
        paths = [find_idx_file(archive_dir, name, idx_set) for name in idx_set.files]
    try:
        with whole_folder(data_dir / idx_set.spec.name) as folder:
            folder.mkdir()
            if archive is not None and paths is None:
                _extract(archive_dir / archive.file, idx_set.files, folder)
            for path in paths or ():
                shutil.copy(path, folder)
    except OSError as error:
        raise DatasetError(f"{archive_dir} cannot be copied to {data_dir}: {error}") from error


def _check_archive(path: Path, archive: ZipArchive) -> None:
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error}") from error
    if found != archive.sha256:
        raise DatasetError(
            f"{path} is damaged, or another archive: its SHA-256 is {found}, published is "
            f"{archive.sha256}"
        )


def _extract(path: Path, names: tuple[str, ...], folder: Path) -> None:
    """Extracts files from an archive that is known to be whole."""
    with zipfile.ZipFile(path) as archive:
        members = {Path(member).name: member for member in archive.namelist()}
        for name in names:
            member = members.get(f"{name}.gz")
            if member is None:
                raise DatasetError(f"{path} holds no {name}.gz")
            with archive.open(member) as packed, (folder / f"{name}.gz").open("wb") as file:
                shutil.copyfileobj(packed, file)
