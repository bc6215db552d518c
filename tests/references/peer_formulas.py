"""Losses of other codes, transcribed from their formulas with whole matrices and no masks shared.

Each is a function of normalised embeddings, whose gradient JAX takes.
"""

import jax.numpy as jnp
import numpy as np


def supcontrast(features, labels=None, *, temperature, base_temperature):
    """SupContrast's SupConLoss: `features` (batch, views, dim), contrast_mode "all"."""
    batch, views, _ = features.shape
    labels = np.arange(batch) if labels is None else np.asarray(labels)
    mask = np.tile(labels[:, None] == labels[None, :], (views, views)).astype(float)
    contrast = jnp.concatenate([features[:, v] for v in range(views)])
    logits = contrast @ contrast.T / temperature
    logits -= logits.max(axis=1, keepdims=True)
    logits_mask = 1 - np.eye(batch * views)
    mask = mask * logits_mask
    log_prob = logits - jnp.log((jnp.exp(logits) * logits_mask).sum(1, keepdims=True))
    mean_log_prob_pos = (mask * log_prob).sum(1) / mask.sum(1)
    return -(temperature / base_temperature) * mean_log_prob_pos.mean()


def clip(images, texts, *, temperature):
    """open_clip's ClipLoss: the mean of two cross entropies with the diagonal."""
    logits = images @ texts.T / temperature
    n = len(images)
    rows = logits - jnp.log(jnp.exp(logits).sum(1, keepdims=True))
    columns = logits - jnp.log(jnp.exp(logits).sum(0, keepdims=True))
    return -(jnp.trace(rows) + jnp.trace(columns)) / (2 * n)


def multiple_negatives(queries, texts, hard, *, temperature):
    """sentence-transformers' MultipleNegativesRankingLoss: all `hard` are candidates of all."""
    logits = queries @ jnp.concatenate([texts, hard]).T / temperature
    return (jnp.log(jnp.exp(logits).sum(1)) - jnp.diag(logits)).mean()


def moco(queries, keys, queue, *, temperature):
    """MoCo: the cross entropy of one key and the queue, where the key is the first."""
    positive = (queries * keys).sum(1, keepdims=True)
    logits = jnp.concatenate([positive, queries @ queue.T], axis=1) / temperature
    return (jnp.log(jnp.exp(logits).sum(1)) - logits[:, 0]).mean()


def hard_debiased(one, two, *, temperature, tau_plus, beta):
    """The criterion of HCL (estimator "hard"), and of DCL where beta is 0 ("easy"): two views."""
    out = jnp.concatenate([one, two])
    batch = len(one)
    mask = ~np.tile(np.eye(batch, dtype=bool), (2, 2))
    neg = jnp.exp(out @ out.T / temperature)[mask].reshape(2 * batch, -1)
    pos = jnp.exp((one * two).sum(-1) / temperature)
    pos = jnp.concatenate([pos, pos])
    count = batch * 2 - 2
    imp = neg**beta
    reweighted = (imp * neg).sum(-1) / imp.mean(-1)
    negative = (-tau_plus * count * pos + reweighted) / (1 - tau_plus)
    negative = jnp.maximum(negative, count * np.e ** (-1 / temperature))
    return (-jnp.log(pos / (pos + negative))).mean()
