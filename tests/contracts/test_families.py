"""What every family must keep, over one table: the maximum of the likelihood, files, warm starts, reverse fits."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from tests.contracts.constructors import FAMILIES

import kullback as kl
from kullback.known import describe

# One member of the gamma family stands for those whose draws come by rejection, which take long to compile.
SLOW = (dist.VonMises, dist.Beta, dist.Dirichlet, dist.StudentT)
REVERSED = [row for row in FAMILIES if not row.member.support.is_discrete and row.family not in SLOW]


def draws(row, n=400):
    return np.asarray(row.member.sample(jax.random.key(3), (n,)))


def mean_log(q, x):
    return float(np.mean(np.asarray(q.log_prob(x), np.float64)))


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
def test_forward_fit_is_saved_and_started_again(row, tmp_path):
    """The likelihood of the fit is at least that of the member that drew the data; a file and a warm start keep it."""
    x = draws(row)
    fit = kl.KL(x, kl.Family(row.family, **row.fixed)).minimize()
    assert fit.status.ok
    assert fit.objective.value == pytest.approx(-mean_log(fit.q, x), abs=2e-5)
    assert mean_log(fit.q, x) >= mean_log(row.member, x) - 1e-5
    fit.save(tmp_path / "fit")
    again = kl.load(tmp_path / "fit").q
    np.testing.assert_array_equal(again.log_prob(x), fit.q.log_prob(x))
    if not row.fixed:
        warm = kl.KL(x, kl.learnable(fit.q)).plan().q.learnable
        kept = warm.wrap(warm.initial(np.random.default_rng(0), 0))
        np.testing.assert_allclose(kept.log_prob(x), fit.q.log_prob(x), rtol=2e-4, atol=2e-4)


@pytest.mark.long  # tests/minimize/test_reverse_families.py finds members of every family, with fewer draws
@pytest.mark.parametrize("row", REVERSED, ids=lambda row: row.name)
def test_reverse_fit_finds_the_member_itself(row):
    """The family holds the target, so the least reverse divergence is 0."""
    target = kl.Density(
        row.member.log_prob, event_shape=row.member.event_shape, support=row.member.support, normalized=True
    )
    fit = kl.KL(kl.Family(row.family, **row.fixed), target).minimize()
    assert abs(fit.objective.value) <= 5 * fit.objective.standard_error + 0.01


@pytest.mark.parametrize("row", FAMILIES, ids=lambda row: row.name)
def test_a_plan_needs_no_fit(row):
    text = repr(kl.KL(draws(row, 50), kl.Family(row.family, **row.fixed)))
    assert "forward" in text
    assert "mass-covering" in text
    assert max(map(len, text.splitlines())) <= 80
    explained = kl.KL(draws(row, 50), kl.Family(row.family, **row.fixed)).explain()
    assert max(map(len, explained.splitlines())) <= 80
    assert describe(row.member).name
