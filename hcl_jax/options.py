"""The options of the losses of a batch, and what they come to."""

import dataclasses
import difflib
import functools
import inspect
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, ParamSpec, TypedDict, TypeVar

from jax.lax import PrecisionLike
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from hcl_jax.conventions import REFERENCE_CONVENTIONS, Conventions
from hcl_jax.losses import Average, Implementation, LossStatistics
from hcl_jax.own_pair_rules import PairKeys
from hcl_jax.pairs import PairRule
from hcl_jax.psi import Psi, infonce
from hcl_jax.validation.options import check_choice

Scalar = Float[Array, ""] | float
Arguments = ParamSpec("Arguments")
Loss = TypeVar("Loss")

Labels = Int[Array, " n"] | Bool[Array, "n classes"] | PairKeys
"""The class of each row or image, whether each has each class, or the keys of a pair rule."""


Normalize = Literal["unit_sphere", "unit_ball"]
"""Where a loss takes its embeddings, if it moves them."""


class Bank(NamedTuple):
    """More candidates, which are no anchors: a memory bank, or negatives that were looked for.

    Attributes:
        embeddings: normalised embeddings; on several devices, the part of this device, which has as
            many as every other.
        labels: the class of each, or its keys for a pair rule; None for negatives of all anchors.
        groups: positives are of equal groups, see `hcl_jax.pairs.rows`, which the batch then has
            too. Without groups they are of equal labels where the batch has no groups either, and
            else positives of nobody.
    """

    embeddings: Float[Array, "m dim"]
    labels: Int[Array, " m"] | Bool[Array, "m classes"] | PairKeys | None = None
    groups: Int[Array, " m"] | None = None


ELSEWHERE = {
    "beta": "of hscl and hucl; other losses take hardening=hcl_jax.hardening.exponential(beta)",
    "supervised": "scl and hscl are, ucl and hucl are not; objective takes it",
    "tau": "here temperature",
    "temp": "here temperature",
    "t": "here temperature",
    "base_temperature": "there is no such factor; multiply the loss by temperature / "
    "base_temperature",
    "contrast_mode": "all rows are anchors; give weights, 0 for those that are to be none",
    "mask": "give groups, whose equal numbers are positives, or pair_rule=hcl_jax.PairRule(..)",
    "logit_scale": "here temperature=1 / logit_scale",
    "axis_name": "here collectives=hcl_jax.parallel.over_axis(axis_name)",
    "gather_distributed": "here collectives=hcl_jax.parallel.over_axis(axis_name)",
    "reduction": "the loss is the mean; hcl_jax.batch_losses has that of every anchor",
    "margin": "the four objectives take psi=hcl_jax.psi.triplet_sum(margin=..)",
    "tau_plus": "the four objectives take psi=hcl_jax.psi.debiased(tau_plus=..)",
    "rng": "here key",
}
"""What options of other codes are here."""


class Options(TypedDict, total=False):
    """The options shared by the four objectives, so that one can stand in for another.

    Attributes:
        temperature: divisor of the differences of similarities inside InfoNCE; default 1. Hardening
            acts on similarities before the temperature, as in the paper.
        normalize: whether rows, those of a bank too, are divided by their norms before the loss
            ("unit_sphere"), only those longer than 1 ("unit_ball"), or none (None), with the
            gradient of that; see `hcl_jax.normalization`. Default None.
        psi: another loss function than InfoNCE (then `temperature` is to be left out).
        groups: integers (n,); rows with equal numbers are positives. Default: the labels. For two
            views of each image pass the number of the image; without labels it is the class too.
        pair_rule: who is positive and negative, by two functions of one's own, see
            `hcl_jax.PairRule`, which compare the keys of the rows or images that are given in the
            place of labels; default none.
        ignore_label: the label, often -1, of rows that have none: they are no anchors, no positives
            and no negatives, as if they were left out. Default: none, every label is a class, and
            negative ones are refused where they are concrete.
        ignored_negatives: whether rows of `ignore_label` are negatives of all anchors all the same;
            default False.
        weights: non-negative weights (n,) of the rows, or images, as anchors in the mean, see
            `hcl_jax.losses.average_loss`; default all 1. For classes give ``of_classes[labels]``.
        bank: candidates that are no anchors, see `hcl_jax.Bank`; default none.
        key: randomness for the samples estimator, which needs `num_negatives` as well.
        self_positives: see `hcl_jax.Conventions`; default False.
        self_negatives: see `hcl_jax.Conventions`; default False. True is for UCL and HUCL only.
        stop_gradient_hardening: see `hcl_jax.Conventions`; default True.
        average: see `hcl_jax.Conventions`; default "pairs".
        num_negatives: see `hcl_jax.Conventions`; default None, the weights estimator.
        implementation: see `hcl_jax.Conventions`; default None.
        precision: see `hcl_jax.Conventions`; default `jax.lax.Precision.HIGHEST`.
        quiet: whether to say nothing of a batch without any loss, or of embeddings outside the unit
            ball (`hcl_jax.BatchWarning`); default False. Traced numbers are never looked at.
        report: a function that is called with the `hcl_jax.losses.LossStatistics` of the batch
            while the loss is computed or traced; `hcl_jax.with_statistics` gives one and returns
            them, which serves `jax.jit` and `jax.grad` too. Default: none, at no cost.
        reference_conventions: whether the defaults of the options above are those of the authors'
            code (`REFERENCE_CONVENTIONS`); an option that is given counts all the same. (The code
            also draws ``num_negatives=256``; without it the result is the limit of infinitely
            many.) Default False.
    """

    temperature: Scalar
    normalize: Normalize | None
    psi: Psi | None
    groups: Int[Array, " n"] | None
    pair_rule: PairRule | None
    ignore_label: int | None
    ignored_negatives: bool
    weights: Float[Array, " n"] | None
    bank: Bank | None
    key: PRNGKeyArray | None
    self_positives: bool
    self_negatives: bool
    stop_gradient_hardening: bool
    average: Average
    num_negatives: int | None
    implementation: Implementation | None
    precision: PrecisionLike
    quiet: bool
    report: Callable[[LossStatistics], object] | None
    reference_conventions: bool


