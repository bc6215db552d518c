"""PyTorch: the loss and its gradient from JAX, in a graph of torch, through DLPack."""

import jax
import jax.numpy as jnp
import torch

import hcl_jax
from hcl_jax import data

loss_and_gradient = jax.jit(
    jax.value_and_grad(lambda z, y: hcl_jax.hscl(z, y, beta=5.0, temperature=0.5))
)


class HSCL(torch.autograd.Function):
    """HSCL of embeddings (n, dim) and integer labels (n,), both tensors of torch."""

    @staticmethod
    def forward(ctx, embeddings, labels):
        arrays = (jnp.from_dlpack(x.detach().contiguous()) for x in (embeddings, labels))
        value, gradient = loss_and_gradient(*arrays)
        ctx.save_for_backward(torch.from_dlpack(gradient))
        return torch.from_dlpack(value)

    @staticmethod
    def backward(ctx, of_output):
        (gradient,) = ctx.saved_tensors
        return of_output * gradient, None


def main(steps: int = 200, batch_size: int = 256) -> float:
    """Trains on a part of the digits, and returns the accuracy by the nearest class mean."""
    torch.manual_seed(0)
    digits = data.digits()
    train, test = (
        (torch.from_dlpack(part.images).reshape(-1, 64), torch.from_dlpack(part.labels).long())
        for part in (digits.train, digits.test)
    )
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 9))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(steps):
        rows = torch.randperm(len(train[0]))[:batch_size]
        embeddings = torch.nn.functional.normalize(model(train[0][rows]), dim=1)
        loss = HSCL.apply(embeddings, train[1][rows].int())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    print(f"loss {loss.item():.4f}")

    with torch.no_grad():
        trained, tested = (torch.nn.functional.normalize(model(x)) for x, _ in (train, test))
    means = torch.stack([trained[train[1] == c].mean(dim=0) for c in range(10)])
    accuracy = (torch.cdist(tested, means).argmin(dim=1) == test[1]).float().mean().item()
    print(f"accuracy by the nearest class mean {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main()
