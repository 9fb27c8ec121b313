"""RunningMoments moments against those of all rows at once."""

import numpy as np

from kullback.control.learning.policy import KNOWN, RunningMoments, at_start, merged, scale_of


def test_blocks_add_up(rng, precision):
    rows = (5.0 + 3.0 * rng.normal(size=(60, 2))).astype(precision)
    weights = (rng.random(60) < 0.8).astype(precision)
    seen = at_start(np.zeros(2), np.ones(2))
    for part in np.split(np.arange(60), 4):
        seen = merged(seen, rows[part], weights[part])
    kept = rows[weights > 0]
    np.testing.assert_allclose(seen.count, len(kept))
    np.testing.assert_allclose(seen.mean, kept.mean(0), rtol=1e-5)
    np.testing.assert_allclose(seen.scale, kept.std(0), rtol=1e-4)


def test_nothing_seen_counts_for_nothing(rng):
    rows = rng.normal(7.0, 2.0, (10, 1)).astype(np.float32)
    seen = merged(at_start(np.zeros(1), np.ones(1)), rows, np.ones(10, np.float32))
    np.testing.assert_allclose(seen.mean, rows.mean(0), rtol=1e-5)
    np.testing.assert_allclose(seen.variance, rows.var(0), rtol=1e-4)


def test_a_scaling_that_was_learned_is_kept(rng):
    known = at_start(np.full(1, 3.0), np.full(1, 2.0))
    assert known.count == KNOWN
    seen = merged(known, rng.normal(size=(10, 1)).astype(np.float32), np.ones(10, np.float32))
    np.testing.assert_allclose(seen.mean, 3.0, atol=0.01)


def test_the_past_counts_for_at_most_so_much():
    past = RunningMoments(np.float32(1e6), np.zeros(1, np.float32), np.ones(1, np.float32))
    rows = np.full((10, 1), 4.0, np.float32)
    np.testing.assert_allclose(merged(past, rows, np.ones(10, np.float32), most=10.0).mean, 2.0, rtol=1e-6)


def test_dead_rows_change_nothing():
    past = RunningMoments(np.float32(5.0), np.full(1, 2.0, np.float32), np.ones(1, np.float32))
    after = merged(past, np.full((3, 1), 9.0, np.float32), np.zeros(3, np.float32))
    np.testing.assert_array_equal(after.mean, past.mean)
    np.testing.assert_array_equal(after.variance, past.variance)


def test_what_never_varies_has_scale_one():
    np.testing.assert_array_equal(scale_of(np.array([0.0, 4.0]), np), [1.0, 2.0])
