"""Distributions made of others: what is exact of the whole, from its parts.

A module here takes one step from wholes to parts and returns `Parts`, or None where the step does not apply.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpyro.distributions as dist
from jax import Array

from kullback.exact.type_keys import Form


class Parts(NamedTuple):
    """Pairs of parts, and how the divergence of the wholes follows from theirs.

    pairs            the pairs of parts; for an entropy both entries of a pair are the part of P
    finish           the divergence of the wholes, from those of the pairs and then the `entropies`
    entropies        parts whose entropies are needed too
    divergence_only  whether the change of variable between wholes and parts keeps their divergence alone, and not their
                     cross entropy
    """

    pairs: tuple[tuple[dist.Distribution, dist.Distribution], ...]
    finish: Callable[..., Array]
    entropies: tuple[dist.Distribution, ...] = ()
    divergence_only: bool = False

    def form(
        self,
        of_pair: Callable[[dist.Distribution, dist.Distribution], Form | None],
        of_entropy: Callable[[dist.Distribution], Form | None] = lambda _: None,
    ) -> Form | None:
        """The form of the wholes, ready to be called, from look-ups of those of parts; None where one is missing."""
        found = [*(of_pair(p, q) for p, q in self.pairs), *(of_entropy(p) for p in self.entropies)]
        ready = [form for form in found if form is not None]
        return None if len(ready) < len(found) else lambda: self.finish(*(form() for form in ready))
