"""A fitted policy at work: of an ensemble the average, a tempered one as it is tempered."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np

from kullback.control.envs.spaces import Actions
from kullback.control.learning.policy import Acting, Fixed
from kullback.families.conditional import FittedConditional
from kullback.families.conditional_structure import ConditionalStructure


@dataclass(frozen=True)
class Answering:
    """A fitted policy as it answers. Hashable."""

    structure: ConditionalStructure
    members: int

    def distribution(self, free: Any, fixed: Any, inputs: Any) -> Any:
        return self.structure.predictive(free, fixed, inputs, self.members)


def acting_of(policy: FittedConditional, actions: Actions) -> Acting:
    """How a fitted policy acts, beside the uniform prior."""
    return Acting(Answering(policy.structure, policy.members), actions)


@partial(jax.jit, static_argnums=(0, 1))
def answer(
    acting: Acting, greedy: bool, free: Any, fixed: Fixed, observation: Any, mask: Any, key: Any, count: Any
) -> jax.Array:
    """Actions at observations [n, ...], greedy or drawn by the count-th key: one compiled program."""
    return acting.at(free, fixed, observation, mask).taken(greedy, jax.random.fold_in(key, count))


def within_bounds(actions: Actions, action: Any) -> np.ndarray:
    """Actions on the host; real ones clipped to the bounds of their box."""
    return np.asarray(action) if actions.is_discrete else np.clip(np.asarray(action), *actions.bounds)
