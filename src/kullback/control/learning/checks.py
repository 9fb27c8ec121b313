"""Whether a side can act in an environment: what every rule that plays asks first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpyro.distributions import BernoulliLogits, CategoricalLogits

from kullback.control.envs.spaces import Actions
from kullback.control.learning.policy import NEVER
from kullback.control.task import Task
from kullback.distributions import TanhNormal
from kullback.families.conditional_structure import ConditionalStructure
from kullback.known import Known

WANTED = {
    "choice": "kl.Conditional(kl.MLP(), dist.Categorical)",
    "choices": "kl.Conditional(kl.MLP(), dist.Categorical)",
    "switches": "kl.Conditional(kl.MLP(), dist.Bernoulli)",
    "box": "kl.Conditional(kl.MLP(), kl.TanhNormal)",
}

ON_ALL_NUMBERS = "kl.Conditional(kl.MLP(), dist.Normal)"
PRIOR = "kl.KL(kl.Pairs(observations, actions), kl.Conditional(kl.MLP(), dist.Normal)).minimize().q"

CHOOSERS = {"choice": CategoricalLogits, "choices": CategoricalLogits, "switches": BernoulliLogits}


def task_of(q: Known) -> Task | None:
    """The environment to play behind an `Optimal`."""
    return q.facts if isinstance(q.facts, Task) else getattr(q.facts, "task", None)


def policy_for(actions: Actions) -> str:
    """A policy that would do, as code."""
    return WANTED[actions.kind] if actions.is_discrete or actions.is_bounded else ON_ALL_NUMBERS


def bounded(actions: Actions) -> str:
    """A wrapper that bounds a box of actions, as code."""
    is_open = not np.isfinite([*actions.low, *actions.high]).any()
    box = f"gymnasium.spaces.Box(-1.0, 1.0, {actions.shape})" if is_open else "box"
    return f"gymnasium.wrappers.TransformAction(env, lambda a: a, {box}), with a box as wide as good actions are"


def wanted(task: Task) -> str:
    """A policy that would do, as code."""
    return policy_for(task.env.facts.actions)


def why_no_actor(structure: Any, members: int, task: Task) -> str:
    """Why a conditional cannot act in the environment, or nothing."""
    if not isinstance(structure, ConditionalStructure):
        return "P does not depend on the observation, and a policy does"
    if structure.components or members > 1:
        return "P is a mixture, whose KL to the prior has no closed form"
    cls, actions = structure.form.cls, task.env.facts.actions
    if actions.kind in CHOOSERS:
        is_chooser = cls is CHOOSERS[actions.kind]
        return "" if is_chooser else f"P is {cls.__name__}, which does not choose among {actions}"
    if not getattr(cls, "reparametrized_params", None):
        return f"draws of {cls.__name__} are not differentiable in its parameters"
    if task.prior is None and cls is not TanhNormal:
        return f"{cls.__name__} has mass outside the box of actions, where the uniform prior has none"
    return ""


def within_choices(side: Known, actions: Actions) -> Known:
    """The learnable side without mass on choices that are not there, where places have different numbers of them."""
    learnable = side.learnable
    assert learnable is not None
    if not actions.is_discrete or actions.exists.all():
        return side
    offset = np.where(actions.exists.ravel(), learnable.fixed["offset"], NEVER)
    return side.holding(learnable=replace(learnable, fixed={**learnable.fixed, "offset": offset}))


def fills_the_box(fixed: Any, task: Task) -> bool:
    """Whether the policy's box is the box of actions."""
    low, high = task.env.facts.actions.bounds
    given = fixed["given"]
    return np.allclose(given.get("low", -1.0), low) and np.allclose(given.get("high", 1.0), high)


def remark_on(task: Task, alpha: float) -> str:
    """What is to be said of a temperature that was found, if anything."""
    t = task.temperature
    if t.is_adapted and not t.lowest * 1.001 < alpha < t.highest * 0.999:
        return f"the temperature ended at a bound, {alpha:g}, where the policy does not keep {t.nats:g} nats a step"
    return ""
