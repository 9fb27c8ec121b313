"""Bad input gets one sentence that names the argument, what is wrong, and what would do."""

from decimal import Decimal

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest

import kullback as kl
from kullback.errors import InputError
from kullback.rule import Request

X = np.arange(4.0)

CASES = [
    (lambda: kl.Samples([1.0, np.nan]), "x: the sample has NaN; drop those rows"),
    (lambda: kl.Samples([1.0, np.inf]), "x: the sample has infinite values"),
    (lambda: kl.Samples(np.zeros((0, 2))), "x: the sample is empty"),
    (lambda: kl.Samples(3.0), "x: one number is not a sample"),
    (lambda: kl.Samples("a"), "x: one value is not a sample"),
    (lambda: kl.Pairs(["a", "b"], X[:2]), "x: values of type .* are not numbers; encode them first"),
    (lambda: kl.Samples(["a", None]), "x: it has missing values; drop those rows"),
    (lambda: kl.Samples(np.array([["a"], [None]], object)), "x: it has missing values"),
    (lambda: kl.Samples(pd.Series([Decimal(1), None])), r"x\[0\]: it has missing values"),
    (lambda: kl.Samples(pd.Series(pd.to_datetime(["2020-01-01", None]))), r"x\[0\]: it has missing values"),
    (lambda: kl.Samples(pd.Series(["a", pd.NA], dtype="string")), r"x\[0\]: it has missing values"),
    (lambda: kl.Samples(pd.Series(["a", np.nan], dtype="category")), r"x\[0\]: it has missing values"),
    (lambda: kl.Samples(np.array([Decimal("inf"), Decimal(1)])), "x: the sample has infinite values"),
    (lambda: kl.Samples(pd.DataFrame([[1, 2]], columns=["a", "a"])), "x: the table has two columns named 'a'"),
    (lambda: kl.Samples(np.zeros((4, 2)), labels=True), "labels: True speaks of one column, and there are 2"),
    (lambda: kl.Samples(np.zeros((4, 2)), ignore=2), "ignore: there is no column '2'; the columns are 0, 1"),
    (lambda: kl.Samples(X + 1j), "x: values of type complex128 are neither numbers in an order nor labels"),
    (lambda: kl.Samples(X, ignore=True), "ignore: no column is left"),
    (lambda: kl.Samples(X, labels=True, counts=True), "counts, labels: both speak of column '0'"),
    (lambda: kl.Samples(["a", "b"], measured=True), "measured: column '0' is text"),
    (lambda: kl.Samples(X + 0.5, counts=True), "counts: column '0' has numbers that are not whole"),
    (lambda: kl.Samples(np.zeros((4, 2, 2)), measured=0), r"x: an array of shape \(4, 2, 2\) has no columns"),
    (lambda: kl.Samples(pd.DataFrame({"a": [1.0, np.nan]})), r"x\['a'\]: the sample has NaN"),
    (lambda: kl.Samples(pd.DataFrame({"a": pd.Series([], dtype=float)})), r"x\['a'\]: the sample is empty"),
    (lambda: kl.Samples(pd.DataFrame(index=[0, 1])), "x: the table has no columns"),
    (lambda: kl.Samples(X, [1.0, 1.0]), r"weights: shape \(2,\) for 4 rows"),
    (lambda: kl.Samples(X, [1.0, 1.0, 1.0, -1.0]), "weights: they must be finite and non-negative"),
    (lambda: kl.Samples(X, [1.0, 1.0, 1.0, np.nan]), "weights: they must be finite and non-negative"),
    (lambda: kl.Samples(X, np.zeros(4)), "weights: all are zero"),
    (lambda: kl.Pairs(X, X[:3]), "y: 3 outputs for 4 inputs"),
    (lambda: kl.Pairs(X, [1.0, np.nan, 0.0, 0.0]), "y: the sample has NaN"),
    (lambda: kl.Pairs(pd.DataFrame({"a": list("wxyz")}), X), "x: some columns are not numbers; encode them first"),
    (lambda: kl.Density(3.0), "log_density: float is not a function"),
    (lambda: kl.Tilted(dist.Normal(0.0, 1.0), 3.0), "reward: float is not a function"),
    (lambda: kl.Tilted(dist.Normal(0.0, 1.0), jnp.sin, temperature=0.0), "temperature: 0.0 is not a positive number"),
    (
        lambda: kl.Tilted(dist.Normal(jnp.zeros(2), 1.0), jnp.sin).known(),
        "base: .* has no log-density of a single outcome; pass a distribution, a Density or a sample",
    ),
    (
        lambda: kl.KL(dist.Normal(0.0, 1.0), dist.Normal(jnp.zeros(2), 1.0).to_event(1)),
        r"p and q: event shapes \(\) and \(2,\) differ",
    ),
    (
        lambda: kl.KL(dist.Normal(jnp.zeros(2), 1.0), dist.Cauchy(jnp.zeros(3), 1.0)).estimate(),
        r"p and q: batch shapes \(2,\) and \(3,\) do not broadcast",
    ),
    (lambda: kl.KL(X, X).estimate(tolerance=-1.0), "tolerance: -1.0 is not a positive number"),
    (lambda: kl.KL(X, X).estimate(seed=-1), "seed: -1 is neither a non-negative integer nor a JAX key"),
    (lambda: Request(steps=0), "steps: 0 is not a positive whole number"),
]


@pytest.mark.parametrize(("act", "message"), CASES, ids=range(len(CASES)))
def test_says_what_is_wrong(act, message):
    with pytest.raises(InputError, match=message):
        act()


def test_within_a_compiled_function_the_exact_function_is_named():
    with pytest.raises(InputError, match=r"kl\.kl_divergence"):
        jax.jit(lambda m: kl.KL(dist.Normal(m, 1.0), dist.Normal(0.0, 1.0)).estimate().value)(1.0)


def test_masked_values_are_missing():
    with pytest.raises(InputError, match="x: it has missing values"):
        kl.Samples(np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0]))
