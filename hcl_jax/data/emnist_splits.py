"""EMNIST: handwritten digits and letters of NIST's Special Database 19, in six splits.

All are idx files in one published archive, gzip.zip. Images lie in them column by column, and the
labels of "letters" begin at 1. What is checked: the number of images of every class of the splits
that are said to have equally many ("balanced", "digits", "mnist"), the number of all images of the
others, whose classes the publication does not count, and that every class is there. The SHA-256 of
the archive is the one that TensorFlow Datasets has; none is published of the files in it.

Cohen et al. 2017, "EMNIST: an extension of MNIST to handwritten letters"; numbers of images are
those of NIST's page, of which "letters" has more than the paper and TensorFlow Datasets say.
"""

import string
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

from hcl_jax.data.idx_files import Counts, IdxSet, ZipArchive, idx_spec, read_idx_set
from hcl_jax.data.image_sets import ImageSet
from hcl_jax.validation.options import check_choice

EmnistSplit = Literal["balanced", "byclass", "bymerge", "digits", "letters", "mnist"]

GZIP_ZIP = ZipArchive(
    "gzip.zip", "fb9bb67e33772a9cc0b895e4ecf36d2cf35be8b709693c3564cea2a019fcda8e"
)

DIGITS, UPPER = tuple(string.digits), tuple(string.ascii_uppercase)
MERGED = (*DIGITS, *UPPER, *"abdefghnqrt")
"""Small letters that look like their capitals are counted as those."""


def _split(
    name: EmnistSplit, classes: tuple[str, ...], counts: tuple[Counts, Counts], mean: float
) -> IdxSet:
    # Means and standard deviations as in Lightning Bolts (`emnist_normalization`).
    return IdxSet(
        idx_spec(f"emnist-{name}", len(classes), mean, STANDARD_DEVIATIONS[name]),
        (f"emnist-{name}-train", f"emnist-{name}-test"),
        counts,
        classes,
        first_label=1 if name == "letters" else 0,
        transposed=True,
        archive=GZIP_ZIP,
    )


STANDARD_DEVIATIONS: Mapping[EmnistSplit, float] = {
    "balanced": 0.3332,
    "byclass": 0.3316,
    "bymerge": 0.3316,
    "digits": 0.3316,
    "letters": 0.3309,
    "mnist": 0.3317,
}

EMNIST: Mapping[EmnistSplit, IdxSet] = {
    "balanced": _split("balanced", MERGED, ((2400,) * 47, (400,) * 47), 0.1751),
    "byclass": _split(
        "byclass", (*DIGITS, *UPPER, *string.ascii_lowercase), (697_932, 116_323), 0.1736
    ),
    "bymerge": _split("bymerge", MERGED, (697_932, 116_323), 0.1736),
    "digits": _split("digits", DIGITS, ((24_000,) * 10, (4000,) * 10), 0.1733),
    "letters": _split("letters", UPPER, (124_800, 20_800), 0.1722),
    "mnist": _split("mnist", DIGITS, ((6000,) * 10, (1000,) * 10), 0.1733),
}
"""What is known of each split."""


def emnist(data_dir: Path | str, split: EmnistSplit) -> ImageSet:
    """A split of EMNIST: 28 x 28 gray images of handwritten digits and letters, upright.

    Args:
        data_dir: directory of data sets, which holds the four idx files of the split in
            `emnist-SPLIT/`.
        split: "balanced" (47 classes, 112 800 + 18 800 images), "byclass" (62, 697 932 + 116 323),
            "bymerge" (47, as many), "digits" (10, 240 000 + 40 000), "letters" (26, 124 800 +
            20 800) or "mnist" (10, 60 000 + 10 000).

    Returns:
        As `hcl_jax.data.mnist`; classes of "letters" are 0 to 25.

    Raises:
        DatasetError: as `hcl_jax.data.mnist`.
        ValueError: for another split.

    Example:
        >>> EMNIST["balanced"].class_names[34:40]
        ('Y', 'Z', 'a', 'b', 'd', 'e')
    """
    check_choice("split", split, get_args(EmnistSplit))
    return read_idx_set(Path(data_dir), EMNIST[split])
