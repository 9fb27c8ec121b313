"""How the tests of steppers play: random actions, and whether two steps are the same."""

import numpy as np

from kullback.control.envs.simulator import Stepper, Transition

STEPS = 120


def actions_for(stepper: Stepper, steps: int = STEPS, seed: int = 0) -> np.ndarray:
    """Random actions [steps, lanes, *shape]."""
    actions, rng = stepper.facts.actions, np.random.default_rng(seed)
    shape = (steps, stepper.lanes, *actions.shape)
    if actions.is_discrete:
        return rng.integers(0, np.array(actions.sizes).reshape(actions.shape), size=shape)
    return rng.uniform(*actions.bounds, size=shape).astype(np.float32)


def play(stepper: Stepper, actions: np.ndarray) -> list[Transition]:
    return [stepper.step(action) for action in actions]


def same(one: Transition, other: Transition) -> bool:
    return all(
        (a is None and b is None) or np.asarray(a).tobytes() == np.asarray(b).tobytes()
        for a, b in zip(one, other, strict=True)
    )
