"""Writes a trained encoder as a function with its weights, for any platform and batch size.

`hcl_jax.encoders.load_encoder` reads what is written here, without this module or its imports.
"""

import contextlib
import hashlib
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike

from hcl_jax.encoders.reader import FORMAT, metadata_path, signature
from hcl_jax.networks import Model, Variables
from hcl_jax.normalization import Normalization
from hcl_jax.system.atomic_files import atomic_write
from hcl_jax.system.json_files import json_bytes
from hcl_jax.validation.numbers import check_count
from hcl_jax.validation.options import check_choice

__all__ = ["export_encoder"]


def __dir__() -> list[str]:
    return __all__


PLATFORMS = ("cpu", "cuda", "tpu")


def export_encoder(
    path: Path | str,
    model: Model,
    variables: Variables,
    *,
    normalization: Normalization,
    image_shape: Sequence[int],
    image_dtype: DTypeLike = jnp.float32,
    preprocess: Callable[[Any], Any] | None = None,
    platforms: Sequence[str] = PLATFORMS,
    source: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Writes the function from images to features and embeddings, in evaluation mode.

    The function is lowered for all platforms, whatever this machine has, and for any number of
    images; it contains its weights. Both files are written in full before either replaces an older
    one, and the metadata, which come last, hold a checksum of the artifact.

    Args:
        path: path of the artifact, for instance "encoder.jaxexport"; ".json" is appended to it for
            the metadata.
        model: the network.
        variables: parameters and batch statistics of the network.
        normalization: function from projections to embeddings.
        image_shape: shape of one image as the encoder will be given it.
        image_dtype: dtype of the images as the encoder will be given them.
        preprocess: function from a batch of those images to the images that the network was trained
            on; None where they are the same.
        platforms: platforms that will run the encoder, of "cpu", "cuda", "rocm" and "tpu".
        source: what the metadata say of where the encoder is from, such as the epoch; JSON.

    Returns:
        The metadata, as written.

    Raises:
        ValueError, TypeError: for an unknown platform, none or one given twice, or for images that
            the network does not take.
        OSError: if the files cannot be written; earlier ones are left as they were.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import jax
        >>> from hcl_jax.networks import mlp
        >>> from hcl_jax.normalization import unit_ball
        >>> model = mlp(4, 2, depth=1, width=8)
        >>> path = Path(tempfile.mkdtemp()) / "encoder.jaxexport"
        >>> variables = model.init(jax.random.key(0))
        >>> options = {"normalization": unit_ball, "image_shape": (4,), "image_dtype": "uint8"}
        >>> options["preprocess"] = lambda images: images / 255
        >>> metadata = export_encoder(path, model, variables, **options)
        >>> metadata["feature_dim"], metadata["embedding_dim"]
        (8, 2)
    """
    path = Path(path)
    _check_images(image_shape, image_dtype, preprocess)
    for platform in platforms:
        check_choice("every platform", platform, (*PLATFORMS, "rocm"))
    if not platforms or len(set(platforms)) != len(platforms):
        raise ValueError(f"platforms must be different and at least one, got {platforms!r}")
    variables = jax.device_get(variables)

    def encode(images: Any) -> tuple[Array, Array]:
        images = images if preprocess is None else preprocess(images)
        outputs, _ = model.apply(variables, images, training=False)
        return outputs.features, normalization(outputs.projections)

    (count,) = jax.export.symbolic_shape("n")
    images = jax.ShapeDtypeStruct((count, *image_shape), image_dtype)
    exported = jax.export.export(jax.jit(encode), platforms=tuple(platforms))(images)
    artifact = bytes(exported.serialize())
    metadata = {
        **_description(exported, normalization),
        "source": dict(source),
        "bytes": len(artifact),
        "sha256": hashlib.sha256(artifact).hexdigest(),
    }
    atomic_write({path: artifact, metadata_path(path): json_bytes(metadata)})
    return metadata


def _check_images(
    shape: Sequence[int], dtype: DTypeLike, preprocess: Callable[[Any], Any] | None
) -> None:
    for length in shape:
        check_count("every entry of image_shape", length)
    if preprocess is None and not jnp.issubdtype(dtype, jnp.floating):
        name = jnp.dtype(dtype).name
        raise ValueError(f"images of {name} need a preprocess that makes them floating point")


def _description(exported: jax.export.Exported, normalization: Normalization) -> dict[str, Any]:
    return {
        "format": FORMAT,
        **signature(exported),
        "normalization": getattr(normalization, "__name__", repr(normalization)),
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in ("hcl-jax", "jax", "jaxlib"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
