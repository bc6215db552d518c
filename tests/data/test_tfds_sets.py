"""CIFAR and STL-10: archives of generated images through TFDS and back, damage, statistics."""

import hashlib
import json
import shutil
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from references.published_archives import (
    CLASSES,
    COARSE,
    COUNTS,
    NAMES,
    UNLABELLED,
    archive_of,
    generated,
    generated_unlabelled,
    write_archive,
)

from hcl_jax import data
from hcl_jax.data import CIFAR100, DatasetError, ImageSetSpec, array_records, tfds_directory
from scripts import prepare_data


@pytest.fixture(scope="module")
def tfds():
    for module in prepare_data.PACKAGES:
        pytest.importorskip(module)
    return pytest.importorskip("tensorflow_datasets")


def accept(monkeypatch, name, path):
    """Gives TFDS the checksum of a generated archive instead of that of the published one."""
    from tensorflow_datasets.core.download import checksums

    from scripts.data_preparation.tfds_builders import BUILDERS

    builder = BUILDERS[name]
    known = checksums.get_all_url_infos() | (builder.url_infos or {})
    (url,) = [url for url, info in known.items() if info.filename == path.name]
    data = path.read_bytes()
    info = checksums.UrlInfo(
        size=len(data), checksum=hashlib.sha256(data).hexdigest(), filename=path.name
    )
    monkeypatch.setattr(builder, "url_infos", {url: info})


def count_as_large(monkeypatch):
    """Makes TFDS shuffle generated splits as it shuffles those above 1 GB."""
    monkeypatch.setattr("tensorflow_datasets.core.shuffle.MAX_MEM_BUFFER_SIZE", 1000)


