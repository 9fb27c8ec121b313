"""What is wrong with an environment, and what is said of it."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from tests.control.envs.plays import actions_for, play, same
from tests.control.envs.scripted import Scripted, registered

from kullback.control.envs.lane import seed_of
from kullback.control.envs.stepping import stepper_for
from kullback.errors import EnvironmentFault, InputError


def bad(**changes: Any) -> Any:
    """Goes wrong in the second step of its third episode."""

    def script(env: Any, action: Any) -> Any:
        wrong = changes if (env.time, env.episode) == (2, 3) else {}
        return env.seen(**{"terminated": env.time == 2, **wrong})

    return script


def raises(env: Any, action: Any) -> Any:
    if env.time == 2 and env.episode == 3:
        raise ZeroDivisionError("the wheel came off")
    return env.seen(terminated=env.time == 2)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (bad(reward=np.nan), "gave the reward nan"),
        (bad(reward=-np.inf), "gave the reward -inf"),
        (bad(reward=np.float32(np.inf)), "gave the reward inf"),
        (bad(reward=1e39), r"gave the reward 1e\+39"),
        (bad(reward=None), "gave the reward None, which is not a number"),
        (bad(reward="1"), "gave the reward '1', which is not a number"),
        (bad(reward=np.ones(1)), r"gave the reward array\(\[1.\]\), which is not a number"),
        (bad(observation=np.array([0.0, np.nan], np.float32)), r"gave an observation that is nan at \[1\]"),
        (bad(observation=np.array([-np.inf, 0.0])), r"gave an observation that is -inf at \[0\]"),
        (bad(observation=np.zeros(3, np.float32)), r"gave an observation of shape \(3,\), and its space has \(2,\)"),
        (bad(observation=np.array(["a", "b"])), "gave an observation of dtype <U1"),
        (bad(observation=None), r"gave an observation of shape \(\)"),
        (bad(info={"action_mask": np.ones(2)}), "gave an action mask in a step, and none in its reset"),
        (raises, r"raised ZeroDivisionError \(the wheel came off\)"),
        (lambda env, action: env.seen(terminated=env.time == 2)[: 4 if env.episode == 3 and env.time == 2 else 5],
         r"gave 4 values, and not \(observation, reward, terminated, truncated, info\)"),
    ],
)  # fmt: skip
def test_faults(script: Any, words: str) -> None:
    with registered(lambda: Scripted(script)) as name:
        stepper = stepper_for(name, 2)
        stepper.reset(7)
        play(stepper, np.zeros((5, 2), int))
        before = stepper.state()
        seed = seed_of(7, 0, 2)
        with pytest.raises(EnvironmentFault, match=words) as caught:
            stepper.step(np.zeros(2, int))
        assert f"env: {name} " in str(caught.value)
        assert f", in step 2 of an episode of lane 0 (seed {seed}); correct" in str(caught.value)
        assert isinstance(caught.value.__cause__, Exception)
        for key, value in stepper.state().items():  # nothing is lost
            np.testing.assert_array_equal(value, before[key])
        stepper.close()


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (lambda env: (np.array([np.nan, 0.0], np.float32), {}), r"gave an observation that is nan at \[0\]"),
        (lambda env: (np.zeros(5), {}), r"gave an observation of shape \(5,\)"),
        (lambda env: 1 // 0, r"raised ZeroDivisionError"),
        (lambda env: np.zeros(2, np.float32), r"gave one ndarray, and not \(observation, info\)"),
        (lambda env: (np.zeros(2, np.float32), {"action_mask": np.zeros(2)}), "which allows nothing"),
        (lambda env: (np.zeros(2, np.float32), {"action_mask": np.zeros(3)}), "does not fit the action space"),
    ],
)
def test_faults_of_a_reset(first: Any, words: str) -> None:
    stepper = stepper_for(Scripted(first=first))
    with pytest.raises(EnvironmentFault, match=f"env: Scripted .*{words}.*, in the reset of lane 0 .seed"):
        stepper.reset(0)
    stepper.close()


def test_a_mask_that_allows_nothing_where_the_episode_goes_on() -> None:
    masked = {"action_mask": np.array([0, 1])}
    script = lambda env, action: env.seen(info={"action_mask": np.zeros(2)}, truncated=True)  # noqa: E731
    stepper = stepper_for(Scripted(script, lambda env: (np.zeros(2, np.float32), masked)))
    stepper.reset(0)
    with pytest.raises(EnvironmentFault, match="which allows nothing"):
        stepper.step(np.zeros(1, int))
    stepper.close()


def test_a_label_beyond_its_space() -> None:
    space = gym.spaces.Discrete(3, start=1)
    env = Scripted(lambda env, action: env.seen(observation=env.time), lambda env: (1, {}), space)
    stepper = stepper_for(env)
    stepper.reset(0)
    assert [int(t.following[0]) for t in play(stepper, np.zeros((3, 1), int))] == [0, 1, 2]
    with pytest.raises(EnvironmentFault, match="gave the observation 4, and its space is"):
        stepper.step(np.zeros(1, int))
    stepper.close()


def test_actions_that_do_not_fit_are_our_fault() -> None:
    stepper = stepper_for("Pendulum-v1", 2)
    with pytest.raises(InputError, match="first reset"):
        stepper.step(np.zeros((2, 1)))
    with pytest.raises(InputError, match="first reset"):
        stepper.state()
    stepper.reset(0)
    with pytest.raises(InputError, match=r"action: the shape is \(2,\)"):
        stepper.step(np.zeros(2))
    with pytest.raises(InputError, match="not finite"):
        stepper.step(np.array([[0.0], [np.nan]]))
    with pytest.raises(InputError, match="seed: -1"):
        stepper.reset(-1)
    stepper.close()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ZeroDivisionError])
def test_a_step_that_is_cut_short_is_taken_again(kind: type[BaseException]) -> None:
    """Lane 0 has then stepped already; both are brought back to where they stood."""
    trips = []

    def script(env: Any, action: Any) -> Any:
        if env.time == 4 and env.second and not trips:
            trips.append(1)
            raise kind
        return env.seen(observation=np.array([env.noise, env.time + action], np.float32), truncated=env.time == 6)

    made: list[Any] = []

    def make() -> Any:
        env = Scripted(script)
        env.second = len(made) % 2 == 1
        made.append(env)
        return env

    with registered(make) as name:
        whole, cut = stepper_for(name, 2), stepper_for(name, 2)
        cut.reset(1)
        actions = actions_for(cut, 12)
        seen = play(cut, actions[:3])
        with pytest.raises(EnvironmentFault if kind is ZeroDivisionError else KeyboardInterrupt):
            cut.step(actions[3])
        seen += play(cut, actions[3:])
        whole.reset(1)
        assert all(map(same, seen, play(whole, actions)))
        whole.close()
        cut.close()
