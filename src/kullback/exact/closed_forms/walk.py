"""Normal processes: the random walk, the linear state space, and the stationary process on a circle."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.linalg import solve_triangular

from kullback.exact.closed_forms.multivariate import NORMAL_ENTROPY, Covariance, covariance_gap, diagonal, factor_ratio
from kullback.exact.numerics.double_precision import floats
from kullback.exact.numerics.ratios import gap, scale_gap


def random_walk_kl(p: dist.GaussianRandomWalk, q: dist.GaussianRandomWalk) -> Array:
    """KL = n (φ(u) + ½u²), with u = (σp − σq)/σq. Source: the chain rule over n independent increments."""
    scale_p, scale_q = floats(p.scale, q.scale)
    return p.num_steps * _scale_kl(scale_p, scale_q)


def _scale_kl(scale_p: Array, scale_q: Array) -> Array:
    return scale_gap(scale_p, scale_q) + 0.5 * jnp.square((scale_p - scale_q) / scale_q)


def random_walk_entropy(p: dist.GaussianRandomWalk) -> Array:
    """H = n (log σ + ½ log 2πe). Source: as for the divergence."""
    return p.num_steps * (jnp.log(floats(p.scale)[0]) + NORMAL_ENTROPY)


def state_space_kl(p: dist.GaussianStateSpace, q: dist.GaussianStateSpace) -> Array:
    """KL = n KL(N(0, Σp) ‖ N(0, Σq)) + ½ Σₜ E_P‖Lq⁻¹ (Ap − Aq) zₜ₋₁‖², t = 1, ..., n, and for t = 1 Ap z₀ − Aq z₀′.

    Source: the chain rule (Cover and Thomas 2006, theorem 2.5.3), with E zₜ zₜᵀ = A E zₜ₋₁ zₜ₋₁ᵀ Aᵀ + Σ.
    """
    a, b, start, other, factor_p, factor_q = floats(
        p.transition_matrix, q.transition_matrix, p.initial_value, q.initial_value, p.scale_tril, q.scale_tril
    )
    factor_p, factor_q = jnp.broadcast_arrays(factor_p, factor_q)
    noise = covariance_gap(factor_ratio(Covariance(factor=factor_p), Covariance(factor=factor_q)))
    first = (a - b) @ start[..., None] + b @ (start - other)[..., None]
    batch = jnp.broadcast_shapes(first.shape[:-2], factor_p.shape[:-2])
    white, change, first, mean = (
        jnp.broadcast_to(x, batch + x.shape[-2:]) for x in (factor_q, a - b, first, start[..., None])
    )
    y = solve_triangular(white, change, lower=True)
    noise_p = jnp.broadcast_to(factor_p @ factor_p.mT, y.shape)

    def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        mean, spread = a @ carry[0], a @ carry[1] @ a.mT + noise_p
        return (mean, spread), jnp.square(y @ mean).sum((-2, -1)) + (y @ spread * y).sum((-2, -1))

    _, later = jax.lax.scan(step, (mean, jnp.zeros_like(noise_p)), None, length=p.num_steps - 1)
    shifts = jnp.square(solve_triangular(white, first, lower=True)).sum((-2, -1)) + later.sum(0)
    return p.num_steps * noise + 0.5 * shifts


def state_space_entropy(p: dist.GaussianStateSpace) -> Array:
    """H = n (Σ log Lᵢᵢ + (d/2) log 2πe): zₜ − A zₜ₋₁ has the entropy of zₜ. Source: as for the divergence."""
    (factor,) = floats(p.scale_tril)
    one = jnp.log(jnp.abs(diagonal(factor))).sum(-1) + factor.shape[-1] * NORMAL_ENTROPY
    return jnp.broadcast_to(p.num_steps * one, p.batch_shape)


def circulant_kl(loc_p: Array, spectrum_p: Array, loc_q: Array, spectrum_q: Array, change: Array) -> Array:
    """KL = ½ Σₖ (φ((λₖ − λₖ′)/λₖ′) + |zₖ|²/nλₖ′), over all n frequencies, z the Fourier transform of μp − μq.

    Source: a circulant covariance has the eigenvalues λₖ in the Fourier basis (Gray 2006, theorem 3.1).
    """
    loc_p, spectrum_p, loc_q, spectrum_q, change = floats(loc_p, spectrum_p, loc_q, spectrum_q, change)
    shift = loc_p - loc_q
    n, z = shift.shape[-1], jnp.fft.rfft(shift)
    squares = (jnp.square(z.real) + jnp.square(z.imag)) / (n * spectrum_q)
    return 0.5 * (_times(n, spectrum_p) * (gap(spectrum_q, spectrum_p, change) / spectrum_q + squares)).sum(-1)


def _times(n: int, spectrum: Array) -> Array:
    """How often each frequency of a real transform occurs in the full one: twice, but for those that are real."""
    k = jnp.arange(spectrum.shape[-1])
    return jnp.where((k == 0) | (2 * k == n), 1.0, 2.0).astype(spectrum.dtype)


def circulant_entropy(p: dist.CirculantNormal) -> Array:
    """H = ½ Σₖ log 2πe λₖ, over all n frequencies. Source: as for the divergence."""
    (spectrum,) = floats(p.covariance_rfft)
    (n,) = p.event_shape
    logs = (_times(n, spectrum) * (0.5 * jnp.log(spectrum) + NORMAL_ENTROPY)).sum(-1)
    return jnp.broadcast_to(logs, p.batch_shape)


_CIRCULANT_KL = jax.jit(circulant_kl)


def _circulants(p: dist.CirculantNormal, q: dist.CirculantNormal) -> Callable[[], Array]:
    """With the change of the spectrum from that of the rows where both were given by these, before their spectra."""
    rows = [next(iter(d.__dict__)) == "covariance_row" for d in (p, q)]
    if all(rows):
        change = jnp.fft.rfft(jnp.asarray(p.covariance_row) - jnp.asarray(q.covariance_row)).real
    else:
        change = p.covariance_rfft - q.covariance_rfft
    return partial(_CIRCULANT_KL, p.loc, p.covariance_rfft, q.loc, q.covariance_rfft, change)


KL = {
    (dist.GaussianRandomWalk, dist.GaussianRandomWalk): random_walk_kl,
    (dist.GaussianStateSpace, dist.GaussianStateSpace): state_space_kl,
}

BUILD_KL = {(dist.CirculantNormal, dist.CirculantNormal): _circulants}

ENTROPY = {
    dist.GaussianRandomWalk: random_walk_entropy,
    dist.GaussianStateSpace: state_space_entropy,
    dist.CirculantNormal: circulant_entropy,
}