def made_by_the_command_line(name, directory):
    """Prepares a data set from a generated archive."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        count_as_large(monkeypatch)
        accept(monkeypatch, name, write_archive(name, directory))
        arguments = [name, "--data-dir", str(directory), "--archive-dir", str(directory)]
        assert prepare_data.main(arguments) == 0
    shutil.rmtree(directory / "decoded")
    return directory


@pytest.fixture(scope="module", params=["cifar10", "cifar100", "stl10"])
def made(request, tfds, tmp_path_factory):
    name = request.param
    return name, made_by_the_command_line(name, tmp_path_factory.mktemp(name))


@pytest.fixture(scope="module")
def intact(tfds, tmp_path_factory):
    return made_by_the_command_line("cifar100", tmp_path_factory.mktemp("intact"))


@pytest.fixture(scope="module")
def intact_stl10(tfds, tmp_path_factory):
    return made_by_the_command_line("stl10", tmp_path_factory.mktemp("stl10"))


@pytest.fixture
def stl10_copy(intact_stl10, tmp_path):
    shutil.copytree(intact_stl10 / "stl10", tmp_path / "stl10")
    return next((tmp_path / "stl10").iterdir())


@pytest.fixture
def cifar100_copy(intact, tmp_path):
    shutil.copytree(intact / "cifar100", tmp_path / "cifar100")
    return next((tmp_path / "cifar100").iterdir())


def load(name, directory):
    return getattr(data, name)(directory)


def in_order(images):
    """A permutation that sorts images by content: TFDS shuffles them."""
    return np.lexsort(images.reshape(len(images), -1)[:, :8].T)


def test_archives_come_back_bit_for_bit(made):
    name, directory = made
    loaded = load(name, directory)
    assert "tensorflow" not in sys.modules
    spec = getattr(data, name.upper())
    assert loaded.num_classes == spec.num_classes == CLASSES[name]
    assert loaded.train.images.shape[1:] == spec.image_shape
    assert (loaded.mean, loaded.std) == spec.statistics
    assert loaded.class_names == tuple(NAMES[: CLASSES[name]])
    for split, (images, labels, coarse) in generated(name).items():
        found = getattr(loaded, split)
        assert found.images.dtype == np.uint8
        assert found.labels.dtype == np.int32
        ours, theirs = in_order(found.images), in_order(images)
        np.testing.assert_array_equal(found.images[ours], images[theirs])
        np.testing.assert_array_equal(found.labels[ours], labels[theirs])
        if name == "cifar100":
            assert loaded.coarse_labels.names == tuple(COARSE)
            kept = getattr(loaded.coarse_labels, split)
            np.testing.assert_array_equal(kept[ours], coarse[theirs])
        else:
            assert loaded.coarse_labels is None


def test_tfds_reads_the_same(made, tfds):
    name, directory = made
    loaded = load(name, directory)
    for split in COUNTS:
        source = tfds.data_source(name, split=split, data_dir=directory)
        found = getattr(loaded, split)
        assert len(source) == len(found.labels)
        for example, image, label in zip(source, *found, strict=True):
            np.testing.assert_array_equal(example["image"], image)
            assert example["label"] == label


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("train_images", lambda images: images[1:]),
        ("train_images", lambda images: images.astype(np.float32)),
        ("train_images", lambda images: images[..., 0]),
        ("test_label", lambda labels: labels[1:]),
        ("test_label", lambda labels: labels.astype(np.int64)),
        ("test_coarse_label", lambda labels: labels[:, None]),
        ("coarse_label_names", lambda names: names[1:]),
        ("label_names", lambda names: np.arange(len(names))),
    ],
)
def test_a_cache_of_other_arrays_is_made_anew(cifar100_copy, name, change):
    """Its source is right, and so are its checksums."""
    data_dir = cifar100_copy.parent.parent
    first = data.cifar100(data_dir)
    [path] = (data_dir / "decoded").iterdir()
    with np.load(path) as arrays:
        good = dict(arrays)
    without = {key: array for key, array in good.items() if key != name}
    for spoiled in (without, {**without, name: change(good[name])}):
        np.savez(path, **spoiled)
        again = data.cifar100(data_dir)
        for one, other in zip(
            (*first.train, *first.test), (*again.train, *again.test), strict=True
        ):
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
        assert again.class_names == first.class_names
        assert again.coarse_labels.names == first.coarse_labels.names


def png_that_claims(width, height):
    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


class OneRecord:
    """What TFDS reads records with, of one record."""

    def __init__(self, **example):
        self.example = example

    def __getitems__(self, numbers):
        return [self.example for _ in numbers]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (png_that_claims(10_000, 20_000), "an image of 20000 x 10000 pixels instead of 32 x 32"),
        (png_that_claims(32, 32), "file is damaged: "),
        (b"no image", "file is damaged: "),
    ],
)
def test_an_image_is_looked_at_before_it_is_decoded(tfds, content, message):
    with pytest.raises(DatasetError, match=message):
        array_records._decode(OneRecord(image=content), Path("file"), range(1), CIFAR100)


def test_second_time_is_read_from_one_file(made, monkeypatch):
    name, directory = made
    first = load(name, directory)
    monkeypatch.setattr(tfds_directory, "_decode_labelled", None)
    again = load(name, directory)
    np.testing.assert_array_equal(first.train.images, again.train.images)
    np.testing.assert_array_equal(first.test.labels, again.test.labels)
    assert first.class_names == again.class_names


def test_tfds_own_builder_with_tensorflow_writes_the_same(made, tfds, tmp_path, monkeypatch):
    pytest.importorskip("tensorflow")
    name, directory = made
    accept(monkeypatch, name, directory / archive_of(name))
    count_as_large(monkeypatch)
    from scripts.data_preparation.tfds_builders import BUILDERS

    builder = tfds.builder(name, data_dir=tmp_path, file_format="array_record")
    monkeypatch.setattr(type(builder), "url_infos", BUILDERS[name].url_infos)
    config = tfds.download.DownloadConfig(manual_dir=directory)
    builder.download_and_prepare(download_dir=tmp_path / "downloads", download_config=config)
    theirs, ours = load(name, tmp_path), load(name, directory)
    np.testing.assert_array_equal(theirs.train.images, ours.train.images)
    np.testing.assert_array_equal(theirs.test.labels, ours.test.labels)
    assert theirs.class_names == ours.class_names
    if name == "stl10":
        theirs, ours = (
            data.stl10(where, unlabelled=True).unlabelled for where in (tmp_path, directory)
        )
        np.testing.assert_array_equal(theirs.images, ours.images)


def test_images_without_labels_come_back_bit_for_bit(stl10_copy):
    data_dir = stl10_copy.parent.parent
    loaded = data.stl10(data_dir, unlabelled=True)
    found, expected = loaded.unlabelled, generated_unlabelled()
    assert found.labels.dtype == np.int32
    assert found.labels.tolist() == [-1] * UNLABELLED
    np.testing.assert_array_equal(
        found.images[in_order(found.images)], expected[in_order(expected)]
    )
    labelled = data.stl10(data_dir)
    assert labelled.unlabelled is None
    np.testing.assert_array_equal(loaded.train.images, labelled.train.images)
    np.testing.assert_array_equal(loaded.test.labels, labelled.test.labels)


def test_tfds_reads_the_same_images_without_labels(stl10_copy, tfds):
    data_dir = stl10_copy.parent.parent
    source = tfds.data_source("stl10", split="unlabelled", data_dir=data_dir)
    found = data.stl10(data_dir, unlabelled=True).unlabelled
    for example, image, label in zip(source, *found, strict=True):
        np.testing.assert_array_equal(example["image"], image)
        assert example["label"] == label


def test_images_without_labels_are_read_only_if_asked_for(stl10_copy):
    data_dir = stl10_copy.parent.parent
    for path in stl10_copy.glob("stl10-unlabelled.array_record-*"):
        path.write_bytes(b"not records")
    data.stl10(data_dir)
    assert [path.name for path in (data_dir / "decoded").iterdir()] == ["stl10-1.0.0.npz"]
    with pytest.raises(DatasetError, match=r"stl10-unlabelled.array_record-\S+ is missing, trunc"):
        data.stl10(data_dir, unlabelled=True)


def test_images_without_labels_are_decoded_once(stl10_copy, monkeypatch):
    data_dir = stl10_copy.parent.parent
    first = data.stl10(data_dir, unlabelled=True)
    monkeypatch.setattr(tfds_directory, "read_split", None)
    again = data.stl10(data_dir, unlabelled=True)
    np.testing.assert_array_equal(first.unlabelled.images, again.unlabelled.images)


def test_a_preparation_without_unlabelled_images_says_what_to_do(stl10_copy):
    def labelled_alone(info):
        info["splits"] = [s for s in info["splits"] if s["name"] != "unlabelled"]

    edit_json("dataset_info.json", labelled_alone)(stl10_copy)
    data_dir = stl10_copy.parent.parent
    assert len(data.stl10(data_dir).train.labels) == COUNTS["train"]
    with pytest.raises(
        DatasetError,
        match=r"no split 'unlabelled', only .*; remove that directory and prepare stl10 anew",
    ):
        data.stl10(data_dir, unlabelled=True)


def test_labels_among_the_unlabelled_are_named(cifar100_copy, monkeypatch):
    monkeypatch.setattr(tfds_directory, "UNLABELLED", "test")
    fine_labels_alone = CIFAR100._replace(classes={"label": 100})
    with pytest.raises(DatasetError, match=r"cifar100-test\S+ holds label \d+, out of -1..-1"):
        tfds_directory.read_further(cifar100_copy.parent.parent, fine_labels_alone, "test")


def test_a_missing_label_is_named(stl10_copy):
    edit_json("dataset_info.json", swap_names("test", "unlabelled"))(stl10_copy)
    with pytest.raises(DatasetError, match=r"holds label -1, out of 0\.\.9"):
        data.stl10(stl10_copy.parent.parent)


def test_wrong_archive_is_refused(tfds, tmp_path):
    """In a process of its own, where no checksum of a generated archive was ever known."""
    write_archive("cifar10", tmp_path)
    command = [sys.executable, "-m", "scripts.prepare_data", "cifar10"]
    command += ["--data-dir", str(tmp_path / "data"), "--archive-dir", str(tmp_path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "wrong checksum" in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "data").rglob("dataset_info.json"))


def test_bad_records_that_were_there_are_left_with_advice(cifar100_copy, capsys):
    truncate(cifar100_copy)
    data_dir = cifar100_copy.parent.parent
    assert prepare_data.main(["cifar100", "--data-dir", str(data_dir)]) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "cifar100-train.array_record-00000-of-00001 is missing, truncated or damaged" in said
    advice = f"remove {data_dir / 'cifar100'} to have it made anew from cifar-100-binary.tar.gz"
    assert said.endswith(advice)
    assert cifar100_copy.is_dir()


def test_a_truncated_archive_is_named(tfds, tmp_path, monkeypatch, capsys):
    """As if its checksum were the published one."""
    path = write_archive("cifar10", tmp_path)
    path.write_bytes(path.read_bytes()[:-1000])
    accept(monkeypatch, "cifar10", path)
    arguments = ["cifar10", "--data-dir", str(tmp_path / "data"), "--archive-dir", str(tmp_path)]
    assert prepare_data.main(arguments) == 1
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "from cifar-10-binary.tar.gz: " in said
    assert not list((tmp_path / "data").rglob("dataset_info.json"))


def test_archive_that_is_not_there(tfds, tmp_path, capsys):
    arguments = ["stl10", "--data-dir", str(tmp_path), "--archive-dir", str(tmp_path / "nowhere")]
    assert prepare_data.main(arguments) == 1
    assert f"{tmp_path / 'nowhere' / 'stl10_binary.tar.gz'}, does not exist" in (
        capsys.readouterr().err
    )


def truncate(directory):
    path = directory / "cifar100-train.array_record-00000-of-00001"
    path.write_bytes(path.read_bytes()[:-5])


def overwrite(directory):
    path = directory / "cifar100-test.array_record-00000-of-00001"
    data = bytearray(path.read_bytes())
    # The middle of the first quarter that is not padding: inside the records.
    filled = max(i for i in range(len(data) // 2) if data[i])
    data[filled // 2 : filled // 2 + 64] = bytes(64)
    path.write_bytes(data)


def edit_json(name, change):
    def edit(directory):
        path = directory / name
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit


def swap_names(one, other):
    """Takes the records of one split for those of the other; names of files stay in the list."""
    names = {one: other, other: one}

    def swap(info):
        for split in info["splits"]:
            split["filepathTemplate"] = (
                f"{{DATASET}}-{split['name']}.{{FILEFORMAT}}-{{SHARD_X_OF_Y}}"
            )
            split["name"] = names.get(split["name"], split["name"])

    return swap


def fewer_records(info):
    info["splits"][0]["shardLengths"] = ["29"]


def no_test_split(info):
    info["splits"] = [split for split in info["splits"] if split["name"] == "train"]


def other_format(info):
    info["fileFormat"] = "tfrecord"


def other_shape(features):
    features["featuresDict"]["features"]["image"]["image"]["shape"]["dimensions"][0] = "64"


def other_count(features):
    features["featuresDict"]["features"]["label"]["classLabel"]["numClasses"] = "99"


def no_coarse_label(features):
    del features["featuresDict"]["features"]["coarse_label"]


DAMAGE = {
    "truncated record file": (truncate, r"cifar100-train.array_record-\S+ is missing, truncated"),
    "overwritten records": (overwrite, r"cifar100-test.array_record-\S+ is damaged"),
    "missing record file": (
        lambda directory: (directory / "cifar100-test.array_record-00000-of-00001").unlink(),
        "cifar100-test.array_record-00000-of-00001 is missing",
    ),
    "count": (edit_json("dataset_info.json", fewer_records), "30 records, but .* says 29"),
    "split": (edit_json("dataset_info.json", no_test_split), "no split 'test', only train"),
    "format": (edit_json("dataset_info.json", other_format), "holds tfrecord files"),
    "shape": (edit_json("features.json", other_shape), r"holds images of shape \(64, 32, 3\)"),
    "classes": (edit_json("features.json", other_count), "100 classes of 'label', but .* has 99"),
    "feature": (edit_json("features.json", no_coarse_label), "no feature 'coarse_label'"),
    "names": (
        lambda directory: (directory / "label.labels.txt").unlink(),
        "label.labels.txt, is missing",
    ),
    "metadata": (
        lambda directory: (directory / "features.json").write_text("{"),
        "metadata in .*cifar100.* cannot be read",
    ),
    "unprepared": (
        lambda directory: (directory / "dataset_info.json").unlink(),
        "python -m scripts.prepare_data cifar100 --data-dir",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(cifar100_copy, damage):
    do, message = DAMAGE[damage]
    do(cifar100_copy)
    with pytest.raises(DatasetError, match=message):
        data.cifar100(cifar100_copy.parent.parent)
    assert not (cifar100_copy.parent.parent / "decoded").exists()


def test_damage_after_decoding_is_named(cifar100_copy):
    data_dir = cifar100_copy.parent.parent
    data.cifar100(data_dir)
    truncate(cifar100_copy)
    with pytest.raises(DatasetError, match="truncated"):
        data.cifar100(data_dir)


def spec_of(image_shape, classes):
    return ImageSetSpec("x", image_shape, classes, CIFAR100.statistics)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (spec_of((32, 32, 1), {"label": 100}), r"shape \(32, 32, 3\) and dtype"),
        (spec_of((32, 32, 3), {"label": 5}), r"holds label \d+, out of 0..4"),
    ],
)
def test_records_that_contradict_the_metadata(cifar100_copy, monkeypatch, spec, message):
    monkeypatch.setattr(tfds_directory, "_check_features", lambda *_: None)
    (cifar100_copy.parent).rename(cifar100_copy.parent.parent / "x")
    with pytest.raises(DatasetError, match=message):
        tfds_directory.read_labelled(cifar100_copy.parent.parent, spec)


def test_the_directory_may_be_given_as_text(cifar100_copy):
    loaded = data.cifar100(str(cifar100_copy.parent.parent))
    assert len(loaded.train.labels) == COUNTS["train"]


def test_highest_version_is_read(cifar100_copy):
    data_dir = cifar100_copy.parent.parent
    shutil.copytree(cifar100_copy, cifar100_copy.parent / "10.0.0")
    for other in ("9.9.9", "incomplete.X_11.0.0"):
        (cifar100_copy.parent / other).mkdir()
        (cifar100_copy.parent / other / "dataset_info.json").write_text("{")
    edit_json("dataset_info.json", lambda info: info.update(version="10.0.0"))(
        cifar100_copy.parent / "10.0.0"
    )
    data.cifar100(data_dir)
    assert [path.name for path in (data_dir / "decoded").iterdir()] == ["cifar100-10.0.0.npz"]


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "stl10"])
def test_an_unprepared_data_set_comes_with_the_command_and_where_to_run_it(
    name, tmp_path, monkeypatch
):
    """In any directory: the command names the directory of data sets by its absolute path."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DatasetError) as caught:
        load(name, Path("images"))
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("Prepare it, in a checkout of hcl-jax, with")
    command = f"python -m scripts.prepare_data {name} --data-dir {tmp_path / 'images'}"
    assert lines[1:] == [f"    {command}"]
    assert prepare_data.main([*command.split()[3:], "--archive-dir", "nowhere"]) == 1


