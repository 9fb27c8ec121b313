"""What Gymnasium's spaces mean: observations as rows, and actions there and back."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces.utils import flatten

from kullback.control.envs.observations import (
    Mismatch,
    check,
    check_actions,
    empty_rows,
    read_batch,
    read_mask,
    reader_of,
    write_batch,
    writer_of,
)
from kullback.control.envs.spaces import Actions, actions_of, observations_of, read_observation, write_action
from kullback.errors import InputError

S = gym.spaces
BOXES = {
    "vector": S.Box(-1.0, 1.0, (3,), np.float32),
    "matrix": S.Box(-2.0, 2.0, (2, 3), np.float64),
    "scalar": S.Box(-1.0, 3.0, (), np.float32),
    "unbounded": S.Box(-np.inf, np.inf, (2,), np.float32),
    "half bounded": S.Box(np.array([0.0, -np.inf], np.float32), np.array([np.inf, 1.0], np.float32)),
    "half precision": S.Box(-1.0, 1.0, (2,), np.float16),
}
CHOICES = {
    "discrete": S.Discrete(4),
    "discrete from -3": S.Discrete(5, start=-3),
    "many": S.Discrete(1000, start=27),
    "multi": S.MultiDiscrete([3, 2, 4]),
    "multi with starts": S.MultiDiscrete([3, 2], start=[-1, 10]),
    "multi of 2 axes": S.MultiDiscrete([[2, 3], [4, 2]], start=[[0, 1], [2, 3]]),
    "multi of bytes": S.MultiDiscrete([200, 27], dtype=np.uint8, start=[50, 100]),
    "switches": S.MultiBinary(3),
    "switches of 2 axes": S.MultiBinary((2, 2)),
}
IMAGES = {
    "image": S.Box(0, 255, (4, 3, 3), np.uint8),
    "whole numbers": S.Box(-5, 5, (2,), np.int32),
}
CHOICES_TOGETHER = {
    "dict of choices": S.Dict(a=CHOICES["discrete from -3"], b=CHOICES["multi with starts"], c=CHOICES["switches"]),
    "nested choices": S.Tuple([S.Dict(x=CHOICES["multi of 2 axes"], y=S.Discrete(2)), S.Tuple([S.Discrete(3)])]),
}
BOXES_TOGETHER = {
    "tuple of boxes": S.Tuple([BOXES["scalar"], BOXES["matrix"]]),
    "nested boxes": S.Dict(b=S.Dict(z=BOXES["vector"], y=S.Tuple([BOXES["scalar"]])), a=BOXES["matrix"]),
}
MIXED = {
    "mixed": S.Dict(
        position=BOXES["vector"], where=S.Discrete(3, start=1), held=S.MultiBinary(2), seen=IMAGES["image"]
    ),
    "one of": S.OneOf([S.Discrete(3), S.Box(0.0, 1.0, (2,))]),
}
ACTIONS = BOXES | CHOICES | CHOICES_TOGETHER | BOXES_TOGETHER
OBSERVATIONS = ACTIONS | IMAGES | MIXED
named = lambda table: pytest.mark.parametrize("space", table.values(), ids=table.keys())  # noqa: E731


def samples(space: Any, count: int = 30) -> list[Any]:
    space.seed(7)
    return [space.sample() for _ in range(count)]


def ours(space: Any, action: Any) -> np.ndarray:
    """The inverse of `write_action`, written out once more."""
    if isinstance(space, S.Dict):
        return np.concatenate([np.ravel(ours(space[key], action[key])) for key in space])
    if isinstance(space, S.Tuple):
        return np.concatenate([np.ravel(ours(part, one)) for part, one in zip(space, action, strict=True)])
    start = space.start if isinstance(space, S.Discrete | S.MultiDiscrete) else 0
    dtype = np.float64 if isinstance(space, S.Box) else np.int64
    return np.asarray(action, dtype) - np.asarray(start, dtype)


@named(OBSERVATIONS)
def test_an_observation_becomes_a_row_of_the_stated_shape(space: Any) -> None:
    means = observations_of(space)
    for observation in samples(space):
        row = read_observation(space, observation)
        assert row.shape == means.shape
        if means.labels is not None:
            assert row.dtype == np.int32
            assert 0 <= row < means.labels
            assert row + space.start == observation
        else:
            assert row.dtype == np.float32
            np.testing.assert_array_equal(row.ravel(), np.asarray(flatten(space, observation), np.float32))
            assert len(means.low) == len(means.high) == row.size
            assert (row.ravel() >= np.array(means.low, np.float32)).all()
            assert (row.ravel() <= np.array(means.high, np.float32)).all()


@named(OBSERVATIONS)
def test_checked_reading_gives_the_same_rows(space: Any) -> None:
    rows, read = empty_rows(observations_of(space), 30), reader_of(space)
    seen = samples(space)
    for at, observation in enumerate(seen):
        read(rows, at, observation)
    np.testing.assert_array_equal(rows, [read_observation(space, one) for one in seen])


@named({name: space for name, space in OBSERVATIONS.items() if name != "one of"})  # Gymnasium batches no such space
def test_a_batch_of_observations_gives_the_same_rows(space: Any) -> None:
    seen = samples(space, 4)
    out = gym.vector.utils.create_empty_array(space, n=4, fn=np.zeros)
    batch = gym.vector.utils.concatenate(space, seen, out)
    rows = empty_rows(observations_of(space), 4)
    read_batch(space, gym.vector.utils.batch_space(space, 4), reader_of(space), rows, batch)
    np.testing.assert_array_equal(rows, [read_observation(space, one) for one in seen])


def test_rows_are_copies() -> None:
    space = BOXES["vector"]
    rows, seen = empty_rows(observations_of(space), 1), np.ones(3, np.float32)
    reader_of(space)(rows, 0, seen)
    seen[:] = 5.0
    np.testing.assert_array_equal(rows, 1.0)


@named(ACTIONS)
def test_actions_go_there_and_back(space: Any) -> None:
    means = actions_of(space)
    for action in samples(space):
        mine = ours(space, action).reshape(means.shape)
        written = write_action(space, mine)
        assert space.contains(written)
        assert type(written) is type(action) or isinstance(written, np.ndarray)
        np.testing.assert_array_equal(ours(space, written).reshape(means.shape), mine)


@named(ACTIONS)
def test_what_an_action_is_says_which_there_are(space: Any) -> None:
    means = actions_of(space)
    mine = np.array([ours(space, action).reshape(means.shape) for action in samples(space, 300)])
    if means.is_discrete:
        assert int(np.prod(means.shape)) == len(means.sizes)
        sizes = np.array(means.sizes).reshape(means.shape)
        assert ((mine >= 0) & (mine < sizes)).all()
        assert space.contains(write_action(space, 0 * sizes))
        assert space.contains(write_action(space, sizes - 1))
        assert not space.contains(write_action(space, sizes))
        assert means.exists.shape == (*means.shape, means.categories)
        np.testing.assert_array_equal(means.exists.sum(-1), sizes)
    else:
        low, high = means.bounds
        assert ((low <= mine) & (mine <= high)).all()
        assert means.is_bounded == bool(np.isfinite(low).all() and np.isfinite(high).all())
    assert np.asarray(means.support(mine)).all()
    assert hash(means) == hash(actions_of(space))
    assert str(means)


@named(ACTIONS)
def test_actions_of_all_lanes_are_written_as_each_alone(space: Any) -> None:
    means = actions_of(space)
    action = check_actions(means, 5, np.array([ours(space, one).reshape(means.shape) for one in samples(space, 5)]))
    written = list(writer_of(space)(action))
    for one, alone in zip(written, (write_action(space, row) for row in action), strict=True):
        assert space.contains(one)
        np.testing.assert_array_equal(ours(space, one), ours(space, alone))
    batch = write_batch(space, action)
    batched = gym.vector.utils.batch_space(space, 5)
    assert batched.contains(batch)
    for one, row in zip(gym.vector.utils.iterate(batched, batch), written, strict=True):
        np.testing.assert_array_equal(ours(space, one), ours(space, row))


def test_an_environment_may_overwrite_its_action() -> None:
    for space in (BOXES["vector"], BOXES["matrix"]):
        action = np.full((2, *space.shape), 0.5)
        for one in writer_of(space)(action):
            one *= 3.0
        np.testing.assert_array_equal(action, 0.5)


@pytest.mark.parametrize(
    "space",
    [S.Text(4), S.Sequence(S.Discrete(2)), S.Graph(S.Box(0.0, 1.0, (2,)), None), S.Tuple(()), S.Dict({}),
     S.Dict(a=S.Discrete(2), b=S.Text(3)), S.Tuple([S.Dict(a=S.Sequence(S.Discrete(2)))]), S.Space((2,), np.float32)],
    ids=["text", "sequence", "graph", "empty tuple", "empty dict", "text within", "sequence within", "unknown"],
)  # fmt: skip
def test_observations_without_a_fixed_size(space: Any) -> None:
    with pytest.raises(InputError, match=r"Some-v0 (is no array of a fixed size|holds nothing).*gymnasium.wrappers"):
        observations_of(space, "Some-v0")


@pytest.mark.parametrize(
    ("space", "words"),
    [
        (S.Text(4), "is none of Box, Discrete"),
        (S.OneOf([S.Discrete(2)]), "is none of Box, Discrete"),
        (S.Tuple([S.Discrete(2), S.Text(3)]), "is none of Box, Discrete"),
        (S.Box(0, 3, (2,), np.int32), "Box of whole numbers; gymnasium.*MultiDiscrete"),
        (S.Dict(a=S.Discrete(2), b=S.Box(0.0, 1.0)), "mixes choices and real numbers; gymnasium"),
        (S.Tuple(()), "is empty; give it a part"),
        (S.Dict({}), "is empty; give it a part"),
    ],
    ids=["text", "one of", "text within", "whole numbers", "mixed", "empty tuple", "empty dict"],
)
def test_actions_that_no_policy_has(space: Any, words: str) -> None:
    with pytest.raises(InputError, match=f"of Some-v0 .*{words}"):
        actions_of(space, "Some-v0")


@pytest.mark.parametrize(
    ("space", "observation", "words"),
    [
        (BOXES["vector"], np.zeros(4, np.float32), r"shape \(4,\), and its space has \(3,\)"),
        (BOXES["vector"], np.float32(1.0), r"shape \(\), and its space has \(3,\)"),
        (BOXES["vector"], np.zeros(3, complex), "dtype complex128, and its space has float32"),
        (BOXES["vector"], ["a", "b", "c"], "dtype <U1, and its space has float32"),
        (BOXES["vector"], None, r"shape \(\)"),
        (BOXES["vector"], [[1.0], [2.0, 3.0]], "which is no array"),
        (IMAGES["image"], np.zeros((4, 3, 3)), "dtype float64, and its space has uint8"),
        (CHOICES["discrete"], 4, r"observation 4, and its space is Discrete\(4\)"),
        (CHOICES["discrete"], -1, r"observation -1, and its space is Discrete\(4\)"),
        (CHOICES["discrete"], 1.0, r"observation 1.0, and its space is Discrete\(4\)"),
        (CHOICES["discrete"], np.array([1, 2]), r"its space is Discrete\(4\)"),
        (CHOICES["discrete from -3"], 2, "observation 2"),
        (CHOICES["multi with starts"], np.array([2, 10]), r"\[2, 10\], and its space is MultiDiscrete"),
        (CHOICES["switches"], np.array([0, 2, 0]), r"\[0, 2, 0\], and its space is MultiBinary"),
        (CHOICES["switches"], np.array([0.0, 0.5, 0.0]), "dtype float64, and its space has int8"),
        (MIXED["mixed"], {"position": np.zeros(3)},
         r"the keys \['position'\], and its space has the keys \['position', 'where'"),
        (MIXED["mixed"], np.zeros(3), "of ndarray, and its space has the keys"),
        (BOXES_TOGETHER["tuple of boxes"], (1.0,), "and its space has 2 parts"),
        (BOXES_TOGETHER["tuple of boxes"], (1.0, np.zeros(2)), r"observation\[1\] of shape \(2,\)"),
        (BOXES_TOGETHER["nested boxes"],
         {"a": np.zeros((2, 3)), "b": {"z": np.zeros(2), "y": (0.0,)}}, r"observation\['b'\]\['z'\] of shape \(2,\)"),
    ],
)  # fmt: skip
def test_observations_that_do_not_fit_their_space(space: Any, observation: Any, words: str) -> None:
    with pytest.raises(Mismatch, match=words):
        reader_of(space)(empty_rows(observations_of(space), 1), 0, observation)


def test_harmless_differences_pass() -> None:
    check(BOXES["vector"], [1, 2, 3])
    check(BOXES["vector"], np.full(3, 9.0, np.float64))  # beyond the bounds, and of double precision
    check(BOXES["unbounded"], np.array([True, False]))
    check(MIXED["mixed"], {**samples(MIXED["mixed"], 1)[0], "more": 1})
    rows = empty_rows(observations_of(CHOICES["discrete"]), 1)
    for label in (2, np.int8(2), np.array(2)):
        reader_of(CHOICES["discrete"])(rows, 0, label)
        assert rows[0] == 2


@pytest.mark.parametrize(
    ("name", "mask", "flags"),
    [
        ("discrete", np.array([0, 1, 1, 0], np.int8), [[0, 1, 1, 0]]),
        ("discrete", [True, False, False, False], [[1, 0, 0, 0]]),
        ("multi", (np.array([1, 0, 1]), np.array([0, 1]), None), [[1, 0, 1], [0, 1], [1] * 4]),
        ("multi", np.array([1, 0, 1, 0, 1, 1, 1, 1, 0], bool), [[1, 0, 1], [0, 1], [1, 1, 1, 0]]),
        ("multi", [1, 0, 1, 0, 1, 1, 1, 1, 0], [[1, 0, 1], [0, 1], [1, 1, 1, 0]]),
        ("multi of 2 axes", ((np.array([1, 0]), np.array([1, 1, 0])), (np.array([0, 0, 1, 1]), np.array([0, 1]))),
         [[1, 0], [1, 1, 0], [0, 0, 1, 1], [0, 1]]),
        ("switches", np.array([0, 1, 2], np.int8), [[1, 0], [0, 1], [1, 1]]),
        ("switches", np.array([1, 0, 0, 1, 1, 1], bool), [[1, 0], [0, 1], [1, 1]]),
        ("dict of choices",
         {"a": np.array([1, 0, 0, 0, 1], np.int8), "b": (np.array([1, 1, 0]), np.array([0, 1])), "c": None},
         [[1, 0, 0, 0, 1], [1, 1, 0], [0, 1], [1, 1], [1, 1], [1, 1]]),
        ("dict of choices", np.array([1, 0, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 1, 1]),
         [[1, 0, 0, 0, 1], [1, 1, 0], [0, 1], [1, 1], [1, 0], [1, 1]]),
        ("nested choices", ({"x": None, "y": np.array([0, 1])}, (np.array([1, 0, 1]),)),
         [[1] * 2, [1] * 3, [1] * 4, [1] * 2, [0, 1], [1, 0, 1]]),
    ],
)  # fmt: skip
def test_masks(name: str, mask: Any, flags: list[list[int]]) -> None:
    space = ACTIONS[name]
    actions = actions_of(space)
    allowed = read_mask(space, actions, mask)
    assert allowed.dtype == bool
    assert allowed.shape == actions.exists.shape
    for row, wanted in zip(allowed.reshape(-1, actions.categories), flags, strict=True):
        assert row.tolist() == [bool(x) for x in wanted] + [False] * (actions.categories - len(wanted))


@pytest.mark.parametrize(
    ("name", "mask"),
    [("discrete", np.ones(3)), ("discrete", "all"), ("multi", np.ones(4)), ("multi", (np.ones(3), np.ones(2))),
     ("multi", (np.ones(3), np.ones(2), np.ones(9))), ("dict of choices", {"a": None}), ("multi of 2 axes", (1, 2))],
)  # fmt: skip
def test_masks_that_do_not_fit(name: str, mask: Any) -> None:
    with pytest.raises(Mismatch, match="which does not fit the action space"):
        read_mask(ACTIONS[name], actions_of(ACTIONS[name]), mask)


@pytest.mark.parametrize(
    ("name", "mask"),
    [("discrete", np.zeros(4, np.int8)), ("multi", (np.ones(3), np.zeros(2), None)), ("switches", np.zeros(6))],
)
def test_masks_that_allow_nothing(name: str, mask: Any) -> None:
    with pytest.raises(Mismatch, match="allows nothing"):
        read_mask(ACTIONS[name], actions_of(ACTIONS[name]), mask)


def test_actions_are_checked() -> None:
    box = Actions("box", (2,), (), (0.0, 0.0), (1.0, 1.0))
    with pytest.raises(InputError, match=r"action: the shape is \(3, 2\); pass actions \[4 lanes"):
        check_actions(box, 4, np.zeros((3, 2)))
    with pytest.raises(InputError, match=r"not finite.*diverged"):
        check_actions(box, 1, np.array([[0.0, np.nan]]))
    assert check_actions(box, 1, [[0, 5]]).dtype == np.float64  # nothing is clipped
