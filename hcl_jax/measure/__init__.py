"""`hcl-measure`: has a representation collapsed, and how? For embeddings from any framework.

    hcl-measure embeddings.npz
    python -m hcl_jax.measure --embeddings a.npy --labels b.npy --objective hucl --beta 5

It reads files in chunks, twice, and computes in float64. Its packages are the extra `measure`, and
are imported where they are used.

    extras.py       the errors of the command, and what to install where a package is missing
    arrays.py       arrays in files, read a block at a time: npy, npz, safetensors
    tables.py       CSV and Parquet as arrays
    hints.py        what errors show of a file
    choosing.py     which array is the embeddings, which the labels
    passes.py       the two passes over the rows
    objective.py    the loss of the embeddings, and the least there is
    verdict.py      the collapse in words, and the thresholds
    findings.py     all that is known of one file, measured
    text.py         tables for a terminal
    pictures.py     figures
    page.py         the folder of results: JSON, HTML, figures
    command.py      the command line
"""

from hcl_jax.measure.command import main

__all__ = ["main"]


def __dir__() -> list[str]:
    return __all__
