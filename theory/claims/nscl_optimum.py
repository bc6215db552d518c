"""Neural collapse minimises NSCL, and the library's NSCL and UCL of views are the ones defined."""

import random
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flint import arb, ctx
from jaxtyping import Array, Float, Int

import hcl_jax
from hcl_jax.psi import infonce
from theory.checking import BITS, Claim, Control, Effort, Evidence, Measurement, Tally, in_balls
from theory.exact.view_batches import (
    ONE,
    TAUS,
    Batch,
    Pair,
    batch_of_unequal_views,
    collapsed_batch,
    losses_of,
    mean,
    own_share,
    random_batch,
)
from theory.model.psi_kinds import InfoNCE
from theory.model.random_models import ball_features
from theory.model.rationals import ball
from theory.model.simplex import nc_gap

SEED = 97
ROUNDING = 1e-12
"""Agreement asked of the shipped losses: some thousand roundings of float64."""


def gap_at_collapse(batch: Batch) -> arb:
    """``log(1 + r e^{delta0 / tau})``, the gap at NC for alpha = 0."""
    apart = ball(nc_gap(len(batch.sizes)) / batch.psi.tau).exp()
    return (1 + ball(own_share(batch)) * apart).log()


@in_balls()
def nscl_of_unequal_views(effort: Effort) -> Measurement:
    """Asks NSCL of the same batch to be at least that of NC."""
    tally, batch = Tally(), batch_of_unequal_views()
    nscl, least = mean([pair.nscl for pair in losses_of(batch)]), _least_nscl(batch)
    tally.at_least(nscl, least)
    tally.models += 1
    return tally.measurement(NSCL=float(nscl), at_collapse=float(least))


@in_balls()
def nscl_at_collapse(effort: Effort) -> Measurement:
    """NSCL of random batches against NC; the gap at NC for up to 101 classes."""
    return _compare_with_collapse(effort, ONE)


@in_balls()
def nscl_outside(effort: Effort) -> Measurement:
    """Asks the same of a simplex ETF of norm 6/5."""
    return _compare_with_collapse(effort, Fraction(6, 5))


def _compare_with_collapse(effort: Effort, radius: Fraction) -> Measurement:
    """Records whether NSCL is above ``log(alpha + n e^{-delta0 / tau})``, with equality at NC."""
    rng, tally, details = random.Random(SEED), Tally(seed=SEED), {}
    for _ in range(effort.choose(15, 100, 1000)):
        batch = random_batch(rng)
        tally.at_least(mean([pair.nscl for pair in losses_of(batch)]), _least_nscl(batch))
        tally.models += 1
    for classes in (2, 3, 10):
        batch = collapsed_batch(classes, 1, radius=radius)
        pair = losses_of(batch)[0]
        tally.equal(pair.nscl, _least_nscl(batch))
        tally.equal(pair.ucl - pair.nscl, gap_at_collapse(batch))
        details[f"gap at NC, $C = {classes}$"] = f"{float(pair.ucl - pair.nscl):.6f}"
        tally.models += 1
    return tally.measurement(**details)


def _least_nscl(batch: Batch) -> arb:
    """The bound of Theorem 2, ``log(alpha + n e^{-delta0 / tau})``, n negatives of each anchor."""
    others = len(batch.features) - batch.sizes[0]
    apart = (-ball(nc_gap(len(batch.sizes)) / batch.psi.tau)).exp()
    return (ball(batch.psi.alpha) + others * apart).log()


def shipped_losses(effort: Effort) -> Measurement:
    """`hcl_jax.nscl`, and `hcl_jax.ucl` with the images as groups, against the definition."""
    return _compare_shipped(effort, views_in_groups=True)


def shipped_losses_of_classes(effort: Effort) -> Measurement:
    """Asks the same where positives are all members of the class."""
    return _compare_shipped(effort, views_in_groups=False)


def _compare_shipped(effort: Effort, *, views_in_groups: bool) -> Measurement:
    """Records whether the losses of the library are those of the definition."""
    rng, tally = random.Random(SEED), Tally(seed=SEED)
    for _ in range(effort.choose(2, 5, 40)):
        features = ball_features(rng, 3, 4, 2)
        batch = Batch(features, (4,) * 3, (2,) * 3, InfoNCE(alpha=Fraction(0), tau=TAUS[1]))
        with ctx.workprec(BITS):
            pairs = losses_of(batch)
            exact = [float(mean([getattr(pair, name) for pair in pairs])) for name in Pair._fields]
        for found, expected in zip(_shipped(batch, views_in_groups), exact, strict=True):
            tally.observe_below(abs(found - expected), ROUNDING)
        tally.models += 1
    return tally.measurement()


def _shipped(batch: Batch, views_in_groups: bool) -> tuple[float, float]:
    """NSCL and UCL of the library."""
    labels = jnp.array(batch.labels)
    groups = jnp.arange(len(labels)) // batch.views[0] if views_in_groups else labels
    tau = float(batch.psi.tau)
    with jax.enable_x64(True):
        rows = jnp.array(np.array(batch.features, dtype=np.float64))
        nscl, ucl = _losses(rows, labels, groups, tau)
        return float(nscl), float(ucl)


@partial(jax.jit, static_argnums=3)
def _losses(
    rows: Float[Array, "n dim"], labels: Int[Array, " n"], groups: Int[Array, " n"], tau: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """NSCL, and UCL with groups for labels."""
    sums = infonce(alpha=0.0, q="k", temperature=tau)
    nscl = hcl_jax.nscl(rows, labels, groups=groups, temperature=tau)
    return nscl, hcl_jax.ucl(rows, groups, psi=sums, quiet=True)


CLAIMS = (
    Claim(
        name="NC minimises NSCL",
        statement=r"$\mathrm{NSCL} \ge \log(\alpha + k e^{-\delta_0/\tau})$, $k$ negatives of each "
        "anchor, with equality at NC, where UCL exceeds it by "
        r"$\log(1 + r e^{\delta_0/\tau})$ if $\alpha = 0$",
        reference="docs/theory.md, NSCL",
        hypotheses="unit ball; $m$ rows of each of $C$ classes; as many views of every image, or "
        r"averages over anchors; InfoNCE with $q = k$, $\alpha \ge 0$",
        evidence=Evidence.PROVED,
        measure=nscl_at_collapse,
        controls=(
            Control("norm 6/5", "unit ball", nscl_outside),
            Control(
                "one image of 12 views, others of two",
                "as many views of every image",
                nscl_of_unequal_views,
            ),
        ),
    ),
    Claim(
        name="the library's NSCL and UCL of views",
        statement="`hcl_jax.nscl`, and `hcl_jax.ucl` of images as labels, are these losses to "
        "$10^{-12}$",
        reference="docs/theory.md, NSCL",
        hypotheses=r"three classes of two images in two views, $\alpha = 0$, $q = k$",
        evidence=Evidence.OBSERVED,
        measure=shipped_losses,
        controls=(
            Control("the class as positives", "views as positives", shipped_losses_of_classes),
        ),
    ),
)
