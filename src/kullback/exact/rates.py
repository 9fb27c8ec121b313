"""What a Markov chain gains or loses per step in the long run."""

from __future__ import annotations

from typing import Any

import jax
from jax import Array
from jaxtyping import Float

from kullback.distributions import MarkovChain
from kullback.errors import InputError
from kullback.exact.closed_forms.chain import chain_entropy_rate, chain_kl_rate

_KL_RATE, _ENTROPY_RATE = jax.jit(chain_kl_rate), jax.jit(chain_entropy_rate)


def kl_rate(p: MarkovChain, q: MarkovChain) -> Float[Array, "*batch"]:
    """The divergence rate of two Markov chains, lim KL of n states / n, in nats per step.

    p, q  chains over the same states, whose batch shapes broadcast; their lengths do not matter

    It is Σₛ π(s) KL(row s of p ‖ row s of q), with π(s) the share of time that p spends in s in the long run, from its
    initial law where it has several closed classes; and ∞ where the divergence of some length is. It can be compiled,
    mapped and differentiated. Source: Rached, Alajaji and Campbell (2004), theorem 1.
    """
    _check(p, "p")
    _check(q, "q")
    if p.states != q.states:
        raise InputError(f"p and q: chains over {p.states} and {q.states} states; both must be over the same")
    return _KL_RATE(p, q)


def entropy_rate(p: MarkovChain) -> Float[Array, "*batch"]:
    """The entropy rate of a Markov chain, lim H of n states / n = Σₛ π(s) H(row s), in nats per step.

    p  a chain; its length does not matter

    Source: Cover and Thomas (2006), theorem 4.2.4.
    """
    _check(p, "p")
    return _ENTROPY_RATE(p)


def _check(chain: Any, argument: str) -> None:
    if not isinstance(chain, MarkovChain):
        raise InputError(f"{argument}: a {type(chain).__name__} has no rate per step; a kl.MarkovChain has")
