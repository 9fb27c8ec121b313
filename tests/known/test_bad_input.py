"""Bad input gets one sentence that names the argument, what is wrong, and what would do."""

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
    (lambda: kl.Samples(["a", "b"]), "x: values of type .* are not numbers; encode them first"),
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
    (lambda: kl.KL(X, X).estimate(tolerance=-1.0), "tolerance: -1.0 is not a positive number of nats"),
    (lambda: kl.KL(X, X).estimate(seed=-1), "seed: -1 is neither a non-negative integer nor a JAX key"),
    (lambda: Request(steps=0), "steps: 0 is not a positive whole number of steps"),
]


@pytest.mark.parametrize(("act", "message"), CASES, ids=range(len(CASES)))
def test_says_what_is_wrong(act, message):
    with pytest.raises(InputError, match=message):
        act()