@pytest.mark.parametrize("module", ["tensorflow_datasets", "array_record", "PIL"])
def test_missing_package_is_named_with_its_extra(cifar100_copy, monkeypatch, module):
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DatasetError, match=rf'{module}.* pip install "hcl-jax\[tfds\]"$'):
        data.cifar100(cifar100_copy.parent.parent)


def test_data_directory_that_cannot_be_written(cifar100_copy):
    (cifar100_copy.parent.parent / "decoded").write_text("a file where a directory should be")
    with pytest.warns(RuntimeWarning, match="could not be kept"):
        loaded = data.cifar100(cifar100_copy.parent.parent)
    assert len(loaded.train.labels) == COUNTS["train"]


def test_statistics_of_random_images():
    images = np.random.default_rng(0).integers(0, 256, (1500, 5, 7, 3), dtype=np.uint8)
    images[..., 1] //= 2
    found = data.channel_statistics(images)
    values = images / 255.0
    np.testing.assert_allclose(found.mean, values.mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(found.std, values.std(axis=(0, 1, 2)), rtol=1e-12)


def test_statistics_do_not_overflow_or_cancel():
    images = np.full((3000, 64, 64, 3), 255, np.uint8)
    images[0, 0, 0] = 254
    mean, std = data.channel_statistics(images)
    count = 3000 * 64 * 64  # the sum of squares is above 2^39, its product with this above 2^62
    np.testing.assert_allclose(mean, 1 - 1 / 255 / count, rtol=1e-15)
    np.testing.assert_allclose(std, (count - 1) ** 0.5 / count / 255, rtol=1e-12)


STATISTICS_OF = {
    r"\(n, height, width, 1 or 3\), none of them 0, got \(0, 2, 2, 3\)": np.zeros(
        (0, 2, 2, 3), np.uint8
    ),
    r"none of them 0, got \(2, 0, 2, 3\)": np.zeros((2, 0, 2, 3), np.uint8),
    r"none of them 0, got \(2, 2, 3\)": np.zeros((2, 2, 3), np.uint8),
    r"none of them 0, got \(2, 2, 2, 4\)": np.zeros((2, 2, 2, 4), np.uint8),
    "images must have dtype uint8, got float32": np.ones((2, 2, 2, 3), np.float32),
    "images must have dtype uint8, got int32": np.ones((2, 2, 2, 3), np.int32),
    "must be a NumPy or JAX array of numbers, got a list": [[[[0, 0, 0]]]],
}


@pytest.mark.parametrize("message", STATISTICS_OF)
def test_statistics_are_of_uint8_images(message, unchecked):
    with pytest.raises((ValueError, TypeError), match=message):
        data.channel_statistics(STATISTICS_OF[message])


def test_statistics_of_images_on_the_device_are_the_same():
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 4, 3), dtype=np.uint8)
    assert data.channel_statistics(jnp.asarray(images)) == data.channel_statistics(images)


