"""Arrays of an .npz file, mapped into memory where they are large and not compressed.

A member that is stored as it is (`numpy.savez`) lies in the file like an array file, and can be
mapped. One that is compressed (`numpy.savez_compressed`) has to be decompressed, and is held whole.
The checksum of a mapped member is compared in one pass over it, a part at a time.
"""

import struct
import zipfile
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib.format import MAGIC_PREFIX

LEAST_MAPPED = 2**24
"""Bytes from which a member is mapped: 16 MiB."""

LOCAL_HEADER = 30
"""Bytes of the header before a member, without its name and further fields."""

READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def npz_array(path: Path, key: str) -> np.ndarray:
    """An array of an .npz file by its key; nothing is unpickled.

    OSError, ValueError, EOFError and `zipfile.BadZipFile` say that it is damaged or an object.
    """
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        member = archive.getinfo(f"{key}.npy" if f"{key}.npy" in names else key)
        with archive.open(member) as file:
            if file.read(len(MAGIC_PREFIX)) == MAGIC_PREFIX:  # else it is no array
                file.seek(0)
                _header(file, member.filename)
        if member.compress_type == zipfile.ZIP_STORED and member.file_size >= LEAST_MAPPED:
            return _mapped(path, archive, member)
    with np.load(path, allow_pickle=False) as file:
        return file[key]


def _mapped(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.memmap:
    with archive.open(member) as file:
        shape, by_columns, dtype = _header(file, member.filename)
        header = file.tell()
        expected = header + int(np.prod(shape, dtype=object)) * dtype.itemsize
        if member.file_size != expected:
            raise ValueError(
                f"{member.filename} holds {member.file_size} bytes, expected {expected}"
            )
        while file.read(LEAST_MAPPED):  # at the end the checksum is compared
            pass
    with path.open("rb") as file:
        file.seek(member.header_offset)
        lengths = struct.unpack("<26xHH", file.read(LOCAL_HEADER))
    start = member.header_offset + LOCAL_HEADER + sum(lengths) + header
    return np.memmap(path, dtype, "r", start, shape, "F" if by_columns else "C")


def _header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether it lies by columns, and dtype of a member, at whose beginning `file` is."""
    version = np.lib.format.read_magic(file)
    if version not in READERS:
        raise ValueError(f"{name} has version {version} of the npy format")
    shape, by_columns, dtype = READERS[version](file)
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects; save texts as array.astype(str)")
    return shape, by_columns, dtype
