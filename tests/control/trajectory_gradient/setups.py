"""What the tests of on-policy learning share: sides made by hand, and small environments."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from tests.control.learning.setups import sides

import kullback as kl
from kullback.control.envs.simulator import Compiled, Facts
from kullback.control.envs.spaces import Actions, Observations
from kullback.control.trajectory_gradient.rule import TrajectoryGradient
from kullback.control.trajectory_gradient.update import scaled
from kullback.rule import Request


def playing_of(task, conditional, rule=None, seed=0, **request):
    """The algorithm of a rule, ready to be stepped."""
    p, _ = sides(task, conditional)
    return (rule or TrajectoryGradient()).algorithm(task, p.learnable, Request(seed=seed, quiet=True, **request))


def trained(task, conditional, rule, seed=0):
    """(π at the first observation, the algorithm, its last state), without assessing it."""
    playing = playing_of(task, conditional, rule, seed)
    state = playing.init()
    while int(state.counters.steps) < rule.steps:
        state = playing.step(state)
    return law_of(playing, state), playing, state


def law_of(playing, state, scales=None):
    """π of a state at the first observation; by the scales of inputs that another state knows, if one is given."""
    config, simulator = playing.training.config, playing.training.task.env.compiled
    fixed = scaled(playing.training.fixed, (scales or state).inputs)
    first = simulator.reset((), jax.random.key(0))
    mask = simulator.mask((), first)
    free = config.layout.tree(np.asarray(state.descent.x))[0]
    seen = simulator.observe((), first)[None]
    return config.acting.at(free, fixed, seen, None if mask is None else mask[None])


def fit(task, conditional, rule=None, seed=0, **request):
    p, q = sides(task, conditional)
    rule = rule or TrajectoryGradient()
    assert rule.check(p, q).dropped == ("log Z",)
    return rule.run(p, q, Request(seed=seed, quiet=True, **request))


@dataclass(frozen=True)
class TwoSteps(Compiled):
    """An action in a box of ends ±`unit`, observed, and another; rewarded as in `reward`. A time limit ends it."""

    unit: float = 1.0

    @property
    def facts(self):
        return Facts("TwoSteps", Observations((2,)), Actions("box", (1,), (), (-self.unit,), (self.unit,)), 2)

    def reset(self, parameters, key):
        return jnp.zeros(2, jnp.float32)

    def observe(self, parameters, state):
        return state

    def step(self, parameters, state, action, key):
        done = (action[0] / self.unit).astype(jnp.float32)
        return jnp.stack([done, state[1] + 1.0]), reward(state, done), jnp.zeros((), bool)


def reward(state, action):
    """−(a − 0.3)² at the first step and −2 (a + s)² at the second."""
    return jnp.where(state[1] < 0.5, -jnp.square(action - 0.3), -2.0 * jnp.square(action + state[0]))


def policy_in_box(unit=1.0, network=None):
    return kl.Conditional(network or kl.Linear(), kl.TanhNormal, low=np.full(1, -unit), high=np.full(1, unit))


def device(tree):
    return jax.tree.map(jnp.asarray, tree)


@dataclass(frozen=True)
class Bandit(Compiled):
    """One step: each place of an action pays by itself, as `gain` says, whatever the observation, which is 1.

    forbidden  a choice that the mask forbids; `fails`: in some states the reward is NaN
    """

    actions: Actions
    forbidden: int | None = None
    fails: bool = False

    @property
    def facts(self):
        return Facts("Bandit", Observations((1,)), self.actions)

    @staticmethod
    def gain(x, place):
        """Of a choice, a switch, or the share of the way through a box."""
        return 0.4 * x + 0.1 * place * x - 0.2 * x * x * (place == 1)

    def reset(self, parameters, key):
        return jax.random.uniform(key, (), jnp.float32)

    def observe(self, parameters, state):
        return jnp.ones(1, jnp.float32)

    def step(self, parameters, state, action, key):
        x = action
        if self.actions.kind == "box":
            low, high = self.actions.bounds
            x = (action - low) / (high - low)
        reward = sum(self.gain(one, i) for i, one in enumerate(jnp.ravel(x)))
        if self.fails:
            reward = jnp.where(state > 0.99, jnp.nan, reward)
        return state, reward, jnp.ones((), bool)

    def mask(self, parameters, state):
        return None if self.forbidden is None else jnp.arange(self.actions.categories) != self.forbidden
