"""Single environments side by side: what a step says, what restoring brings back, and what is a fault."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from tests.control.simulators.scripted import LINE, TWO, Scripted, registered

from kullback.control.simulators.memory import seed_of
from kullback.control.simulators.simulator import Stepper, Transition
from kullback.control.simulators.stepping import SingleEnvironments, facts_of, stepper_for
from kullback.control.simulators.vector import GivenVector
from kullback.errors import EnvironmentFault, InputError
from kullback.files import read, write

STEPS = 120


@pytest.fixture
def stepper(request: pytest.FixtureRequest) -> Iterator[Stepper]:
    env, lanes = request.param
    made = stepper_for(env, lanes)
    yield made
    made.close()


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


# What is wrong with an environment


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
         r"raised ValueError \(not enough values to unpack"),
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
        (lambda env: np.zeros(2, np.float32), r"gave an observation of shape \(\)"),
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


# Going on from where it stood


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


# Which environments there are


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
