"""Noise that draws are pushed from: normal or uniform, to fit by or to judge by, and such as reaches into the tails.

Normal noise is a scrambled Sobol sequence in antithetic pairs, whitened so that its mean is 0 and its covariance the
identity: then a Gaussian fitted to a quadratic log-density is exact at any number of draws.

Where log p falls like a wall in the tail of q, the divergence is that of events which a few hundred draws do not meet.
Of noise that reaches, every other row has one coordinate that is twice as wide, or of the arcsine law, each in turn.
The rows are then of a mixture of laws, and weighted as such (Hesterberg 1995, on defensive mixtures): the weights are
at most 2 in any dimension, since but one coordinate is stretched at a time.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Float

FURTHER = 2.0  # how much wider normal noise is that reaches
_EDGE = 2.0**-24  # single precision has no number between this and the ends of [0, 1]


@dataclass(frozen=True)
class Noise:
    """A law of noise.

    normal  whether it is normal; uniform otherwise
    count   how many numbers there are for each of the outcome, along a last axis; one, without that axis, if 0
    reach   whether half of the rows reach into the tails
    """

    normal: bool
    count: int = 0
    reach: bool = False

    def reaching(self) -> Noise:
        """The same law, by rows that meet events too rare for as many draws of the law itself."""
        return replace(self, reach=True)

    def even(self, rng: np.random.Generator, n: int, event_shape: tuple[int, ...]) -> np.ndarray:
        """Points that cover the law evenly, to fit by."""
        shape = (*event_shape, self.count) if self.count else event_shape
        return self._stretched((normal_noise if self.normal else uniform_noise)(rng, n, shape))

    def fresh(self, rng: np.random.Generator, n: int, event_shape: tuple[int, ...]) -> np.ndarray:
        """Independent draws, to judge by."""
        shape = (n, *event_shape, self.count) if self.count else (n, *event_shape)
        if self.normal:
            return self._stretched(rng.normal(size=shape))
        return self._stretched(np.clip(rng.uniform(size=shape), _EDGE, 1 - _EDGE))

    def weights(self, noise: Float[Any, "n ..."]) -> Float[Any, " n"]:
        """The density of the law over that of the rows, whose mean is 1; on the host for noise that lies there."""
        xp: Any = np if isinstance(noise, np.ndarray) else jnp
        if not self.reach:
            return xp.ones(len(noise))
        x = noise.reshape(len(noise), -1)
        if self.normal:
            ratio = xp.exp(0.5 * (1.0 - FURTHER**-2) * xp.square(x)) / FURTHER
        else:
            ratio = 1.0 / (np.pi * xp.sqrt(x * (1.0 - x)))
        return 2.0 / (1.0 + xp.mean(ratio, 1))

    def _stretched(self, noise: np.ndarray) -> np.ndarray:
        if not self.reach:
            return noise
        n = len(noise)
        rows = noise.reshape(n, -1)
        # By places within one half of the rows: of even noise the others are their reflections.
        place = np.arange(n) % max(n // 2, 1)
        moved = np.flatnonzero(place % 2)
        along = (place[moved] // 2) % rows.shape[1]
        x = rows[moved, along]
        rows[moved, along] = FURTHER * x if self.normal else _arcsine(x)
        return rows.reshape(noise.shape)


def _arcsine(u: np.ndarray) -> np.ndarray:
    """The law of density 1/(π √(u (1 − u))), from its quantiles."""
    return np.clip(np.square(np.sin(0.5 * np.pi * u)), _EDGE, 1 - _EDGE)


def normal_noise(rng: np.random.Generator, n: int, event_shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal noise [n, *event]: Sobol points in antithetic pairs, whitened."""
    d = int(np.prod(event_shape))
    half = scipy.special.ndtri(_sobol(rng, n // 2, d))
    second = half.T @ half / len(half)
    if len(half) >= 2 * d:
        half = np.linalg.solve(np.linalg.cholesky(second), half.T).T
    return np.concatenate([half, -half]).reshape(-1, *event_shape)


def uniform_noise(rng: np.random.Generator, n: int, event_shape: tuple[int, ...]) -> np.ndarray:
    """Uniform noise [n, *event]: Sobol points u and their reflections 1 − u, whose every coordinate is a grid.

    The ranks of the points are kept and their places taken from the midpoints (k + ½)/n: of one number the mean is then
    the midpoint rule.
    """
    half = _sobol(rng, n // 2, int(np.prod(event_shape)))
    half = (np.argsort(np.argsort(half, 0), 0) + 0.25) / (n // 2)
    return np.concatenate([half, 1 - half]).reshape(-1, *event_shape)


def _sobol(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    from scipy.stats import qmc  # a third of a second, which only fixed draws should pay

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        points = qmc.Sobol(d, rng=rng).random(n)
    return np.clip(points, _EDGE, 1 - _EDGE)
