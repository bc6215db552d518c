"""The fields of an experiment, and what follows from them."""

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from hcl_jax.data.own_splits import TEST_FRACTION, EvaluateOn
from hcl_jax.data.splitting import Profile
from hcl_jax.data.squares import Damaged
from scripts.experiments.datasets import DATASETS, DataName, DatasetDefaults, own_defaults
from scripts.experiments.networks import HeadName, NetworkName
from scripts.experiments.options import (
    HardeningName,
    NormalizationName,
    ObjectiveName,
    OptimizerName,
    ScheduleName,
    ViewsName,
)
from scripts.experiments.own_data import IMAGE_SIZE, SQUARES, OwnData, Source, kind_of

Initialization = Literal["random", "near_nc"]
Positives = Literal["class", "views"]
Dtype = Literal["float32", "bfloat16"]
Average = Literal["pairs", "anchors"]


@dataclasses.dataclass(frozen=True)
class ExperimentFields:
    """One objective on one data set, with one or more seeds that train side by side.

    Where a field is none, it is what `scripts.experiments.datasets` has for the data set.

    Attributes:
        data: a data set, or npz:FILE, folder:DIR, hf:DIR, tfds:NAME. "grouped", "grouped100" and
            "triangle" are synthetic, "digits" bundled; "stl10_unlabelled" trains on the images of
            STL-10 without labels, "svhn_extra" on SVHN's extra images too. "npz:FILE",
            "folder:DIR", "hf:DIR" (saved by Hugging Face's `datasets`) and "tfds:NAME[:CONFIG]"
            (prepared in the data directory) are data of one's own.
        image_size: side of the squares that images of any size are resized to, in pixels; 32 if
            none.
        test_fraction: share of every class that is held out of data of one's own that do not say
            what is to be held out.
        split_seed: seed of that choice, and of the images that a long tail keeps.
        evaluate_on: the split of one's own data to measure on; if none, "test" if there is one,
            and else "val".
        damaged: whether images that cannot be read are refused or skipped.
        imbalance: size of the largest class over the smallest; above 1 later classes keep fewer
            training images.
        imbalance_profile: whether sizes fall from class to class, or from half to half.
        objective: which of the paper's four objectives.
        beta: the hardness of HSCL and HUCL; 0 for SCL and UCL. For other hardening functions than
            the exponential: the power, the level of the threshold, the steepness of the sigmoid.
        temperature: what similarities are divided by in the loss; hardness is not.
        hardening: family of hardening functions, which weigh the negatives.
        normalization: how projections become embeddings.
        initialization: "random", or "near_nc": first fitted to the simplex, class by class.
        fit_epochs: passes over the training set to fit it.
        positives: images of one class, or two views of one image.
        views: how images are changed; if none, as suits the data where positives are views, and
            not at all where they are of the class.
        network: encoder.
        head: projection head.
        dim: dimension of the projections; one less than there are classes if none.
        dtype: computation dtype of residual networks; parameters and loss are float32.
        synchronized: whether batch norm takes its statistics over all devices, not over each.
        epochs: passes over the training set.
        evaluations: how often the representation is measured; spread over the epochs.
        probes: measure uniformity, neighbours and a linear probe too.
        batch_size: images in a step, over all devices.
        per_class: as many images of each class in a step; of less common classes images then come
            several times in an epoch.
        parts: the network sees a batch in so many parts, to save memory; the loss is that of the
            whole batch.
        optimizer: "adam" with weight decay added to the gradient, "adamw", or "sgd" with momentum.
        learning_rate: learning rate of the optimizer, at its peak.
        schedule: course of the learning rate.
        warmup_epochs: epochs in which the learning rate grows linearly.
        weight_decay: coefficient of the weight decay.
        seeds: seeds of the initialisation and the order of the batches.
        num_negatives: K of the samples estimator; none for the weights estimator.
        stop_gradient_hardening: whether the weights of negatives are constants to differentiation.
        average: whether the loss is a mean over (anchor, positive) pairs, or over anchors.
        reference_conventions: anchors among their own positives and negatives, one set of channel
            statistics for every data set, and a head that starts from PyTorch's uniform law, as in
            the authors' code.
        own: what `scripts.experiments.catalogue.described` found in data of one's own.
    """

    data: DataName = "grouped"
    image_size: int | None = None
    test_fraction: float = TEST_FRACTION
    split_seed: int = 0
    evaluate_on: EvaluateOn | None = None
    damaged: Damaged = "refuse"
    imbalance: float = 1.0
    imbalance_profile: Profile = "exponential"
    objective: ObjectiveName = "HSCL"
    beta: float = 5.0
    temperature: float = 1.0
    hardening: HardeningName = "exponential"
    normalization: NormalizationName = "unit_ball"
    initialization: Initialization = "random"
    fit_epochs: int = 20
    positives: Positives = "class"
    views: ViewsName | None = None
    network: NetworkName | None = None
    head: HeadName | None = None
    dim: int | None = None
    dtype: Dtype = "float32"
    synchronized: bool = False
    epochs: int = 80
    evaluations: int = 10
    probes: bool = False
    batch_size: int | None = None
    per_class: int | None = None
    parts: int = 1
    optimizer: OptimizerName = "adam"
    learning_rate: float = 1e-3
    schedule: ScheduleName = "constant"
    warmup_epochs: int = 0
    weight_decay: float = 0.0
    seeds: tuple[int, ...] = (0,)
    num_negatives: int | None = None
    stop_gradient_hardening: bool = True
    average: Average = "pairs"
    reference_conventions: bool = False
    own: tyro.conf.Suppress[OwnData | None] = None

    @property
    def defaults(self) -> DatasetDefaults:
        """The data set, and what goes with it."""
        if not self.is_own:
            return DATASETS[self.data]
        if self.own is None:
            raise ValueError(f"it is not known what is in {self.data}")
        return own_defaults(self.source, self.own)

    @property
    def uses(self) -> tuple[tuple[tuple[str, ...], bool, str], ...]:
        """Fields that others make idle: whether they say something here, and what they are for."""
        squares, long_tail = [f"{kind}:" for kind in SQUARES], self.imbalance > 1
        own, near_nc = f"data of one's own, not for {self.data}", self.initialization == "near_nc"
        return (
            (("test_fraction", "evaluate_on"), self.is_own, own),
            (
                ("image_size", "damaged"),
                kind_of(self.data) in SQUARES,
                f"data of {', '.join(squares)}, not for {self.data}",
            ),
            (("split_seed",), self.is_own or long_tail, f"a long tail (imbalance) and {own}"),
            (("imbalance_profile",), long_tail, "imbalance above 1"),
            (
                ("hardening", "stop_gradient_hardening"),
                self.is_hard,
                f"HSCL and HUCL, not for {self.objective}",
            ),
            (("fit_epochs",), near_nc, "initialization 'near_nc'"),
        )

    @property
    def is_own(self) -> bool:
        """Whether the data are one's own."""
        return kind_of(self.data) is not None

    @property
    def data_label(self) -> str:
        """The name of the data set; of data of one's own the last part of the path."""
        return Path(self.data.partition(":")[2]).name if self.is_own else self.data

    @property
    def source(self) -> Source:
        """What decides which images are trained on and which are held out."""
        return Source(
            self.data,
            self.image_size or IMAGE_SIZE,
            self.test_fraction,
            self.split_seed,
            self.evaluate_on,
            self.damaged,
            self.imbalance,
            self.imbalance_profile,
        )

    @property
    def is_supervised(self) -> bool:
        """Whether negatives are of other classes (SCL, HSCL), rather than everyone (UCL, HUCL)."""
        return "SCL" in self.objective

    @property
    def is_hard(self) -> bool:
        """Whether negatives are weighted by their hardness (HSCL, HUCL)."""
        return self.objective.startswith("H")

    @property
    def length_matters(self) -> bool:
        """Whether the first epochs would be others if there were more of them."""
        return self.schedule != "constant"

    @property
    def images_per_step(self) -> int:
        """The batch size; with `per_class` as many whole classes as are in the usual one."""
        usual = self.defaults.batch_size
        if self.batch_size or self.per_class is None:
            return self.batch_size or usual
        classes = min(self.defaults.num_classes, max(2, usual // self.per_class))
        return classes * self.per_class

    @property
    def embedding_dim(self) -> int:
        """The dimension of the embeddings."""
        return self.dim or self.defaults.num_classes - 1

    @property
    def method(self) -> str:
        """The objective and its hardness, as "HSCL 5" or "HSCL relu_power 5"."""
        if not self.is_hard:
            return self.objective
        family = "" if self.hardening == "exponential" else f"{self.hardening} "
        return f"{self.objective} {family}{self.beta:g}"

    @property
    def name(self) -> str:
        """What it is, as `scripts.reproduce` calls its run directory.

        `train` and `sweep` call theirs by `scripts.experiments.catalogue.changed_name`.
        """
        words = [self.data_label, self.normalization, *self.method.lower().split()]
        words += ["views"] if self.positives == "views" else []
        words += ["near_nc"] if self.initialization == "near_nc" else []
        return "-".join(words)
