"""What the options of an experiment can name, one table for each option.

A new entry here is all that it takes to make something of the library reachable from the command
line: the choices of the option are the names of its table.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

import optax
from tyro.constructors import PrimitiveConstructorSpec

from hcl_jax import augmentation, normalization
from hcl_jax.augmentation import Augmentation
from hcl_jax.hardening import HARDENINGS
from hcl_jax.normalization import Normalization


def one_of(table: Iterable[str]) -> PrimitiveConstructorSpec[str]:
    """Annotates a string option whose choices are the names of a table."""
    names = tuple(table)
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="{" + ",".join(names) + "}",
        instance_from_str=lambda words: words[0],
        is_instance=lambda value: value in names,
        str_from_instance=lambda name: [name],
        choices=names,
    )


def choices_of(hint: Any) -> tuple[str, ...]:
    """The names that an option of a type can be; none where it is no name of a table.

    Example:
        >>> choices_of(ObjectiveName | None)
        ('SCL', 'HSCL', 'UCL', 'HUCL')
        >>> choices_of(OptimizerName), choices_of(str)
        (('adam', 'adamw', 'sgd'), ())
    """
    if get_origin(hint) is Literal:
        return get_args(hint)
    tables: Iterable[Any] = map(choices_of, get_args(hint))
    if get_origin(hint) is Annotated:
        tables = (getattr(mark, "choices", None) for mark in hint.__metadata__)
    return tuple(name for table in tables for name in table or ())


ObjectiveName = Literal["SCL", "HSCL", "UCL", "HUCL"]


HardeningName = Annotated[str, one_of(HARDENINGS)]

NORMALIZATIONS: Mapping[str, Normalization] = {
    **normalization.NORMALIZATIONS,
    "none": normalization.unnormalized,
}
NormalizationName = Annotated[str, one_of(NORMALIZATIONS)]


def _shift(image_shape: tuple[int, ...]) -> Augmentation:
    _check_images("shift", image_shape)
    return augmentation.compose(augmentation.random_shift(1), augmentation.gaussian_noise(0.01))


def _simclr(image_shape: tuple[int, ...]) -> Augmentation:
    _check_images("simclr", image_shape)
    return augmentation.simclr(image_shape[0], blur=image_shape[0] > 32)


def _check_images(views: str, image_shape: tuple[int, ...]) -> None:
    """Raises ValueError unless these views can be made of images of a shape."""
    if len(image_shape) != 3:
        raise ValueError(
            f"{views} views are of images, but those here are vectors of shape {image_shape}"
        )


VIEWS: Mapping[str, Callable[[tuple[int, ...]], Augmentation]] = {
    "identity": lambda image_shape: augmentation.identity,
    "noise": lambda image_shape: augmentation.gaussian_noise(0.01),
    "shift": _shift,
    "simclr": _simclr,
}
"""Augmentations for images of a shape."""
ViewsName = Annotated[str, one_of(VIEWS)]


def _with_decay(
    make: Callable[[optax.ScalarOrSchedule], optax.GradientTransformation],
    learning_rate: optax.ScalarOrSchedule,
    weight_decay: float,
) -> optax.GradientTransformation:
    """An optimizer with weight decay added to the gradient."""
    optimizer = make(learning_rate)
    if not weight_decay:
        return optimizer
    return optax.chain(optax.add_decayed_weights(weight_decay), optimizer)


def _adamw(
    learning_rate: optax.ScalarOrSchedule, weight_decay: float
) -> optax.GradientTransformation:
    return optax.adamw(learning_rate, weight_decay=weight_decay)


OPTIMIZERS: Mapping[
    str, Callable[[optax.ScalarOrSchedule, float], optax.GradientTransformation]
] = {
    "adam": functools.partial(_with_decay, optax.adam),
    "adamw": _adamw,
    "sgd": functools.partial(_with_decay, functools.partial(optax.sgd, momentum=0.9)),
}
"""Optimizers of a learning rate and a weight decay."""
OptimizerName = Annotated[str, one_of(OPTIMIZERS)]


def _constant(peak: float, warmup: int, total: int) -> optax.ScalarOrSchedule:
    return optax.linear_schedule(0.0, peak, warmup) if warmup else peak


def _cosine(peak: float, warmup: int, total: int) -> optax.ScalarOrSchedule:
    start = 0.0 if warmup else peak
    return optax.warmup_cosine_decay_schedule(start, peak, warmup, total)


SCHEDULES: Mapping[str, Callable[[float, int, int], optax.ScalarOrSchedule]] = {
    "constant": _constant,
    "cosine": _cosine,
}
"""Learning rates of a peak, and of the numbers of steps of the warmup and of all training."""
ScheduleName = Annotated[str, one_of(SCHEDULES)]
