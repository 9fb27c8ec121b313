"""Vector environments in each of the three ways of resetting, beside single environments of the same seeds."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from tests.control.envs.scripted import LINE, Scripted

from kullback.control.envs.lane import seed_of
from kullback.control.envs.simulator import Transition
from kullback.control.envs.spaces import read_observation, write_action
from kullback.control.envs.stepping import GivenVector, stepper_for
from kullback.errors import EnvironmentFault, InputError

LANES, STEPS = 3, 100
MODES = list(AutoresetMode)
every_mode = pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])
PARTS = gym.spaces.Dict(at=LINE, on=gym.spaces.Tuple([gym.spaces.Discrete(9, start=1), gym.spaces.MultiBinary(2)]))
MOVES = gym.spaces.Tuple([gym.spaces.Discrete(2, start=5), gym.spaces.MultiDiscrete([2, 3])])


def parts(env: Any, action: Any) -> Any:
    at = np.array([env.noise, env.time + int(action[0]) + int(action[1][1])], np.float32)
    seen = {"at": at, "on": (1 + env.time % 9, np.array([env.time % 2, 1], np.int8))}
    return env.seen(observation=seen, reward=env.noise * env.time, terminated=env.time == 4 + int(10 * env.noise))


def parts_start(env: Any) -> Any:
    return {"at": np.array([env.noise, 0.0], np.float32), "on": (1, np.zeros(2, np.int8))}, {}


def label(env: Any, action: Any) -> Any:
    return env.seen(observation=env.time % 4 - 2, truncated=env.time == 5, terminated=env.noise < 0.02 * env.time)


MAKERS: dict[str, Callable[[], gym.Env]] = {
    "CartPole-v1": lambda: gym.make("CartPole-v1", disable_env_checker=True),
    "Pendulum-v1": lambda: gym.make("Pendulum-v1", max_episode_steps=7, disable_env_checker=True),
    "FrozenLake-v1": lambda: gym.make("FrozenLake-v1", disable_env_checker=True),
    "Taxi-v4": lambda: gym.make("Taxi-v4", max_episode_steps=20, disable_env_checker=True),
    "parts": lambda: Scripted(parts, parts_start, PARTS, MOVES),
    "labels": lambda: Scripted(label, lambda env: (-2, {}), gym.spaces.Discrete(4, start=-2)),
}


def actions_for(facts: Any, steps: int = STEPS) -> np.ndarray:
    """A script of actions for each lane [lanes, steps, *shape]."""
    rng, shape = np.random.default_rng(3), (LANES, steps, *facts.actions.shape)
    if facts.actions.is_discrete:
        return rng.integers(0, np.array(facts.actions.sizes).reshape(facts.actions.shape), size=shape)
    return rng.uniform(*facts.actions.bounds, size=shape).astype(np.float32)


def play(stepper: Any, script: np.ndarray) -> list[list[Transition]]:
    """The valid transitions of every lane that plays its own script; an action that is ignored is not used up."""
    lanes: list[list[Transition]] = [[] for _ in range(stepper.lanes)]
    while min(map(len, lanes)) < script.shape[1]:
        used = [min(len(lane), script.shape[1] - 1) for lane in lanes]
        seen = stepper.step(np.array([script[at, n] for at, n in enumerate(used)]))
        for at, lane in enumerate(lanes):
            if seen.valid[at]:
                lane.append(Transition(*(None if part is None else part[at] for part in seen)))
            else:
                assert seen.reward[at] == 0
                assert not seen.terminated[at]
                assert not seen.truncated[at]
    return [lane[: script.shape[1]] for lane in lanes]


def alone(make: Callable[[], gym.Env], seed: int, actions: np.ndarray) -> list[tuple[Any, ...]]:
    """What one environment does that is reset at the end of each episode, without a seed."""
    env, rows = make(), []
    space = env.observation_space
    observation, info = env.reset(seed=seed)
    for action in actions:
        before, mask = read_observation(space, observation), info.get("action_mask")
        observation, reward, terminated, truncated, info = env.step(write_action(env.action_space, action))
        rows.append((before, reward, terminated, truncated, read_observation(space, observation), mask))
        if terminated or truncated:
            observation, info = env.reset()
    return rows


@every_mode
@pytest.mark.parametrize("name", MAKERS)
def test_the_valid_transitions_are_those_of_single_environments(name: str, mode: AutoresetMode) -> None:
    stepper = stepper_for(SyncVectorEnv([MAKERS[name]] * LANES, autoreset_mode=mode))
    script = actions_for(stepper.facts)
    stepper.reset(9)
    ends = 0
    for at, lane in enumerate(play(stepper, script)):
        wanted = alone(MAKERS[name], seed_of(9, 0, 0) + at, script[at])
        for seen, (before, reward, terminated, truncated, following, mask) in zip(lane, wanted, strict=True):
            assert seen.observation.tobytes() == before.tobytes()
            assert seen.following.tobytes() == following.tobytes()
            assert (seen.reward, seen.terminated, seen.truncated) == (reward, terminated, truncated)
            assert (mask is None) == (seen.mask is None)
            if mask is not None:
                np.testing.assert_array_equal(seen.mask, mask)
            ends += terminated or truncated
        for seen, after in pairwise(lane):
            if not (seen.terminated or seen.truncated):
                np.testing.assert_array_equal(seen.following, after.observation)
                if seen.mask is not None:
                    np.testing.assert_array_equal(seen.following_mask, after.mask)
    assert ends > 3
    stepper.close()


@every_mode
def test_following_masks_of_episodes_that_end(mode: AutoresetMode) -> None:
    """The mask allows action 1 after an odd number of steps, and nothing at all where the episode terminates."""

    def masked(env: Any, action: Any) -> Any:
        over = {"terminated": env.time == 2} if env.episode % 2 else {"truncated": env.time == 2}
        last = env.time == 2 and env.episode % 2
        return env.seen(info={"action_mask": np.array([not env.time % 2, env.time % 2]) * (not last)}, **over)

    make = lambda: Scripted(masked, lambda env: (np.zeros(2, np.float32), {"action_mask": np.array([1, 0])}))  # noqa: E731
    stepper = stepper_for(SyncVectorEnv([make] * LANES, autoreset_mode=mode))
    stepper.reset(0)
    for lane in play(stepper, np.zeros((LANES, 8), int)):
        assert [seen.mask.tolist() for seen in lane] == [[True, False], [False, True]] * 4
        ends = [[True, True], [True, False]] * 2
        assert [seen.following_mask.tolist() for seen in lane] == [x for end in ends for x in ([False, True], end)]
    stepper.close()


def test_the_dead_transition_of_next_step() -> None:
    make = lambda: Scripted(lambda env, action: env.seen(terminated=env.time == 2))  # noqa: E731
    stepper = stepper_for(SyncVectorEnv([make], autoreset_mode=AutoresetMode.NEXT_STEP))
    stepper.reset(0)
    seen = [stepper.step(np.zeros(1, int)) for _ in range(7)]
    assert [bool(t.valid[0]) for t in seen] == [True, True, False, True, True, False, True]
    assert [t.observation[0, 1] for t in seen] == [0, 1, 2, 0, 1, 2, 0]
    assert [t.following[0, 1] for t in seen] == [1, 2, 0, 1, 2, 0, 1]
    stepper.reset(0)
    assert stepper.step(np.zeros(1, int)).valid[0]
    stepper.close()


def test_a_vector_environment_of_its_own_kind() -> None:
    """CartPole's, which is no list of single environments, beside its own loop."""
    env, twin = (gym.make_vec("CartPole-v1", num_envs=4, vectorization_mode="vector_entry_point") for _ in range(2))
    stepper = stepper_for(env)
    assert isinstance(stepper, GivenVector)
    assert (stepper.facts.name, stepper.facts.limit, stepper.lanes) == ("CartPole-v1", 500, 4)
    stepper.reset(2)
    observation, _ = twin.reset(seed=seed_of(2, 0, 0))
    rng, dead, ends = np.random.default_rng(0), np.zeros(4, bool), 0
    for _ in range(200):
        action = rng.integers(0, 2, 4)
        seen = stepper.step(action)
        np.testing.assert_array_equal(seen.observation, observation)
        observation, reward, terminated, truncated, _ = twin.step(action)
        np.testing.assert_array_equal(seen.following, observation)
        np.testing.assert_array_equal(seen.reward, reward)
        np.testing.assert_array_equal(seen.terminated, terminated)
        np.testing.assert_array_equal(seen.valid, ~dead)
        dead = terminated | truncated
        ends += dead.sum()
    assert ends > 10
    stepper.close()


