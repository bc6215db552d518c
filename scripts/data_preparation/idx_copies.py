"""Copies the idx files of a data set to where they are read."""

import shutil
from pathlib import Path

from hcl_jax.data import DatasetError
from hcl_jax.data.idx_files import IdxSet, find_idx_file
from scripts.data_preparation.whole_folders import whole_folder


def copy_idx_files(idx_set: IdxSet, archive_dir: Path, data_dir: Path) -> None:
    """Copies the files in `archive_dir` to the folder of the set, all of them or none.

    Raises:
        DatasetError: if a file is missing, or cannot be copied.
    """
    paths = [find_idx_file(archive_dir, name, idx_set) for name in idx_set.files]
    try:
        with whole_folder(data_dir / idx_set.spec.name) as folder:
            folder.mkdir()
            for path in paths:
                shutil.copy(path, folder)
    except OSError as error:
        raise DatasetError(f"{archive_dir} cannot be copied to {data_dir}: {error}") from error
