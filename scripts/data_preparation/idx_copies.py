"""Copies the idx files of a data set to where they are read, once all of them are right."""

import shutil
import tempfile
from pathlib import Path

from hcl_jax.data import DatasetError
from hcl_jax.data.idx_files import IdxSet, find_idx_file, read_idx_set


def copy_idx_files(idx_set: IdxSet, archive_dir: Path, data_dir: Path) -> None:
    """Checks the files in `archive_dir`, and copies them to the folder of the set as a whole.

    Raises:
        DatasetError: if a file is missing or damaged, or cannot be copied.
    """
    read_idx_set(data_dir, idx_set, folder=archive_dir)
    data_dir.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=data_dir, prefix="incomplete-"))
    try:
        for name in idx_set.files:
            shutil.copy(find_idx_file(archive_dir, name, idx_set), temporary)
        temporary.chmod(0o755)
        temporary.rename(data_dir / idx_set.spec.name)
    except OSError as error:
        raise DatasetError(f"{archive_dir} cannot be copied to {data_dir}: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
