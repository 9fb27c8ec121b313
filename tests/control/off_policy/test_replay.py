"""What is kept, against a list of what was put in."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kullback.control.envs.simulator import Transition
from kullback.control.envs.spaces import Actions, Observations
from kullback.control.off_policy import replay as r
from kullback.control.off_policy.replay import Columns, Replay

BOX = Columns(Observations((3,)), Actions("box", (2,), (), (-1.0,) * 2, (1.0,) * 2))
CHOICE = Columns(Observations((), 10), Actions("choice", (), (4,)), masked=True)


def on_device(replay):
    return jax.tree.map(jnp.asarray, replay)


def transitions(columns, n, rng):
    seen, done = columns.observations, columns.actions
    see = lambda: rng.integers(10, size=n) if seen.labels else rng.normal(size=(n, *seen.shape)).astype(np.float32)  # noqa: E731
    mask = lambda: rng.random((n, 4)) < 0.5 if columns.masked else None  # noqa: E731
    act = rng.integers(4, size=n) if done.is_discrete else rng.normal(size=(n, 2)).astype(np.float32)
    flag = lambda: rng.random(n) < 0.5  # noqa: E731
    reward = rng.normal(size=n).astype(np.float32)
    return Transition(see(), act, reward, flag(), flag(), see(), flag(), mask(), mask())


@pytest.mark.parametrize("columns", [BOX, CHOICE], ids=["box", "masked choice"])
def test_rows_are_read_as_they_were_written(columns, rng, precision):
    seen = transitions(columns, 7, rng)
    ended = seen.terminated.astype(precision)
    rows = columns.written(seen, ended)
    assert rows.shape == (7, columns.width)
    batch = columns.read(rows)
    np.testing.assert_array_equal(batch.observation, seen.observation)
    np.testing.assert_array_equal(batch.following, seen.following)
    np.testing.assert_array_equal(batch.action, seen.action)
    np.testing.assert_array_equal(batch.reward, seen.reward)
    np.testing.assert_array_equal(batch.ended, ended)
    np.testing.assert_array_equal(batch.weight, seen.valid)
    assert batch.reward.dtype == precision
    for kept, given in ((batch.mask, seen.mask), (batch.following_mask, seen.following_mask)):
        assert (kept is None) == (given is None)
        if given is not None:
            np.testing.assert_array_equal(kept, given)


def test_the_oldest_make_room():
    replay, kept = on_device(r.empty(12, 1)), []
    insert = jax.jit(r.inserted)
    for block in range(9):
        rows = np.arange(4 * block, 4 * block + 4, dtype=np.float32)[:, None]
        replay, kept = insert(replay, rows), (kept + rows[:, 0].tolist())[-12:]
        assert sorted(np.asarray(replay.rows[: int(replay.size), 0]).tolist()) == kept
        assert int(replay.count) == 4 * block + 4
    words = jax.random.bits(jax.random.key(0), (3, 400), jnp.uint32)
    found = np.asarray(r.drawn(replay, words))
    assert found.shape == (3, 400, 1)
    counts = np.unique(found, return_counts=True)
    assert counts[0].tolist() == kept
    # 12 counts of 1,200 draws within 4.5 standard errors: false alarms 1 in 12,000.
    assert np.abs(counts[1] - 100).max() < 4.5 * np.sqrt(1200 * 11 / 144)


def test_only_what_there_is_is_drawn():
    replay = r.inserted(on_device(r.empty(8, 1)), jnp.full((2, 1), 5.0))
    words = jax.random.bits(jax.random.key(1), (100,), jnp.uint32)
    assert (np.asarray(r.drawn(replay, words)) == 5.0).all()


@pytest.mark.parametrize("blocks", [1, 3, 8])
def test_the_latest_of_lanes_that_do_not_explore(blocks):
    lanes, past = 3, 4
    replay = on_device(r.empty(12, 2))
    steps = np.repeat(np.arange(2 * blocks), lanes)
    rows = np.stack([steps, np.tile(np.arange(lanes), 2 * blocks)], 1).astype(np.float32)
    for block in rows.reshape(blocks, 2 * lanes, 2):
        replay = r.inserted(replay, jnp.asarray(block))
    words = jax.random.bits(jax.random.key(2), (2, 300), jnp.uint32)
    found = {tuple(row) for row in np.asarray(r.latest(replay, words, lanes, 1, past)).astype(int).tolist()}
    first = max(0, 2 * blocks - past)
    assert found == {(step, lane) for step in range(first, 2 * blocks) for lane in (1, 2)}


def test_it_grows_as_it_fills():
    first, final = r.FIRST, 2_000_003
    assert r.capacity_for(0, 3_000, 7) == 3_003
    assert r.capacity_for(0, first + 1, 4) == first + 4
    assert r.capacity_for(0, final, 4) == first
    assert r.capacity_for(first, final, 4) == first * r.GROWTH
    assert r.capacity_for(first * r.GROWTH, final, 4) == final + 1
    replay = Replay(np.arange(6, dtype=np.float32).reshape(3, 2), np.int32(3))
    more = r.grown(replay, 5)
    np.testing.assert_array_equal(more.rows[:3], replay.rows)
    after = r.inserted(on_device(more), jnp.full((1, 2), 9.0))
    np.testing.assert_array_equal(after.rows[3], [9.0, 9.0])
    assert int(after.size) == 4
