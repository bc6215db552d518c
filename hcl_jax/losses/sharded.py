"""Both estimators for the rows of one device, with the candidates of all.

The weights estimator lets candidates travel (`hcl_jax.losses._blockwise.sharded`); the samples
estimator gathers the candidates of all devices and draws among them.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.lax import PrecisionLike
from jaxtyping import Array, Float, PRNGKeyArray

from hcl_jax.hardening import Hardening
from hcl_jax.losses._blockwise.exchange import Exchange, choose_exchange
from hcl_jax.losses._blockwise.options import TileOptions
from hcl_jax.losses._blockwise.sharded import ShardOptions, sharded_losses
from hcl_jax.losses._checks import check_shard
from hcl_jax.losses._functions import psi_and_hardening
from hcl_jax.losses._reverse_mode import reverse_mode_only
from hcl_jax.losses.anchor_losses import AnchorLosses
from hcl_jax.losses.contrastive import check_weights_estimator
from hcl_jax.losses.sampled import check_samples_estimator, samples_estimator
from hcl_jax.losses.tilted_infonce import tilted_infonce
from hcl_jax.pairs import Pairs
from hcl_jax.psi import Psi
from hcl_jax.validation.options import check_choice, check_precision


def sharded_contrastive_loss(
    embeddings: Float[Array, "n dim"],
    pairs: Pairs,
    *,
    axis_name: str,
    bank: Float[Array, "m dim"] | None = None,
    exchange: Exchange | None = None,
    psi: Psi | None = None,
    hardening: Hardening | None = None,
    stop_gradient_hardening: bool = True,
    precision: PrecisionLike = lax.Precision.HIGHEST,
    statistics: bool = False,
) -> AnchorLosses:
    """The weights estimator for the rows of this device, with the candidates of all devices.

    Args:
        embeddings: embeddings of this device.
        pairs: the keys of its rows, as anchors and as candidates; instances must differ over the
            global batch, see `first` of `hcl_jax.pairs.rows`.
        axis_name: the axis of the devices.
        bank: more candidates of this device, which are no anchors; the keys of its rows stand after
            those of the embeddings among the candidates.
        exchange: "gather" or "ring"; by default the one that `choose_exchange` names.
        psi: InfoNCE; by default with alpha = q = temperature = 1.
        hardening: a product hardening function; by default none.
        stop_gradient_hardening: whether eta takes the similarities as constants, see
            `hcl_jax.losses.contrastive_loss`.
        precision: precision of the matrix multiplications, by default full, see
            `jax.lax.Precision`.
        statistics: whether the losses come with statistics of the pairs, as in `contrastive_loss`.

    Returns:
        The losses of this device's anchors; average them with `average_loss`
        and its `axis_name`. Of the gradient with respect to hyperparameters of psi and hardening,
        such as temperature, every device has a part: add them up, as those of shared parameters.
        Memory: that of the blockwise form, and the rows of all devices (gather) or two shards
        (ring).

    Raises:
        ValueError, TypeError: on wrong shapes or dtypes, a psi that is not InfoNCE, a joint
            hardening, or an unknown exchange.

    Example:
        >>> import jax
        >>> from hcl_jax.pairs import rows, supervised
        >>> def total(z, labels):
        ...     first = 2 * jax.lax.axis_index("devices")
        ...     keys = supervised(rows(labels, first=first))
        ...     return sharded_contrastive_loss(z, keys, axis_name="devices").total
        >>> z = jax.numpy.array([[[1.0], [-1.0]], [[1.0], [-1.0]]])
        >>> totals = jax.vmap(total, axis_name="devices")(z, jax.numpy.array([[0, 1], [0, 1]]))
        >>> totals.round(4).tolist()
        [[0.12690000236034393, 0.12690000236034393], [0.12690000236034393, 0.12690000236034393]]
    """
    check_shard(embeddings, pairs, bank)
    psi, hardening = psi_and_hardening(psi, hardening, embeddings)
    check_sharded_weights_estimator(psi, hardening, exchange)
    check_precision(precision)
    check_choice("statistics", statistics, (False, True))
    return sharded_weights_estimator(
        embeddings,
        pairs,
        axis_name=axis_name,
        bank=bank,
        exchange=exchange,
        psi=psi,
        hardening=hardening,
        stop_gradient_hardening=stop_gradient_hardening,
        precision=precision,
        statistics=statistics,
    )


def check_sharded_weights_estimator(
    psi: Psi, hardening: Hardening, exchange: Exchange | None = None
) -> None:
    """Raises unless `sharded_weights_estimator` is defined for these options."""
    check_weights_estimator(psi, hardening)
    if psi.link is None:
        raise ValueError(
            "over devices the weights estimator needs InfoNCE, and this psi is a separable loss; "
            "use hcl_jax.losses.contrastive_loss on one device, or the samples estimator"
        )
    if exchange is not None:
        check_choice("exchange", exchange, ("gather", "ring"))


def sharded_weights_estimator(
    embeddings: Float[Array, "n dim"],
    pairs: Pairs,
    *,
    axis_name: str,
    bank: Float[Array, "m dim"] | None = None,
    exchange: Exchange | None,
    psi: Psi,
    hardening: Hardening,
    stop_gradient_hardening: bool,
    precision: PrecisionLike,
    statistics: bool = False,
) -> AnchorLosses:
    """`sharded_contrastive_loss` of arguments that have been checked."""
    if exchange is None:
        (rows, dim), itemsize = embeddings.shape, embeddings.dtype.itemsize
        exchange = choose_exchange(rows, dim, lax.axis_size(axis_name), itemsize)
    tiles = TileOptions(stop_gradient_hardening, precision, statistics=statistics)
    options = ShardOptions(tiles, exchange, axis_name)
    return sharded_losses(tilted_infonce(psi, hardening), embeddings, pairs, options, bank)


def sharded_sampled_contrastive_loss(
    key: PRNGKeyArray,
    embeddings: Float[Array, "n dim"],
    pairs: Pairs,
    *,
    axis_name: str,
    bank: Float[Array, "m dim"] | None = None,
    num_negatives: int,
    psi: Psi | None = None,
    hardening: Hardening | None = None,
    stop_gradient_hardening: bool = True,
    precision: PrecisionLike = lax.Precision.HIGHEST,
) -> AnchorLosses:
    """The samples estimator for the rows of this device, with the candidates of all devices.

    Args:
        key: the same key on all devices; each draws with its own part of it.
        embeddings: embeddings of this device.
        pairs: the keys of its rows, as anchors and as candidates; instances must differ over the
            global batch, see `first` of `hcl_jax.pairs.rows`.
        axis_name: the axis of the devices.
        bank: more candidates of this device, which are no anchors; the keys of its rows stand after
            those of the embeddings among the candidates.
        num_negatives: K, the number of draws for each (anchor, positive) pair.
        psi: the loss function; by default InfoNCE with alpha = q = temperature = 1.
        hardening: a product hardening function; by default none.
        stop_gradient_hardening: whether the law of the draws takes similarities as constants, see
            `sampled_contrastive_loss`.
        precision: precision of the matrix multiplications, by default full, see
            `jax.lax.Precision`.

    Returns:
        The losses of this device's anchors; average them with `average_loss`
        and its `axis_name`.
        Memory: that of `sampled_contrastive_loss`, and the rows of all devices.

    Raises:
        ValueError, TypeError: on wrong shapes or dtypes, a joint hardening, or K < 1.
        NotImplementedError: if differentiated twice, or in forward mode.

    Example:
        >>> import jax
        >>> from hcl_jax.pairs import rows, supervised
        >>> def total(z, labels):
        ...     keys = supervised(rows(labels, first=2 * jax.lax.axis_index("devices")))
        ...     losses = sharded_sampled_contrastive_loss(
        ...         jax.random.key(0), z, keys, axis_name="devices", num_negatives=4
        ...     )
        ...     return losses.total
        >>> z = jax.numpy.array([[[1.0], [-1.0]], [[1.0], [-1.0]]])
        >>> totals = jax.vmap(total, axis_name="devices")(z, jax.numpy.array([[0, 1], [0, 1]]))
        >>> totals.round(4).tolist()
        [[0.12690000236034393, 0.12690000236034393], [0.12690000236034393, 0.12690000236034393]]
    """
    check_shard(embeddings, pairs, bank)
    psi, hardening = psi_and_hardening(psi, hardening, embeddings, num_negatives)
    check_samples_estimator(hardening, key)
    check_precision(precision)
    return sharded_samples_estimator(
        key,
        embeddings,
        pairs,
        axis_name=axis_name,
        bank=bank,
        num_negatives=num_negatives,
        psi=psi,
        hardening=hardening,
        stop_gradient_hardening=stop_gradient_hardening,
        precision=precision,
    )


def sharded_samples_estimator(
    key: PRNGKeyArray,
    embeddings: Float[Array, "n dim"],
    pairs: Pairs,
    *,
    axis_name: str,
    bank: Float[Array, "m dim"] | None = None,
    num_negatives: int,
    psi: Psi,
    hardening: Hardening,
    stop_gradient_hardening: bool,
    precision: PrecisionLike,
) -> AnchorLosses:
    """`sharded_sampled_contrastive_loss` of arguments that have been checked."""
    own = embeddings if bank is None else jnp.concatenate([embeddings, bank])
    candidates = reverse_mode_only(_gathered)(axis_name, own)
    keys = jax.tree.map(lambda k: lax.all_gather(k, axis_name, tiled=True), pairs.candidates)
    return samples_estimator(
        jax.random.fold_in(key, lax.axis_index(axis_name)),
        embeddings,
        Pairs(pairs.anchors, keys),
        candidates,
        num_negatives=num_negatives,
        psi=psi,
        hardening=hardening,
        stop_gradient_hardening=stop_gradient_hardening,
        precision=precision,
    )


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _gathered(axis_name: str, rows: Float[Array, "n dim"]) -> Float[Array, "all dim"]:
    """The rows of all devices; their gradients are added up over devices."""
    return lax.all_gather(rows, axis_name, tiled=True)


def _gathered_forward(
    axis_name: str, rows: Float[Array, "n dim"]
) -> tuple[Float[Array, "all dim"], None]:
    """Nothing is kept for the backward pass."""
    return _gathered(axis_name, rows), None


def _gathered_backward(
    axis_name: str, residuals: None, cotangent: Float[Array, "all dim"]
) -> tuple[Float[Array, "n dim"]]:
    """The rows of this device in the sum of the gradients of all."""
    return (lax.psum_scatter(cotangent, axis_name, scatter_dimension=0, tiled=True),)


_gathered.defvjp(_gathered_forward, _gathered_backward)
