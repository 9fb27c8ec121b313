"""Why a divergence is infinite, in words."""

from __future__ import annotations

from typing import Any

import numpy as np

from kullback.estimate.support import escape_of
from kullback.exact.log_probs import log_probs, precise
from kullback.known import Known


def why_infinite(value: Any, p: Known, q: Known) -> str:
    """The reason where some element of an exact value is ∞; empty where none is."""
    if not np.isinf(np.asarray(value)).any():
        return ""
    if p.atoms is not None and q.log_prob is not None:
        with precise(p, q):
            log_p, log_q = (np.asarray(log) for log in log_probs(p, q, p.atoms))
        missing = np.argwhere((log_p > -np.inf) & (log_q == -np.inf))
        if len(missing):
            first = tuple(missing[0])
            outcome, share = p.atoms[first[-1]], np.exp(log_p[first])
            return f"Q gives probability 0 to {outcome}, which has probability {share:.3g} under P"
    escape = escape_of(p, q)
    if escape is not None:
        return escape.reason
    if p.support is None or q.support is None or (p.support.discrete and q.support.discrete):
        return "P has mass to which Q gives probability 0"
    return "Q falls off so much faster than P that E_P[log Q] diverges"


def both_discrete(p: Known, q: Known) -> bool:
    """Whether a sum over P's outcomes compares like with like: a density of Q is no probability."""
    return q.support is None or p.support is None or q.support.discrete == p.support.discrete
