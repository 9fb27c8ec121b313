"""Noise that is correlated in time: how a policy explores far without leaving its law."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from kullback.control.learning.policy import InBox
from kullback.distributions import TanhNormal
from kullback.errors import InputError

PINK_TIMES = (4.0, 16.0, 64.0)  # steps, of the parts that remember


@dataclass(frozen=True)
class Noise:
    """A sum of K independent first-order autoregressions, each with variance 1/K. Hashable.

    At every step it is exactly standard normal, so that what is drawn by it has the law of the policy; only draws of
    different steps depend on each other. Parts whose memories are spread evenly in the logarithm add up to a spectrum
    near 1/f, pink noise, over the frequencies between them. What is correlated travels far: a car on a hill that white
    noise leaves in its valley for ever gets out of it.

    persistence  the correlation of each part with itself one step later, in [0, 1)
    Source: Eberhard, Hollenstein, Pinneri and Martius (2023), "Pink noise is all you need", for actions in a box; van
    der Ziel (1950) for the sum.
    """

    persistence: tuple[float, ...]

    def start(self, key: jax.Array, shape: tuple[int, ...]) -> Float[Array, "k ..."]:
        """The parts at a first step [K, *shape], as they are in the long run."""
        return jax.random.normal(key, (len(self.persistence), *shape))

    def next(self, parts: Float[Array, "k ..."], key: jax.Array) -> tuple[Float[Array, "k ..."], Float[Array, "*b"]]:
        """The parts at the next step, and the noise there: standard normal [*shape]."""
        kept = np.array(self.persistence).reshape(-1, *(1,) * (parts.ndim - 1))
        fresh: Any = np.sqrt(1.0 - np.square(kept)) * jax.random.normal(key, parts.shape)
        parts = (kept * parts + fresh).astype(parts.dtype)
        return parts, jnp.sum(parts, 0) / np.sqrt(len(self.persistence)).astype(parts.dtype)


def gumbel(z: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """Standard Gumbel noise from standard normal noise, quantile by quantile.

    The choice with the most of it and of log-probability together has exactly the law of the policy: Gumbel (1954);
    Maddison, Tarlow and Minka (2014). Where the noise is correlated, choices are repeated.
    """
    return -jnp.log(-jax.scipy.special.log_ndtr(z))


def along(law: TanhNormal, z: Float[Array, "n ..."], key: Key[Array, ""]) -> Float[Array, "n ..."]:
    """A draw of a law by standard normal noise [n, *shape]; of one that is no tanh-normal, by the key."""
    base = getattr(law, "base_dist", law)
    if isinstance(base, TanhNormal):
        return base.squash(base.loc + base.scale * z)
    return law.sample(key)


def along_prior(here: InBox, z: Float[Array, "n ..."], key: Key[Array, ""]) -> Float[Array, "n ..."]:
    """A draw of the prior by standard normal noise."""
    if here.prior is not None:
        return along(here.prior, z, key)
    low, high = here.actions.bounds
    return jax.scipy.stats.norm.cdf(z) * (high - low) + low


WHITE = Noise((0.0,))
PINK = Noise((0.0, *(1.0 - 1.0 / time for time in PINK_TIMES)))


def noise_of(setting: str | float) -> Noise:
    """Noise by its name: "pink", "white", or a number of steps, at least 1, over which it forgets.

    Raises `InputError` for anything else.
    """
    if isinstance(setting, str) and setting == "pink":
        return PINK
    if isinstance(setting, str) and setting == "white":
        return WHITE
    if isinstance(setting, int | float) and not isinstance(setting, bool) and 1 <= setting < np.inf:
        return Noise((1.0 - 1.0 / float(setting),))
    raise InputError(f'noise: {setting!r} is none of "pink", "white" and a number of steps of at least 1')
