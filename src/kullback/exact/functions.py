"""The exact functions on NumPyro distributions, for use inside other JAX programs."""

from __future__ import annotations

from typing import Any

import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float

from kullback.errors import InputError, NotExactError
from kullback.exact.table import cross_entropy_form, entropy_form, kl_form
from kullback.exact.type_keys import Form
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


def _check(p: Any, q: Any) -> None:
    _check_distribution(p, "p")
    _check_distribution(q, "q")
    if tuple(p.event_shape) != tuple(q.event_shape):
        raise InputError(
            f"p and q: event shapes {tuple(p.event_shape)} and {tuple(q.event_shape)} differ; "
            "both must describe the same outcome"
        )


def _check_distribution(d: Any, argument: str) -> None:
    check_process()
    if not isinstance(d, dist.Distribution):
        raise InputError(
            f"{argument}: a {type(d).__name__} is not a NumPyro distribution; kl.KL(p, q).estimate() takes other sides"
        )


def _evaluate(form: Form | None, what: str, instead: str) -> Array:
    if form is None:
        raise NotExactError(f"{what} has no exact form here; {instead} estimates it")
    return form()


def _name(d: Any) -> str:
    base = getattr(d, "base_dist", None)
    return f"{type(d).__name__}({_name(base)})" if isinstance(base, dist.Distribution) else type(d).__name__