def test_environments_in_other_processes() -> None:
    env = AsyncVectorEnv([MAKERS["CartPole-v1"]] * LANES, context="spawn", autoreset_mode=AutoresetMode.SAME_STEP)
    try:
        stepper = stepper_for(env)
        assert stepper.facts.name == "CartPole-v1"
        script = actions_for(stepper.facts, 60)
        stepper.reset(1)
        for at, lane in enumerate(play(stepper, script)):
            wanted = alone(MAKERS["CartPole-v1"], seed_of(1, 0, 0) + at, script[at])
            for seen, (before, _, terminated, _, following, _) in zip(lane, wanted, strict=True):
                np.testing.assert_array_equal(seen.observation, before)
                np.testing.assert_array_equal(seen.following, following)
                assert seen.terminated == terminated
        stepper.close()
    finally:
        env.close()


def test_what_was_given_out_is_never_written_again() -> None:
    env = SyncVectorEnv([MAKERS["CartPole-v1"]] * LANES, copy=False)
    stepper = stepper_for(env)
    stepper.reset(0)
    seen = [stepper.step(np.zeros(LANES, int)) for _ in range(5)]
    for one, after in pairwise(seen):
        np.testing.assert_array_equal(one.following, after.observation)
        assert not (one.following == after.following).all()
    stepper.close()


