"""Environments, the rules for `Optimal`, and learning from what was played, over the core."""

from kullback.control.agent import Agent
from kullback.control.data import advantages, returns_to_go
from kullback.control.film import film, frames
from kullback.control.fresh_episodes import FreshEpisodes
from kullback.control.learning.on_policy import TrajectoryGradient
from kullback.control.learning.soft_actor_critic import SoftActorCritic
from kullback.control.learning.temperature import Annealed, TargetKL
from kullback.control.learning.tilt_and_project import TiltAndProject
from kullback.control.mdp import FiniteMDP
from kullback.control.optimal import Optimal
from kullback.control.reaching import Reaching, RelabelledImitation
from kullback.control.rollout import Rollout, rollout
from kullback.control.rules import PolicyEvaluation, SoftValueIteration, SoftValueIterationProjected

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
