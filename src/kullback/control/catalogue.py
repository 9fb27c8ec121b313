"""The rules that the sides of control bring, one ordered readable list for each."""

from __future__ import annotations

from kullback.control.fresh_episodes import FreshEpisodes
from kullback.control.goals import RelabelledImitation
from kullback.control.off_policy.soft_actor_critic import SoftActorCritic
from kullback.control.off_policy.tilt_and_project import TiltAndProject
from kullback.control.tabular.rules import PolicyEvaluation, SoftValueIteration, SoftValueIterationProjected
from kullback.control.trajectory_gradient.rule import TrajectoryGradient
from kullback.rule import Rule

# `Optimal`
RULES: tuple[Rule, ...] = (
    # a transition table is known
    SoftValueIteration(),
    SoftValueIterationProjected(),
    PolicyEvaluation(),
    # the environment can be played
    TrajectoryGradient(),
    SoftActorCritic(),
    TiltAndProject(),
    FreshEpisodes(),
)

# `Reaching`
GOAL_RULES: tuple[Rule, ...] = (RelabelledImitation(),)
