"""The exact functions, and the table of exact forms in which they look up a pair.

`KL` has a form for each pair of types and `ENTROPY` one for each type; `BUILD_KL` and `BUILD_ENTROPY` have those that
exist only under a condition. A pair without a form of its own is reduced to pairs of parts (`composite/`), or taken
from the two tables of `cross_family/`: the expectations of P, and the statistics that Q's log-density is linear in.

To add a form, write its function in the file of its group in `closed_forms/` and a line in that file's table; a new
file goes into `FILES`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from kullback.distributions import MarkovChain
from kullback.errors import InputError, NotExactError
from kullback.exact import log_pmf
from kullback.exact.closed_forms import (
    categorical,
    circular,
    compound,
    counts,
    delta,
    gamma,
    inflated,
    interval,
    location_scale,
    matrix,
    multivariate,
    processes,
    shared,
    truncated,
)
from kullback.exact.closed_forms.processes import chain_entropy_rate, chain_kl_rate
from kullback.exact.composite import mixtures
from kullback.exact.composite.mixtures import has_support, is_mixture
from kullback.exact.composite.structure import dependent_one, dependent_pair, reduce_one, reduce_pair
from kullback.exact.cross_family import cross
from kullback.exact.type_keys import Form, type_key
from kullback.runtime.export_cache import check_process


def kl_divergence(p: dist.Distribution, q: dist.Distribution) -> Float[Array, "*batch"]:
    """The exact divergence KL(p ‖ q) = E_p[log p − log q], in nats.

    p, q  NumPyro distributions of one event shape, whose batch shapes broadcast

    Returns an array of the broadcast batch shape, ∞ where p has mass outside the support of q. It can be compiled,
    mapped and differentiated; the derivative of p log p at p = 0 is given as 0, so that gradients stay finite.
    Raises `NotExactError` where the pair has no exact form, and `InputError` where the event shapes differ.
    Source: Kullback and Leibler (1951), eq. 2.4.
    """
    _check(p, q)
    return _evaluate(kl_form(p, q), f"KL({_name(p)} ‖ {_name(q)})", "kl.KL(p, q).estimate()")


def cross_entropy(p: dist.Distribution, q: dist.Distribution) -> Float[Array, "*batch"]:
    """The exact cross entropy H(p, q) = −E_p log q = KL(p ‖ q) + H(p), in nats.

    p, q  NumPyro distributions of one event shape, whose batch shapes broadcast

    Returns an array of the broadcast batch shape. Raises as `kl_divergence` does.
    Source: Kullback and Leibler (1951), eq. 2.4; Shannon (1948), section 20.
    """
    _check(p, q)
    form = cross_entropy_form(p, q)
    return _evaluate(form, f"the cross entropy of {_name(p)} and {_name(q)}", "a mean of -q.log_prob over draws of p")


def entropy(p: dist.Distribution) -> Float[Array, "*batch"]:
    """The exact entropy H(p) = −E_p log p, in nats; differential for a density.

    p  a NumPyro distribution

    Returns an array of its batch shape. Raises `NotExactError` where there is no exact form.
    Source: Shannon (1948), sections 6 and 20.
    """
    _check_distribution(p, "p")
    return _evaluate(entropy_form(p), f"the entropy of {_name(p)}", "a mean of -p.log_prob over draws of p")


def _check(p: dist.Distribution, q: dist.Distribution) -> None:
    _check_distribution(p, "p")
    _check_distribution(q, "q")
    if tuple(p.event_shape) != tuple(q.event_shape):
        raise InputError(
            f"p and q: event shapes {tuple(p.event_shape)} and {tuple(q.event_shape)} differ; "
            "both must describe the same outcome"
        )


def _check_distribution(d: object, argument: str) -> None:
    check_process()
    if not isinstance(d, dist.Distribution):
        raise InputError(
            f"{argument}: a {type(d).__name__} is not a NumPyro distribution; kl.KL(p, q).estimate() takes other sides"
        )


def _evaluate(form: Form | None, what: str, instead: str) -> Array:
    if form is None:
        raise NotExactError(f"{what} has no exact form here; {instead} estimates it")
    return form()


def _name(d: object) -> str:
    base = getattr(d, "base_dist", None)
    return f"{type(d).__name__}({_name(base)})" if isinstance(base, dist.Distribution) else type(d).__name__


_KL_RATE, _ENTROPY_RATE = jax.jit(chain_kl_rate), jax.jit(chain_entropy_rate)


def kl_rate(p: MarkovChain, q: MarkovChain) -> Float[Array, "*batch"]:
    """The divergence rate of two Markov chains, lim KL of n states / n, in nats per step.

    p, q  chains over the same states, whose batch shapes broadcast; their lengths do not matter

    It is Σₛ π(s) KL(row s of p ‖ row s of q), with π(s) the share of time that p spends in s in the long run, from its
    initial law where it has several closed classes; and ∞ where the divergence of some length is. It can be compiled,
    mapped and differentiated. Source: Rached, Alajaji and Campbell (2004), theorem 1.
    """
    _check_chain(p, "p")
    _check_chain(q, "q")
    if p.states != q.states:
        raise InputError(f"p and q: chains over {p.states} and {q.states} states; both must be over the same")
    return _KL_RATE(p, q)


def entropy_rate(p: MarkovChain) -> Float[Array, "*batch"]:
    """The entropy rate of a Markov chain, lim H of n states / n = Σₛ π(s) H(row s), in nats per step.

    p  a chain; its length does not matter

    Source: Cover and Thomas (2006), theorem 4.2.4.
    """
    _check_chain(p, "p")
    return _ENTROPY_RATE(p)


def _check_chain(chain: object, argument: str) -> None:
    if not isinstance(chain, MarkovChain):
        raise InputError(f"{argument}: a {type(chain).__name__} has no rate per step; a kl.MarkovChain has")


# The files of closed forms. Where two files have a form of one pair, the later one counts.
FILES = (
    location_scale,
    multivariate,
    gamma,
    categorical,
    counts,
    compound,
    inflated,
    shared,
    interval,
    circular,
    truncated,
    processes,
    delta,
    matrix,
)

# Each form is one compiled program, of a size that compiles in a fraction of the time of its operations one by one.
_compiled = cache(jax.jit)


def _gathered(table: str) -> dict[Any, Callable[..., Any]]:
    return {key: form for file in FILES for key, form in getattr(file, table, {}).items()}


KL = {pair: _compiled(form) for pair, form in _gathered("KL").items()}
ENTROPY = {key: _compiled(form) for key, form in _gathered("ENTROPY").items()}
BUILD_KL = _gathered("BUILD_KL")
BUILD_ENTROPY = _gathered("BUILD_ENTROPY")
CROSS_ENTROPY = _compiled(cross.cross_entropy)


def kl_form(p: dist.Distribution, q: dist.Distribution) -> Form | None:
    """The exact form of KL(p ‖ q), ready to be called, or None. Nothing is computed by asking."""
    if tuple(p.event_shape) != tuple(q.event_shape):
        return None
    pair = (type_key(p), type_key(q))
    if pair in KL:
        return partial(KL[pair], p, q)
    if pair in BUILD_KL and (form := BUILD_KL[pair](p, q)) is not None:
        return form
    if (parts := reduce_pair(p, q) or dependent_pair(p, q)) is not None:
        return parts.form(kl_form, entropy_form)
    if is_mixture(p) or is_mixture(q):
        parts = mixtures.reduce_kl(p, q)
        form = None if parts is None else parts.form(kl_form, entropy_form)
        if form is not None:
            return form
    if (form := log_pmf.finite_kl(p, q)) is not None:
        return form
    if not (has_support(p) and has_support(q)):
        return None
    if cross.always_escapes(p, q):
        return lambda: jnp.full(jnp.broadcast_shapes(p.batch_shape, q.batch_shape), jnp.inf)
    if cross.has_cross_entropy(p, q) and type_key(p) in ENTROPY:
        return partial(_cross_kl(type_key(p)), p, q)
    return None


@cache
def _cross_kl(key: Hashable) -> Callable[..., Any]:
    """The divergence from the cross entropy, for P of a kind."""
    return jax.jit(cross.divergence(ENTROPY[key]))


def entropy_form(p: dist.Distribution) -> Form | None:
    """The exact form of H(p), ready to be called, or None."""
    key = type_key(p)
    if key in ENTROPY:
        return partial(ENTROPY[key], p)
    if key in BUILD_ENTROPY and (form := BUILD_ENTROPY[key](p)) is not None:
        return form
    if is_mixture(p):
        parts = mixtures.reduce_entropy(p)
        form = None if parts is None else parts.form(_own_entropy, entropy_form)
        return form or log_pmf.finite_entropy(p)
    parts = reduce_one(p) or dependent_one(p)
    return None if parts is None else parts.form(_own_entropy, entropy_form)


def cross_entropy_form(p: dist.Distribution, q: dist.Distribution) -> Form | None:
    """The exact form of H(p, q), ready to be called, or None."""
    if tuple(p.event_shape) != tuple(q.event_shape):
        return None
    if cross.has_cross_entropy(p, q):
        return partial(CROSS_ENTROPY, p, q)
    parts = reduce_pair(p, q) or dependent_pair(p, q)
    if parts is None and (is_mixture(p) or is_mixture(q)):
        parts = mixtures.reduce_cross_entropy(p, q)
    if parts is not None and not parts.divergence_only and entropy_form(p) is None:
        return parts.form(cross_entropy_form, entropy_form)
    divergence, own = kl_form(p, q), entropy_form(p)
    if divergence is None or own is None:
        return None
    return lambda: divergence() + own()


def has_exact(p: dist.Distribution, q: dist.Distribution) -> bool:
    """Whether KL(p ‖ q) of two NumPyro distributions has an exact form: by their types, without computing anything."""
    return kl_form(p, q) is not None


def _own_entropy(p: dist.Distribution, _: dist.Distribution) -> Form | None:
    return entropy_form(p)