def refusing_unknown(of: str) -> Callable[[Callable[Arguments, Loss]], Callable[Arguments, Loss]]:
    """Decorates a loss, of this name, so that it refuses options that no loss has.

    TypeError says what may have been meant: before Python says what is missing, which most often
    stands under another name among them.
    """

    def decorated(loss: Callable[Arguments, Loss]) -> Callable[Arguments, Loss]:
        own = set(inspect.signature(loss).parameters)

        @functools.wraps(loss)
        def checked(*args: Arguments.args, **options: Arguments.kwargs) -> Loss:
            _check_known({k: v for k, v in options.items() if k not in own}, of)
            return loss(*args, **options)

        return checked

    return decorated


def _check_known(options: dict[str, Any], of: str) -> None:
    unknown = sorted(set(options) - set(Options.__annotations__))
    if unknown:
        hints = "".join(_hint(name, of, options) for name in unknown)
        raise TypeError(
            f"unknown options {unknown} of {of}; {hints}known are {list(Options.__annotations__)}"
        )


def _hint(name: str, of: str, options: Any) -> str:
    """What may have been meant by an option that there is not; nothing where nothing is like it."""
    is_of_four = of in ("scl", "hscl", "ucl", "hucl")
    if name == "beta" and is_of_four:
        value = options[name]
        shown = float(value) if isinstance(value, (int, float)) else ".."
        return f"{of} has no hardness, h{of}(embeddings, labels, beta={shown}) has; "
    if name == "hardening" and is_of_four:
        takes = "takes beta" if of.startswith("h") else "has none"
        return (
            f"{of} {takes}, for another hardening function call "
            f"hcl_jax.objective(.., supervised={'scl' in of}, hardening=..); "
        )
    if name in ELSEWHERE:
        return f"{name}: {ELSEWHERE[name]}; "
    near = difflib.get_close_matches(name, Options.__annotations__, n=1)
    return f"did you mean {near[0]}? " if near else ""


def conventions_of(options: Options, *, supervised: bool) -> Conventions:
    """The conventions that options ask for: those that are given, then those of a preset."""
    if supervised and options.get("self_negatives", False):
        raise ValueError(
            "self_negatives=True has no meaning for SCL and HSCL, whose negatives are of other "
            "classes than the anchor"
        )
    if options.get("ignored_negatives", False) and options.get("ignore_label") is None:
        raise ValueError(
            "ignored_negatives=True is about rows without a label; name theirs as ignore_label"
        )
    if options.get("pair_rule") is not None and options.get("ignore_label") is not None:
        raise ValueError("ignore_label is for labels; a pair rule says itself who is in no pair")
    preset = options.get("reference_conventions", False)
    for name in ("reference_conventions", "quiet"):
        check_choice(name, options.get(name, False), (False, True))
    names = {field.name for field in dataclasses.fields(Conventions)}
    given: Any = {name: value for name, value in options.items() if name in names}
    return dataclasses.replace(REFERENCE_CONVENTIONS if preset else Conventions(), **given)


def psi_of(options: Options) -> Psi | None:
    """The loss function that options ask for; None for InfoNCE with all hyperparameters 1."""
    psi = options.get("psi")
    if psi is not None and "temperature" in options:
        raise ValueError(
            "give the temperature to psi itself: temperature and psi exclude each other"
        )
    if psi is None and "temperature" in options:
        return infonce(temperature=options["temperature"])
    return psi
