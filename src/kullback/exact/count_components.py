"""The components of a law over counts, each of which a sum can be taken about by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float
from numpyro.distributions.discrete import ZeroInflatedLogits, ZeroInflatedPoisson, ZeroInflatedProbs

from kullback.exact.log_probs import log_probs
from kullback.known import Known
from kullback.known.adaptors import numpyro_distributions

ZERO_INFLATED = (ZeroInflatedProbs, ZeroInflatedLogits, ZeroInflatedPoisson)


class Component(NamedTuple):
    """One component Pᵢ of P = Σᵢ wᵢ Pᵢ: its weight, its `place` in a batch of laws, its mean and its variance.

    The law is None for all of the mass at 0.
    """

    weight: float
    law: Known | None
    place: int
    mean: float
    variance: float

    def log_mass(self, counts: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """log Pᵢ at counts. Call it within `precise`."""
        if self.law is None:
            return np.where(counts == 0, 0.0, -np.inf)
        log_p, _ = log_probs(self.law, self.law, counts)
        return np.asarray(log_p, np.float64).reshape(-1, len(counts))[self.place]


def components_of(d: Any) -> list[Component]:
    """The components with weight of one mixture, or of a law with more zeros; empty for another law, and a batch."""
    if not isinstance(d, dist.Distribution) or d.batch_shape or d.event_shape:
        return []
    with jax.enable_x64(True):
        found = list(_components(d, 1.0))
    return found if len(found) > 1 else []


def _components(d: Any, weight: float) -> Iterator[Component]:
    if type(d) is dist.MixtureSameFamily:
        yield from _batch(d.component_distribution, weight * _shares(d))
    elif type(d) is dist.MixtureGeneral:
        for share, each in zip(_shares(d), d.component_distributions, strict=True):
            yield from _components(each, weight * float(share))
    elif isinstance(d, ZERO_INFLATED):
        gate = float(np.asarray(d.gate, np.float64))
        yield Component(weight * gate, None, 0, 0.0, 0.0)
        yield from _components(d.base_dist, weight * (1.0 - gate))
    else:
        yield from _batch(d, np.full(1, weight))


def _batch(d: Any, weights: np.ndarray) -> Iterator[Component]:
    law = numpyro_distributions.known(d)
    means, variances = (np.ravel(np.asarray(x, np.float64)) for x in (d.mean, d.variance))
    for place, weight in enumerate(weights):
        if weight > 0:
            yield Component(float(weight), law, place, float(means[place]), float(variances[place]))


def _shares(d: Any) -> np.ndarray:
    return np.asarray(jnp.asarray(d.mixing_distribution.probs, float), np.float64)
