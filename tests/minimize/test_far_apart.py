"""Outcomes that span all of double precision: the closed form in logarithms, or a sentence."""

import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.errors import FitError, InputError

SPAN = np.array([1e-300, 1e-100, 1.0, 1e100, 1e300])
LOGS = np.log(SPAN)


def fitted(x, family, **fixed):
    return kl.KL(x, kl.Family(family, **fixed)).minimize(quiet=True)


def pareto():
    tail = 1.0 / (LOGS - LOGS[0]).mean()
    return LOGS[0] - np.log(tail) + (1.0 + tail) / tail


# log of the least and the greatest outcome's distance, and moments in units of the greatest one.
TRUTHS = {
    dist.Normal: np.log(np.std(SPAN / 1e300)) + np.log(1e300) + 0.5 * np.log(2 * np.pi) + 0.5,
    dist.HalfNormal: 0.5 * np.log(np.mean((SPAN / 1e300) ** 2)) + np.log(1e300) + 0.5 + 0.5 * np.log(np.pi / 2),
    dist.LogUniform: np.log(LOGS[-1] - LOGS[0]) + LOGS.mean(),
    dist.Pareto: pareto(),
    dist.Uniform: np.log(1e300),
    dist.Exponential: 1.0 + np.log(SPAN.mean()),
}


@pytest.mark.parametrize("family", TRUTHS)
def test_the_closed_form(family):
    fit = fitted(SPAN, family)
    assert fit.status.ok
    assert fit.objective.value == pytest.approx(TRUTHS[family], rel=1e-9)


def test_a_sentence_where_there_are_no_numbers():
    with pytest.raises(FitError, match="double precision"):
        kl.KL(1e200 * np.arange(9.0), kl.Mixture(kl.Family(dist.Normal), 2)).minimize(quiet=True)


def test_parameters_that_are_held():
    with pytest.raises(InputError, match="none is left"):
        fitted(np.arange(4.0), dist.Normal, loc=0.0, scale=1.0)
    with pytest.raises(InputError, match=r"scale: numbers of shape \(3,\)"):
        fitted(np.ones((4, 2)), dist.Normal, scale=np.ones(3))
