"""What `scripts.benchmark_training` measures in JAX: our steps, our epoch, and parts of them."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from hcl_jax import augmentation, hscl
from hcl_jax.augmentation import simclr, standardize, to_unit_floats
from hcl_jax.conventions import Conventions
from hcl_jax.data import Split
from hcl_jax.networks import LINEAR, PAPER, Model, resnet
from hcl_jax.networks.convolutions import convolve
from hcl_jax.normalization import unit_ball
from hcl_jax.training import (
    AXIS,
    DataParallel,
    Program,
    StepInfo,
    TrainState,
    init_state,
    traced_objective,
    train_epoch,
    train_step,
)
from scripts.benchmarking.contenders import Contender, say, temporaries
from scripts.benchmarking.training_cases import Images, Recipe
from scripts.experiments.networks import NETWORKS, NetworkInputs


def recipe_program(
    recipe: Recipe, dtype: str, *, sampled: bool, axis_name: str | None = None
) -> Program:
    """The program of a recipe: with K drawn negatives, as in the authors' code, or exact.

    Batch norm takes its statistics over the devices of an axis, if that is named.
    """
    statistics = recipe.statistics
    return Program(
        _network(recipe, dtype, axis_name),
        optax.adam(1e-3),
        recipe.batch,
        standardization=None
        if statistics is None
        else functools.partial(standardize, mean=statistics.mean, std=statistics.std),
        conventions=Conventions(
            self_positives=sampled,
            self_negatives=sampled,
            num_negatives=recipe.draws if sampled else None,
        ),
    )


def _network(recipe: Recipe, dtype: str, axis_name: str | None) -> Model:
    """The network that `scripts.train` has for the case, but for the width of residual ones."""
    if recipe.is_residual:
        return resnet(
            recipe.dim,
            depth=recipe.depth,
            width=recipe.width,
            head=PAPER,
            dtype=dtype,
            axis_name=axis_name,
        )
    inputs = NetworkInputs(recipe.image_shape, recipe.classes, recipe.dim, LINEAR, dtype, axis_name)
    return NETWORKS[recipe.network](inputs)


def contenders(
    images: Images,
    labels: Int[np.ndarray, " n"],
    recipe: Recipe,
    dtypes: tuple[str, ...],
    device: Any,
    *,
    whole: bool,
) -> list[Contender]:
    """Our steps in each dtype, and an epoch of the exact estimator in that of `epoch_dtype`.

    The images are those of an epoch, and those of the steps its first batch. The `whole` list has
    steps of the sampled estimator and parts of a step too.
    """
    split = jax.device_put(Split(jnp.asarray(images), jnp.asarray(labels)), device)
    first = Split(split.images[: recipe.batch], split.labels[: recipe.batch])
    found = []
    for dtype in dtypes:
        for sampled in (True, False) if whole else (False,):
            program = recipe_program(recipe, dtype, sampled=sampled)
            name = f"ours, {f'sampled, K = {recipe.draws}' if sampled else 'exact'}, {dtype}"
            kind = "sampled" if sampled else "exact"
            step = jax.jit(functools.partial(train_step, program=program), donate_argnames="state")
            found.append(_training(name, kind, step, first, recipe, program))
    dtype = epoch_dtype(dtypes)
    program = recipe_program(recipe, dtype, sampled=False)
    epoch = functools.partial(train_epoch, program=program)
    name = f"ours, epoch of {recipe.steps} steps, exact, {dtype}"
    found.append(_training(name, "epoch", jax.jit(epoch, donate_argnums=0), split, recipe, program))
    return found + (_parts(first, recipe, program) if whole else [])


def epoch_dtype(dtypes: Sequence[str]) -> str:
    """The dtype of an epoch: float32, in which it is compared with PyTorch, if it is there."""
    return "float32" if "float32" in dtypes else dtypes[0]


def epoch_over_devices(
    images: Images,
    labels: Int[np.ndarray, " n"],
    recipe: Recipe,
    dtype: str,
    devices: Sequence[Any],
) -> Contender:
    """The same epoch shared by devices, with batch norm's statistics of whole batches."""
    name = f"ours, epoch of {recipe.steps} steps over {len(devices)} devices, exact, {dtype}"
    say(f"{recipe.name}: compiles {name}")
    program = recipe_program(recipe, dtype, sampled=False, axis_name=AXIS)
    runner = DataParallel(program, devices=devices)
    data = runner.replicate(Split(jnp.asarray(images), jnp.asarray(labels)))
    target = traced_objective(supervised=True, beta=recipe.beta)
    states = runner.init(recipe.key[None])
    return Contender(
        name, "epoch", _trains_on(states, lambda x: runner.train_epoch(x, data, target))
    )


def sampled_losses(
    embeddings: Float[np.ndarray, "n dim"], labels: Int[np.ndarray, " n"], recipe: Recipe
) -> Float[np.ndarray, " 16"]:
    """The loss of K negatives with the conventions of the authors' code, for sixteen keys."""
    z, y = jnp.asarray(embeddings), jnp.asarray(labels)

    def loss(key: PRNGKeyArray) -> Float[Array, ""]:
        return hscl(
            z,
            y,
            beta=recipe.beta,
            num_negatives=recipe.draws,
            key=key,
            reference_conventions=True,
        )

    return np.asarray(jax.lax.map(loss, jax.random.split(jax.random.key(7), 16)))


