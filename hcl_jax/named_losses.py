r"""Losses by the names that others know: SupCon, NT-Xent, NSCL and CLIP's, corners of one loss.

With ``s_ij`` the similarity of rows i and j and t the temperature, anchor i and its positive p lose

    ===========  =====================================================  ======================
    name         loss of the pair (i, p)                                mean over
    ===========  =====================================================  ======================
    `supcon`     ``-log( e^{s_ip/t} / sum_{a != i} e^{s_ia/t} )``       positives, then anchors
    `nt_xent`    ``-log( e^{s_ip/t} / (e^{s_ip/t} + sum_N e^{s_in/t}))``  pairs
    `nscl`       ``-log( e^{s_ip/t} / sum_N e^{s_in/t} )``, p a view      pairs
    `clip`       ``-log( e^{s_ip/t} / sum_j e^{s_ij/t} )``, two sets    anchors of both sets
    ===========  =====================================================  ======================

where N are the rows of another class than that of i. They are sums over negatives, where `scl` and
`ucl` have means; `hcl_jax.psi.infonce` names the difference (``q="k"``), and ``alpha=0`` leaves the
positive out of what it adds to the negatives, as the negatives of `supcon` and `clip` contain it.
"""

from typing import Any, Unpack

import jax.numpy as jnp
from jaxtyping import Array, Float

from hcl_jax.batch_rows import image_indices, row_indices
from hcl_jax.collectives import SINGLE, Collectives
from hcl_jax.hardening import Hardening, no_hardening
from hcl_jax.objectives import objective
from hcl_jax.options import Labels, Options, Scalar, refusing_unknown
from hcl_jax.psi import infonce
from hcl_jax.validation.batches import check_embeddings
from hcl_jax.validation.concrete import is_concrete

TEMPERATURE = 0.07
"""The temperature of these losses where none is given, as in the papers they are from."""


@refusing_unknown("supcon")
def supcon(
    embeddings: Float[Array, "n *views dim"],
    labels: Labels | None = None,
    *,
    hardening: Hardening | None = None,
    collectives: Collectives = SINGLE,
    **options: Unpack[Options],
) -> Float[Array, ""]:
    """SupCon: ``mean_i mean_{p in P(i)} -log(e^{s_ip/t} / sum_{a != i} e^{s_ia/t})``.

    It is `ucl` with ``psi=infonce(alpha=0, q="k", temperature=t)`` and ``average="anchors"``. The
    sum goes over all rows but the anchor, its positives included. With two views of each image and
    no labels it is the NT-Xent of SimCLR. Source: Khosla et al., arXiv 2004.11362, equation 2
    (``L_out``), without their factor ``t / 0.07``.

    Positives are in the denominator, so hardening weighs those most, which are most similar, and
    the loss behaves as `hucl` does: keep beta small. With labels, `hscl`, or `nt_xent` with
    hardening, have hard negatives of other classes alone.

    Args:
        embeddings: normalised embeddings, one a row, or the views of each image: (n, views, dim).
        labels: the class of each row, or of each image; None for every group, or image of
            views, to be a class of its own.
        hardening: how hard negatives weigh; by default not at all. It acts on similarities before
            the temperature: to tilt logits by b give ``exponential(b / t)``.
        collectives: where the rows of the batch are, see `hcl_jax.parallel.over_axis`; by default
            all on this device.
        **options: see `Options`, but for psi; `temperature` is 0.07 and `average` "anchors" where
            they are not given.

    Returns:
        The mean loss; an anchor without positives is left out of the mean.

    Raises:
        ValueError, TypeError: as `ucl`, for a `psi`, or neither labels, groups nor views, and for a
            hardening with a negative margin, see `hcl_jax.without_false_negatives`.

    Example:
        >>> import jax.numpy as jnp
        >>> views = jnp.array([[[1.0], [1.0]], [[-1.0], [-1.0]]])
        >>> round(float(supcon(views, temperature=1.0)), 6)  # log(1 + 2 e^-2)
        0.239545
    """
    _check_margin(hardening)
    options = _preset(options, alpha=0.0, average="anchors")
    return _of_classes(embeddings, labels, False, hardening, collectives, options)


