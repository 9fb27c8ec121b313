"""A compiled environment stepped from the host."""

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kullback.control import FiniteMDP
from kullback.control.envs.adaptors import Hosted, on_the_host
from kullback.control.envs.simulator import Compiled, Facts
from kullback.control.envs.spaces import Actions, Observations
from kullback.errors import EnvironmentFault, InputError

RING = FiniteMDP(np.stack([np.roll(np.eye(5), k, axis=1) for k in (1, 4)], axis=1), np.arange(5.0))


@dataclass(frozen=True)
class Drift(Compiled):
    """A random walk that pays where it stands; the third action breaks it, and is masked where x > 0."""

    limit: int | None = 6

    @property
    def facts(self) -> Facts:
        return Facts("Drift", Observations((1,)), Actions("choice", (), (3,)), self.limit)

    def reset(self, parameters: Any, key: jax.Array) -> Any:
        return jax.random.normal(key)

    def observe(self, parameters: Any, state: Any) -> jax.Array:
        return state[None].astype(jnp.float32)

    def step(self, parameters: Any, state: Any, action: jax.Array, key: jax.Array) -> tuple[Any, Any, Any]:
        state = state + jax.random.normal(key) + action
        return state, jnp.where(action == 2, jnp.nan, state), jnp.abs(state) > 4

    def mask(self, parameters: Any, state: Any) -> jax.Array:
        return jnp.array([True, True, False]) | (state <= 0)


@pytest.mark.usefixtures("precision")
def test_lanes_go_on_from_where_they_stood():
    stepper = Hosted(Drift(), 4)
    stepper.reset(3)
    assert stepper.mask.shape == (4, 3)
    over = 0
    for t in range(20):
        seen = stepper.step(np.full(4, t % 2))
        ends = seen.terminated | seen.truncated
        over += ends.sum()
        np.testing.assert_array_equal(stepper.observation[~ends], seen.following[~ends])
    assert over > 3
    saved = stepper.state()
    after = [stepper.step(np.zeros(4, int)) for _ in range(5)]
    other = Hosted(Drift(), 4)
    assert other.restore(saved) == ""
    for seen in after:
        again = other.step(np.zeros(4, int))
        for x, y in zip(jax.tree.leaves(seen), jax.tree.leaves(again), strict=True):
            np.testing.assert_array_equal(x, y)
    stepper.reset(3)
    first = stepper.observation
    other.reset(3)
    np.testing.assert_array_equal(first, other.observation)
    other.reset(4)
    assert (first != other.observation).any()


def test_what_is_not_finite_is_a_fault():
    stepper = Hosted(Drift(), 2)
    with pytest.raises(InputError, match="step: there is nothing to step"):
        stepper.step(np.zeros(2, int))
    with pytest.raises(InputError, match="state: there is none"):
        stepper.state()
    with pytest.raises(InputError, match="lanes: 0"):
        Hosted(Drift(), 0)
    stepper.reset(0)
    with pytest.raises(EnvironmentFault, match="Drift gave a reward that is not finite in step 1"):
        stepper.step(np.full(2, 2))


def test_environments_are_cut_off():
    source = on_the_host(RING, 3)
    stepper = source.stepper(2)
    stepper.reset(0)
    ends = [stepper.step(np.zeros(2, int)).truncated.all() for _ in range(6)]
    assert ends == [False, False, True] * 2
    assert on_the_host("CartPole-v1", 7).facts.limit == 7
    assert on_the_host("CartPole-v1", 7000).facts.limit == 500
    assert on_the_host("CartPole-v1").facts.limit == 500
    pair = gym.make_vec("CartPole-v1", 2)
    assert on_the_host(pair).stepper(9).lanes == 2
    with pytest.raises(InputError, match="horizon: CartPole-v1 is cut off after 500 steps and not 7"):
        on_the_host(pair, 7)
    pair.close()
