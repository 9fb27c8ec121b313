"""Mixtures of many overlapping normals: extrapolated steps reach what thousands of plain ones do."""

import numpy as np
import numpyro.distributions as dist
import pytest
from sklearn.mixture import GaussianMixture

import kullback as kl
from kullback.minimize.extrapolation import extrapolated
from kullback.minimize.normal_components import NormalComponents

R = np.random.default_rng(0)
ROWS = {"normal": R.normal(size=(4_000, 1)), "exponential": R.exponential(size=(4_000, 1))}


@pytest.mark.parametrize("kind", ROWS)
def test_no_worse_than_scikit_learn(kind):
    x = ROWS[kind]
    theirs = -GaussianMixture(6, n_init=1, random_state=0).fit(x).score(x)
    fit = kl.KL(x[:, 0], kl.Mixture(kl.Family(dist.Normal), 6)).minimize()
    assert fit.status.ok
    assert fit.objective.value < theirs
    # That which is stated is the likelihood of the mixture that is returned.
    log_q = np.asarray(fit.q.log_prob(x[:, 0].astype(np.float32)), np.float64)
    assert fit.objective.value == pytest.approx(-log_q.mean(), abs=1e-4)


@pytest.mark.parametrize("full", [False, True])
def test_a_mixture_is_a_vector_and_back(full):
    y = R.normal(size=(50, 3))
    family = kl.Mixture(kl.Family(dist.MultivariateNormal if full else dist.Normal), 2)
    structure = kl.KL(y, family)._q.learnable.structure
    rows = NormalComponents(structure.form, {}, y, np.full(50, 0.02), 1e-6, 2)
    logits, normals = rows.from_shares(R.dirichlet([1.0, 1.0], size=50))
    again = rows.unflat(rows.flat(logits, normals), normals)
    for found, want in zip((again[0], *again[1]), (logits, *normals), strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("full", [False, True])
def test_the_likelihood_never_falls(full):
    y = R.standard_t(3, size=(400, 2))
    family = kl.Mixture(kl.Family(dist.MultivariateNormal if full else dist.Normal), 4)
    structure = kl.KL(y, family)._q.learnable.structure
    rows = NormalComponents(structure.form, {}, y, np.full(400, 1 / 400), 1e-6, 4)
    at, values = rows.from_shares(R.dirichlet(np.ones(4), size=400)), []
    for _ in range(10):
        values.append(-float(rows.w @ rows.step(*at)[0]))
        at = extrapolated(rows, at, 0.0).at
    assert (np.diff(values) <= 1e-12).all()
    assert values[-1] < values[0]
