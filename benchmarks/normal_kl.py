"""A batch of KL divergences between normals, from arrays of parameters to an array of divergences.

Half of the pairs are close, where a difference of large numbers loses the answer: see the errors beside the times.
"""

from collections.abc import Iterator

import jax
import numpy as np
import numpyro.distributions as dist
import torch

import kullback as kl
from benchmarks.runner import OURS, Case, Contender


def parameters(n: int) -> tuple[np.ndarray, ...]:
    """Locations and scales of P and Q, float32; the relative distance of Q from P falls from 1 to 1e-3."""
    rng = np.random.default_rng(0)
    distance = np.geomspace(1.0, 1e-3, n)
    loc, scale = rng.normal(size=n), rng.lognormal(sigma=0.5, size=n)
    near = loc + distance * rng.normal(size=n), scale * np.exp(distance * rng.normal(size=n))
    return tuple(np.asarray(array, np.float32) for array in (loc, scale, *near))


def truth(loc: np.ndarray, scale: np.ndarray, q_loc: np.ndarray, q_scale: np.ndarray) -> np.ndarray:
    """The same in float64, as two sums that do not cancel: (u − log1p(u) + d²)/2 with 1 + u = (σ_p/σ_q)²."""
    p_loc, p_scale, q_loc, q_scale = (np.asarray(array, np.float64) for array in (loc, scale, q_loc, q_scale))
    u = (p_scale - q_scale) * (p_scale + q_scale) / q_scale**2
    series = u**2 / 2 - u**3 / 3 + u**4 / 4 - u**5 / 5
    return (np.where(np.abs(u) < 1e-3, series, u - np.log1p(u)) + ((p_loc - q_loc) / q_scale) ** 2) / 2


@jax.jit
def ours(loc, scale, q_loc, q_scale):
    return kl.kl_divergence(dist.Normal(loc, scale), dist.Normal(q_loc, q_scale))


@jax.jit
def numpyro(loc, scale, q_loc, q_scale):
    return dist.kl_divergence(dist.Normal(loc, scale), dist.Normal(q_loc, q_scale))


def by_torch(loc, scale, q_loc, q_scale):
    p = torch.distributions.Normal(loc, scale, validate_args=False)
    return torch.distributions.kl_divergence(p, torch.distributions.Normal(q_loc, q_scale, validate_args=False))


def cases() -> Iterator[Case]:
    for n, rounds in ((1_000, 300), (1_000_000, 100)):
        arrays = parameters(n)
        right = truth(*arrays)
        device = tuple(jax.device_put(array) for array in arrays)
        tensors = tuple(torch.from_numpy(array) for array in arrays)

        def error(answer, right=right) -> str:
            return f"{np.max(np.abs(np.asarray(answer, np.float64) - right) / right):.1e}"

        yield Case(
            title=f"{n:,} normal pairs",
            quality="largest relative error",
            contenders=(
                Contender(OURS, lambda a=device: jax.block_until_ready(ours(*a)), error),
                Contender("NumPyro, jitted", lambda a=device: jax.block_until_ready(numpyro(*a)), error),
                Contender("PyTorch", lambda a=tensors: by_torch(*a), error),
            ),
            rounds=rounds,
        )
