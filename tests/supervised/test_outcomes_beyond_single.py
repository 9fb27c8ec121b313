"""Outcomes that single precision cannot hold: the fit is about as good as the law that drew them."""

import numpy as np
import pytest
from scipy import stats

import kullback as kl

ROWS = 200


def drawn(case: str):
    """The name of a law, outcomes, and their mean nats under the law that drew them, by SciPy."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(ROWS, 2))
    mean = np.exp(0.3 * x[:, 0])
    match case:
        case "large counts":
            law, shown = stats.nbinom(3.0, 3.0 / (3.0 + 1e9 * mean)), "negative_binomial"
        case "tiny times":
            law, shown = stats.gamma(0.05, scale=20.0 * mean), "gamma"
        case "shares near 1":
            p = 1.0 / (1.0 + mean)
            y = rng.beta(3.0 * p, 3.0 * (1.0 - p))
            return x, "beta", 1.0 - 1e-6 * y, -stats.beta(3.0 * p, 3.0 * (1.0 - p)).logpdf(y).mean() + np.log(1e-6)
        case "small units":
            law, shown = stats.norm(1e-30 * x[:, 0], 1e-30), "normal"
        case _:
            law, shown = stats.norm(1e30 * x[:, 0], 1e30), "normal"
    y = law.rvs(random_state=rng)
    logs = law.logpmf(y) if shown == "negative_binomial" else law.logpdf(y)
    return x, shown, y, -logs.mean()


@pytest.mark.parametrize("case", ["large counts", "tiny times", "shares near 1", "small units", "large units"])
def test_a_fit_is_about_as_good_as_the_law_that_drew_the_outcomes(case: str):
    x, shown, y, ideal = drawn(case)
    fit = kl.KLRegressor(shown, random_state=0, steps=500).fit(x, y)
    found = -kl.supervised.log_scorer(fit, x, y)
    assert abs(found - ideal) < 0.15