@refusing_unknown("nt_xent")
def nt_xent(
    embeddings: Float[Array, "n *views dim"],
    labels: Labels | None = None,
    *,
    hardening: Hardening | None = None,
    collectives: Collectives = SINGLE,
    **options: Unpack[Options],
) -> Float[Array, ""]:
    """NT-Xent: ``mean_{(i, p)} -log(e^{s_ip/t} / (e^{s_ip/t} + sum_{n in N(i)} e^{s_in/t}))``.

    It is `scl` with ``psi=infonce(q="k", temperature=t)``. The negatives N are the rows of other
    classes: an anchor's other positives are not in the sum, which is the difference to `supcon`.
    With two views of each image and no labels the two are equal. Source: Chen et al., arXiv
    2002.05709, equation 1, for classes of any size.

    Args:
        embeddings: normalised embeddings, one a row, or the views of each image: (n, views, dim).
        labels: the class of each row, or of each image; None for every group, or image of
            views, to be a class of its own.
        hardening: how hard negatives weigh, as in `supcon`.
        collectives: where the rows of the batch are, as in `supcon`.
        **options: see `Options`, but for psi; `temperature` is 0.07 where it is not given.

    Returns:
        The mean loss over all pairs.

    Raises:
        ValueError, TypeError: as `scl`, and for a `psi`, or neither labels, groups nor views.

    Example:
        >>> import jax.numpy as jnp
        >>> embeddings = jnp.array([[1.0], [1.0], [-1.0], [-1.0]])
        >>> round(float(nt_xent(embeddings, jnp.array([0, 0, 1, 1]), temperature=1.0)), 6)
        0.239545
    """
    options = _preset(options, alpha=1.0, average="pairs")
    return _of_classes(embeddings, labels, True, hardening, collectives, options)


@refusing_unknown("nscl")
def nscl(
    embeddings: Float[Array, "n *views dim"],
    labels: Labels,
    *,
    hardening: Hardening | None = None,
    collectives: Collectives = SINGLE,
    **options: Unpack[Options],
) -> Float[Array, ""]:
    """NSCL: ``mean_{(i, p)} -log(e^{s_ip/t} / sum_{n in N(i)} e^{s_in/t})``, p a view of i's image.

    It is `scl` with groups and ``psi=infonce(alpha=0, q="k", temperature=t)``: positives are the
    other views of an image, and negatives N the rows of other classes, which labels are needed for.
    Source: arXiv 2506.04411, negatives-only supervised contrastive learning.

    Args:
        embeddings: normalised embeddings, one a row, or the views of each image: (n, views, dim).
        labels: the class of each row, or of each image.
        hardening: how hard negatives weigh, as in `supcon`.
        collectives: where the rows of the batch are, as in `supcon`.
        **options: see `Options`, but for psi; `groups` are the numbers of the images, which are
            needed unless views are given; `temperature` is 0.07 where it is not given.

    Returns:
        The mean loss over all pairs.

    Raises:
        ValueError, TypeError: as `scl`, and for a `psi`, or neither groups nor views.

    Example:
        >>> import jax.numpy as jnp
        >>> views = jnp.array([[[1.0], [1.0]], [[-1.0], [-1.0]]])
        >>> round(float(nscl(views, jnp.array([0, 1]), temperature=1.0)), 6)  # log(2 e^-2)
        -1.306853
    """
    options = _preset(options, alpha=0.0, average="pairs")
    if options.get("groups") is None:
        options["groups"] = image_indices(embeddings, collectives, "groups")
    return _of_classes(embeddings, labels, True, hardening, collectives, options)


