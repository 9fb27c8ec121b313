"""The table of exact forms: for each pair of kinds a divergence, for each kind an entropy; and how a pair is looked up.

To add a pair, write its function in the file of its kind in `forms/` and one line in that file's `KL`. What has no line
of its own falls out of `cross.py`, where P's expectations meet the statistics that Q's log-density is linear in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp

from kullback.exact import finite
from kullback.exact.closed_forms import FILES
from kullback.exact.composite import mixtures
from kullback.exact.composite.chain_rule import dependent_one, dependent_pair
from kullback.exact.composite.structure import Parts, reduce_one, reduce_pair
from kullback.exact.cross_family import cross
from kullback.exact.type_keys import Form, kind

# Each form is one compiled program, of a size that compiles in a fraction of the time of its operations one by one.
_compiled = cache(jax.jit)


def _gathered(table: str) -> dict[Any, Callable[..., Any]]:
    return {key: form for file in FILES for key, form in getattr(file, table, {}).items()}


KL = {pair: _compiled(form) for pair, form in _gathered("KL").items()}
ENTROPY = {key: _compiled(form) for key, form in _gathered("ENTROPY").items()}
BUILD_KL = _gathered("BUILD_KL")
BUILD_ENTROPY = _gathered("BUILD_ENTROPY")
CROSS_ENTROPY = _compiled(cross.cross_entropy)


def kl_form(p: Any, q: Any) -> Form | None:
    """The exact form of KL(p ‖ q), ready to be called, or None. Nothing is computed by asking."""
    if tuple(p.event_shape) != tuple(q.event_shape):
        return None
    pair = (kind(p), kind(q))
    if pair in KL:
        return partial(KL[pair], p, q)
    if pair in BUILD_KL and (form := BUILD_KL[pair](p, q)) is not None:
        return form
    if (parts := reduce_pair(p, q) or dependent_pair(p, q)) is not None:
        return _finished([kl_form(*part) for part in parts.pairs], parts)
    if mixtures.is_mixture(p) or mixtures.is_mixture(q):
        parts = mixtures.reduce_kl(p, q)
        form = None if parts is None else _finished([kl_form(*part) for part in parts.pairs], parts)
        if form is not None:
            return form
    if (form := finite.finite_kl(p, q)) is not None:
        return form
    if not (mixtures.has_support(p) and mixtures.has_support(q)):
        return None
    if cross.always_escapes(p, q):
        return lambda: jnp.full(jnp.broadcast_shapes(p.batch_shape, q.batch_shape), jnp.inf)
    if cross.has_cross_entropy(p, q) and kind(p) in ENTROPY:
        return partial(_cross_kl(kind(p)), p, q)
    return None


@cache
def _cross_kl(key: Any) -> Callable[..., Any]:
    """The divergence from the cross entropy, for P of a kind."""
    return jax.jit(cross.divergence(ENTROPY[key]))


def entropy_form(p: Any) -> Form | None:
    """The exact form of H(p), ready to be called, or None."""
    key = kind(p)
    if key in ENTROPY:
        return partial(ENTROPY[key], p)
    if key in BUILD_ENTROPY and (form := BUILD_ENTROPY[key](p)) is not None:
        return form
    if mixtures.is_mixture(p):
        parts = mixtures.reduce_entropy(p)
        form = None if parts is None else _finished([entropy_form(part) for part, _ in parts.pairs], parts)
        return form or finite.finite_entropy(p)
    parts = reduce_one(p) or dependent_one(p)
    return None if parts is None else _finished([entropy_form(part) for part, _ in parts.pairs], parts)


def cross_entropy_form(p: Any, q: Any) -> Form | None:
    """The exact form of H(p, q), ready to be called, or None."""
    if tuple(p.event_shape) != tuple(q.event_shape):
        return None
    if cross.has_cross_entropy(p, q):
        return partial(CROSS_ENTROPY, p, q)
    parts = reduce_pair(p, q) or dependent_pair(p, q)
    if parts is None and (mixtures.is_mixture(p) or mixtures.is_mixture(q)):
        parts = mixtures.reduce_cross_entropy(p, q)
    if parts is not None and not parts.divergence_only and entropy_form(p) is None:
        return _finished([cross_entropy_form(*part) for part in parts.pairs], parts)
    divergence, own = kl_form(p, q), entropy_form(p)
    if divergence is None or own is None:
        return None
    return lambda: divergence() + own()


def has_exact(p: Any, q: Any) -> bool:
    """Whether KL(p ‖ q) of two NumPyro distributions has an exact form: by their types, without computing anything."""
    return kl_form(p, q) is not None


def _finished(forms: list[Form | None], parts: Parts) -> Form | None:
    forms = [*forms, *(entropy_form(d) for d in parts.entropies)]
    ready = [form for form in forms if form is not None]
    return None if len(ready) < len(forms) else lambda: parts.finish(*(form() for form in ready))
