"""What each row of a batch costs, and the prior of the parameters."""

from __future__ import annotations

from typing import Any

import jax

from kullback.exact import kl_divergence


def row_losses(config: Any, fixed: Any, x: Any, y: Any, vector: Any, key: Any = None) -> jax.Array:
    """What each row costs [n], in nats: −log q(y∣x), or the divergence from or to a teacher's distribution y.

    `config`, an `EpochConfig`, holds the structure, the layout and the kind: "sample", "forward" or "reverse". A key
    means training.
    """
    free = config.layout.tree(vector)
    extra = {} if key is None else {"key": key}
    d = config.structure.distribution(free, fixed, x, **extra)
    if config.kind == "sample":
        return -d.log_prob(y)
    return kl_divergence(y, d) if config.kind == "forward" else kl_divergence(d, y)


def negative_log_prior(config: Any, fixed: Any, vector: Any) -> Any:
    """−log π(θ) up to a constant, where the structure has a prior; 0 where it has none."""
    if "prior_scale" not in fixed:
        return 0.0
    return config.structure.negative_log_prior(config.layout.tree(vector), fixed)
