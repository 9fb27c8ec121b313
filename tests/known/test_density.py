"""A sample tilted by a reward: weights, effective sample size, the temperature of a budget, and what is refused."""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest

import kullback as kl
from kullback.errors import InputError
from kullback.known import describe

X = np.array([[0.0], [1.0], [2.0], [3.0]])
A = np.array([0, 1, 0, 1])


@dataclass(frozen=True)
class Spend:
    """A budget of nats, as `kl.control.TargetKL` is one."""

    nats: float
    lowest: float = 1e-6
    highest: float = 1e6


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.0, 1.0]])
def test_weights_are_those_of_the_base_tilted(weights):
    reward = np.array([0.5, -1.0, 90.0, 2.0])
    tilted = kl.Tilted(kl.Pairs(X, A, weights), reward, temperature=0.7)
    base = np.ones(4) if weights is None else np.array(weights)
    expected = base * np.exp((reward - reward[base > 0].max()) / 0.7)
    sample = describe(tilted).sample
    np.testing.assert_allclose(sample.weights, expected * base.sum() / expected.sum(), rtol=1e-12)
    p, b = sample.normalized_weights(), base / base.sum()
    kept = p > 0
    assert tilted.weighting.nats == pytest.approx((p[kept] * np.log(p[kept] / b[kept])).sum(), rel=1e-12)
    assert tilted.weighting.rows == pytest.approx(1 / (p**2).sum())
    np.testing.assert_array_equal(sample.inputs, X)


@pytest.mark.usefixtures("precision")
def test_nothing_overflows():
    reward = np.array([-1e308, 1e308, 0.0, 1e308])
    weights = describe(kl.Tilted(kl.Pairs(X, A), reward, temperature=1e-3)).sample.weights
    np.testing.assert_allclose(weights, [0, 2, 0, 2])
    near = describe(kl.Tilted(kl.Pairs(X, A), reward * 1e-308, temperature=1e9)).sample.weights
    np.testing.assert_allclose(near, 1, atol=1e-8)


def test_a_row_can_be_excluded():
    weights = describe(kl.Tilted(X[:, 0], [0.0, -np.inf, 0.0, 0.0])).sample.weights
    np.testing.assert_allclose(weights, np.array([4, 0, 4, 4]) / 3)


def test_functions_are_evaluated_on_the_rows():
    of_rows = describe(kl.Tilted(X[:, 0], lambda x: 0.5 * x)).sample.weights
    np.testing.assert_allclose(of_rows, describe(kl.Tilted(X[:, 0], 0.5 * X[:, 0])).sample.weights, rtol=1e-14)
    of_pairs = describe(kl.Tilted(kl.Pairs(X, A), lambda x, a: x[0] * a)).sample.weights
    np.testing.assert_allclose(of_pairs, describe(kl.Tilted(kl.Pairs(X, A), X[:, 0] * A)).sample.weights, rtol=1e-14)
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]})
    assert describe(kl.Tilted(frame, [0.0, 1.0])).sample.weights[1] > 1
    with pytest.raises(InputError, match="reward: some columns of the sample are no numbers"):
        kl.Tilted(frame, lambda row: row[0])


def test_tilting_twice_is_tilting_by_the_sum():
    r, s = np.array([0.0, 1.0, 2.0, 0.5]), np.array([1.0, 0.0, -1.0, 0.5])
    twice = describe(kl.Tilted(kl.Tilted(kl.Pairs(X, A), r, 2.0), s)).sample.weights
    np.testing.assert_allclose(twice, describe(kl.Tilted(kl.Pairs(X, A), r / 2 + s)).sample.weights, rtol=1e-12)


@pytest.mark.parametrize("nats", [1e-9, 1e-3, 0.3, 2.0, 5.0])
@pytest.mark.parametrize("unit", [1e-3, 1.0, 1e3])
def test_a_budget_is_spent_exactly(rng, nats, unit):
    n = 500
    reward, weights = unit * rng.normal(size=n), rng.uniform(0.5, 2.0, size=n)
    tilted = kl.Tilted(kl.Samples(rng.normal(size=n), weights), reward, Spend(nats, 1e-9, 1e9))
    p, b = describe(tilted).sample.normalized_weights(), weights / weights.sum()
    # The reference loses digits where the divergence is a difference of larger numbers.
    assert (p * np.log(p / b)).sum() == pytest.approx(nats, rel=1e-9, abs=1e-14)
    # It is the minimum of the dual.
    alpha, top = tilted.weighting.temperature, reward.max()
    dual = lambda a: a * nats + top + a * np.log(b @ np.exp((reward - top) / a))  # noqa: E731
    assert dual(alpha) <= min(dual(alpha * 1.01), dual(alpha / 1.01))


