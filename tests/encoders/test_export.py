"""Exported encoders: the same numbers in a process without the training code, or a clear error."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hcl_jax import networks, normalization
from hcl_jax.encoders import EncoderError, export, load_encoder, metadata_path, reader
from hcl_jax.networks import PAPER, resnet
from hcl_jax.training import Program, embedding

ROOT = Path(__file__).parents[2]

# Runs in a fresh process, with the package's loader or with JAX alone.
FRESH = """
import pathlib, sys
import jax, jax.export, numpy as np

way, artifact, images, outputs = sys.argv[1:]
if way == "loader":
    from hcl_jax.encoders import load_encoder
    encode = load_encoder(artifact)
else:
    encode = jax.export.deserialize(bytearray(pathlib.Path(artifact).read_bytes())).call
found = {}
for name, batch in np.load(images).items():
    found["features" + name], found["embeddings" + name] = encode(batch)
np.savez(outputs, **found)

packages = {"flax", "optax", "orbax", "chex", "sklearn", "scripts", "theory"}
packages |= {"hcl_jax"} if way == "jax" else set()
modules = {f"hcl_jax.{name}" for name in ("training", "networks", "encoders.export")}
loaded = {name for name in sys.modules if name.split(".")[0] in packages or name in modules}
assert not loaded, loaded
"""


def standardize(images):
    return (images.astype(jnp.float32) / 255 - 0.5) / 0.25


CASES = {
    "mlp": (lambda: networks.mlp(6, 3, depth=2, width=16), (6,), "float32", None),
    "convnet": (
        lambda: networks.convnet((8, 8, 1), 3, channels=(4, 8), head=PAPER),
        (8, 8, 1),
        "float32",
        None,
    ),
    "resnet": (
        lambda: resnet(3, depth=18, width=4, stem="imagenet", dtype=jnp.bfloat16),
        (16, 16, 3),
        "uint8",
        standardize,
    ),
    "resnet50": (lambda: resnet(3), (8, 8, 3), "uint8", standardize),
}


def trained(model, image_shape):
    """Variables whose batch statistics differ from their initial values."""
    variables = jax.jit(model.init)(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (4, *image_shape)) + 1.0
    _, batch_stats = jax.jit(model.apply, static_argnames="training")(
        variables, images, training=True
    )
    return networks.Variables(variables.params, batch_stats)


def some_images(count, image_shape, dtype):
    values = np.random.default_rng(count).uniform(0, 255, (count, *image_shape))
    return (values if dtype == "uint8" else values / 128 - 1).astype(dtype)


def exported(path, case, **changes):
    build, image_shape, dtype, preprocess = CASES[case]
    model = build()
    variables = trained(model, image_shape)
    options = {
        "normalization": normalization.unit_ball,
        "image_shape": image_shape,
        "image_dtype": dtype,
        "preprocess": preprocess,
        **changes,
    }
    return model, variables, export.export_encoder(path, model, variables, **options)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    path = tmp_path_factory.mktemp("encoder") / "encoder.jaxexport"
    exported(path, "mlp")
    return path


@pytest.fixture
def copy(artifact, tmp_path):
    """A copy to be damaged."""
    path = tmp_path / artifact.name
    path.write_bytes(artifact.read_bytes())
    metadata_path(path).write_bytes(metadata_path(artifact).read_bytes())
    return path


@pytest.mark.parametrize(
    ("case", "way"),
    [
        ("mlp", "jax"),
        pytest.param("resnet", "loader", marks=pytest.mark.slow),
        ("convnet", "loader"),
        pytest.param("resnet50", "jax", marks=pytest.mark.slow),
    ],
)
def test_a_fresh_process_computes_the_same_bits(case, way, tmp_path):
    path = tmp_path / "encoder.jaxexport"
    model, variables, metadata = exported(path, case)
    _, image_shape, dtype, preprocess = CASES[case]
    batches = {str(n): some_images(n, image_shape, dtype) for n in (1, 2, 5)}
    np.savez(tmp_path / "images.npz", **batches)

    @jax.jit
    def encode(images):
        images = images if preprocess is None else preprocess(images)
        outputs, _ = model.apply(variables, images, training=False)
        return outputs.features, normalization.unit_ball(outputs.projections)

    arguments = [way, path, tmp_path / "images.npz", tmp_path / "outputs.npz"]
    command = [sys.executable, "-c", FRESH, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT) if way == "loader" else ""}
    subprocess.run(command, check=True, cwd=tmp_path, env=environment)
    found = np.load(tmp_path / "outputs.npz")
    for name, images in batches.items():
        for kind, expected in zip(("features", "embeddings"), encode(images), strict=True):
            np.testing.assert_array_equal(found[kind + name], expected)
            assert found[kind + name].dtype == np.float32
    assert metadata["platforms"] == ["cpu", "cuda", "tpu"]
    assert found["features5"].shape == (5, metadata["feature_dim"])
    assert found["embeddings5"].shape == (5, metadata["embedding_dim"])


def test_an_encoder_embeds_as_the_evaluation_does(tmp_path):
    path = tmp_path / "encoder.jaxexport"
    model, variables, _ = exported(path, "convnet", normalization=normalization.unit_sphere)
    images = jnp.asarray(some_images(9, *CASES["convnet"][1:3]))
    program = Program(model, optax.identity(), 4, normalization=normalization.unit_sphere)
    expected = embedding.embed(variables, images, program, batch_size=4)
    found = load_encoder(path)(images)
    np.testing.assert_allclose(found.features, expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.embeddings, expected[1], rtol=1e-5, atol=1e-6)
    assert jnp.std(found.embeddings, axis=0).min() > 1e-3


def test_metadata_say_what_goes_in_and_comes_out(tmp_path):
    path = tmp_path / "encoder.jaxexport"
    *_, metadata = exported(path, "mlp", image_dtype="uint8", preprocess=standardize)
    assert json.loads(metadata_path(path).read_text()) == metadata
    assert load_encoder(path).metadata == metadata
    expected = {
        "image_shape": [6],
        "image_dtype": "uint8",
        "feature_dim": 16,
        "embedding_dim": 3,
        "normalization": "unit_ball",
        "platforms": ["cpu", "cuda", "tpu"],
        "bytes": path.stat().st_size,
    }
    assert {name: metadata[name] for name in expected} == expected
    assert metadata["versions"]["jax"] == jax.__version__
    kept = jax.export.deserialize(bytearray(path.read_bytes()))
    assert kept.platforms == ("cpu", "cuda", "tpu")
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, metadata_path(path).name]


def test_an_encoder_of_other_platforms_is_refused_by_name(tmp_path):
    path = tmp_path / "encoder.jaxexport"
    exported(path, "mlp", platforms=("cuda", "tpu"))
    with pytest.raises(EncoderError, match=r"jaxexport cannot be run: .*\('cuda', 'tpu'\)'.*'cpu'"):
        load_encoder(path)(some_images(2, (6,), "float32"))


def without_metadata(path):
    metadata_path(path).unlink()


def without_artifact(path):
    path.unlink()


def truncated(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def metadata_cut_off(path):
    text = metadata_path(path).read_text()
    metadata_path(path).write_text(text[: len(text) // 2])


def metadata_with(**changes):
    def damage(path):
        metadata = json.loads(metadata_path(path).read_text())
        metadata_path(path).write_text(json.dumps({**metadata, **changes}))

    return damage


def not_an_export(path):
    content = b"something else"
    path.write_bytes(content)
    checksum = hashlib.sha256(content).hexdigest()
    metadata_with(bytes=len(content), sha256=checksum)(path)


def with_row_1_set_to(value):
    images = np.ones((3, 6), np.float32)
    images[1, 4] = value
    return images


def metadata_are(content):
    return lambda path: metadata_path(path).write_bytes(content)


def directory_for(place):
    def damage(path):
        place(path).unlink()
        place(path).mkdir()

    return damage


DAMAGES = {
    r"there is no .*encoder\.jaxexport\.json": without_metadata,
    r"there is no .*encoder\.jaxexport;": without_artifact,
    r"encoder\.jaxexport has \d+ bytes, expected \d+": truncated,
    r"encoder\.jaxexport has 0 bytes, expected \d+": empty,
    "its checksum differs": flipped,
    r"encoder\.jaxexport\.json is not JSON": metadata_cut_off,
    "has format 2, expected 1": metadata_with(format=2),
    "does not describe an encoder: see bytes, versions": metadata_with(bytes=None, versions=0),
    r"JAX .* cannot read .*encoder\.jaxexport, written by JAX": not_an_export,
    "json is not JSON: maximum recursion depth exceeded": metadata_are(b"[" * 100_000),
    r"json is not JSON: 'utf-8' codec can't decode": metadata_are(b'{"format": "\xff"}'),
    "json is not JSON: numbers must be finite, got NaN": metadata_are(b'{"bytes": NaN}'),
    "json is not JSON: Exceeds the limit": metadata_are(b'{"bytes": ' + b"1" * 5000 + b"}"),
    "json does not describe an encoder: see format": metadata_are(b"[]"),
    r"encoder\.jaxexport\.json is not a file": directory_for(metadata_path),
    r"encoder\.jaxexport is not a file": directory_for(lambda path: path),
    r"jaxexport: image_shape is \[7\] in the one and \[6\] in the": metadata_with(image_shape=[7]),
    r"image_shape is \['x'\] in the one": metadata_with(image_shape=["x"]),
    "image_dtype is 'nonsense' in the one": metadata_with(image_dtype="nonsense"),
    "feature_dim is 17 in the one and 16 in the other": metadata_with(feature_dim=17),
    r"platforms is \['tpu'\] in the one": metadata_with(platforms=["tpu"]),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_damage_is_named(copy, message):
    load_encoder(copy)
    DAMAGES[message](copy)
    with pytest.raises(EncoderError, match=message):
        load_encoder(copy)


def forge(path, content):
    """Writes an artifact with a checksum that belongs to it."""
    path.write_bytes(content)
    metadata_with(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))(path)


def test_a_forged_function_is_one_error_that_names_the_file(copy):
    content = copy.read_bytes()
    assert content.count(b"ML\xefR") == 1  # how MLIR begins
    forge(copy, content.replace(b"ML\xefR", b"MLIR"))
    with pytest.raises(
        EncoderError, match=r"encoder\.jaxexport cannot be run: .*StableHLO"
    ) as caught:
        load_encoder(copy)(some_images(2, (6,), "float32"))
    assert "\n" not in str(caught.value)


def test_loading_says_that_an_encoder_is_a_program():
    for text in (reader.__doc__, load_encoder.__doc__, (ROOT / "docs/training.md").read_text()):
        assert "is a program" in text
        assert "end the process" in " ".join(text.split())
        assert "no signature" in " ".join(text.split()).replace("no\nsignature", "no signature")


WRONG_IMAGES = {
    r"images must have shape \(n, 6\), n >= 1, got \(2, 7\)": np.ones((2, 7), np.float32),
    r"n >= 1, got \(6,\)": np.ones(6, np.float32),
    r"n >= 1, got \(0, 6\)": np.ones((0, 6), np.float32),
    r"n >= 1, got \(\)": np.ones((), np.float32),
    "images must have dtype float32, got float64": np.ones((2, 6)),
    "images must have dtype float32, got uint8": np.ones((2, 6), np.uint8),
    "images must have dtype float32, got complex64": np.ones((2, 6), np.complex64),
    r"n >= 1, got \(2, 6, 1\)": np.ones((2, 6, 1), np.float32),
    "must be a NumPy or JAX array of numbers, got a list": [[1.0] * 6],
    "must be a NumPy or JAX array of numbers, got a NoneType": None,
    "must be a NumPy or JAX array of numbers, got a str": "image.png",
    "got a MaskedArray; its method filled makes one": np.ma.masked_less(np.ones((2, 6)), 2),
    "images must have dtype float32, got key<fry>": jax.random.split(jax.random.key(0), (2, 6)),
    "must be a NumPy or JAX array of numbers, got dtype object": np.ones((2, 6), object),
    "must be a NumPy or JAX array of numbers, got dtype <U1": np.full((2, 6), "x"),
    "must be a NumPy or JAX array of numbers, got a float": 1.0,
    "finite, but 1 of 3 rows are not, the first is row 1": with_row_1_set_to(np.nan),
    "but 1 of 3 rows are not, the first is row 1$": with_row_1_set_to(-np.inf),
}


@pytest.mark.parametrize("message", WRONG_IMAGES)
@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_wrong_images_are_refused(artifact, unchecked, message, kind):
    images = WRONG_IMAGES[message]
    if type(images) is np.ndarray and images.dtype.kind in "fuc" and "float64" not in message:
        images = kind(images)
    with pytest.raises((ValueError, TypeError), match=message):
        load_encoder(artifact)(images)


def test_an_encoder_is_a_function_that_jit_takes(artifact):
    encode, images = load_encoder(artifact), some_images(3, (6,), "float32")
    found = jax.jit(lambda images: encode(2 * images).embeddings)(images)
    np.testing.assert_allclose(found, encode(2 * images).embeddings, rtol=1e-6)


WRONG_EXPORTS = {
    "images of uint8 need a preprocess": {"image_dtype": "uint8"},
    "every platform must be one of 'cpu', 'cuda', 'tpu', 'rocm', got 'gpu'": {"platforms": ["gpu"]},
    r"platforms must be different and at least one, got \(\)": {"platforms": ()},
    r"platforms must be different and at least one, got \['cpu', 'c": {"platforms": ["cpu", "cpu"]},
    "every entry of image_shape must be at least 1, got 0": {"image_shape": (0,)},
    r"images must have shape \(batch, 6\), got \(n, 5\)": {"image_shape": (5,)},
    "images must be floating point, got dtype uint8": {
        "image_dtype": "uint8",
        "preprocess": lambda images: images,
    },
}


@pytest.mark.parametrize("message", WRONG_EXPORTS)
def test_wrong_exports_are_refused(tmp_path, unchecked, message):
    with pytest.raises((ValueError, TypeError), match=message):
        exported(tmp_path / "encoder.jaxexport", "mlp", **WRONG_EXPORTS[message])
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_encoder_before(copy, monkeypatch):
    before = load_encoder(copy).metadata
    writes = []

    def full(_):
        writes.append(1)
        if len(writes) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        exported(copy, "convnet")
    assert load_encoder(copy).metadata == before
    assert sorted(copy.parent.iterdir()) == [copy, metadata_path(copy)]
