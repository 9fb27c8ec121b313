"""The rule that evaluates a closed form."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpyro.distributions as dist

from kullback.exact.rule_helpers import averaged, unequal_inputs, why_infinite
from kullback.exact.table import kl_form
from kullback.known import Known
from kullback.result import Estimate, Guarantee
from kullback.rule import Applies, Missing, Request, Rule


@dataclass(frozen=True)
class ClosedForm(Rule):
    """KL(P‖Q) of two NumPyro distributions by its formula, element by element of the batch.

    For a conditional side the answer is the mean over its inputs.
    Source: Kullback and Leibler (1951), eq. 2.4; the form of each pair is in the table of exact forms.
    """

    name = "closed form"
    question = "estimate"
    identity = "KL(P‖Q) = E_P[log P − log Q], integrated in closed form"
    needs_p = "a distribution in the table of exact forms"
    needs_q = "a distribution that makes an exact pair with P"
    guarantee = Guarantee.EXACT
    cost = 0.5
    source = "Kullback and Leibler (1951), eq. 2.4"
    aliases = ("analytic", "analytical", "formula")

    def check(self, p: Known, q: Known) -> Applies | Missing:
        if p.distribution is None or q.distribution is None:
            name = "P" if p.distribution is None else "Q"
            return Missing(f"{name} is not a distribution with a known formula", f"{name} as a distribution")
        if kl_form(p.distribution, q.distribution) is None:
            kinds = type(p.distribution).__name__, type(q.distribution).__name__
            return Missing(f"the table of exact forms has no entry for {kinds[0]} against {kinds[1]}")
        return unequal_inputs(p, q) or Applies()

    def run(self, p: Known, q: Known, request: Request) -> Estimate:
        assert p.distribution is not None
        assert q.distribution is not None
        value = averaged(_evaluate(p.distribution, q.distribution), p, q)
        return Estimate(value, reason=why_infinite(value, p, q))


def _evaluate(p: dist.Distribution, q: dist.Distribution) -> jax.Array:
    form = kl_form(p, q)
    assert form is not None
    return form()