def _training(
    name: str, kind: str, function: Any, data: Split, recipe: Recipe, program: Program
) -> Contender:
    """A jitted step or epoch, which trains on with each call.

    The first call tells the loss and the gradient norm of the first step.
    """
    say(f"{recipe.name}: compiles {name}")
    state = jax.device_put(init_state(recipe.key, program), data.labels.device)
    target = traced_objective(supervised=True, beta=recipe.beta)
    compiled = function.lower(state, data, target).compile()
    run = _trains_on(state, lambda state: compiled(state, data, target))
    return Contender(name, kind, run, temporaries(compiled))


def _trains_on(
    state: TrainState, step: Callable[[TrainState], tuple[TrainState, StepInfo]]
) -> Callable[[bool], tuple[float, float] | None]:
    """Trains on with each call, which tells loss and gradient norm of its first step if asked."""
    held = {"state": state}

    def run(wanted: bool) -> tuple[float, float] | None:
        held["state"], info = step(held["state"])
        jax.block_until_ready((held["state"].step, info))
        if not wanted:
            return None
        return float(np.ravel(info.loss)[0]), float(np.ravel(info.gradient_norm)[0])

    return run


def _parts(batch: Split, recipe: Recipe, program: Program) -> list[Contender]:
    """Parts of a step: loss, views, convolutions and the launch of a program."""
    size = batch.images.shape[1]
    state = init_state(recipe.key, program)
    z = unit_ball(jax.random.normal(recipe.key, (len(batch.labels), recipe.dim)))

    def exact(z: Float[Array, "n dim"]) -> Float[Array, ""]:
        return hscl(z, batch.labels, beta=recipe.beta)

    def sampled(z: Float[Array, "n dim"]) -> Float[Array, ""]:
        key, draws = jax.random.key(0), recipe.draws
        return hscl(
            z,
            batch.labels,
            beta=recipe.beta,
            num_negatives=draws,
            key=key,
            reference_conventions=True,
        )

    def views(images: UInt8[Array, "n side side 3"]) -> Float[Array, "n 1 side side 3"]:
        chosen = simclr(size, blur=size > 32)
        return augmentation.views(jax.random.key(0), to_unit_floats(images), chosen, 1)

    maps = jax.random.normal(recipe.key, (len(batch.labels), size, size, recipe.width))
    kernel = jax.random.normal(recipe.key, (3, 3, recipe.width, recipe.width))
    twice = "part: 3 x 3 convolution, JAX, two in a loop"
    return [
        _part("part: exact loss, forward and backward", jax.value_and_grad(exact), z),
        _part(
            f"part: sampled loss, K = {recipe.draws}, forward and backward",
            jax.value_and_grad(sampled),
            z,
        ),
        _part("part: SimCLR views, one of each image", views, batch.images),
        _launch(state),
        _part("part: 3 x 3 convolution, JAX", _both(_ours), maps, kernel),
        _part(twice, _twice(_both(_ours)), maps, kernel),
        _part(f"{twice}, gradient left to XLA", _twice(_both(_of_xla)), maps, kernel),
    ]


def _both(convolution: Callable[[Array, Array], Array]) -> Callable[..., tuple[Array, Array]]:
    """The gradient with respect to maps and kernel."""

    def loss(maps: Array, kernel: Array) -> Float[Array, ""]:
        return jnp.sum(jnp.square(convolution(maps, kernel)))

    return jax.grad(loss, argnums=(0, 1))


def _ours(maps: Array, kernel: Array) -> Array:
    return convolve(maps, kernel, 1, ((1, 1), (1, 1)))


def _of_xla(maps: Array, kernel: Array) -> Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(
        maps, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=numbers
    )


def _twice(gradient: Callable[..., tuple[Array, Array]]) -> Callable[..., tuple[Array, Array]]:
    """Two steps of descent in a loop."""

    def descend(carried: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        return jax.tree.map(lambda x, g: x - 1e-9 * g, carried, gradient(*carried)), None

    return lambda *start: jax.lax.scan(descend, start, length=2)[0]


def _launch(state: TrainState) -> Contender:
    """A program that does nothing, called with the state as a step is."""
    held = {"state": state}
    compiled = jax.jit(_count, donate_argnums=0).lower(state).compile()

    def run(wanted: bool) -> Any:
        held["state"] = jax.block_until_ready(compiled(held["state"]))

    return Contender("part: a launch with all arrays of the state", "part", run)


def _count(state: TrainState) -> TrainState:
    return state._replace(step=state.step + 1)


def _part(name: str, function: Callable[..., Any], *arguments: Array) -> Contender:
    compiled = jax.jit(function).lower(*arguments).compile()

    def run(wanted: bool) -> Any:
        jax.block_until_ready(compiled(*arguments))

    return Contender(name, "part", run, temporaries(compiled))
