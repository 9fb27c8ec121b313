"""The rule that sums over a finite support."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kullback.exact.rule_helpers import (
    averaged,
    both_discrete,
    double_precision,
    log_probs,
    plain_sum,
    shared_sum,
    unequal_inputs,
    why_infinite,
)
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
    aliases = ("enumeration",)

    def check(self, p: Known, q: Known) -> Applies | Missing:
        if p.atoms is None:
            return Missing("P has no finite list of atoms")
        if p.log_prob is None:
            return Missing("the normalised log-probability of P is not known", "P's normalised log-probability")
        if q.log_prob is None:
            return Missing("the normalised log-probability of Q is not known", "Q's normalised log-probability")
        if not both_discrete(p, q):
            return Missing("P is discrete and Q continuous, whose density is no probability")
        return unequal_inputs(p, q) or Applies(cost=self.cost + math.log10(max(len(p.atoms), 1)))

    def run(self, p: Known, q: Known, request: Request) -> Estimate:
        assert p.atoms is not None
        shared = q.atoms is not None and np.array_equal(p.atoms, q.atoms)
        with double_precision(p, q):
            log_p, log_q = log_probs(p, q, p.atoms)
            value = np.asarray(shared_sum(log_p, log_q) if shared else plain_sum(log_p, log_q))
        value = averaged(value, p, q)
        return Estimate(value, reason=why_infinite(value, p, q))
