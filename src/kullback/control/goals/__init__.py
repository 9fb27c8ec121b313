"""Reaching goals by relabelled imitation: a policy learns, by forward KL, from where its own trajectories led."""

from kullback.control.goals.rule import RelabelledImitation
from kullback.control.goals.side import Reaching

__all__ = ["Reaching", "RelabelledImitation"]
