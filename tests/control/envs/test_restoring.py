"""Environments that go on from where they stood."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from tests.control.envs.plays import actions_for, play, same
from tests.control.envs.scripted import LINE, TWO, Scripted, registered

from kullback.control.envs.stepping import stepper_for
from kullback.errors import EnvironmentFault
from kullback.runtime.files import read, write


def endless(env: Any, action: Any) -> Any:
    return env.seen(observation=np.array([env.noise, env.time + action], np.float32))


def composite(env: Any, action: Any) -> Any:
    seen = {"at": np.array([env.noise, env.time], np.float32), "up": int(action["up"])}
    return env.seen(observation=seen, terminated=env.time == 9, info={"action_mask": {"up": None, "push": None}})


PARTS = gym.spaces.Dict(at=LINE, up=TWO), gym.spaces.Dict(up=TWO, push=gym.spaces.MultiBinary(2))


def composite_start(env: Any) -> Any:
    seen = {"at": np.array([env.noise, 0.0], np.float32), "up": 0}
    return seen, {"action_mask": {"up": None, "push": None}}


@pytest.mark.parametrize(
    ("name", "lanes", "steps"),
    [("CartPole-v1", 3, 100), ("CartPole-v1", 3, 0), ("Pendulum-v1", 2, 150), ("FrozenLake-v1", 5, 77),
     ("Taxi-v4", 2, 60), ("endless", 2, 700), ("composite", 2, 31)],
)  # fmt: skip
def test_a_run_that_is_saved_and_restored_goes_on_bit_for_bit(
    name: str, lanes: int, steps: int, tmp_path: Path
) -> None:
    with registered(lambda: Scripted(endless), "endless"), registered(
        lambda: Scripted(composite, composite_start, *PARTS), "composite"
    ):  # fmt: skip
        whole, resumed = stepper_for(name, lanes), stepper_for(name, lanes)
        whole.reset(11)
        actions = actions_for(whole, steps + 250)
        play(whole, actions[:steps])
        write(tmp_path / "state", {}, whole.state())
        assert resumed.restore(read(tmp_path / "state")[1]) == ""
        assert resumed.observation.tobytes() == whole.observation.tobytes()
        assert (resumed.mask is None) == (whole.mask is None)
        assert resumed.mask is None or (resumed.mask == whole.mask).all()
        ahead, behind = play(whole, actions[steps:]), play(resumed, actions[steps:])
        assert all(map(same, ahead, behind))
        for key, value in whole.state().items():
            np.testing.assert_array_equal(resumed.state()[key], value)
        whole.close()
        resumed.close()


def test_a_state_is_not_written_by_later_steps() -> None:
    stepper = stepper_for("CartPole-v1", 2)
    stepper.reset(0)
    actions = actions_for(stepper)
    play(stepper, actions[:20])
    state = stepper.state()
    kept = {key: value.copy() for key, value in state.items()}
    play(stepper, actions[20:])
    for key, value in kept.items():
        np.testing.assert_array_equal(state[key], value)
    stepper.close()


def test_what_the_seed_does_not_determine_starts_afresh_and_is_said() -> None:
    count = iter(range(10_000))

    def script(env: Any, action: Any) -> Any:
        drift = float(next(count)) if env.noise > 0.5 else 0.0  # half the episodes depend on something else
        return env.seen(observation=np.array([env.noise, env.time + drift], np.float32))

    with registered(lambda: Scripted(script)) as name:
        stepper = stepper_for(name, 20)
        stepper.reset(0)
        play(stepper, np.zeros((3, 20), int))
        state = stepper.state()
        drifting = state["observation"][:, 0] > 0.5
        words = stepper.restore(state)
        assert words.startswith(f"{drifting.sum()} of 20 environments of Scripted-v0 start fresh episodes")
        assert (stepper.observation[drifting, 1] == 0.0).all()
        assert (stepper.observation[drifting, 0] != state["observation"][drifting, 0]).all()
        np.testing.assert_array_equal(stepper.observation[~drifting], state["observation"][~drifting])
        np.testing.assert_array_equal(stepper.state()["episodes"], drifting)
        np.testing.assert_array_equal(stepper.state()["lengths"], np.where(drifting, 0, 3))
        stepper.step(np.zeros(20, int))
        stepper.close()


def test_an_episode_that_ends_sooner_or_raises_when_played_again_starts_afresh() -> None:
    for again in ("end", "raise"):
        late: list[str] = []

        def script(env: Any, action: Any, late: list[str] = late) -> Any:
            if late == ["raise"] and env.time == 2:
                raise ZeroDivisionError
            return env.seen(terminated=late == ["end"] and env.time == 2)

        stepper = stepper_for(Scripted(script))
        stepper.reset(0)
        play(stepper, np.zeros((3, 1), int))
        late.append(again)
        assert stepper.restore(stepper.state()).startswith("1 of 1 environments of Scripted start fresh")
        stepper.close()


def test_a_state_of_other_environments() -> None:
    two, three = stepper_for("CartPole-v1", 2), stepper_for("CartPole-v1", 3)
    two.reset(4)
    words = three.restore(two.state())
    assert words == "all 3 environments of CartPole-v1 start fresh episodes: the 2 saved ones are others"
    three.step(np.zeros(3, int))
    two.close()
    three.close()


def test_two_steppers_may_share_one_environment() -> None:
    env = Scripted(endless)
    one, other, alone = stepper_for(env), stepper_for(env), stepper_for(Scripted(endless))
    actions = actions_for(one, 30)
    one.reset(0)
    alone.reset(0)
    seen = []
    for at, action in enumerate(actions):
        seen.append(one.step(action))
        if at % 10 == 3:
            other.reset(at)
            play(other, actions[:7])
    assert all(map(same, seen, play(alone, actions)))
    for each in (one, other, alone):
        each.close()


def test_an_environment_that_does_not_come_back_from_another_stepper_is_a_fault() -> None:
    count = iter(range(10_000))
    env = Scripted(lambda env, action: env.seen(observation=np.array([0.0, next(count)], np.float32)))
    one, other = stepper_for(env), stepper_for(env)
    one.reset(0)
    one.step(np.zeros(1, int))
    other.reset(0)
    with pytest.raises(EnvironmentFault, match=r"did not come back to where it stood.*call reset"):
        one.step(np.zeros(1, int))
    one.close()
    other.close()
