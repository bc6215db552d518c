"""Archives in the published binary formats of CIFAR and STL-10, filled with generated images."""

import io
import tarfile

import numpy as np

from scripts.experiments.datasets import DATASETS

COUNTS = {"train": 30, "test": 12}
UNLABELLED = 20
NAMES = [f"class {c}" for c in range(100)]
COARSE = [f"superclass {c}" for c in range(20)]
IMAGES = {"cifar10": (32, 32, 3), "cifar100": (32, 32, 3), "stl10": (96, 96, 3)}
CLASSES = {"cifar10": 10, "cifar100": 100, "stl10": 10}


def generated(name):
    """Images, labels and superclasses of both splits; no two images are alike."""
    rng = np.random.default_rng(len(name))
    splits = {}
    for split, count in COUNTS.items():
        images = rng.integers(0, 256, (count, *IMAGES[name]), dtype=np.uint8)
        labels = rng.permutation(np.arange(count) % CLASSES[name]).astype(np.uint8)
        splits[split] = (images, labels, rng.integers(0, 20, count, dtype=np.uint8))
    return splits


def generated_unlabelled():
    """The images of STL-10 that have no labels."""
    return np.random.default_rng(1).integers(0, 256, (UNLABELLED, 96, 96, 3), dtype=np.uint8)


def column_by_column(images):
    """Images as STL-10 stores them: each plane column by column."""
    return b"".join(
        bytes(image[row, column, c] for c in range(3) for column in range(96) for row in range(96))
        for image in images
    )


def archive_members(name):
    """The files of the published binary archive, written byte by byte as its page describes."""
    splits = generated(name)
    if name == "stl10":
        members = {
            "stl10_binary/class_names.txt": "\n".join(NAMES[:10]).encode(),
            "stl10_binary/unlabeled_X.bin": column_by_column(generated_unlabelled()),
        }
        for split, (images, labels, _) in splits.items():
            members |= {
                f"stl10_binary/{split}_X.bin": column_by_column(images),
                f"stl10_binary/{split}_y.bin": bytes(int(label) + 1 for label in labels),
            }
        return members
    records = {
        split: [
            (bytes([coarse]) if name == "cifar100" else b"")
            + bytes([label])
            + b"".join(image[:, :, c].tobytes() for c in range(3))
            for image, label, coarse in zip(*arrays, strict=True)
        ]
        for split, arrays in splits.items()
    }
    if name == "cifar100":
        return {
            "cifar-100-binary/coarse_label_names.txt": "\n".join(COARSE).encode() + b"\n",
            "cifar-100-binary/fine_label_names.txt": "\n".join(NAMES).encode() + b"\n",
            "cifar-100-binary/train.bin": b"".join(records["train"]),
            "cifar-100-binary/test.bin": b"".join(records["test"]),
        }
    batches = {f"data_batch_{b + 1}.bin": records["train"][6 * b : 6 * b + 6] for b in range(5)}
    batches["test_batch.bin"] = records["test"]
    members = {f"cifar-10-batches-bin/{file}": b"".join(part) for file, part in batches.items()}
    return members | {
        "cifar-10-batches-bin/batches.meta.txt": "\n".join(NAMES[:10]).encode() + b"\n\n"
    }


def archive_of(name):
    """The file name of the published archive of a data set."""
    return DATASETS[name].archive.file


def write_archive(name, directory):
    path = directory / archive_of(name)
    with tarfile.open(path, "w:gz") as tar:
        for member, data in archive_members(name).items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path
