"""Markov chains over finitely many states: paths of a given length, and the rate per step in the long run."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from kullback.distributions import MarkovChain
from kullback.exact.closed_forms.categorical import labels_entropy, probabilities_kl
from kullback.exact.numerics.double_precision import floats


def chain_kl(p: MarkovChain, q: MarkovChain) -> Array:
    """KL = KL(initial) + Σₛ N(s) KL(row s), N(s) the expected number of transitions from s, and 0 · ∞ = 0.

    Source: the chain rule (Cover and Thomas 2006, theorem 2.5.3) with the Markov property.
    """
    initial, transition, other, rows = _parameters(p, q)
    times = visits(initial, transition, p.length - 1)
    return probabilities_kl(initial, other) + _mean(times, probabilities_kl(transition, rows))


def chain_entropy(p: MarkovChain) -> Array:
    """H = H(initial) + Σₛ N(s) H(row s). Source: Cover and Thomas (2006), theorem 2.2.1."""
    initial, transition, *_ = _parameters(p, p)
    times = visits(initial, transition, p.length - 1)
    return labels_entropy(initial, True) + _mean(times, labels_entropy(transition, True))


def chain_kl_rate(p: MarkovChain, q: MarkovChain) -> Array:
    """lim KL of n states / n = Σₛ π(s) KL(row s), π(s) the share of time that P spends in s in the long run.

    It is ∞ where the divergence of some length is: where P starts, or goes from a state that it reaches, to where Q
    does not. For P with several closed classes π is that from P's initial law.
    Source: Rached, Alajaji and Campbell (2004), theorem 1, for irreducible P.
    """
    initial, transition, other, rows = _parameters(p, q)
    share, costs = occupancy(initial, transition), probabilities_kl(transition, rows)
    reached = ((initial > 0)[..., None] & reachable(transition)).any(-2)
    escapes = jnp.isinf(probabilities_kl(initial, other)) | (reached & jnp.isinf(costs)).any(-1)
    return jnp.where(escapes, jnp.inf, _mean(share, costs))


def chain_entropy_rate(p: MarkovChain) -> Array:
    """lim H of n states / n = Σₛ π(s) H(row s). Source: Cover and Thomas (2006), theorem 4.2.4."""
    initial, transition, *_ = _parameters(p, p)
    return _mean(occupancy(initial, transition), labels_entropy(transition, True))


def _parameters(p: MarkovChain, q: MarkovChain) -> tuple[Array, ...]:
    """The initial and transition probabilities of both, normalised for P."""
    initial, transition, other, rows = floats(p.initial, p.transition, q.initial, q.transition)
    return initial / initial.sum(-1, keepdims=True), transition / transition.sum(-1, keepdims=True), other, rows


def _mean(weights: Array, values: Array) -> Array:
    """Σ wₛ xₛ, in which a weight of 0 leaves its value out, be it ∞."""
    live = weights > 0
    return jnp.where(live, weights * jnp.where(live, values, 0.0), 0.0).sum(-1)


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

    States are eliminated one by one, their traffic passed on: first the transient ones, whose mass goes where they
    lead, then, in each closed class, all but its first state, from whose weight 1 those of the others follow in
    reverse. No two numbers are subtracted: each share keeps its relative accuracy however slowly the chain mixes.
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
    """The mass [..., K] and flow [..., K, K] without the state n, if it is of `which`; and what it had of others."""
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


KL = {(MarkovChain, MarkovChain): chain_kl}

ENTROPY = {MarkovChain: chain_entropy}
