"""Features and embeddings of a whole split, in evaluation mode."""

import jax
from jax import lax
from jaxtyping import Array, Float

from hcl_jax.networks import Variables
from hcl_jax.padding import pad_rows, padding
from hcl_jax.training.program import Program
from hcl_jax.validation.numbers import check_count


def embed(
    variables: Variables, images: Array, program: Program, *, batch_size: int = 1024
) -> tuple[Float[Array, "n feature"], Float[Array, "n dim"]]:
    """Features and embeddings, a batch at a time; on several devices each takes a part.

    Args:
        variables: parameters and batch statistics of the network.
        images: images of a whole split, uint8 or floats ``(n, *image)``.
        program: supplies the network, the standardisation and the normalisation.
        batch_size: how many images are in memory at once.

    Returns:
        Encoder features and embeddings of every image, on every device.

    Example:
        >>> import jax, optax
        >>> from hcl_jax.networks import mlp
        >>> program = Program(mlp(4, 2, depth=1, width=8), optax.adam(1e-3), batch_size=4)
        >>> variables = program.model.init(jax.random.key(0))
        >>> features, embeddings = embed(variables, jax.numpy.ones((5, 4)), program)
        >>> features.shape, embeddings.shape
        ((5, 8), (5, 2))
    """
    check_count("batch_size", batch_size)

    collectives = program.collectives
    shared = pad_rows(images, padding(len(images), collectives.size()))
    own = collectives.part(shared, 0)
    batch_size = min(batch_size, len(own))

    def embed_batch(images):
        outputs, _ = program.model.apply(variables, program.prepare(images), training=False)
        return outputs.features, program.normalization(outputs.projections)

    batches = pad_rows(own, padding(len(own), batch_size))
    batches = batches.reshape(-1, batch_size, *images.shape[1:])
    outputs = jax.tree.map(
        lambda rows: rows.reshape(-1, rows.shape[-1])[: len(own)], lax.map(embed_batch, batches)
    )
    return jax.tree.map(lambda rows: rows[: len(images)], collectives.gather(outputs))
