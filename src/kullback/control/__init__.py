"""Environments, the rules for `Optimal`, and learning from what was played, over the core."""

from kullback.control.agent import Agent
from kullback.control.data import advantages, returns_to_go
from kullback.control.fresh_episodes import FreshEpisodes
from kullback.control.goals import Reaching, RelabelledImitation
from kullback.control.learning.temperature import Annealed, TargetKL
from kullback.control.off_policy.soft_actor_critic import SoftActorCritic
from kullback.control.off_policy.tilt_and_project import TiltAndProject
from kullback.control.optimal import Optimal
from kullback.control.tabular.mdp import FiniteMDP
from kullback.control.tabular.rules import PolicyEvaluation, SoftValueIteration, SoftValueIterationProjected
from kullback.control.trajectory_gradient.rule import TrajectoryGradient
from kullback.control.view.film import film, frames
from kullback.control.view.rollout import Rollout, rollout

__all__ = [
    "Agent",
    "Annealed",
    "FiniteMDP",
    "FreshEpisodes",
    "Optimal",
    "PolicyEvaluation",
    "Reaching",
    "RelabelledImitation",
    "Rollout",
    "SoftActorCritic",
    "SoftValueIteration",
    "SoftValueIterationProjected",
    "TargetKL",
    "TiltAndProject",
    "TrajectoryGradient",
    "advantages",
    "film",
    "frames",
    "returns_to_go",
    "rollout",
]
