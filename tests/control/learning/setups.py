"""What the tests of rules that learn by playing share: environments made by hand, as sides of a divergence."""

import numpy as np

from kullback.control.envs.spec import EnvSpec
from kullback.control.learning.temperature import as_temperature
from kullback.control.task import Task
from kullback.known import ConditionalFacts, Known, OwnRules
from kullback.known.support import from_constraint


def task_of(simulator, temperature=1.0, discount=1.0, **rest):
    """A compiled environment to play; one that only steps, if a stepper is given."""
    stepper = rest.pop("stepper", None)
    env = EnvSpec(simulator.facts, compiled=simulator if stepper is None else None, stepper=stepper)
    return Task(env, as_temperature(temperature), discount, **rest)


def sides(task, policy):
    """(p, q) as a rule gets them."""
    seen, done = task.env.facts.observations, task.env.facts.actions
    atoms = np.arange(done.categories) if done.kind == "choice" else None
    q = Known(
        name="Optimal",
        event_shape=done.shape,
        support=from_constraint(done.support),
        atoms=atoms,
        conditioning=ConditionalFacts(seen.example),
        own=OwnRules(facts=task),
    )
    return policy.known().matched(q), q
