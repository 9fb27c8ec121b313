"""Single environments side by side: what a step says, and what is allowed in it."""

from collections.abc import Iterator
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from tests.control.envs.plays import actions_for, play, same
from tests.control.envs.scripted import Scripted

from kullback.control.envs.lane import seed_of
from kullback.control.envs.simulator import Stepper
from kullback.control.envs.stepping import stepper_for


@pytest.fixture
def stepper(request: pytest.FixtureRequest) -> Iterator[Stepper]:
    env, lanes = request.param
    made = stepper_for(env, lanes)
    yield made
    made.close()


GAMES = [("CartPole-v1", 3), ("FrozenLake-v1", 4), ("Acrobot-v1", 1), ("Taxi-v4", 2)]
LIMITED = ("Pendulum-v1", 2)  # made again with a limit of 25 steps


@pytest.mark.parametrize(("name", "lanes"), [*GAMES, LIMITED])
def test_steps_are_those_of_the_environments_alone(name: str, lanes: int) -> None:
    options = {"max_episode_steps": 25} if name == LIMITED[0] else {}
    stepper = stepper_for(gym.make(name, **options), lanes)
    stepper.reset(5)
    actions = actions_for(stepper)
    first, transitions = stepper.observation, play(stepper, actions)
    ends = 0
    for lane in range(lanes):
        env = gym.make(name, **options, disable_env_checker=True)
        episode = 0
        observation, _ = env.reset(seed=seed_of(5, lane, episode))
        np.testing.assert_array_equal(first[lane], observation)
        for seen, action in zip(transitions, actions[:, lane], strict=True):
            np.testing.assert_array_equal(seen.observation[lane], observation)
            np.testing.assert_array_equal(seen.action[lane], action)
            observation, reward, terminated, truncated, _ = env.step(action)
            np.testing.assert_array_equal(seen.following[lane], observation)
            assert seen.reward[lane] == reward
            assert (seen.terminated[lane], seen.truncated[lane]) == (terminated, truncated)
            assert seen.valid[lane]
            if terminated or truncated:
                ends += 1
                episode += 1
                observation, _ = env.reset(seed=seed_of(5, lane, episode))
        np.testing.assert_array_equal(stepper.observation[lane], observation)
    assert ends > 0 or name in ("Acrobot-v1", "Taxi-v4")
    stepper.close()


@pytest.mark.parametrize("stepper", [("CartPole-v1", 2)], indirect=True)
def test_the_seed_and_the_actions_determine_everything(stepper: Stepper) -> None:
    actions = actions_for(stepper)
    runs = []
    for seed in (1, 1, 2):
        stepper.reset(seed)
        runs.append(play(stepper, actions))
    assert all(map(same, runs[0], runs[1]))
    assert not any(map(same, runs[0], runs[2]))
    assert not (runs[0][0].observation[0] == runs[0][0].observation[1]).all()  # lanes differ
    starts = [seen.observation[0][0] for seen in runs[0]]
    assert len(set(starts)) == len(starts)  # episodes differ


def test_what_was_given_out_is_never_written_again() -> None:
    buffer = np.zeros(2, np.float32)

    def script(env: Any, action: Any) -> Any:
        buffer[:] = env.time
        return env.seen(observation=buffer, terminated=env.time == 3)

    stepper = stepper_for(Scripted(script, lambda env: (buffer, {})))
    stepper.reset(0)
    seen = play(stepper, np.zeros((7, 1), int))
    assert [t.following[0, 0] for t in seen] == [1, 2, 3, 1, 2, 3, 1]
    stepper.close()


def test_the_last_observation_of_an_episode_follows_and_the_first_of_the_next_is_seen() -> None:
    env = Scripted(lambda env, action: env.seen(terminated=env.time == 3, truncated=env.time >= 3))
    stepper = stepper_for(env)
    stepper.reset(0)
    seen = play(stepper, np.zeros((6, 1), int))
    assert [t.following[0, 1] for t in seen] == [1, 2, 3, 1, 2, 3]
    assert [t.observation[0, 1] for t in seen] == [0, 1, 2, 0, 1, 2]
    assert [(bool(t.terminated[0]), bool(t.truncated[0])) for t in seen][2] == (True, True)  # flags stay as given
    assert seen[2].following[0, 0] == seen[2].observation[0, 0] != seen[3].observation[0, 0]
    stepper.close()


# Masks


def test_masks_of_the_info() -> None:
    stepper = stepper_for("Taxi-v4", 2)
    stepper.reset(3)
    mask = stepper.mask
    assert mask is not None
    assert mask.shape == (2, 6)
    for _ in range(250):  # over the end of an episode
        mask, action = stepper.mask, np.array([np.flatnonzero(row)[0] for row in stepper.mask])
        seen = stepper.step(action)
        assert seen.mask is mask
        assert seen.following_mask.shape == (2, 6)
        for lane, env in enumerate(stepper._lanes):
            state = stepper.observation[lane]
            np.testing.assert_array_equal(stepper.mask[lane], env.env.unwrapped.action_mask(state) == 1)
    stepper.close()


def test_masks_of_a_method_and_of_a_wrapper() -> None:
    class Masked(Scripted):
        def action_masks(self) -> Any:
            return [self.time % 2 == 0, True]

    stepper = stepper_for(gym.wrappers.TimeLimit(Masked(), 3))
    stepper.reset(0)
    seen = play(stepper, np.ones((5, 1), int))
    odd, even = [False, True], [True, True]
    assert [t.mask[0].tolist() for t in seen] == [even, odd, even, even, odd]
    assert [t.following_mask[0].tolist() for t in seen] == [odd, even, odd, odd, even]
    stepper.close()


def test_no_mask_is_read_where_an_episode_terminates_and_a_missing_one_allows_all() -> None:
    masks = [{"action_mask": np.array([0, 1])}, {}, {"action_mask": np.zeros(2)}]
    script = lambda env, action: env.seen(info=masks[env.time - 1], terminated=env.time == 3)  # noqa: E731
    stepper = stepper_for(Scripted(script, lambda env: (np.zeros(2, np.float32), {"action_mask": np.array([1, 0])})))
    stepper.reset(0)
    seen = play(stepper, np.zeros((3, 1), int))
    assert [t.mask[0].tolist() for t in seen] == [[True, False], [False, True], [True, True]]
    assert seen[2].following_mask[0].tolist() == [True, True]
    assert stepper.mask[0].tolist() == [True, False]
    stepper.close()


def test_a_mask_says_nothing_of_a_box() -> None:
    env = Scripted(lambda env, action: env.seen(info={"action_mask": 1}), action_space=gym.spaces.Box(0.0, 1.0, (2,)))
    stepper = stepper_for(env)
    stepper.reset(0)
    assert stepper.step(np.zeros((1, 2))).following_mask is None
    assert stepper.mask is None
    stepper.close()
