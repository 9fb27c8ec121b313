"""Which environments are made, how many, and what is known of them."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from tests.control.envs.plays import actions_for, play
from tests.control.envs.scripted import Scripted, registered

from kullback.control.envs.stepping import GivenVector, SingleEnvironments, facts_of, stepper_for
from kullback.errors import InputError


def test_copies_are_made_as_the_environment_was() -> None:
    env = gym.wrappers.RescaleAction(
        gym.make("Pendulum-v1", g=3.0, max_episode_steps=9), np.float32(0.0), np.float32(1.0)
    )
    stepper = stepper_for(env, 2)
    assert stepper.facts.limit == 9
    assert stepper.facts.actions.low == (0.0,)
    assert all(lane.env.unwrapped.g == 3.0 for lane in stepper._lanes)
    assert all(lane.env.unwrapped is not env.unwrapped for lane in stepper._lanes)
    stepper.reset(0)
    seen = play(stepper, actions_for(stepper, 9))
    assert seen[8].truncated.all()
    stepper.close()
    alone = stepper_for(env)
    assert alone._lanes[0].env is env
    alone.close()


def test_copies_open_no_windows() -> None:
    def make(render_mode: str | None = None) -> Any:
        env = Scripted()
        env.render_mode = render_mode
        return env

    with registered(make) as name:
        spec = gym.spec(name)
        spec.kwargs["render_mode"] = "human"
        stepper = SingleEnvironments(spec, 2)
        assert [lane.env.unwrapped.render_mode for lane in stepper._lanes] == [None, None]
        stepper.close()


def test_environments_that_cannot_be_made_again_are_played_alone() -> None:
    class Silent(gym.Wrapper):
        """Does not record how it was made."""

    for env in (Scripted(), Silent(gym.make("CartPole-v1"))):
        stepper = stepper_for(env, 4)
        assert stepper.lanes == 1
        stepper.close()
        with pytest.raises(InputError, match=r"env: .*; register it.*SyncVectorEnv\(\[make_env\] \* 4\)"):
            SingleEnvironments(env, 4)


def test_what_is_made_must_have_the_spaces_that_were_given() -> None:
    env = gym.make("CartPole-v1")
    env.unwrapped.action_space = gym.spaces.Discrete(7)
    with pytest.raises(InputError, match="has other spaces"):
        stepper_for(env, 2)
    with pytest.raises(InputError, match="lanes: 0"):
        stepper_for("CartPole-v1", 0)


def test_closing_leaves_what_was_given_open() -> None:
    closed = []

    class Closing(Scripted):
        def close(self) -> None:
            closed.append(self)
            raise ZeroDivisionError

    stepper = stepper_for(Closing())
    stepper.close()
    assert closed == []
    with registered(Closing) as name:
        stepper = stepper_for(name, 3)
        closed.clear()  # one was made to learn of its spec
        stepper.close()
        assert len(closed) == 3


def test_the_stepper_of_each_kind() -> None:
    for env, lanes in (("CartPole-v1", 3), (gym.spec("CartPole-v1"), 3), (gym.make("CartPole-v1"), 3)):
        stepper = stepper_for(env, 3)
        assert isinstance(stepper, SingleEnvironments)
        assert stepper.lanes == lanes
        stepper.close()
    stepper = stepper_for(gym.make_vec("CartPole-v1", num_envs=2), 7)
    assert isinstance(stepper, GivenVector)
    assert stepper.lanes == 2
    stepper.close()
    with pytest.raises(InputError, match="did you mean CartPole"):
        stepper_for("CartPol-v1")
    with pytest.raises(InputError, match="no array of a fixed size"):
        stepper_for(Scripted(observation_space=gym.spaces.Text(3)))


def test_facts() -> None:
    facts = facts_of("CartPole-v1")
    assert (facts.name, facts.limit, facts.threshold) == ("CartPole-v1", 500, 475.0)
    assert facts.observations.shape == (4,)
    assert facts.actions.sizes == (2,)
    assert facts_of(gym.spec("CartPole-v1")) == facts == facts_of(gym.make("CartPole-v1"))
    assert facts_of(gym.make_vec("CartPole-v1", num_envs=2)) == facts
    assert facts_of(gym.make_vec("CartPole-v1", num_envs=2, vectorization_mode="sync")) == facts
    assert facts_of(gym.vector.SyncVectorEnv([lambda: gym.make("CartPole-v1")])) == facts
    assert facts_of(gym.wrappers.TimeLimit(gym.make("CartPole-v1"), 9)).limit == 9
    assert facts_of(gym.make("CartPole-v1", max_episode_steps=-1)).limit is None
    assert facts_of(gym.make_vec("CartPole-v1", num_envs=2, max_episode_steps=20)).limit == 20
    assert facts_of(gym.vector.SyncVectorEnv([lambda: gym.make("CartPole-v1", max_episode_steps=20)])).limit == 20
    assert facts_of(Scripted()).name == "Scripted"
    assert facts_of(Scripted()).limit is None
    assert hash(facts_of(Scripted())) is not None
