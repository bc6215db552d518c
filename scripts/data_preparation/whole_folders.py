"""Folders that are whole or not there."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def whole_folder(place: Path) -> Iterator[Path]:
    """A path of the same name in a temporary folder beside, moved to its place when all went well.

    What is made there is removed if an exception is raised.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=place.parent, prefix="incomplete-"))
    try:
        yield temporary / place.name
        (temporary / place.name).rename(place)
    finally:
        shutil.rmtree(temporary)
