"""Residual networks by themselves: initialisation, precision, devices, seeds, errors."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from scipy import stats

from hcl_jax.networks import PAPER, Head, Variables, resnet

SMALL = {"depth": 18, "width": 4, "head": Head((6,))}


def paths(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): x for path, x in leaves}


@pytest.fixture(scope="module")
def start():
    return jax.jit(resnet(3, depth=18).init)(jax.random.key(0))


def test_parameter_counts_are_the_published_ones():
    """He et al.'s ImageNet networks have 11 689 512 and 25 557 032 with a 1000-class layer."""
    for depth, features, published in ((18, 512, 11_689_512), (50, 2048, 25_557_032)):
        model = resnet(features, depth=depth, stem="imagenet", head=None)
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        found = sum(leaf.size for leaf in jax.tree.leaves(shapes.params))
        assert found == published - 1000 * (features + 1)


def test_kernels_are_drawn_from_he_s_law(start):
    """Divided by the deviation they are standard normal: moments, law, and kernels uncorrelated."""
    kernels = {name: x for name, x in paths(start.params).items() if np.ndim(x) == 4}
    assert len(kernels) == 20
    everything = []
    for kernel in kernels.values():
        height, width, _, channels = kernel.shape
        standard = np.asarray(kernel, np.float64).ravel() / np.sqrt(2 / (height * width * channels))
        assert abs(standard.mean()) < 5 / np.sqrt(standard.size)
        assert abs(standard.var() - 1) < 5 * np.sqrt(2 / standard.size)
        everything.append(standard[:1000])
    assert stats.kstest(np.concatenate(everything), "norm").pvalue > 1e-3
    correlations = np.corrcoef(everything) - np.eye(len(kernels))
    assert np.abs(correlations).max() < 5 / np.sqrt(1000)


def test_other_parameters_are_initialised_at_one_and_zero(start):
    starts = {"scale": 1, "bias": 0, "mean": 0, "var": 1}
    for name, x in {**paths(start.params["encoder"]), **paths(start.batch_stats)}.items():
        kind = name.rsplit(".", 1)[1]
        if kind != "kernel":
            np.testing.assert_array_equal(x, starts[kind])


@pytest.mark.parametrize(
    ("depth", "last", "blocks"), [(18, 4, 8), pytest.param(50, 7, 16, marks=pytest.mark.slow)]
)
def test_zero_init_silences_every_branch(depth, last, blocks):
    model = resnet(3, **{**SMALL, "depth": depth}, zero_init=True)
    variables = jax.jit(model.init)(jax.random.key(0))
    zero = {
        name for name, x in paths(variables.params).items() if ".scale" in name and (x == 0).all()
    }
    assert zero == {f"encoder.layers.{n}.branch.layers.{last}.scale" for n in range(1, blocks + 1)}
    shaken = jax.tree_util.tree_map_with_path(
        lambda path, x: x * 1.5 if "branch" in str(path) else x, variables.params
    )
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 3))
    apply = jax.jit(model.apply, static_argnames="training")
    expected, _ = apply(variables, images, training=True)
    found, _ = apply(Variables(shaken, variables.batch_stats), images, training=True)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert jnp.std(found.projections) > 0.1


@pytest.mark.slow
def test_bfloat16_is_close_and_keeps_float32():
    options = {**SMALL, "stem": "imagenet", "width": 8}
    exact, rounded = resnet(3, **options), resnet(3, **options, dtype=jnp.bfloat16)
    variables = jax.jit(exact.init)(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (16, 32, 32, 3))
    direction = jax.random.normal(jax.random.key(2), (16, 3))

    def gradient_of(model):
        def loss(params, images):
            outputs, after = model.apply(
                Variables(params, variables.batch_stats), images, training=True
            )
            return jnp.vdot(outputs.projections, direction), (outputs, after)

        return jax.jit(jax.grad(loss, has_aux=True))

    def distance(a, b):
        a, b = (jax.flatten_util.ravel_pytree(tree)[0] for tree in (a, b))
        return jnp.linalg.norm(a - b) / jnp.linalg.norm(b)

    exactly = gradient_of(exact)
    expected_gradient, expected = exactly(variables.params, images)
    gradient, found = gradient_of(rounded)(variables.params, images)
    assert {leaf.dtype for leaf in jax.tree.leaves((gradient, found))} == {jnp.dtype("float32")}
    for a, b in zip(found[0], expected[0], strict=True):
        assert 1e-4 < distance(a, b) < 0.05  # bfloat16 has 8 bits
    for a, b in zip(jax.tree.leaves(found[1]), jax.tree.leaves(expected[1]), strict=True):
        np.testing.assert_allclose(a, b, rtol=0.02, atol=0.02)
    # As near as the exact network is to itself when only its weights and images are rounded.
    once = jax.tree.map(
        lambda x: x.astype(jnp.bfloat16).astype(jnp.float32), (variables.params, images)
    )
    unavoidable = distance(exactly(*once)[0], expected_gradient)
    assert distance(gradient, expected_gradient) < 2 * unavoidable


