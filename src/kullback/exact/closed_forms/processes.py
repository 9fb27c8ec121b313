"""Processes: Markov chains, random walks, linear state spaces, and stationary normal processes on a circle."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.linalg import solve_triangular
from jaxtyping import Bool, Float

from kullback.distributions import MarkovChain
from kullback.exact.closed_forms.categorical import labels_entropy, probabilities_kl, weighted_sum
from kullback.exact.closed_forms.multivariate import NORMAL_ENTROPY, Covariance, covariance_gap, diagonal, factor_ratio
from kullback.numerics.double_precision import floats
from kullback.numerics.ratios import gap, scale_gap

# Markov chains over finitely many states: paths of a given length, and the rate per step in the long run.


def chain_kl(p: MarkovChain, q: MarkovChain) -> Float[Array, "*batch"]:
    """KL = KL(initial) + Σₛ N(s) KL(row s), with N(s) the expected number of transitions from s, and 0 · ∞ = 0.

    Source: the chain rule (Cover and Thomas 2006, theorem 2.5.3) with the Markov property.
    """
    initial, transition, other, rows = _parameters(p, q)
    times = visits(initial, transition, p.length - 1)
    return probabilities_kl(initial, other) + weighted_sum(times, probabilities_kl(transition, rows))


def chain_entropy(p: MarkovChain) -> Float[Array, "*batch"]:
    """H = H(initial) + Σₛ N(s) H(row s). Source: Cover and Thomas (2006), theorem 2.2.1."""
    initial, transition, *_ = _parameters(p, p)
    times = visits(initial, transition, p.length - 1)
    return labels_entropy(initial, True) + weighted_sum(times, labels_entropy(transition, True))


def chain_kl_rate(p: MarkovChain, q: MarkovChain) -> Float[Array, "*batch"]:
    """lim KL of n states / n = Σₛ π(s) KL(row s), π(s) the share of time that P spends in s in the long run.

    It is ∞ where the divergence of some length is: where P starts, or goes from a state that it reaches, to where Q
    does not. For P with several closed classes π is that from P's initial law.
    Source: Rached, Alajaji and Campbell (2004), theorem 1, for irreducible P.
    """
    initial, transition, other, rows = _parameters(p, q)
    share, costs = occupancy(initial, transition), probabilities_kl(transition, rows)
    reached = ((initial > 0)[..., None] & reachable(transition)).any(-2)
    escapes = jnp.isinf(probabilities_kl(initial, other)) | (reached & jnp.isinf(costs)).any(-1)
    return jnp.where(escapes, jnp.inf, weighted_sum(share, costs))


def chain_entropy_rate(p: MarkovChain) -> Float[Array, "*batch"]:
    """lim H of n states / n = Σₛ π(s) H(row s). Source: Cover and Thomas (2006), theorem 4.2.4."""
    initial, transition, *_ = _parameters(p, p)
    return weighted_sum(occupancy(initial, transition), labels_entropy(transition, True))


def _parameters(p: MarkovChain, q: MarkovChain) -> tuple[Array, ...]:
    """The initial and transition probabilities of both, normalised for P."""
    initial, transition, other, rows = floats(p.initial, p.transition, q.initial, q.transition)
    return initial / initial.sum(-1, keepdims=True), transition / transition.sum(-1, keepdims=True), other, rows


def visits(initial: Float[Array, "*b k"], transition: Float[Array, "*b k k"], steps: int) -> Float[Array, "*b k"]:
    """Σₜ P(sₜ = s) over the first `steps` states."""
    batch = jnp.broadcast_shapes(initial.shape[:-1], transition.shape[:-2])
    start = jnp.broadcast_to(initial, (*batch, initial.shape[-1]))

    def step(carry: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        now, total = carry
        return ((now[..., None, :] @ transition)[..., 0, :], total + now), None

    return jax.lax.scan(step, (start, jnp.zeros_like(start)), None, length=steps)[0][1]


def reachable(transition: Float[Array, "*b k k"]) -> Bool[Array, "*b k k"]:
    """Whether each state leads to each other in some number of steps, none included."""
    size = transition.shape[-1]
    leads = (transition > 0) | jnp.eye(size, dtype=bool)
    for _ in range(max(size - 1, 1).bit_length()):
        leads = (leads.astype(jnp.float32) @ leads.astype(jnp.float32)) > 0
    return leads


def occupancy(initial: Float[Array, "*b k"], transition: Float[Array, "*b k k"]) -> Float[Array, "*b k"]:
    """lim (1/n) Σₜ P(sₜ = s): the share of time in each state, from the initial law.

    States are eliminated one by one, and their flow is redirected: first the transient ones, whose mass goes to their
    successors; then, in each closed class, all but its first state, from whose weight 1 the weights of the others
    follow in reverse order. Nothing is subtracted, so each share keeps its relative accuracy however slowly the chain
    mixes.
    Source: Grassmann, Taksar and Heyman (1985).
    """
    size = transition.shape[-1]
    batch = jnp.broadcast_shapes(initial.shape[:-1], transition.shape[:-2])
    mass, flow = jnp.broadcast_to(initial, (*batch, size)), jnp.broadcast_to(transition, (*batch, size, size))
    leads = reachable(flow)
    recurrent = (~leads | leads.mT).all(-1)
    last = recurrent & (leads.argmax(-1) == jnp.arange(size))  # the state of each closed class that stays
    flow = flow * (1.0 - jnp.eye(size, dtype=flow.dtype))
    order = jnp.arange(size)[::-1]
    (mass, flow), _ = jax.lax.scan(lambda carry, n: _eliminate(carry, n, ~recurrent), (mass, flow), order)
    (mass, _), shares = jax.lax.scan(lambda carry, n: _eliminate(carry, n, recurrent & ~last), (mass, flow), order)

    def weigh(weights: Array, n_and_share: tuple[Array, Array]) -> tuple[Array, None]:
        n, share = n_and_share
        found = jnp.where(last[..., n], 1.0, (weights * share).sum(-1))
        return jnp.where(jnp.arange(size) == n, found[..., None], weights), None

    weights, _ = jax.lax.scan(weigh, jnp.zeros_like(mass), (order, shares), reverse=True)
    within = jnp.where(leads, weights[..., None, :], 0.0).sum(-1)
    of_class = jnp.where(leads, mass[..., None, :], 0.0).sum(-1)
    return jnp.where(recurrent, weights * of_class / jnp.where(recurrent, within, 1.0), 0.0)


def _eliminate(carry: tuple[Array, Array], n: Array, which: Bool[Array, "*b k"]) -> tuple[tuple[Array, Array], Array]:
    """The mass [..., K] and flow [..., K, K] without the state n, if it is in `which`; and its share of each state."""
    mass, flow = carry
    row, column, gone = flow[..., n, :], flow[..., :, n], which[..., n, None]
    total = row.sum(-1, keepdims=True)
    onward = jnp.where(gone, row / jnp.where(total > 0, total, 1.0), 0.0)
    share = jnp.where(gone, column / jnp.where(total > 0, total, 1.0), 0.0)
    here, size = jnp.arange(flow.shape[-1]) == n, flow.shape[-1]
    stays = 1.0 - jnp.where(gone, here, False).astype(flow.dtype)
    passed = share[..., :, None] * row[..., None, :] * (1.0 - jnp.eye(size, dtype=flow.dtype))
    mass = (mass + mass[..., n, None] * onward) * stays
    return (mass, (flow + passed) * stays[..., :, None] * stays[..., None, :]), share


# Normal processes.


def random_walk_kl(p: dist.GaussianRandomWalk, q: dist.GaussianRandomWalk) -> Float[Array, "*batch"]:
    """KL = n (φ(u) + ½u²), with u = (σp − σq)/σq. Source: the chain rule over n independent increments."""
    scale_p, scale_q = floats(p.scale, q.scale)
    return p.num_steps * _scale_kl(scale_p, scale_q)


def _scale_kl(scale_p: Array, scale_q: Array) -> Array:
    return scale_gap(scale_p, scale_q) + 0.5 * jnp.square((scale_p - scale_q) / scale_q)


def random_walk_entropy(p: dist.GaussianRandomWalk) -> Float[Array, "*batch"]:
    """H = n (log σ + ½ log 2πe). Source: as for the divergence."""
    return p.num_steps * (jnp.log(floats(p.scale)[0]) + NORMAL_ENTROPY)


def state_space_kl(p: dist.GaussianStateSpace, q: dist.GaussianStateSpace) -> Float[Array, "*batch"]:
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


def state_space_entropy(p: dist.GaussianStateSpace) -> Float[Array, "*batch"]:
    """H = n (Σ log Lᵢᵢ + (d/2) log 2πe): zₜ − A zₜ₋₁ has the entropy of zₜ. Source: as for the divergence."""
    (factor,) = floats(p.scale_tril)
    one = jnp.log(jnp.abs(diagonal(factor))).sum(-1) + factor.shape[-1] * NORMAL_ENTROPY
    return jnp.broadcast_to(p.num_steps * one, p.batch_shape)


def circulant_kl(
    loc_p: Float[Array, "*batch n"],
    spectrum_p: Float[Array, "*batch f"],
    loc_q: Float[Array, "*batch n"],
    spectrum_q: Float[Array, "*batch f"],
    change: Float[Array, "*batch f"],
) -> Float[Array, "*batch"]:
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


def circulant_entropy(p: dist.CirculantNormal) -> Float[Array, "*batch"]:
    """H = ½ Σₖ log 2πe λₖ, over all n frequencies. Source: as for the divergence."""
    (spectrum,) = floats(p.covariance_rfft)
    (n,) = p.event_shape
    logs = (_times(n, spectrum) * (0.5 * jnp.log(spectrum) + NORMAL_ENTROPY)).sum(-1)
    return jnp.broadcast_to(logs, p.batch_shape)


_CIRCULANT_KL = jax.jit(circulant_kl)


def _circulants(p: dist.CirculantNormal, q: dist.CirculantNormal) -> Callable[[], Array]:
    """The form; where both were given by rows, the change of the spectrum is that of the difference of the rows."""
    rows = [next(iter(d.__dict__)) == "covariance_row" for d in (p, q)]
    if all(rows):
        change = jnp.fft.rfft(jnp.asarray(p.covariance_row) - jnp.asarray(q.covariance_row)).real
    else:
        change = p.covariance_rfft - q.covariance_rfft
    return partial(_CIRCULANT_KL, p.loc, p.covariance_rfft, q.loc, q.covariance_rfft, change)


KL = {
    (MarkovChain, MarkovChain): chain_kl,
    (dist.GaussianRandomWalk, dist.GaussianRandomWalk): random_walk_kl,
    (dist.GaussianStateSpace, dist.GaussianStateSpace): state_space_kl,
}

BUILD_KL = {(dist.CirculantNormal, dist.CirculantNormal): _circulants}

ENTROPY = {
    MarkovChain: chain_entropy,
    dist.GaussianRandomWalk: random_walk_entropy,
    dist.GaussianStateSpace: state_space_entropy,
    dist.CirculantNormal: circulant_entropy,
}
