"""Weighted means and scales in blocks, against NumPy; and what a conditional takes from its pairs."""

import tracemalloc

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.families.initialisation import scaling
from kullback.families.initialisation.scaling import mean_and_scale
from kullback.known import describe


@pytest.mark.parametrize("weighted", [False, True])
def test_a_memory_mapped_table_is_read_in_blocks(weighted, rng, tmp_path, monkeypatch):
    monkeypatch.setattr(scaling, "BLOCK_BYTES", 2**16)
    values = rng.normal(size=(50_000, 10)).astype(np.float32) * np.float32(3.0) + np.arange(10, dtype=np.float32)
    values.tofile(tmp_path / "x")
    table = np.memmap(tmp_path / "x", np.float32, "r", shape=values.shape)
    weights = rng.exponential(size=50_000) * (rng.random(50_000) > 0.3) if weighted else None
    tracemalloc.start()
    mean, scale = mean_and_scale(table, weights)
    assert tracemalloc.get_traced_memory()[1] < values.nbytes / 2
    tracemalloc.stop()
    want = np.average(values.astype(np.float64), axis=0, weights=weights)
    np.testing.assert_allclose(mean, want, rtol=1e-12)
    variance = np.average((values - want) ** 2, axis=0, weights=weights)
    np.testing.assert_allclose(scale, np.sqrt(variance), rtol=1e-12)


def test_a_constant_column_has_scale_1_and_a_far_one_keeps_its_own(rng, monkeypatch):
    monkeypatch.setattr(scaling, "BLOCK_BYTES", 800)
    far = 1e9 + rng.integers(0, 2, 500)
    values = np.stack([np.full(500, 0.1), far, np.full(500, 1e30)], 1)
    weights = rng.exponential(size=500)
    mean, scale = mean_and_scale(values, weights)
    np.testing.assert_array_equal(scale[[0, 2]], 1.0)
    np.testing.assert_array_equal(mean[[0, 2]], [0.1, 1e30])
    share = np.average(far - 1e9, weights=weights)
    np.testing.assert_allclose(scale[1], np.sqrt(share * (1 - share)), rtol=1e-9)


LAWS = [
    kl.Conditional(kl.Linear(), dist.Normal),
    kl.Conditional(kl.Linear(), dist.Weibull),
    kl.Conditional(kl.Linear(), kl.Mixture(kl.Family(dist.Gamma), 3)),
    kl.Conditional(kl.Linear(), dist.NegativeBinomial2),
    kl.Conditional(kl.Linear(), dist.Categorical),
    kl.Conditional(kl.Linear(), dist.MultivariateNormal),
]


@pytest.mark.parametrize("conditional", LAWS, ids=repr)
def test_rows_of_weight_0_do_not_count(conditional, rng):
    n = 300
    x, weights = rng.normal(size=(n, 2)), rng.exponential(size=n)
    y = rng.gamma(2.0, 3.0, n)
    if "Multivariate" in repr(conditional):
        y = rng.normal(size=(n, 2))
    elif "Binomial" in repr(conditional) or "Categorical" in repr(conditional):
        y = rng.integers(0, 5, n)
    counts = rng.random(n) > 0.4
    counts[:3] = False, True, True
    x[~counts] += 1e6
    want = describe(conditional).matched(describe(kl.Pairs(x[counts], y[counts], weights[counts]))).learnable.fixed
    weights[~counts] = 0.0
    got = describe(conditional).matched(describe(kl.Pairs(x, y, weights))).learnable.fixed
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), got, want)


def test_inputs_are_not_copied(rng, tmp_path):
    values = rng.normal(size=(200_000, 5))
    values.tofile(tmp_path / "x")
    table, y = np.memmap(tmp_path / "x", np.float64, "r", shape=values.shape), values[:, 0]
    assert np.shares_memory(kl.Pairs(table, y).x, table)
