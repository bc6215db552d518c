"""What `scripts.benchmark_losses` measures in PyTorch: the peers, and the reference algorithm."""

import functools
import importlib.util
import sys
import types
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from scripts.benchmarking.contenders import Contender


def contenders(
    embeddings: Float[np.ndarray, "n dim"],
    labels: Int[np.ndarray, " n"],
    beta: float,
    draws: int,
    device: str,
    memory_limit: float,
    anchors: int,
) -> list[Contender]:
    """Everything measured in PyTorch at one shape, on a device ("cpu" or "cuda").

    What is known to need more than `memory_limit` bytes is left out. The reference loop runs over
    so many anchors, and its time is extrapolated to all.
    """
    z = torch.tensor(embeddings, device=device)
    y = torch.tensor(labels, device=device)
    found = [
        _reference(z, y, beta, draws, min(anchors, len(z))),
        _contender("3 multiplications, torch", "3 matmuls, torch", _products, z, y),
    ]
    matrix = 4.0 * len(z) ** 2
    if 10 * matrix < memory_limit:
        exact = functools.partial(exact_hscl, beta=beta)
        found += [
            _contender("torch eager, same mathematics", "hscl", exact, z, y),
            _contender("torch.compile, same mathematics", "hscl", torch.compile(exact), z, y),
            _contender("SupCon in the style of SupContrast", "zeros counted", supcon, z, y),
        ]
        found += _peers(z, y, memory_limit)
    pairs = float((torch.bincount(y) ** 2).sum())
    if pairs * draws * 8 * 4 < memory_limit:
        sampled = functools.partial(multinomial_hscl, beta=beta, draws=draws)
        found.append(_contender(f"torch.multinomial, K = {draws}", "multinomial", sampled, z, y))
    return found