class Batched(gym.vector.VectorEnv):
    """Two lanes whose `changes` say what a step returns."""

    def __init__(self, mode: Any, **changes: Any) -> None:
        self.metadata, self.num_envs, self.changes = {"autoreset_mode": mode}, 2, changes
        self.single_observation_space, self.single_action_space = LINE, gym.spaces.Discrete(2)
        self.observation_space, self.action_space = (
            gym.vector.utils.batch_space(space, 2)
            for space in (self.single_observation_space, self.single_action_space)
        )

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        return np.zeros((2, 2), np.float32), {}

    def step(self, actions: Any) -> Any:
        usual = {"observation": np.ones((2, 2), np.float32), "rewards": np.ones(2),
                 "terminated": np.zeros(2, bool), "truncated": np.zeros(2, bool), "info": {}}  # fmt: skip
        return tuple((usual | self.changes).values())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rewards": np.array([1.0, np.nan])}, "gave in lane 1 the reward nan"),
        ({"rewards": np.array([1e39, 1.0])}, r"gave in lane 0 the reward 1e\+39"),
        ({"rewards": np.ones(3)}, "which are not 2 numbers"),
        ({"rewards": np.array(["a", "b"])}, "which are not 2 numbers"),
        ({"terminated": np.zeros(3, bool)}, "flags .* which are not 2"),
        ({"observation": np.array([[0.0, 0.0], [0.0, np.inf]], np.float32)},
         r"in lane 1 an observation that is inf at \[1\]"),
        ({"observation": np.zeros((3, 2), np.float32)}, r"of shape \(3, 2\), and its space has \(2, 2\)"),
        ({"observation": np.zeros((2, 2), complex)}, "of dtype complex128"),
        ({"terminated": np.array([True, False])}, r'no info\["final_obs"\] in the step that ended an episode'),
        ({"terminated": np.array([True, False]), "info": {"final_obs": np.array([np.full(2, np.nan), None], object)}},
         "an observation that is nan"),
        ({"terminated": np.array([True, False]), "info": {"final_obs": np.full((2, 2), np.nan)}},
         "observation that is nan"),
        ({"terminated": np.array([True, False]), "info": {"final_obs": np.array([None, None], object)}}, r"shape \(\)"),
    ],
)  # fmt: skip
def test_faults(changes: dict[str, Any], words: str) -> None:
    stepper = stepper_for(Batched(AutoresetMode.SAME_STEP, **changes))
    stepper.reset(6)
    place = rf", in step 1 \(seed {seed_of(6, 0, 0)}\); correct"
    with pytest.raises(EnvironmentFault, match=f"env: Batched .*{words}.*{place}"):
        stepper.step(np.zeros(2, int))
    with pytest.raises(EnvironmentFault, match=r"has not been reset.*call reset\(seed\)"):
        stepper.step(np.zeros(2, int))
    stepper.close()


def test_a_batch_of_final_observations() -> None:
    info = {"final_obs": np.array([[3.0, 4.0], [np.nan, np.nan]])}  # the other lane goes on
    stepper = stepper_for(Batched("SameStep", terminated=np.array([True, False]), info=info))
    stepper.reset(0)
    seen = stepper.step(np.zeros(2, int))
    np.testing.assert_array_equal(seen.following, [[3.0, 4.0], [1.0, 1.0]])
    np.testing.assert_array_equal(stepper.observation, 1.0)
    stepper.close()


@every_mode
def test_an_environment_that_raises(mode: AutoresetMode) -> None:
    def script(env: Any, action: Any) -> Any:
        raise ZeroDivisionError("the wheel came off")

    stepper = stepper_for(SyncVectorEnv([lambda: Scripted(script)] * 2, autoreset_mode=mode))
    stepper.reset(0)
    with pytest.raises(EnvironmentFault, match=r"raised ZeroDivisionError \(the wheel came off\), in step 1"):
        stepper.step(np.zeros(2, int))
    stepper.close()


@pytest.mark.parametrize("mode", [None, "sometimes", 3])
def test_ways_of_resetting_that_nobody_knows(mode: Any) -> None:
    with pytest.raises(InputError, match=r"env: Batched states no way of resetting.*AutoresetMode"):
        stepper_for(Batched(mode))


def test_a_step_before_the_first_reset() -> None:
    stepper = stepper_for(Batched("NextStep"))
    with pytest.raises(EnvironmentFault, match="has not been reset"):
        stepper.step(np.zeros(2, int))
    with pytest.raises(InputError, match="seed: -3"):
        stepper.reset(-3)
    stepper.close()


def test_restoring_starts_fresh_episodes_and_says_so() -> None:
    stepper = stepper_for(gym.make_vec("CartPole-v1", num_envs=2))
    stepper.reset(5)
    first = stepper.observation
    for _ in range(10):
        stepper.step(np.zeros(2, int))
    state = stepper.state()
    runs = []
    for _ in range(2):
        words = stepper.restore(state)
        runs.append([stepper.observation, *(stepper.step(np.zeros(2, int)).following for _ in range(5))])
    assert words == (
        "all 2 environments of CartPole-v1 start fresh episodes: the state of a vector environment cannot be saved"
    )
    np.testing.assert_array_equal(runs[0], runs[1])  # determined all the same
    assert not (runs[0][0] == first).all()  # and not the episodes that it began with
    stepper.close()