def test_bfloat16_convolves_in_bfloat16_and_evaluates_with_float32_statistics():
    model = resnet(3, **SMALL, dtype=jnp.bfloat16)
    variables = jax.jit(model.init)(jax.random.key(0))
    images = jnp.ones((2, 8, 8, 3))
    traced = jax.jit(model.apply, static_argnames="training").trace(
        variables, images, training=True
    )
    text = traced.lower(lowering_platforms=("tpu",)).as_text()
    convolutions = re.findall(r"stablehlo\.convolution.*-> tensor<.*x(\w+)>", text)
    assert convolutions == ["bf16"] * 20
    lost_in_bfloat16 = 1 + 2**-12
    nudged = Variables(
        variables.params, jax.tree.map(lambda x: x * lost_in_bfloat16, variables.batch_stats)
    )
    apply = jax.jit(model.apply, static_argnames="training")
    (before, _), (after, _) = (
        apply(variables, images, training=False),
        apply(nudged, images, training=False),
    )
    assert (before.projections != after.projections).any()


@pytest.mark.slow
def test_synchronised_statistics_are_those_of_the_whole_batch(x64):
    """The control: the statistics of each device by itself are not."""
    devices, options = 4, {**SMALL, "dtype": jnp.float64}
    mesh = jax.make_mesh(
        (devices,), ("devices",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:devices]
    )
    model = resnet(3, **options)
    variables = jax.tree.map(
        lambda x: x.astype(jnp.float64), jax.jit(model.init)(jax.random.key(0))
    )
    images = jax.random.normal(jax.random.key(1), (8, 8, 8, 3))
    images += jnp.arange(8.0)[:, None, None, None]  # devices see different laws
    expected = jax.jit(model.apply, static_argnames="training")(variables, images, training=True)

    def split(axis_name):
        apart = resnet(3, **options, axis_name=axis_name).apply
        shared, own = PartitionSpec(), PartitionSpec("devices")

        def apply(variables, images):
            outputs, after = apart(variables, images, training=True)
            return outputs, jax.tree.map(lambda x: x[None], after)

        return jax.jit(
            jax.shard_map(apply, mesh=mesh, in_specs=(shared, own), out_specs=(own, own))
        )(variables, images)

    outputs, after = split("devices")
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8), outputs, expected[0])
    for found, stat in zip(jax.tree.leaves(after), jax.tree.leaves(expected[1]), strict=True):
        np.testing.assert_allclose(found, jnp.stack([stat] * devices), rtol=1e-8, atol=1e-12)
    alone, alone_after = split(None)
    assert jnp.abs(alone.projections - expected[0].projections).max() > 0.1
    assert any(float(jnp.ptp(x, axis=0).max()) > 0.01 for x in jax.tree.leaves(alone_after))


@pytest.mark.slow
def test_seeds_train_side_by_side():
    model = resnet(3, **SMALL)
    keys = jax.random.split(jax.random.key(0), 2)
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    together = jax.jit(jax.vmap(model.init))(keys)
    outputs, after = jax.jit(jax.vmap(lambda v: model.apply(v, images, training=True)))(together)
    assert jnp.abs(outputs.projections[0] - outputs.projections[1]).max() > 0.1
    init, apply = jax.jit(model.init), jax.jit(model.apply, static_argnames="training")
    for seed, key in enumerate(keys):
        variables = init(key)
        jax.tree.map(
            lambda a, b, seed=seed: np.testing.assert_allclose(a[seed], b, rtol=1e-6),
            together,
            variables,
        )
        expected = apply(variables, images, training=True)
        jax.tree.map(
            lambda a, b, seed=seed: np.testing.assert_allclose(a[seed], b, rtol=1e-3, atol=1e-4),
            (outputs, after),
            expected,
        )


ERRORS = {
    "depth must be one of 18, 50, got 34": {"depth": 34},
    "stem must be one of 'cifar', 'imagenet', got 'tiny'": {"stem": "tiny"},
    "width must be at least 1, got 0": {"width": 0},
    "image_channels must be at least 1, got 0": {"image_channels": 0},
    "without a head, dim must be the number of features, 2048, got 3": {"head": None},
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(unchecked, message):
    with pytest.raises(ValueError, match=message):
        resnet(3, **ERRORS[message])


def test_images_of_other_channels_are_refused():
    model = resnet(3, **SMALL, image_channels=1)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), jnp.float32)
    with pytest.raises(ValueError, match=r"shape \(batch, \*, \*, 1\), got \(2, 8, 8, 3\)"):
        jax.eval_shape(lambda v, x: model.apply(v, x, training=False), shapes, images)


def test_the_paper_s_network():
    """Features of 2048, and 8 x 8 is halved three times by the CIFAR stem's network: 1 x 1."""
    model = resnet(99)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    head = {name: x.shape for name, x in paths(shapes.params["head"]).items()}
    assert head["layers.0.kernel"] == (2048, *PAPER.hidden)
    assert head["layers.3.kernel"] == (512, 99)
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    text = str(jax.make_jaxpr(lambda v, x: model.apply(v, x, training=False)[0])(shapes, images))
    assert "f32[2,32,32,256]" in text  # the first stage at full resolution
    assert "f32[2,4,4,2048]" in text
