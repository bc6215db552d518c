"""Reads trained encoders from files, with JAX and none of the code that trained them.

An encoder is two files, written by `hcl_jax.encoders.export.export_encoder`: the function with its
weights as a `jax.export` artifact, and beside it a JSON file that describes its inputs and outputs.
Where this package is not installed, JAX (with flatbuffers) alone runs the first:

    exported = jax.export.deserialize(bytearray(pathlib.Path("encoder.jaxexport").read_bytes()))
    features, embeddings = exported.call(images)

An encoder is a program (StableHLO) that runs with the rights of whoever loads it. The checksum in
the JSON file finds damage; it is no signature, and whoever forges one file can forge both. MLIR's
reader trusts what it reads: forged bytes can end the process rather than raise an error.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from hcl_jax.system.json_files import JsonError, parse_json
from hcl_jax.validation.arrays import check_array, check_finite_rows
from hcl_jax.validation.options import check_path

FORMAT = 1
"""The version of the layout of both files."""

METADATA_FIELDS = {
    "format": int,
    "image_shape": list,
    "image_dtype": str,
    "feature_dim": int,
    "embedding_dim": int,
    "normalization": str,
    "platforms": list,
    "bytes": int,
    "sha256": str,
    "versions": dict,
}


class EncoderError(Exception):
    """An encoder whose files are missing, damaged or not of this format, or that does not run."""


class EncoderOutputs(NamedTuple):
    """Outputs of an encoder on images.

    Attributes:
        features: outputs of the network before its head.
        embeddings: normalised projections.
    """

    features: Float[Array, "n feature"]
    embeddings: Float[Array, "n dim"]


class Encoder(NamedTuple):
    """A trained encoder, a function of images.

    Attributes:
        call: the compiled function, which does not check its argument.
        metadata: content of the JSON file: "image_shape", "image_dtype", "feature_dim",
            "embedding_dim", "normalization", "platforms", "versions" and the checksum.
    """

    call: Callable[[Any], tuple[Any, Any]]
    metadata: dict[str, Any]

    def __call__(self, images: Shaped[Array | np.ndarray, "n *image"]) -> EncoderOutputs:
        """Features and embeddings of images; every new number of images compiles once.

        Args:
            images: at least one image, of the shape and dtype in the metadata.

        Returns:
            Features and embeddings, one row for each image.

        Raises:
            TypeError: for what is no array, or an array of another dtype.
            ValueError: for images of another shape, none, or of numbers that are not finite.
            EncoderError: if the function does not run, for instance because it was exported for
                other platforms.
        """
        check_array("images", images)
        shape, dtype = tuple(self.metadata["image_shape"]), self.metadata["image_dtype"]
        found = np.shape(images)
        if found[1:] != shape or 0 in found[:1] or not found:
            sides = ", ".join(map(str, shape))
            raise ValueError(f"images must have shape (n, {sides}), n >= 1, got {found}")
        if images.dtype != dtype:
            raise TypeError(f"images must have dtype {dtype}, got {images.dtype}")
        if jnp.issubdtype(images.dtype, jnp.floating):
            check_finite_rows("images", images)
        return EncoderOutputs(*self.call(images))


def load_encoder(path: Path | str) -> Encoder:
    """Reads a trained encoder from the files that `hcl_jax.encoders.export.export_encoder` wrote.

    Load only what comes from somebody you trust: an encoder is a program, its checksum is no
    signature, and forged bytes can end the process.

    Args:
        path: path of the artifact; its metadata are expected beside it, see `metadata_path`.

    Returns:
        The encoder, a function of images.

    Raises:
        EncoderError: if a file is missing, cut off or changed, if the two do not belong together,
            or if this version of JAX cannot read them.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import jax
        >>> from hcl_jax.encoders.export import export_encoder
        >>> from hcl_jax.networks import mlp
        >>> from hcl_jax.normalization import unit_ball
        >>> model = mlp(4, 2, depth=1, width=8)
        >>> path = Path(tempfile.mkdtemp()) / "encoder.jaxexport"
        >>> variables = model.init(jax.random.key(0))
        >>> _ = export_encoder(path, model, variables, normalization=unit_ball, image_shape=(4,))
        >>> load_encoder(path)(jax.numpy.ones((3, 4))).embeddings.shape
        (3, 2)
    """
    path = check_path("path", path)
    metadata = _read_metadata(metadata_path(path))
    artifact = _read(path)
    if len(artifact) != metadata["bytes"]:
        raise EncoderError(f"{path} has {len(artifact)} bytes, expected {metadata['bytes']}")
    if hashlib.sha256(artifact).hexdigest() != metadata["sha256"]:
        raise EncoderError(f"{path} has changed since it was written: its checksum differs")
    try:
        exported = jax.export.deserialize(bytearray(artifact))
        described = signature(exported)
    except Exception as error:  # the file is whole: another JAX wrote it, or flatbuffers is missing
        written_by = metadata["versions"].get("jax")
        raise EncoderError(
            f"JAX {jax.__version__} cannot read {path}, written by JAX {written_by!s:.40}: "
            f"{_in_one_line(error)}"
        ) from error
    for name, value in described.items():
        if metadata[name] != value:
            raise EncoderError(
                f"{metadata_path(path)} does not describe {path}: {name} is "
                f"{metadata[name]!r:.60} in the one and {value!r:.60} in the other"
            )
    return Encoder(_naming(path, jax.jit(exported.call)), metadata)


def signature(exported: jax.export.Exported) -> dict[str, Any]:
    """What metadata say of the inputs and outputs; an exception if it is no encoder."""
    (images,), (features, embeddings) = exported.in_avals, exported.out_avals
    return {
        "image_shape": list(images.shape[1:]),
        "image_dtype": images.dtype.name,
        "feature_dim": features.shape[1],
        "embedding_dim": embeddings.shape[1],
        "platforms": list(exported.platforms),
    }


def _naming(path: Path, call: Callable[[Any], tuple[Any, Any]]) -> Callable[..., tuple[Any, Any]]:
    """The function of an encoder, whose errors name its file."""

    def named(images: Any) -> tuple[Any, Any]:
        try:
            return call(images)
        except Exception as error:  # of JAX, MLIR and XLA, each of their own type
            raise EncoderError(f"{path} cannot be run: {_in_one_line(error)}") from error

    return named


def _in_one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:400] if lines else type(error).__name__


def metadata_path(path: Path | str) -> Path:
    """The path of the metadata of an encoder.

    Args:
        path: path of the artifact.

    Returns:
        The same path with ".json" appended.

    Example:
        >>> metadata_path("run/encoder.jaxexport").name
        'encoder.jaxexport.json'
    """
    path = check_path("path", path)
    return path.with_name(path.name + ".json")


def _read(path: Path) -> bytes:
    if not path.exists():
        raise EncoderError(f"there is no {path}; export the encoder (again)")
    if not path.is_file():
        raise EncoderError(f"{path} is not a file")
    try:
        return path.read_bytes()
    except OSError as error:
        raise EncoderError(f"{path} cannot be read: {error.strerror or error}") from error


def _read_metadata(path: Path) -> dict[str, Any]:
    try:
        metadata = parse_json(_read(path), path)
    except JsonError as error:
        raise EncoderError(str(error)) from error
    found = metadata if isinstance(metadata, dict) else {}
    if found.get("format", FORMAT) != FORMAT:
        raise EncoderError(f"{path} has format {found['format']!r:.40}, expected {FORMAT}")
    wrong = [
        name for name, kind in METADATA_FIELDS.items() if not isinstance(found.get(name), kind)
    ]
    if wrong:
        raise EncoderError(f"{path} does not describe an encoder: see {', '.join(wrong)}")
    return found
