"""Small networks and heads as pure functions: formulas, batch statistics, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

from hcl_jax import networks
from hcl_jax.networks import LINEAR, PAPER, Head


def test_mlp_is_the_formula():
    model = networks.mlp(4, 2, depth=2, width=5)
    variables = model.init(jax.random.key(0))
    images = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    x = images
    layers = variables.params["encoder"]["layers"]
    for layer in (layers[0], layers[2]):
        x = np.maximum(x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"]), 0)
    outputs, _ = model.apply(variables, jnp.asarray(images), training=False)
    np.testing.assert_allclose(outputs.features, x, rtol=1e-5, atol=1e-6)
    head = variables.params["head"]["layers"][0]
    expected = x @ np.asarray(head["kernel"]) + np.asarray(head["bias"])
    np.testing.assert_allclose(outputs.projections, expected, rtol=1e-5, atol=1e-6)


def test_batch_statistics_move_in_training_only():
    model = networks.convnet((8, 8, 1), 3, channels=(4, 8), head=Head((16,)))
    images = jax.random.normal(jax.random.key(0), (10, 8, 8, 1)) + 2.0
    variables = model.init(jax.random.key(1))
    apply = jax.jit(model.apply, static_argnames="training")
    outputs, after = apply(variables, images, training=True)
    assert outputs.features.shape == (10, 8)
    assert outputs.projections.shape == (10, 3)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), variables.batch_stats, after)
    assert all(jax.tree.leaves(moved))
    evaluated, kept = apply(variables, images, training=False)
    jax.tree.map(np.testing.assert_array_equal, kept, variables.batch_stats)
    halves = [apply(variables, half, training=False)[0] for half in (images[:5], images[5:])]
    joined = np.concatenate([half.projections for half in halves])
    np.testing.assert_allclose(evaluated.projections, joined, rtol=1e-4, atol=1e-5)
    assert jnp.abs(outputs.projections - evaluated.projections).max() > 1e-3


def test_training_is_a_keyword(unchecked):
    model = networks.mlp(4, 2, depth=1, width=3)
    variables = model.init(jax.random.key(0))
    with pytest.raises(TypeError, match="positional argument"):
        model.apply(variables, jnp.ones((1, 4)), True)  # pyright: ignore[reportCallIssue]


HEADS = {
    "linear": LINEAR,
    "batch norm": Head((6,)),
    "biases": Head((6, 4), batch_norm=False),
    "two hidden": Head((6, 4)),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads_are_their_formulas(name):
    """In training, against numpy: linear (without bias), batch norm, ReLU, ..., linear."""
    head = HEADS[name]
    model = networks.mlp(4, 2, depth=1, width=5, head=head)
    variables = model.init(jax.random.key(0))
    leaves, structure = jax.tree.flatten(variables.params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    drawn = [jax.random.normal(key, x.shape) for key, x in zip(keys, leaves, strict=True)]
    params = jax.tree.unflatten(structure, drawn)
    images = jax.random.normal(jax.random.key(2), (7, 4))
    apply = jax.jit(model.apply, static_argnames="training")
    outputs, stats = apply(networks.Variables(params, variables.batch_stats), images, training=True)
    x, layers = np.asarray(outputs.features, np.float64), params["head"]["layers"]
    position = 0
    for width in head.hidden:
        linear = layers[position]
        x = x @ np.asarray(linear["kernel"], np.float64) + np.asarray(linear.get("bias", 0.0))
        if head.batch_norm:
            assert linear.keys() == {"kernel"}
            norm, seen = layers[position + 1], stats["head"]["layers"][position + 1]
            np.testing.assert_allclose(seen["mean"], 0.1 * x.mean(0), rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(seen["var"], 0.9 + 0.1 * x.var(0), rtol=1e-4)
            x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
            x = x * np.asarray(norm["scale"]) + np.asarray(norm["bias"])
        x = np.maximum(x, 0)
        assert x.shape == (7, width)
        position += 3 if head.batch_norm else 2
    last = layers[position]
    expected = x @ np.asarray(last["kernel"]) + np.asarray(last["bias"])
    np.testing.assert_allclose(outputs.projections, expected, rtol=1e-4, atol=1e-4)
    assert max(layers) == position


def test_without_a_head_features_are_projections():
    model = networks.mlp(4, 5, depth=1, width=5, head=None)
    variables = model.init(jax.random.key(0))
    assert not variables.params.get("head")
    outputs, _ = model.apply(variables, jnp.ones((2, 4)), training=False)
    np.testing.assert_array_equal(outputs.features, outputs.projections)


def test_the_head_of_the_paper():
    """2048 to 512 without bias, batch norm, ReLU, 99 with bias: counted by hand."""
    shapes = jax.eval_shape(
        networks.mlp(4, 99, depth=1, width=2048, head=PAPER).init, jax.random.key(0)
    )
    sizes = sorted(leaf.size for leaf in jax.tree.leaves(shapes.params["head"]))
    assert sizes == sorted([2048 * 512, 512, 512, 512 * 99, 99])


@pytest.mark.parametrize("batch_norm", [False, True])
def test_linear_layers_are_initialised_as_asked(batch_norm):
    """By Kolmogorov-Smirnov tests at a level of 1e-4; a width off by 5 % fails them by far."""
    for init in ("uniform", "lecun"):
        head = Head((500,), batch_norm=batch_norm, init=init)
        model = networks.mlp(4, 600, depth=1, width=64, head=head)
        layers = model.init(jax.random.key(0)).params["head"]["layers"]
        first, last = layers[0], layers[3 if batch_norm else 2]
        assert ("bias" in first) is not batch_norm
        for layer, inputs in ((first, 64), (last, 500)):
            bound = inputs**-0.5
            deviation = bound / stats.truncnorm.std(-2, 2)
            law = {
                "uniform": stats.uniform(-bound, 2 * bound),
                "lecun": stats.truncnorm(-2, 2, scale=deviation),
            }[init]
            assert stats.kstest(np.ravel(layer["kernel"]).astype(float), law.cdf).pvalue > 1e-4
            bias = np.ravel(layer.get("bias", ()))
            if init == "uniform" and bias.size:
                assert stats.kstest(bias, law.cdf).pvalue > 1e-4
            else:
                assert not bias.any()


ERRORS = {
    "init must be one of 'lecun', 'uniform', got 'zeros'": lambda: networks.mlp(
        4,
        2,
        head=Head(init="zeros"),  # pyright: ignore[reportArgumentType]
    ),
    "width must be at least 1, got 0": lambda: networks.mlp(4, 2, width=0),
    "every entry of image_shape and channels, and dim": lambda: networks.convnet((8, 8, 0), 2),
    "without a head, dim must be the number of features, 256, got 2": lambda: networks.mlp(
        4, 2, head=None
    ),
    "every width of the hidden layers of the head must be at least 1": lambda: networks.mlp(
        4, 2, head=Head((8, 0))
    ),
}


@pytest.mark.parametrize("message", ERRORS)
def test_errors(unchecked, message):
    with pytest.raises(ValueError, match=message):
        ERRORS[message]()


WRONG_IMAGES = {
    r"images must have shape \(batch, \*, \*, 1\), got \(2, 8, 8, 3\)": jnp.ones((2, 8, 8, 3)),
    r"images must have shape \(batch, \*, \*, 1\), got \(8, 8, 1\)": jnp.ones((8, 8, 1)),
    r"images must have shape \(batch, \*, \*, 1\), got \(\)": jnp.ones(()),
    "images must be floating point, got dtype uint8": jnp.ones((2, 8, 8, 1), jnp.uint8),
}


@pytest.mark.parametrize("message", WRONG_IMAGES)
def test_wrong_images_are_refused(unchecked, message):
    model = networks.convnet((8, 8, 1), 3, channels=(4,))
    variables = model.init(jax.random.key(0))
    with pytest.raises((ValueError, TypeError), match=message):
        model.apply(variables, WRONG_IMAGES[message], training=False)


def test_a_network_with_other_variables_is_refused():
    def build(rngs):
        return networks.Network(nnx.Dropout(0.5, rngs=rngs), nnx.Linear(4, 2, rngs=rngs))

    with pytest.raises(NotImplementedError, match=r"nnx\.BatchStat, got RngCount, RngKey$"):
        networks.pure(build, (4,))


def test_a_network_returns_features_and_projections(unchecked):
    model = networks.pure(lambda rngs: nnx.Linear(4, 2, rngs=rngs), (4,))  # pyright: ignore
    variables = model.init(jax.random.key(0))
    with pytest.raises(TypeError, match=r"must return hcl_jax\.networks\.Outputs, .* got "):
        model.apply(variables, jnp.ones((1, 4)), training=False)
