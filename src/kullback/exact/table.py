"""The table of exact forms: for each pair of kinds a divergence, for each kind an entropy; and how a pair is looked up.

To add a pair, write its function in the file of its kind and one line in that file's `KL`. What has no line of its
own falls out of `cross.py`, where P's expectations meet the statistics that Q's log-density is linear in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from kullback.exact import beta, categorical, counts, cross, gamma, location, multivariate, normal
from kullback.exact.kinds import kind
from kullback.exact.structure import Reduced, reduce_one, reduce_pair

FILES = (normal, multivariate, gamma, beta, categorical, counts, location)

# Each form is one compiled program, of a size that compiles in a fraction of the time of its operations one by one.
_compiled = cache(jax.jit)

KL = {pair: _compiled(form) for file in FILES for pair, form in file.KL.items()}
ENTROPY = {key: _compiled(form) for file in FILES for key, form in file.ENTROPY.items()}
CROSS_ENTROPY = _compiled(cross.cross_entropy)
CONDITIONS = {**counts.UNLESS}

Form = Callable[[], Array]


def kl_form(p: Any, q: Any) -> Form | None:
    """The exact form of KL(p ‖ q), ready to be called, or None. Nothing is computed by asking."""
    if tuple(p.event_shape) != tuple(q.event_shape):
        return None
    pair = (kind(p), kind(q))
    if pair in KL and CONDITIONS.get(pair, _always)(p, q):
        return partial(KL[pair], p, q)
    reduced = reduce_pair(p, q)
    if reduced is not None:
        return _finished(kl_form(reduced.p, reduced.q), reduced)
    if cross.always_escapes(p, q):
        return lambda: jnp.full(jnp.broadcast_shapes(p.batch_shape, q.batch_shape), jnp.inf)
    if pair[0] in ENTROPY and cross.has_cross_entropy(p, q):
        return lambda: CROSS_ENTROPY(p, q) - ENTROPY[pair[0]](p)
    return None


def entropy_form(p: Any) -> Form | None:
    """The exact form of H(p), ready to be called, or None."""
    key = kind(p)
    if key in ENTROPY:
        return partial(ENTROPY[key], p)
    reduced = reduce_one(p)
    return None if reduced is None else _finished(entropy_form(reduced.p), reduced)


def cross_entropy_form(p: Any, q: Any) -> Form | None:
    """The exact form of H(p, q), ready to be called, or None."""
    if tuple(p.event_shape) != tuple(q.event_shape):
        return None
    if cross.has_cross_entropy(p, q):
        return partial(CROSS_ENTROPY, p, q)
    reduced = reduce_pair(p, q)
    if reduced is not None and entropy_form(p) is None:
        return _finished(cross_entropy_form(reduced.p, reduced.q), reduced)
    divergence, own = kl_form(p, q), entropy_form(p)
    if divergence is None or own is None:
        return None
    return lambda: divergence() + own()


def has_exact(p: Any, q: Any) -> bool:
    """Whether KL(p ‖ q) of two NumPyro distributions has an exact form: by their types, without computing anything."""
    return kl_form(p, q) is not None


def _always(p: Any, q: Any) -> bool:
    return True


def _finished(form: Form | None, reduced: Reduced) -> Form | None:
    return None if form is None else lambda: reduced.finish(form())
