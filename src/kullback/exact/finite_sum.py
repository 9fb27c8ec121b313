"""The rule that sums over a finite support."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from kullback.estimate.batch import batch_shape, spread
from kullback.exact.categorical import log_probabilities_kl
from kullback.exact.inputs import averaged, unequal_inputs
from kullback.known import Known
from kullback.result import Estimate, Guarantee
from kullback.rule import Applies, Missing, Request, Rule


@dataclass(frozen=True)
class FiniteSum(Rule):
    """KL(P‖Q) as the sum over the atoms of P, with 0 log 0 = 0, and ∞ where P has an atom and Q none.

    For a conditional side the answer is the mean over its inputs.
    Source: Kullback and Leibler (1951), eq. 2.4, for a counting measure.
    """

    name = "finite sum"
    question = "estimate"
    identity = "KL(P‖Q) = Σₓ P(x) (log P(x) − log Q(x)), over the atoms x of P"
    needs_p = "a finite list of atoms, and a normalised log-probability"
    needs_q = "a normalised log-probability"
    guarantee = Guarantee.EXACT
    cost = 1.0
    source = "Kullback and Leibler (1951), eq. 2.4"

    def check(self, p: Known, q: Known) -> Applies | Missing:
        if p.atoms is None:
            return Missing("P has no finite list of atoms")
        if p.log_prob is None:
            return Missing("the normalised log-probability of P is not known", "P's normalised log-probability")
        if q.log_prob is None:
            return Missing("the normalised log-probability of Q is not known", "Q's normalised log-probability")
        return unequal_inputs(p, q) or Applies(cost=self.cost + math.log10(max(len(p.atoms), 1)))

    def run(self, p: Known, q: Known, request: Request) -> Estimate:
        assert p.atoms is not None
        log_p, log_q = log_probs(p, q, p.atoms)
        shared = q.atoms is not None and np.array_equal(p.atoms, q.atoms)
        return Estimate(averaged(shared_sum(log_p, log_q) if shared else plain_sum(log_p, log_q), p, q))


def log_probs(p: Known, q: Known, atoms: Any) -> tuple[Array, Array]:
    """log P and log Q at the atoms [K, *event], each [*batch, K] of the common batch."""
    batch, event = batch_shape(p, q), len(p.event_shape or q.event_shape or ())
    atoms = np.asarray(atoms)
    values = []
    for side in (p, q):
        assert side.log_prob is not None
        own = len(side.batch_shape)
        x = atoms.reshape(len(atoms), *(1,) * own, *atoms.shape[atoms.ndim - event :])
        value = jnp.broadcast_to(spread(side.log_prob(x), own, len(batch), 0), (len(atoms), *batch))
        values.append(jnp.moveaxis(value, 0, -1))
    return values[0], values[1]


@jax.jit
def shared_sum(log_p: Float[Array, "*batch k"], log_q: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
    """Σ p (log p − log q) along the last axis, where both sum to 1: accurate also where they are near."""
    return log_probabilities_kl(log_p, log_q)


@jax.jit
def plain_sum(log_p: Float[Array, "*batch k"], log_q: Float[Array, "*batch k"]) -> Float[Array, "*batch"]:
    """Σ p (log p − log q) along the last axis, where Q may have more mass elsewhere."""
    live = log_p > -jnp.inf
    reached = log_q > -jnp.inf
    both = live & reached
    ratio = jnp.where(both, log_p, 0.0) - jnp.where(both, log_q, 0.0)
    terms = jnp.where(both, jnp.exp(log_p) * ratio, 0.0)
    return jnp.where((live & ~reached).any(-1), jnp.inf, terms.sum(-1))
