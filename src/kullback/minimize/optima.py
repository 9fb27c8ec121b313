"""The reverse KL has local minima: the distinct ones found are kept, told apart in nats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from kullback.exact import has_exact, kl_divergence
from kullback.families.form import Form
from kullback.families.learnable import Learnable, Params
from kullback.known.adaptors import numpyro_distributions
from kullback.known.static import Static
from kullback.minimize.fitting import Found, clustered
from kullback.minimize.fixed_draw_objective import matrix
from kullback.minimize.objectives import model
from kullback.minimize.reparameterise import Push, weighted_draws
from kullback.runtime.export_cache import program
from kullback.training.ravel import Layout


def distinct_optima(
    learnable: Learnable, layout: Layout, found: Found, distance: Callable[[int, int], float]
) -> tuple[list[int], tuple[tuple[float, Any], ...]]:
    """Indices of the distinct optima, and (objective, q) of each, best first.

    distance  (i, j) -> KL in nats between the fits of two starts
    """
    kept = clustered(found.values, distance)
    fitted = (learnable.wrap(jax.tree.map(np.asarray, layout.tree(found.vectors[i]))) for i in kept)
    return kept, tuple((float(found.values[i]), q) for i, q in zip(kept, fitted, strict=True))


def symmetric_divergence(
    learnable: Learnable, layout: Layout, push: Push, noise: np.ndarray, vectors: Float[np.ndarray, "s n"]
) -> Callable[[int, int], float]:
    """(i, j) -> (KL(i‖j) + KL(j‖i))/2 in nats: in closed form where there is one, else on the noise given."""
    structure = learnable.structure
    trees = [layout.tree(vector) for vector in vectors]
    if isinstance(structure, Form) and structure.cls in (dist.Normal, dist.LogNormal) and not learnable.fixed:
        return lambda i, j: _between_normals(*((t["loc"], np.exp(t["scale"])) for t in (trees[i], trees[j])))
    if isinstance(structure, Form) and structure.cls is dist.MultivariateNormal and not learnable.fixed:
        d = dict(structure.shapes)["loc"][-1]
        return lambda i, j: _between_full_rank(*((t["loc"], matrix(t["scale_tril"], d)) for t in (trees[i], trees[j])))
    static = Static((structure, layout, push))

    def between(i: int, j: int) -> float:
        pair = static, learnable.fixed, vectors[i], vectors[j]
        exact = float(_exactly(*pair))
        return exact if np.isfinite(exact) else float(_from_draws(*pair, noise))

    return between


def _between_normals(a: Any, b: Any) -> float:
    """Of the normals' forms the logarithms cancel: ¼ Σ (σ²/τ² + τ²/σ² − 2 + (μ − ν)² (1/σ² + 1/τ²))."""
    (m, s), (n, t) = a, b
    ratio = np.square(s / t - t / s)
    return float(0.25 * np.sum(ratio + np.square(m - n) * (1 / np.square(s) + 1 / np.square(t))))


def _between_full_rank(a: Any, b: Any) -> float:
    """½ of (KL + KL): ¼ (‖B⁻¹A‖² + ‖A⁻¹B‖² − 2d + ‖A⁻¹(m − n)‖² + ‖B⁻¹(m − n)‖²) with scale factors A and B."""
    (m, s), (n, t) = a, b
    parts = (np.linalg.solve(t, s), np.linalg.solve(s, t))
    away = (np.linalg.solve(scale, (m - n)[..., None]) for scale in (s, t))
    return float(0.25 * (sum(np.square(x).sum() for x in (*parts, *away)) - 2 * m.size))


@program(static=())
def _exactly(static: Static, fixed: Params, a: Float[Array, " n"], b: Float[Array, " n"]) -> Float[Array, ""]:
    """By the closed form; NaN where there is none."""
    one, other = (model(Static(static.value[:2]), fixed, vector) for vector in (a, b))
    if not has_exact(one, other):
        return jnp.asarray(jnp.nan)
    return 0.5 * (kl_divergence(one, other) + kl_divergence(other, one))


@program(static=())
def _from_draws(
    static: Static, fixed: Params, a: Float[Array, " n"], b: Float[Array, " n"], noise: Float[Array, "m ..."]
) -> Float[Array, ""]:
    """On draws. Where the supports differ it is infinite, however near the laws, and what then stands for it is four
    times the divergence of Jensen and Shannon, to which it tends as the laws do."""
    structure, layout, push = static.value
    laws = tuple(model(Static((structure, layout)), fixed, vector) for vector in (a, b))

    def one_way(first: Any, second: Any) -> tuple[Any, Any]:
        x, log_q, w = weighted_draws(push, first, noise)
        gap = log_q - numpyro_distributions.log_prob(second, x)
        return jnp.sum(w * gap), jnp.sum(w * (np.log(2.0) - jnp.log1p(jnp.exp(-gap))))

    (there, near_there), (back, near_back) = one_way(*laws), one_way(*laws[::-1])
    both = 0.5 * (there + back)
    return jnp.where(jnp.isfinite(both), both, 2.0 * (near_there + near_back))