def versions() -> dict[str, str]:
    """The versions of the packages that take part, by name."""
    found = {}
    for name in ("torch", "pytorch-metric-learning", "lightly", "optax"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def allow_tf32(allowed: bool) -> None:
    """Whether GPUs may round the factors of float32 multiplications to TF32, as JAX may."""
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


def exact_hscl(z: Tensor, y: Tensor, *, beta: float) -> Tensor:
    """The weights estimator with supervised pairs and detached weights, written with matrices.

    The mean loss over (anchor, positive) pairs.
    """
    same = y[:, None] == y[None, :]
    s = z @ z.T
    weights = (beta * s.detach()).masked_fill(same, -torch.inf)
    m = torch.logsumexp(weights + s, 1) - torch.logsumexp(weights, 1)
    positives = same & ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    losses = torch.nn.functional.softplus(m[:, None] - s)
    return (losses * positives).sum() / positives.sum()


def reference_loop(z: Tensor, y: Tensor, *, beta: float, draws: int, anchors: int) -> Tensor:
    """The algorithm of the authors' code: a loop over anchors, choices by numpy on the host.

    The mean loss over the (anchor, positive) pairs of the first `anchors` rows.
    """
    s = z @ z.T
    generator = np.random.default_rng(0)
    total, count = z.new_zeros(()), 0
    for i in range(anchors):
        positives = torch.nonzero(y == y[i]).squeeze(1)
        negatives = torch.nonzero(y != y[i]).squeeze(1)
        weights = torch.exp(beta * s[i, negatives]).detach().cpu().numpy().astype(np.float64)
        chosen = generator.choice(
            len(negatives), size=(len(positives), draws), p=weights / weights.sum()
        )
        drawn = s[i, negatives[torch.as_tensor(chosen, device=z.device)]]
        differences = drawn - s[i, positives][:, None]
        total = total + torch.log1p(torch.exp(differences).mean(dim=1)).sum()
        count += len(positives)
    return total / count


def multinomial_hscl(z: Tensor, y: Tensor, *, beta: float, draws: int) -> Tensor:
    """The same law as `reference_loop`, drawn with one call of `torch.multinomial`."""
    same = y[:, None] == y[None, :]
    s = z @ z.T
    weights = torch.exp(beta * s.detach()).masked_fill(same, 0)
    others = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    anchor, positive = torch.nonzero(same & others, as_tuple=True)
    most = int(same.sum(1).max()) * draws
    drawn = torch.multinomial(weights, most, replacement=True).view(len(z), -1, draws)
    rank = torch.arange(len(anchor), device=z.device) - torch.searchsorted(anchor, anchor)
    negative = s[anchor[:, None], drawn[anchor, rank]]
    return torch.log1p(torch.exp(negative - s[anchor, positive][:, None]).mean(1)).mean()


def supcon(z: Tensor, y: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Supervised contrastive loss (Khosla et al., 2020) as widely copied: dense, masks as floats.

    The mean over anchors of the mean over positives, where an anchor without positives counts as 0.
    """
    mask = torch.eq(y[:, None], y[None, :]).float()
    logits = torch.div(torch.matmul(z, z.T), temperature)
    logits = logits - logits.max(dim=1, keepdim=True).values.detach()
    others = torch.ones_like(mask) - torch.eye(len(z), device=z.device)
    mask = mask * others
    log_probability = logits - torch.log((torch.exp(logits) * others).sum(1, keepdim=True))
    count = mask.sum(1)
    return -((mask * log_probability).sum(1) / torch.where(count < 1e-6, 1.0, count)).mean()


def _peers(z: Tensor, y: Tensor, memory_limit: float) -> list[Contender]:
    """The losses of other packages that are installed."""
    found = []
    try:
        losses = importlib.import_module("pytorch_metric_learning.losses")
    except ImportError:
        losses = None
    if losses is not None:
        both = losses.SupConLoss(temperature=1.0)
        found.append(
            _contender("pytorch-metric-learning SupConLoss", "supcon, normalised", both, z, y)
        )
        positives = float((torch.bincount(y) ** 2).sum())
        if 8 * positives * (len(z) ** 2 - positives) < memory_limit:  # a matrix of both
            both = losses.NTXentLoss(temperature=1.0)
            found.append(
                _contender("pytorch-metric-learning NTXentLoss", "nt-xent, normalised", both, z, y)
            )
    lightly = _lightly_loss()
    if lightly is not None:
        loss = lightly(temperature=1.0)
        half = len(z) // 2

        def two_views(z: Tensor, y: Tensor) -> Tensor:
            return loss(z[:half], z[half : 2 * half])

        found.append(_contender("lightly NTXentLoss", "two halves", two_views, z, y))
    return found


@functools.cache
def _lightly_loss() -> Any:
    """lightly's loss alone: its packages import torchvision, which the loss does not need."""
    spec = importlib.util.find_spec("lightly")
    if spec is None or not spec.submodule_search_locations:
        return None
    inside = ("", "loss", "utils", "models", "models/modules")
    for path in inside:
        package = types.ModuleType(".".join(["lightly", *filter(None, path.split("/"))]))
        package.__path__ = [f"{where}/{path}" for where in spec.submodule_search_locations]
        sys.modules.setdefault(package.__name__, package)
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):  # absent, or built for another torch
        stub = types.ModuleType("torchvision.ops")
        stub.StochasticDepth = torch.nn.Identity  # type: ignore[attr-defined]
        sys.modules.update({"torchvision": types.ModuleType("torchvision"), stub.__name__: stub})
    try:
        return importlib.import_module("lightly.loss.ntx_ent_loss").NTXentLoss
    except (ImportError, RuntimeError):
        return None


def _reference(z: Tensor, y: Tensor, beta: float, draws: int, anchors: int) -> Contender:
    """The loop over some anchors; what one anchor takes, the multiplication mostly, counts once."""

    def contender(count: int) -> Contender:
        loop = functools.partial(reference_loop, beta=beta, draws=draws, anchors=count)
        return _contender(f"reference loop, K = {draws}", "reference", loop, z, y)

    found, one = contender(anchors), contender(1)
    if anchors == len(z):
        return found
    return found._replace(
        scale=(len(z) - 1) / (anchors - 1), fixed=float(np.median([one.turn() for _ in range(5)]))
    )


def _products(z: Tensor, y: Tensor) -> Tensor:
    s = z @ z.T
    return s @ z + s.T @ (z + 1)


def _contender(
    name: str, mathematics: str, loss: Callable[..., Tensor], z: Tensor, y: Tensor
) -> Contender:
    def run(wanted: bool) -> Any:
        leaf = z.detach().clone().requires_grad_("matmuls" not in mathematics)
        value = loss(leaf, y)
        if leaf.requires_grad:
            value.backward()
        if z.is_cuda:
            torch.cuda.synchronize()
        if not wanted:
            return None
        assert leaf.grad is not None
        return value.detach().cpu().numpy(), leaf.grad.detach().cpu().numpy()

    return Contender(name, mathematics, run)


def peak_on_gpu(run: Callable[[bool], Any]) -> int:
    """Bytes that one call allocates on the GPU at most, beyond what was allocated before."""
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    run(False)
    return torch.cuda.max_memory_allocated() - before
