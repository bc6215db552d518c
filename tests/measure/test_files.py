"""Every format gives the same rows and classes; what is no embeddings is refused in one line."""

import io
import os
import warnings
import zipfile

import numpy as np
import pyarrow as pa
import pytest
import safetensors.numpy
from pyarrow import parquet

from hcl_jax.measure import arrays
from hcl_jax.measure.arrays import chunks
from hcl_jax.measure.choosing import Keys, open_source, representations
from hcl_jax.measure.extras import InputError

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(40, 5)).astype(np.float32)
LABELS = np.arange(40) % 3
TEXTS = np.array(["ant", "bee", "cat"])[LABELS]


def columns(rows=ROWS):
    return {f"z{i}": rows[:, i] for i in range(rows.shape[1])}


def write_csv(path, table, *, header=True):
    lines = [",".join(table)] * header + [
        ",".join(map(str, r)) for r in zip(*table.values(), strict=True)
    ]
    path.write_text("\n".join(lines))


def lists(kind):
    return pa.array(list(ROWS), kind)


WRITERS = {
    "npz": lambda p: np.savez(p, embeddings=ROWS, labels=LABELS),
    "compressed.npz": lambda p: np.savez_compressed(p, features=ROWS, y=LABELS),
    "fortran.npz": lambda p: np.savez(p, z=np.asfortranarray(ROWS), y=LABELS.astype(np.uint8)),
    "swapped.npz": lambda p: np.savez(p, z=ROWS.astype(">f4"), y=LABELS.astype(">i8")),
    "texts.npz": lambda p: np.savez(p, x=ROWS, label=TEXTS, other=np.arange(7)),
    "floats.npz": lambda p: np.savez(p, x=ROWS, label=LABELS.astype(float)[:, None]),
    "csv": lambda p: write_csv(p, {"id": range(40), **columns(ROWS.astype(float)), "label": TEXTS}),
    "headless.csv": lambda p: write_csv(p, {**columns(ROWS.astype(float))}, header=False),
    "parquet": lambda p: parquet.write_table(pa.table(columns() | {"y": LABELS}), p),
    "lists.parquet": lambda p: parquet.write_table(
        pa.table({"embedding": lists(pa.list_(pa.float32())), "label": TEXTS}), p, row_group_size=7
    ),
    "fixed.parquet": lambda p: parquet.write_table(
        pa.table({"embedding": lists(pa.list_(pa.float32(), 5)), "label": LABELS}), p
    ),
    "safetensors": lambda p: safetensors.numpy.save_file({"z": ROWS, "y": LABELS}, p),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_format_holds_the_same(tmp_path, monkeypatch, kind):
    """In blocks of two rows and chunks of seven, neither of which divides 40 and the row groups."""
    monkeypatch.setattr(arrays, "BLOCK", 2 * ROWS[0].nbytes)
    path, labels = tmp_path / f"a.{kind}", None
    WRITERS[kind](path)
    if kind == "headless.csv":
        labels = tmp_path / "labels.npy"
        np.save(labels, LABELS)
    source = open_source(path, labels, Keys())
    for _ in range(2):
        parts = list(chunks(source.rows, 7))
        assert [len(part) for part in parts] == [7, 7, 7, 7, 7, 5]
        assert all(part.dtype == np.float64 for part in parts)
        np.testing.assert_array_equal(np.concatenate(parts), ROWS.astype(np.float64))
    np.testing.assert_array_equal(source.classes.labels, LABELS)
    assert source.classes.names in (("ant", "bee", "cat"), ("0", "1", "2"))
    np.testing.assert_array_equal(source.classes.sizes, [14, 13, 13])


@pytest.mark.parametrize("dtype", ["float16", "float64", "bfloat16"])
def test_narrow_and_wide_numbers_are_read_exactly(tmp_path, dtype):
    rows = ROWS.astype(np.dtype(dtype))
    safetensors.numpy.save_file({"z": rows, "y": LABELS}, tmp_path / "a.safetensors")
    source = open_source(tmp_path / "a.safetensors", None, Keys())
    [part] = chunks(source.rows, 100)
    np.testing.assert_array_equal(part, rows.astype(np.float64))


TWO = {"train_embeddings": ROWS, "train_labels": LABELS}
TWO |= {"test_embeddings": ROWS[:9], "test_labels": LABELS[:9]}


def test_what_was_taken_is_said_and_may_be_chosen(tmp_path):
    np.savez(tmp_path / "a.npz", **TWO)
    with pytest.raises(InputError, match=r"choose one by --embeddings-key"):
        open_source(tmp_path / "a.npz", None, Keys())
    source = open_source(tmp_path / "a.npz", None, Keys("test_embeddings"))
    assert source.notes == (
        "embeddings: test_embeddings (9, 5) float32, labels: test_labels",
        "not used: train_embeddings, train_labels",
    )
    with pytest.raises(InputError, match=r"one label for each of the 9 .* shape \(40,\)"):
        open_source(tmp_path / "a.npz", None, Keys("test_embeddings", "train_labels"))


@pytest.mark.parametrize("place", [0, 2, 5, -1, -6])
def test_the_column_of_labels_may_be_a_number_where_there_are_no_names(tmp_path, place):
    """Whole numbers among the embeddings too, which are no labels."""
    rows = np.round(ROWS.astype(float), 3)
    rows[:, 1] = np.arange(40)
    table = [list(row) for row in rows]
    for row, label in zip(table, LABELS, strict=True):
        row.insert(place % 6, label)
    path = tmp_path / "a.csv"
    path.write_text("\n".join(",".join(map(str, row)) for row in table))
    source = open_source(path, None, Keys(labels=str(place)))
    np.testing.assert_array_equal(np.concatenate(list(chunks(source.rows, 50))), rows)
    np.testing.assert_array_equal(source.classes.labels, LABELS)
    with pytest.raises(InputError, match=r"where columns have no names, --labels-key=-1"):
        open_source(path, None, Keys())
    for wrong in ("6", "-7"):
        with pytest.raises(InputError, match=r"their numbers are 0 to 5, or -1 for the last to -6"):
            open_source(path, None, Keys(labels=wrong))


def test_a_line_with_a_fraction_has_no_names(tmp_path):
    path = tmp_path / "a.tsv"
    lines = ("\t".join(map(str, [*row, text])) for row, text in zip(ROWS, TEXTS, strict=True))
    path.write_text("\n".join(lines))
    source = open_source(path, None, Keys())
    assert source.rows.shape == (40, 5)
    assert source.classes.names == ("ant", "bee", "cat")


NAMES = np.array(["ant", "bee", "cat"])


def test_names_of_classes_take_the_place_of_their_numbers(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, **TWO, class_names=NAMES)
    source = open_source(path, None, Keys("test_embeddings"))
    assert source.classes.names == ("ant", "bee", "cat")
    np.testing.assert_array_equal(source.classes.labels, LABELS[:9])
    assert source.notes[-1] == "names of classes: class_names"
    ignored = open_source(path, None, Keys("test_embeddings", ignore="bee"))
    assert ignored.classes.names == ("ant", "cat")
    assert open_source(path, None, Keys("test_embeddings", ignore="1")).classes.names == (
        "ant",
        "cat",
    )


def test_names_of_classes_serve_labels_of_another_file(tmp_path):
    path, labels = tmp_path / "a.npz", tmp_path / "y.npz"
    np.savez(path, z=ROWS, class_names=NAMES)
    np.savez(labels, y=LABELS)
    assert open_source(path, labels, Keys()).classes.names == ("ant", "bee", "cat")
    np.savez(labels, y=LABELS, class_names=NAMES[::-1].astype("S"))
    assert open_source(path, labels, Keys()).classes.names == ("cat", "bee", "ant")


def test_names_that_are_no_names_of_these_labels_are_not_used(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, z=ROWS, y=LABELS + 1, class_names=NAMES)
    source = open_source(path, None, Keys())
    assert source.classes.names == ("1", "2", "3")
    assert source.notes[-1] == "not used: class_names, which are 3 and do not fit the labels"
    np.savez(path, z=ROWS, class_names=TEXTS)  # which are labels
    assert open_source(path, None, Keys()).classes.names == ("ant", "bee", "cat")


STACK = np.stack([ROWS, -ROWS, 2 * ROWS])
OF_A_RUN = {"train_embeddings": STACK, "test_embeddings": STACK[:, ::-1].copy()}
OF_A_RUN |= {
    "train_labels": LABELS,
    "test_labels": LABELS[::-1].copy(),
    "class_means": STACK[:, :3],
}


@pytest.mark.parametrize("kind", ["npz", "fortran.npz", "safetensors"])
@pytest.mark.parametrize("block", [2**24, 1])
def test_a_stack_is_several_representations(tmp_path, monkeypatch, kind, block):
    """Those of the seeds of a run; labels are those beside them, though both parts are as long."""
    monkeypatch.setattr(arrays, "BLOCK", block)
    path = tmp_path / f"a.{kind}"
    content = {k: np.ascontiguousarray(v) for k, v in OF_A_RUN.items()}
    if kind == "safetensors":
        safetensors.numpy.save_file(content, path)
    else:
        order = np.asfortranarray if kind == "fortran.npz" else np.asarray
        np.savez(path, **{k: order(v) for k, v in content.items()})
    with pytest.raises(InputError, match="choose one by --embeddings-key") as error:
        open_source(path, None, Keys())
    assert "test_embeddings (3, 40, 5)" in str(error.value)
    assert "class_means" not in str(error.value)
    found = representations(open_source(path, None, Keys("test_embeddings")))
    assert [source.name for source in found] == [f"{path}-{n}" for n in (1, 2, 3)]
    assert found[1].notes[-1] == "number 2 of 3 along the first axis"
    for source, expected in zip(found, content["test_embeddings"], strict=True):
        np.testing.assert_array_equal(np.concatenate(list(chunks(source.rows, 7))), expected)
        np.testing.assert_array_equal(source.classes.labels, LABELS[::-1])
    np.savez(tmp_path / "one.npz", z=STACK[:1], y=LABELS)
    [one] = representations(open_source(tmp_path / "one.npz", None, Keys()))
    assert (one.name, one.rows.shape) == (str(tmp_path / "one.npz"), (40, 5))


def test_rows_without_a_label_are_left_out_on_demand(tmp_path):
    np.savez(tmp_path / "a.npz", z=ROWS, y=np.where(np.arange(40) < 4, -1, LABELS))
    with pytest.raises(InputError, match=r"negative labels such as -1.*--ignore-label=-1"):
        open_source(tmp_path / "a.npz", None, Keys())
    source = open_source(tmp_path / "a.npz", None, Keys(ignore="-1"))
    np.testing.assert_array_equal(source.classes.labels, [-1] * 4 + LABELS[4:].tolist())
    assert source.notes[-1] == "4 rows with label -1 left out"
    with pytest.raises(InputError, match="no row has the label 9"):
        open_source(tmp_path / "a.npz", None, Keys(ignore="9"))


def saved(**content):
    return lambda path: np.savez(path, **content)


def write_members(path, *names, method=zipfile.ZIP_STORED):
    """An archive of members of these names, of which `z` are embeddings."""
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(path, "w", method) as archive:
        for name in names:
            content = io.BytesIO()
            np.save(content, ROWS if name == "z" else LABELS)
            archive.writestr(f"{name}.npy", content.getvalue())


REFUSED = {
    "no npz archive": ("npz", lambda p: p.write_bytes(b"junk")),
    "cannot be read: EOF": ("npy", lambda p: p.write_bytes(b"junk")),
    "a.parquet cannot be read: ": ("parquet", lambda p: p.write_bytes(b"junk")),
    "no safetensors file": ("safetensors", lambda p: p.write_bytes(b"junk" * 9)),
    "has no first line": ("csv", lambda p: p.write_text("")),
    "columns of .csv are separated by commas": ("csv", lambda p: p.write_text("z0;z1\n0.5;1.5\n")),
    "has no rows": ("csv", lambda p: p.write_text("z0,z1,y\n")),
    "Expected 3 columns, got 2": ("csv", lambda p: p.write_text("z0,z1,y\n0.5,1.5,a\n0.5,b\n")),
    "rows without a value": ("csv", lambda p: p.write_text("z0,z1,y\n0.5,1.5,\n0.5,0.5,1\n")),
    "pickles are not read": ("pt", lambda p: p.write_bytes(b"")),
    "is none of .csv, .tsv, .npy": ("txt", lambda p: p.write_bytes(b"")),
    "there is no file": ("npz", lambda p: None),
    "is a folder, not a file": ("npz", lambda p: p.mkdir()),
    "is a pipe or a device, not a file": ("npz", os.mkfifo),
    "is empty: it holds no array": ("npz", saved()),
    "never unpickled: save labels.astype(str)": ("npz", saved(z=ROWS, y=LABELS.astype(object))),
    "is y one-hot? then save y.argmax(1)": ("npz", saved(z=ROWS, y=np.eye(10, dtype=int)[LABELS])),
    "never unpickled": ("npz", saved(z=np.array([None, {}]), y=LABELS)),
    "no matrix of floating point, but z (40, 5) int64": (
        "npz",
        saved(z=ROWS.astype(np.int64), y=LABELS),
    ),
    "of the 2 embeddings in each part of z (40, 2, 5), got y of shape (40,)": (
        "npz",
        saved(z=np.stack([ROWS, ROWS], axis=1), y=LABELS),
    ),
    "no vector of labels": ("npz", saved(z=ROWS)),
    "one label for each of the 40": ("npz", saved(z=ROWS, y=LABELS[:39])),
    "labels, since classes are compared, got 1": ("npz", saved(z=ROWS, y=LABELS * 0)),
    "labels, since classes are compared, got 5000": (
        "npz",
        saved(z=np.ones((5000, 2)), y=np.arange(5000)),
    ),
    "that is not empty, or several": ("npz", saved(z=np.zeros((0, 5)), y=LABELS[:0])),
    "whole numbers or texts, got fractions": ("npz", saved(z=ROWS, y=LABELS + 0.5)),
    "must be numbers or texts, got dtype complex": ("npz", saved(z=ROWS, y=LABELS + 1j)),
    "y must be whole numbers below 2^63 in size, got 1e+19": (
        "npz",
        saved(z=ROWS, y=(LABELS + 1) * 1e19),
    ),
    "rows with an empty text, which is no class: leave such rows out by --ignore-label=''": (
        "npz",
        saved(z=ROWS, y=np.where(LABELS == 1, "", TEXTS)),
    ),
    "y must be text in UTF-8, but row 1 has the bytes b'\\xe9'": (
        "npz",
        saved(z=ROWS, y=np.array([b"ant", b"\xe9", b"\xe8"])[LABELS]),
    ),
    "label must be text in UTF-8, but row 1 has the bytes b'p\\xeache'": (
        "csv",
        lambda p: p.write_bytes("z0,z1,label\n0.5,1.5,a\n1.5,0.5,pêche\n".encode("latin-1")),
    ),
    "y must be text in UTF-8, but row 0 has the bytes b'\\xff'": (
        "parquet",
        lambda p: parquet.write_table(pa.table({"z0": [0.5, 1], "y": [b"\xff", b"a"]}), p),
    ),
    "was z bfloat16, which npy and npz files cannot say? then save z.astype('float32')": (
        "npz",
        saved(z=ROWS.astype("bfloat16"), y=LABELS),
    ),
    "a.csv has two columns of the name 'z1'": (
        "csv",
        lambda p: p.write_text("z0,z1,z1,y\n0.5,1.5,0.5,a\n0.5,0.5,1.5,b\n"),
    ),
    "a.parquet has two columns of the name 'y'": (
        "parquet",
        lambda p: parquet.write_table(
            pa.table([[0.5, 1.5], [0, 1], [1, 0]], names=["z0", "y", "y"]), p
        ),
    ),
    "columns z1 and z01 of": ("csv", lambda p: p.write_text("z0,z1,z01,y\n0.5,1.5,2,a\n")),
    "has a column 'z' beside the columns 'z0', ..,": (
        "csv",
        lambda p: p.write_text("z0,z1,z,y\n0.5,1.5,0.5,a\n"),
    ),
    "a.npz has y.npy twice": ("npz", lambda p: write_members(p, "z", "y", "y")),
    "(0, 5) and dtype float32": (
        "safetensors",
        lambda p: safetensors.numpy.save_file({"z": ROWS[:0], "y": LABELS[:0]}, p),
    ),
    "no vector of labels (a column without a name": (
        "csv",
        lambda p: p.write_text(",z0,z1\n0,0.5,1.5\n1,2.5,0.5\n"),
    ),
    "no vector of labels (__index_level_0__": (
        "parquet",
        lambda p: parquet.write_table(pa.table({"z0": [0.5], "__index_level_0__": [3]}), p),
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(tmp_path, message):
    suffix, write = REFUSED[message]
    path = tmp_path / f"a.{suffix}"
    write(path)
    with pytest.raises(InputError) as error:
        list(open_source(path, None, Keys()).rows.blocks())
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", ["lzma", "bzip2", "deflate", "encrypted", "unknown method"])
def test_a_damaged_member_is_refused_by_its_name(tmp_path, damage):
    path = tmp_path / "a.npz"
    methods = {
        "lzma": zipfile.ZIP_LZMA,
        "bzip2": zipfile.ZIP_BZIP2,
        "deflate": zipfile.ZIP_DEFLATED,
    }
    write_members(path, "z", "y", method=methods.get(damage, zipfile.ZIP_STORED))
    content = bytearray(path.read_bytes())
    local, central = content.find(b"PK\x03\x04"), content.find(b"PK\x01\x02")
    if damage == "encrypted":
        content[local + 6] |= 1
        content[central + 8] |= 1
    elif damage == "unknown method":
        content[local + 8] = content[central + 10] = 99
    else:
        content[100:140] = bytes(40)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"^z\.npy of .*a\.npz cannot be read: ."):
        list(open_source(path, None, Keys()).rows.blocks())


def test_damaged_pages_of_parquet_are_refused_by_the_name_of_the_file(tmp_path):
    path = tmp_path / "a.parquet"
    parquet.write_table(pa.table(columns() | {"y": LABELS}), path)
    content = bytearray(path.read_bytes())
    content[4:80] = bytes(76)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.parquet cannot be read: ."):
        list(open_source(path, None, Keys()).rows.blocks())


def test_a_file_that_is_cut_short_is_refused_where_it_ends(tmp_path):
    np.save(tmp_path / "z.npy", ROWS)
    np.save(tmp_path / "y.npy", LABELS)
    (tmp_path / "z.npy").write_bytes((tmp_path / "z.npy").read_bytes()[:-4])
    source = open_source(tmp_path / "z.npy", tmp_path / "y.npy", Keys())
    with pytest.raises(InputError, match="cut short"):
        list(chunks(source.rows, 7))


def test_lists_of_different_lengths_are_refused(tmp_path):
    table = pa.table({"z": [[0.5, 1.0], [0.5]], "y": [0, 1]})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(InputError, match="differ in length"):
        list(open_source(tmp_path / "a.parquet", None, Keys()).rows.blocks())


def test_a_column_without_a_name_is_said_to_be_left_out(tmp_path):
    (tmp_path / "a.csv").write_text(",0,1,y\n0,0.5,1.5,a\n1,2.5,0.5,b\n")
    source = open_source(tmp_path / "a.csv", None, Keys())
    assert source.notes[2] == "not used: a column without a name"


@pytest.mark.parametrize(
    ("written", "names"),
    [
        (["01", "1", "001"], ("001", "01", "1")),
        (["10", " 9", "8 "], ("8", "9", "10")),
        (["01", "02", "10"], ("01", "02", "10")),
    ],
)
def test_labels_with_leading_zeros_are_texts(tmp_path, written, names):
    lines = (f"{row[0]},{row[1]},{written[y]}" for row, y in zip(ROWS, LABELS, strict=True))
    (tmp_path / "a.csv").write_text("\n".join(["z0,z1,label", *lines]))
    classes = open_source(tmp_path / "a.csv", None, Keys()).classes
    assert classes.names == names
    assert [names[n] for n in classes.labels] == [written[y].strip() for y in LABELS]


def test_columns_that_are_embeddings_are_counted(tmp_path):
    """A column of whole numbers among them may be labels that nobody asked for."""
    path = tmp_path / "a.csv"
    path.write_text("\n".join(f"{a},{b},{y}" for (a, b, *_), y in zip(ROWS, LABELS, strict=True)))
    np.save(tmp_path / "y.npy", LABELS)
    source = open_source(path, tmp_path / "y.npy", Keys())
    assert source.notes[1] == "embeddings are 3 columns, f0 to f2, with whole numbers in f2"


def test_whole_numbers_at_the_beginning_of_a_csv_file_do_not_decide(tmp_path):
    """More than the first block of a mebibyte, of which pyarrow takes the types."""
    count = 2**18
    lines = ["z0,z1,y", *("0,0.5,1" for _ in range(count)), "0.25,0.5,0"]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    source = open_source(tmp_path / "a.csv", None, Keys())
    *_, last = chunks(source.rows, count)
    np.testing.assert_array_equal(last, [[0.25, 0.5]])
    np.testing.assert_array_equal(source.classes.sizes, [1, count])
    (tmp_path / "a.csv").write_text("\n".join([*lines, "0.25,0.5,a"]))
    with pytest.raises(InputError, match=r"a\.csv cannot be read: .*'a'"):
        open_source(tmp_path / "a.csv", None, Keys())