def test_reference_statistics_are_those_of_cifar10(intact):
    ours, reference = (
        data.cifar100(intact, reference_statistics=option) for option in (False, True)
    )
    assert (reference.mean, reference.std) == ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    assert (ours.mean, ours.std) == ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762))
    np.testing.assert_array_equal(ours.train.images, reference.train.images)


def test_nothing_warns_while_reading(made):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        shutil.rmtree(made[1] / "decoded", ignore_errors=True)
        load(*made)


def test_any_prepared_set_becomes_squares(made, tmp_path):
    name, directory = made
    own = getattr(data, name)(directory)
    size = own.train.images.shape[1]
    if name == "cifar100":  # of which fewer images than classes are generated
        with pytest.raises(DatasetError, match=r"class class 30 has no training image$"):
            data.tfds_set(name, directory, image_size=size, cache_dir=tmp_path)
        return
    found = data.tfds_set(name, directory, image_size=size, cache_dir=tmp_path)
    assert found.class_names == own.class_names
    for split, expected in ((found.train, own.train), (found.test, own.test)):
        np.testing.assert_array_equal(split.images, expected.images)
        np.testing.assert_array_equal(split.labels, expected.labels)
    small = data.tfds_set(name, directory, image_size=size // 2, cache_dir=tmp_path)
    assert small.train.images.shape[1:] == (size // 2, size // 2, 3)


def forget_a_feature(directory, name):
    features = directory / "features.json"
    content = json.loads(features.read_text())
    del content["featuresDict"]["features"][name]
    features.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("image", "its features are .*label: ClassLabel"),
        ("label", "class superclass 8 has no training image$"),  # then the only class
    ],
)
def test_sets_without_an_image_or_a_class_are_refused(cifar100_copy, tmp_path, name, message):
    forget_a_feature(cifar100_copy, name)
    with pytest.raises(DatasetError, match=message):
        data.tfds_set("cifar100", tmp_path, image_size=8, cache_dir=tmp_path / "kept")