@refusing_unknown("clip")
def clip(
    images: Float[Array, "n dim"],
    texts: Float[Array, "n dim"],
    *,
    hardening: Hardening | None = None,
    collectives: Collectives = SINGLE,
    **options: Unpack[Options],
) -> Float[Array, ""]:
    """CLIP's loss: the cross entropy of ``s / t`` with its diagonal, by rows and by columns.

        ``1/2 mean_i -log(e^{s_ii/t} / sum_j e^{s_ij/t})
        + 1/2 mean_j -log(e^{s_jj/t} / sum_i e^{s_ij/t})``,   ``s_ij = images_i . texts_j``

    Both sets are rows of one batch, whose class is their set and whose group is their number: `scl`
    with ``psi=infonce(alpha=0, q="k", temperature=t)``. Source: Radford et al., arXiv 2103.00020,
    figure 3, whose logit scale is ``1 / t``.

    Args:
        images: normalised embeddings of one set; on several devices, those of this device.
        texts: normalised embeddings of the other set, row i of which belongs to row i of `images`.
        hardening: how hard negatives weigh, as in `supcon`.
        collectives: where the rows of the batch are, as in `supcon`.
        **options: see `Options`, but for psi, groups and pair_rule; `temperature` is 0.07 where it
            is not given. `weights` are (2 n,), of the images and then the texts: 1 and 0 leave the
            direction from images to texts. Rows of a `bank` without labels are negatives of both
            sets; label 1 makes them texts, negatives of images alone.

    Returns:
        The mean loss. Similarities within a set are computed, for one program to serve all forms
        and devices, and not used.

    Raises:
        ValueError, TypeError: as `scl`, and for sets of different shapes, a `psi`, `groups`, a
            `pair_rule`, `self_positives`, an `ignore_label` of 0 or 1 or a hardening with a
            negative margin.

    Example:
        >>> import jax.numpy as jnp
        >>> images, texts = jnp.eye(2), jnp.eye(2)
        >>> round(float(clip(images, texts, temperature=1.0)), 6)  # log(1 + e^-1)
        0.313262
    """
    for name, rows in (("images", images), ("texts", texts)):
        check_embeddings(name, rows)
    if images.shape != texts.shape:
        raise ValueError(
            f"images and texts must have one shape, row i of one belonging to row i of the other, "
            f"got {images.shape} and {texts.shape}"
        )
    _check_margin(hardening)
    options = _preset(options, alpha=0.0, average="pairs")
    if options.get("groups") is not None:
        raise ValueError(
            "clip pairs row i with row i; where more rows belong together give hcl_jax.scl both "
            "sets in one batch, with the set of each row as its label, and groups"
        )
    if options.get("pair_rule") is not None:
        raise ValueError(
            "clip pairs row i with row i; where a rule says who belongs together give hcl_jax.scl "
            "both sets in one batch, with the set of each row among the keys, and pair_rule"
        )
    if options.get("self_positives", options.get("reference_conventions")):
        raise ValueError(
            "in clip the positive of a row is its partner alone; self_positives, which "
            "reference_conventions stands for too, would have the row itself"
        )
    if options.get("ignore_label") in (0, 1):
        raise ValueError(
            "the sets of clip have the labels 0 and 1, so ignore_label, for rows of a bank, is "
            f"another number, got {options.get('ignore_label')}"
        )
    options["groups"] = jnp.tile(row_indices(len(images), collectives), 2)
    rows = jnp.concatenate([images, texts])
    sets = jnp.repeat(jnp.arange(2, dtype=jnp.int32), len(images))
    return _of_classes(rows, sets, True, hardening, collectives, options)


def _check_margin(hardening: Hardening | None) -> None:
    """Raises for a mask that leaves positives out of a denominator that is to hold them."""
    margin = hardening.margin if isinstance(hardening, Hardening) else None
    if margin is not None and is_concrete(margin) and margin < 0:
        raise ValueError(
            "the denominators of supcon and clip hold the positive, which a negative margin leaves "
            f"out; nt_xent has it apart; got margin={margin}"
        )


def _of_classes(
    embeddings: Any,
    labels: Any,
    supervised: bool,
    hardening: Hardening | None,
    collectives: Collectives,
    options: Options,
) -> Float[Array, ""]:
    """The objective of a batch, by default without hardening."""
    return objective(
        embeddings,
        labels,
        supervised=supervised,
        hardening=no_hardening() if hardening is None else hardening,
        collectives=collectives,
        **options,
    )


def _preset(options: Options, *, alpha: Scalar, average: str) -> Options:
    """The options of a loss of this file, with its psi in the place of the temperature."""
    if options.get("psi") is not None:
        raise ValueError("this loss has a psi of its own; hcl_jax.scl and hcl_jax.ucl take any")
    given: Any = {"average": average, **options}
    temperature = given.pop("temperature", TEMPERATURE)
    given["psi"] = infonce(alpha=alpha, q="k", temperature=temperature)
    return given
