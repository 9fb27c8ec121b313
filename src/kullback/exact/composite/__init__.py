"""Distributions made of others: what is exact of the whole, from its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from jax import Array


class Parts(NamedTuple):
    """Pairs of parts, and how the divergence of the wholes follows from theirs, and from the entropies of others.

    For an entropy both entries of a pair are the part of P. `divergence_only` where the change of variable between
    wholes and parts leaves their divergence as it is and not their cross entropy.
    """

    pairs: tuple[tuple[Any, Any], ...]
    finish: Callable[..., Array]
    entropies: tuple[Any, ...] = ()
    divergence_only: bool = False