def test_a_budget_that_cannot_be_spent_ends_at_a_bound():
    most = kl.Tilted(X[:, 0], [0.0, 1.0, 2.0, 3.0], Spend(5.0))
    assert most.weighting.temperature == 1e-6
    assert most.weighting.nats == pytest.approx(np.log(4))
    assert "its lower bound for 5 nats, where there are 1.39 at most" in repr(most)
    least = kl.Tilted(X[:, 0], [0.0, 1.0, 2.0, 3.0], Spend(0.01, highest=1.0))
    assert least.weighting.temperature == 1.0
    assert "its upper bound for 0.01 nats, where there are still 0.4" in repr(least)
    same = kl.Tilted(X[:, 0], np.zeros(4), Spend(0.1))
    np.testing.assert_allclose(describe(same).sample.weights, 1)


def test_the_plan_says_how_many_rows_count(rng):
    x, a = rng.normal(size=(1000, 2)), rng.integers(3, size=1000)
    q = kl.Conditional(kl.Linear(), dist.Categorical)
    assert "temperature=2, effective sample size 1,000 of 1,000: a weighted sample" in _flat(
        kl.KL(kl.Tilted(kl.Pairs(x, a), np.zeros(1000), temperature=2.0), q)
    )
    alone = kl.KL(kl.Tilted(kl.Pairs(x, a), np.arange(1000.0), temperature=0.01), q)
    assert "effective sample size 1 of 1,000 (few: a higher temperature keeps more)" in _flat(alone)
    assert "few" not in repr(kl.Tilted(X[:, 0], [0.0, 0.1, 0.0, 0.1]))


def test_estimates_and_fits_take_it_as_a_sample(rng):
    x = rng.normal(size=20_000)
    # A standard normal tilted by x is the normal about 1; a mean of these weighted rows is off by less than
    # 4.5 · √(E[w² (x − 1)²]/n) = 4.5 · √(2 e/n) in all but 1 of 100,000 samples.
    fit = kl.KL(kl.Tilted(x, lambda v: v), kl.Family(dist.Normal)).minimize()
    assert abs(float(fit.q.loc) - 1.0) < 4.5 * np.sqrt(2 * np.e / 20_000)
    assert float(fit.q.scale) == pytest.approx(1.0, abs=0.1)


BAD = [
    (lambda: kl.Tilted(X[:, 0], np.zeros(3)), r"reward: shape \(3,\) for 4 rows"),
    (lambda: kl.Tilted(X[:, 0], [0.0, np.nan, 0.0, 0.0]), "reward: it is nan in row 1"),
    (lambda: kl.Tilted(X[:, 0], [0.0, 0.0, np.inf, 0.0]), "reward: it is inf in row 2"),
    (lambda: kl.Tilted(X[:, 0], lambda x: jnp.log(-x)), "reward: it is nan in row 1"),
    (lambda: kl.Tilted(X[:, 0], np.full(4, -np.inf)), "reward: it is minus infinity in every row that counts"),
    (lambda: kl.Tilted(kl.Samples(X[:, 0], [0, 0, 0, 1]), [0, 0, 0, -np.inf]), "minus infinity in every row"),
    (lambda: kl.Tilted(X[:, 0], list("abcd")), "reward: values of type <U1 are no numbers"),
    (lambda: kl.Tilted(X[:, 0], np.zeros(4), temperature=-1.0), "temperature: -1.0 is not a positive number"),
    (lambda: kl.Tilted(dist.Normal(0.0, 1.0), jnp.sin, Spend(1.0)), "is found from a sample, and Normal.* is none"),
    (lambda: kl.Tilted(dist.Normal(0.0, 1.0), np.zeros(4)), "reward: ndarray is not a function"),
]


@pytest.mark.parametrize(("act", "message"), BAD, ids=range(len(BAD)))
def test_says_what_is_wrong(act, message):
    with pytest.raises(InputError, match=message):
        act()


def _flat(shown) -> str:
    return " ".join(str(shown).split())
