"""A sample in several dimensions against a law: an ensemble of densities, and scores against draws of the law.

Statistical tests allow four standard errors: a false alarm of 6e-5 each, with fixed seeds.
"""

import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import kullback as kl
from kullback.estimate.density_ensemble import DENSITIES, held_out_log_density
from kullback.estimate.rows import Rows

SIZE, DIMENSIONS = 300, 3
LAWS = {
    "normal": stats.norm(1.0, 2.0),
    "Student": stats.t(4),
    "gamma": stats.gamma(3.0),
    "uniform": stats.uniform(),
}


def draws(law, seed=0):
    return law.rvs((SIZE, DIMENSIONS), random_state=seed)


@pytest.mark.parametrize("density", DENSITIES, ids=lambda density: density.__name__)
def test_densities_integrate_to_1(density):
    rng = np.random.default_rng(1)
    log_density = density(draws(LAWS["gamma"]))
    proposal = stats.multivariate_t(np.full(DIMENSIONS, 3.0), 6.0 * np.eye(DIMENSIONS), df=3, seed=rng)
    at = proposal.rvs(6_000)
    ratio = np.exp(log_density(at) - proposal.logpdf(at))
    assert ratio.mean() == pytest.approx(1.0, abs=4.0 * ratio.std() / np.sqrt(len(at)))


@pytest.mark.parametrize("law", LAWS)
def test_held_out_rows_have_no_more_than_their_log_density(law):
    x = draws(LAWS[law])
    found = held_out_log_density(Rows(np.zeros(SIZE, np.int64), x), np.random.default_rng(2))
    less = LAWS[law].logpdf(x).sum(1) - found
    assert less.mean() > -4.0 * less.std() / np.sqrt(SIZE)
    assert less.mean() < 0.8  # a density with an end costs most


def test_laws_far_apart_have_a_sharp_bound_where_draws_of_the_law_have_none():
    x, truth = draws(stats.norm()), 0.5 * DIMENSIONS * 16.0
    found = kl.KL(x, dist.Normal(np.full(DIMENSIONS, 4.0), 1.0).to_event(1)).estimate()
    assert found.guarantee is kl.Guarantee.LOWER_BOUND
    assert truth - 1.0 < found.value < truth + 4.0 * found.standard_error


def test_without_a_sampler_the_answer_is_a_bound():
    law = dist.Normal(np.full(DIMENSIONS, 0.5), 1.0).to_event(1)
    density = kl.Density(lambda z: law.log_prob(z), event_shape=(DIMENSIONS,), normalized=True)
    found = kl.KL(draws(stats.norm()), density).estimate()
    assert found.guarantee is kl.Guarantee.LOWER_BOUND
    assert "low in the mean" in found.reason
    assert found.value == pytest.approx(0.125 * DIMENSIONS, abs=4.0 * found.standard_error)


def test_the_sample_may_be_on_either_side():
    law = dist.Normal(np.full(DIMENSIONS, 0.5), 1.0).to_event(1)
    found = kl.KL(law, draws(stats.norm())).estimate()
    assert found.interval()[0] <= 0.125 * DIMENSIONS
    assert found.value == pytest.approx(0.125 * DIMENSIONS, abs=4.0 * found.standard_error)
