"""Residual networks are PyTorch's: the same counts, values, statistics and gradients.

The PyTorch side (`scripts.benchmarking.resnets_torch`) is written after torchvision's description
of its networks, and takes the weights of the other.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcl_jax.networks import PAPER, Variables, resnet

torch = pytest.importorskip("torch")
nn = torch.nn

from scripts.benchmarking.resnets_torch import ResNet, as_state_dict, take_weights, torch_name  # noqa: E402

DIM = 5


def somewhere(model, dtype):
    """Variables away from the initialisation, so that no scale is one and no bias zero."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(model.init, jax.random.key(0))

    def draw(path, leaf):
        kind = str(path[-1].key)
        if kind == "kernel":
            deviation = np.sqrt(2 / np.prod(leaf.shape[:-1]))
            return jnp.asarray(deviation * rng.normal(size=leaf.shape), dtype)
        if kind in ("scale", "var"):
            return jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), dtype)
        return jnp.asarray(0.3 * rng.normal(size=leaf.shape), dtype)

    return jax.tree_util.tree_map_with_path(draw, shapes)


def pair(depth, stem, dtype):
    """A network of each side, with the same weights, and images for each."""
    width = 4
    model = resnet(DIM, depth=depth, stem=stem, width=width, head=PAPER, dtype=dtype)
    variables = somewhere(model, dtype)
    other = ResNet(depth, stem, width, DIM).to(torch.tensor(np.ones((), dtype)).dtype)
    take_weights(other, variables)
    side = 13 if stem == "cifar" else 37
    images = np.random.default_rng(1).normal(size=(3, side, side + 3, 3)).astype(dtype)
    return model, variables, jnp.asarray(images), other, torch.tensor(images.transpose(0, 3, 1, 2))


def assert_near(found, expected, tolerance):
    """Near relative to the largest entry."""
    expected = expected.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def assert_statistics(batch_stats, variables, other, counts, tolerance):
    """The same running statistics, once PyTorch's rescaling of the variance is taken back."""
    before, after = as_state_dict(variables.batch_stats), as_state_dict(batch_stats)
    expected = dict(other.named_buffers())
    for name, found in after.items():
        there = expected[name]
        if name.endswith("running_var"):
            count = counts[name.removesuffix(".running_var")]
            kept = 0.9 * before[name]
            there = kept + (there - kept) * (count - 1) / count
        assert_near(found.numpy(), there, tolerance)


def record_counts(other):
    """How many numbers each batch norm averages over, filled in when the network runs."""
    counts = {}
    for name, module in other.named_modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.register_forward_hook(
                lambda module, inputs, _, name=name: counts.update(
                    {name: inputs[0].numel() // inputs[0].shape[1]}
                )
            )
    return counts


@pytest.mark.parametrize(
    ("depth", "stem", "dtype", "tolerance"),
    [
        (50, "cifar", np.float64, 1e-10),
        pytest.param(18, "cifar", np.float32, 1e-4, marks=pytest.mark.slow),
        pytest.param(18, "imagenet", np.float64, 1e-10, marks=pytest.mark.slow),
        pytest.param(50, "imagenet", np.float64, 1e-10, marks=pytest.mark.slow),
    ],
)
def test_values_and_statistics(x64, depth, stem, dtype, tolerance):
    model, variables, images, other, torch_images = pair(depth, stem, dtype)
    apply = jax.jit(model.apply, static_argnames="training")
    other.eval()
    outputs, kept = apply(variables, images, training=False)
    for found, expected in zip(outputs, other(torch_images), strict=True):
        assert_near(found, expected, tolerance)
    jax.tree.map(np.testing.assert_array_equal, kept, variables.batch_stats)
    other.train()
    counts = record_counts(other)
    outputs, batch_stats = apply(variables, images, training=True)
    for found, expected in zip(outputs, other(torch_images), strict=True):
        assert_near(found, expected, tolerance)
    assert_statistics(batch_stats, variables, other, counts, tolerance)


@pytest.mark.parametrize(
    ("depth", "stem"),
    [
        (18, "imagenet"),
        pytest.param(18, "cifar", marks=pytest.mark.slow),
        pytest.param(50, "cifar", marks=pytest.mark.slow),
        pytest.param(50, "imagenet", marks=pytest.mark.slow),
    ],
)
def test_gradients(x64, depth, stem):
    model, variables, images, other, torch_images = pair(depth, stem, np.float64)
    direction = np.random.default_rng(2).normal(size=(len(images), DIM))

    def loss(params, images):
        outputs, _ = model.apply(Variables(params, variables.batch_stats), images, training=True)
        return jnp.sum(outputs.projections * direction)

    gradient, image_gradient = jax.jit(jax.grad(loss, (0, 1)))(variables.params, images)
    other.train()
    torch_images.requires_grad_()
    (other(torch_images)[1] * torch.tensor(direction)).sum().backward()
    assert_near(np.transpose(image_gradient, (0, 3, 1, 2)), torch_images.grad, 1e-9)
    found = as_state_dict(gradient)
    expected = dict(other.named_parameters())
    assert found.keys() == expected.keys()
    largest = max(parameter.grad.abs().max() for parameter in expected.values())  # pyright: ignore
    for name, parameter in expected.items():
        close = torch.allclose(found[name], parameter.grad, rtol=1e-8, atol=1e-11 * largest)
        assert close, name


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("depth", [18, 50])
def test_parameter_counts(depth, stem):
    shapes = jax.eval_shape(resnet(DIM, depth=depth, stem=stem).init, jax.random.key(0))
    with torch.device("meta"):
        other = ResNet(depth, stem, 64, DIM)
    for found, expected in (
        (shapes.params, other.named_parameters()),
        (shapes.batch_stats, other.named_buffers()),
    ):
        sizes = {
            torch_name(path): leaf.size for path, leaf in jax.tree_util.tree_leaves_with_path(found)
        }
        assert sizes == {name: x.numel() for name, x in expected if "tracked" not in name}
