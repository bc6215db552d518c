"""What an experiment uses where its fields say none, and which of its fields say something."""

import dataclasses
from typing import Any

from scripts.experiments.experiment import Experiment
from scripts.experiments.options import ViewsName
from scripts.experiments.own_data import SQUARES, kind_of


def as_used(experiment: Experiment) -> Experiment:
    """The experiment with what goes with its data in the place of none.

    Example:
        >>> used = as_used(Experiment(data="digits"))
        >>> used.network, used.head, used.views, used.dim, used.batch_size
        ('convnet', 'linear', 'identity', 9, 128)
    """
    defaults = experiment.defaults
    squares = kind_of(experiment.data) in SQUARES
    return dataclasses.replace(
        experiment,
        image_size=experiment.source.image_size if squares else None,
        views=views_of(experiment),
        network=experiment.network or defaults.network,
        head=experiment.head or defaults.head,
        dim=experiment.embedding_dim,
        batch_size=experiment.images_per_step,
    )


def views_of(experiment: Experiment) -> ViewsName:
    """How its images are changed."""
    by_the_data = experiment.defaults.views if experiment.positives == "views" else "identity"
    return experiment.views or by_the_data


def filled_in(experiment: Experiment) -> dict[str, Any]:
    """The fields that say none, with what is used instead.

    Example:
        >>> filled_in(Experiment(data="digits", network="convnet", head="none", dim=5))
        {'views': 'identity', 'batch_size': 128}
    """
    used = as_used(experiment)
    return {
        field.name: getattr(used, field.name)
        for field in dataclasses.fields(experiment)
        if getattr(experiment, field.name) is None and getattr(used, field.name) is not None
    }


def idle_fields(experiment: Experiment) -> set[str]:
    """The fields that change nothing in this experiment.

    Example:
        >>> sorted(idle_fields(Experiment(data="folder:/pets", objective="SCL", beta=0.0)))
        ['beta', 'fit_epochs', 'hardening', 'imbalance_profile', 'stop_gradient_hardening']
    """
    idle = {name for names, fits, _ in experiment.uses if not fits for name in names}
    return idle if experiment.is_hard else idle | {"beta"}
