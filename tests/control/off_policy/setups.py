"""What the tests of off-policy learning share: small environments whose values are known."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from tests.control.learning.setups import sides

import kullback as kl
from kullback.control import FiniteMDP
from kullback.control.envs.simulator import Compiled, Facts, Stepper, Transition
from kullback.control.envs.spaces import Actions, Observations
from kullback.control.off_policy.soft_actor_critic import SoftActorCritic
from kullback.rule import Request

TABLE = kl.Conditional(kl.Table(), dist.Categorical)
IN_BOX = kl.Conditional(kl.MLP((32, 32)), kl.TanhNormal)
CHOOSES = kl.Conditional(kl.MLP((16,)), dist.Categorical)


def random_mdp(seed):
    """Five states, three actions, the last state terminal."""
    rng = np.random.default_rng(seed)
    return FiniteMDP(rng.dirichlet(np.full(5, 0.5), (5, 3)), rng.normal(size=(5, 3)), terminal=[4], start=0)


def lottery():
    """Win 1 with probability 0.1, else lose 1; or a safe 0; or lose 10. As large as `random_mdp`, for one program."""
    transition, reward = np.zeros((5, 3, 5)), np.zeros((5, 3, 5))
    transition[0, 0, [1, 2]], transition[0, 1:, 4] = [0.1, 0.9], 1.0
    transition[1:] = 0.2  # these are terminal, or never reached
    reward[0, 0, [1, 2]], reward[0, 2] = [1.0, -1.0], -10.0
    return FiniteMDP(transition, reward, terminal=[1, 2, 4], start=0)


def fitted(target, rule, policy=TABLE, seed=0, **request):
    return kl.KL(policy, target).minimize(rule=rule, seed=seed, quiet=True, **request)


def solved(target):
    """What is known of the exact solution of a table."""
    return kl.KL(TABLE, target).minimize().diagnostics


def playing_of(task, policy, rule=None, seed=0, **request):
    """The algorithm of a rule, ready to be stepped."""
    p, _ = sides(task, policy)
    return (rule or SoftActorCritic()).algorithm(task, p.learnable, Request(seed=seed, quiet=True, **request))


def run(task, policy, rule, seed=0, **request):
    """The fit of a rule to an environment made by hand."""
    p, q = sides(task, policy)
    return rule.run(p, q, Request(seed=seed, quiet=True, **request))


def trained(task, policy, rule, seed=0):
    """The algorithm and its last state, without an assessment."""
    playing = playing_of(task, policy, rule, seed, steps=rule.steps)
    state = playing.init()
    while int(state.counters.steps) < rule.steps and not int(state.counters.failed):
        state = playing.step(state)
    return playing, state


@dataclass(frozen=True)
class Walk(Compiled):
    """From x = 1 by steps of action/unit, cut off after ten, paid −x² each; x is seen. Nothing is random."""

    unit: float = 1.0

    @property
    def facts(self):
        box = Actions("box", (1,), (), (-self.unit,), (self.unit,))
        return Facts("Walk", Observations((1,)), box, limit=10)

    def reset(self, parameters, key):
        return jnp.ones(1)

    def observe(self, parameters, state):
        return state.astype(jnp.float32)

    def step(self, parameters, state, action, key):
        x = state + action / self.unit
        return x, -jnp.square(x[0]), jnp.array(False)


class SteppedWalk(Stepper):
    """`Walk` on the host, with a dead transition at each reset if `spends` says so."""

    def __init__(self, lanes, spends=False):
        self.facts, self.lanes, self.mask, self.spends = Walk().facts, lanes, None, spends

    def reset(self, seed):
        self.observation = np.ones((self.lanes, 1), np.float32)
        self.elapsed, self.over = np.zeros(self.lanes, int), np.zeros(self.lanes, bool)

    def step(self, action):
        seen, dead = self.observation, self.over
        following = np.where(dead[:, None], np.float32(1.0), seen + np.asarray(action, np.float32))
        self.elapsed = np.where(dead, 0, self.elapsed + 1)
        cut = (self.elapsed == 10) & ~dead
        reward = np.where(dead, np.nan, -np.square(following[:, 0]))
        self.over = cut & self.spends
        starts = cut & ~self.over
        self.elapsed = np.where(starts, 0, self.elapsed)
        self.observation = np.where(starts[:, None], np.float32(1.0), following)
        return Transition(seen, action, reward, np.zeros_like(cut), cut, following, ~dead)

    def state(self):
        return {"observation": self.observation, "elapsed": self.elapsed, "over": self.over}

    def restore(self, state):
        for name, array in state.items():
            setattr(self, name, np.array(array))
        return ""

    def close(self):
        pass


@dataclass(frozen=True)
class Wait(Compiled):
    """One state, paid 1 a step, cut off after five steps; the last of three actions pays 1,000 and is forbidden.

    From step `breaks` of an episode on the reward is NaN.
    """

    breaks: int = field(default=1_000_000, compare=False)

    @property
    def facts(self):
        return Facts("Wait", Observations((1,)), Actions("choice", (), (3,)), limit=5)

    @property
    def parameters(self):
        return np.int32(self.breaks)

    def reset(self, parameters, key):
        return jnp.int32(0)

    def observe(self, parameters, state):
        return jnp.ones(1, jnp.float32)

    def mask(self, parameters, state):
        return jnp.array([True, True, False])

    def step(self, parameters, state, action, key):
        reward = jnp.where(state >= parameters, jnp.nan, jnp.where(action == 2, 1000.0, 1.0))
        return state + 1, reward, jnp.array(False)


def numbers_of(fit):
    return [np.asarray(leaf) for leaf in jax.tree.leaves((fit.q.free, fit.q.fixed))]
