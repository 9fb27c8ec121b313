"""Environments, and the rules for `Optimal`, over the core."""

from kullback.control.mdp import FiniteMDP
from kullback.control.optimal import Optimal
from kullback.control.rollout import Rollout, rollout
from kullback.control.rules import PolicyEvaluation, SoftValueIteration, SoftValueIterationProjected

__all__ = [
    "FiniteMDP",
    "Optimal",
    "PolicyEvaluation",
    "Rollout",
    "SoftValueIteration",
    "SoftValueIterationProjected",
    "rollout",
]
