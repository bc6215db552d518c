"""Residual networks are PyTorch's: the same counts, values, statistics and gradients.

The PyTorch side is written here after torchvision's description of its networks, and takes the
weights of the other.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hcl_jax.heads import PAPER
from hcl_jax.models import Variables
from hcl_jax.resnets import resnet

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional

DIM = 5


class Basic(nn.Module):
    """Two 3 x 3 convolutions."""

    expansion = 1

    def __init__(self, inplanes, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample(inplanes, planes, stride)

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 with the stride, 1 x 1 four times as wide."""

    expansion = 4

    def __init__(self, inplanes, planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = downsample(inplanes, 4 * planes, stride)

    def forward(self, x):
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        return functional.relu(self.bn3(self.conv3(y)) + self.downsample(x))


def downsample(inplanes, outplanes, stride):
    if stride == 1 and inplanes == outplanes:
        return nn.Identity()
    return nn.Sequential(
        nn.Conv2d(inplanes, outplanes, 1, stride, bias=False), nn.BatchNorm2d(outplanes)
    )


class ResNet(nn.Module):
    """Stem, four layers, mean over the image; a head beside them."""

    def __init__(self, depth, stem, width, head=None):
        super().__init__()
        block, counts = {18: (Basic, [2, 2, 2, 2]), 50: (Bottleneck, [3, 4, 6, 3])}[depth]
        size, stride = {"cifar": (3, 1), "imagenet": (7, 2)}[stem]
        self.conv1 = nn.Conv2d(3, width, size, stride, padding=size // 2, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, padding=1) if stem == "imagenet" else nn.Identity()
        inplanes, self.layers = width, nn.ModuleList()
        for layer, count in enumerate(counts):
            planes = width * 2**layer
            for number in range(count):
                self.layers.append(block(inplanes, planes, 2 if layer and not number else 1))
                inplanes = planes * block.expansion
        self.head = nn.Sequential(
            nn.Linear(inplanes, 512, bias=False),
            nn.BatchNorm1d(512),
            nn.ReLU(),
            nn.Linear(512, DIM),
        )

    def forward(self, x):
        x = self.pool(functional.relu(self.bn1(self.conv1(x))))
        for block in self.layers:
            x = block(x)
        features = x.mean((2, 3))
        return features, self.head(features)


def torch_name(path):
    """Where PyTorch keeps what is at a path here."""
    name = jax.tree_util.keystr(path, simple=True, separator=".").replace(".layers", "")
    if found := re.fullmatch(r"encoder\.0\.(0|1)\.(\w+)", name):
        module = ("conv1", "bn1")[int(found[1])]
    elif found := re.fullmatch(r"encoder\.(\d+)\.branch\.(\d+)\.(\w+)", name):
        part = int(found[2])
        module = f"layers.{int(found[1]) - 1}.{'bn' if part % 3 else 'conv'}{part // 3 + 1}"
    elif found := re.fullmatch(r"encoder\.(\d+)\.shortcut\.(\d)\.(\w+)", name):
        module = f"layers.{int(found[1]) - 1}.downsample.{found[2]}"
    else:
        found = re.fullmatch(r"head\.(\d)\.(\w+)", name)
        module = f"head.{found[1]}"
    kind = name.rsplit(".", 1)[1]
    names = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
    return f"{module}.{names.get(kind, kind)}"


def as_torch(array):
    """Kernels are (height, width, in, out) here and (out, in, height, width) there."""
    array = np.asarray(array)
    axes = {4: (3, 2, 0, 1), 2: (1, 0)}.get(array.ndim)
    return torch.tensor(array if axes is None else array.transpose(axes))


def named(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {torch_name(path): as_torch(leaf) for path, leaf in leaves}


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
    other = ResNet(depth, stem, width).to(torch.tensor(np.ones((), dtype)).dtype)
    weights = {**named(variables.params), **named(variables.batch_stats)}
    missing, unexpected = other.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all(name.endswith("num_batches_tracked") for name in missing)
    side = 13 if stem == "cifar" else 37
    images = np.random.default_rng(1).normal(size=(3, side, side + 3, 3)).astype(dtype)
    return model, variables, jnp.asarray(images), other, torch.tensor(images.transpose(0, 3, 1, 2))


def assert_near(found, expected, tolerance):
    """Near relative to the largest entry."""
    expected = expected.detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def assert_statistics(batch_stats, variables, other, counts, tolerance):
    """The same running statistics, once PyTorch's rescaling of the variance is taken back."""
    before, after = named(variables.batch_stats), named(batch_stats)
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
        pytest.param(50, "imagenet", np.float32, 1e-4, marks=pytest.mark.slow),
    ],
)
def test_values_and_statistics(x64, depth, stem, dtype, tolerance):
    model, variables, images, other, torch_images = pair(depth, stem, dtype)
    apply = jax.jit(model.apply, static_argnums=2)
    other.eval()
    outputs, kept = apply(variables, images, False)
    for found, expected in zip(outputs, other(torch_images), strict=True):
        assert_near(found, expected, tolerance)
    jax.tree.map(np.testing.assert_array_equal, kept, variables.batch_stats)
    other.train()
    counts = record_counts(other)
    outputs, batch_stats = apply(variables, images, True)
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
        outputs, _ = model.apply(Variables(params, variables.batch_stats), images, True)
        return jnp.sum(outputs.projections * direction)

    gradient, image_gradient = jax.jit(jax.grad(loss, (0, 1)))(variables.params, images)
    other.train()
    torch_images.requires_grad_()
    (other(torch_images)[1] * torch.tensor(direction)).sum().backward()
    assert_near(np.transpose(image_gradient, (0, 3, 1, 2)), torch_images.grad, 1e-9)
    found = named(gradient)
    expected = dict(other.named_parameters())
    assert found.keys() == expected.keys()
    largest = max(parameter.grad.abs().max() for parameter in expected.values())
    for name, parameter in expected.items():
        close = torch.allclose(found[name], parameter.grad, rtol=1e-8, atol=1e-11 * largest)
        assert close, name


@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("depth", [18, 50])
def test_parameter_counts(depth, stem):
    shapes = jax.eval_shape(resnet(DIM, depth=depth, stem=stem).init, jax.random.key(0))
    with torch.device("meta"):
        other = ResNet(depth, stem, 64)
    for found, expected in (
        (shapes.params, other.named_parameters()),
        (shapes.batch_stats, other.named_buffers()),
    ):
        sizes = {
            torch_name(path): leaf.size for path, leaf in jax.tree_util.tree_leaves_with_path(found)
        }
        assert sizes == {name: x.numel() for name, x in expected if "tracked" not in name}
