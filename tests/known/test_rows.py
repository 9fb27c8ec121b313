"""Distributions picked out of a batch, and pairs whose outputs are distributions."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.errors import InputError
from kullback.known import describe
from kullback.known.adaptors.numpyro_distributions import rows_of

N, ROWS = 6, np.array([4, 0, 4])


def batches(rng):
    positive = lambda *shape: rng.uniform(0.5, 2.0, shape)  # noqa: E731
    tril = np.tril(rng.normal(size=(N, 2, 2)), -1) + np.eye(2)
    mixing = dist.Categorical(logits=rng.normal(size=(N, 3)))
    return {
        "categorical": dist.Categorical(logits=rng.normal(size=(N, 4))),
        "probabilities": dist.Categorical(probs=rng.dirichlet(np.ones(4), N)),
        "bernoulli": dist.Bernoulli(logits=rng.normal(size=N)),
        "one scale for all": dist.Normal(rng.normal(size=N), 2.0),
        "laplace": dist.Laplace(rng.normal(size=N), positive(N)),
        "log-normal": dist.LogNormal(rng.normal(size=N), positive(N)),
        "counts": dist.NegativeBinomial2(positive(N), positive(N)),
        "zero-inflated": dist.ZeroInflatedPoisson(np.full(N, 0.3), positive(N)),
        "several labels": dist.Bernoulli(logits=rng.normal(size=(N, 3))).to_event(1),
        "multivariate": dist.MultivariateNormal(rng.normal(size=(N, 2)), scale_tril=tril),
        "one matrix for all": dist.MultivariateNormal(rng.normal(size=(N, 2)), scale_tril=tril[0]),
        "expanded": dist.Normal(1.0, 2.0).expand((N,)),
        "mixture": dist.MixtureSameFamily(mixing, dist.Normal(rng.normal(size=(N, 3)), positive(N, 3))),
    }


@pytest.mark.parametrize("name", batches(np.random.default_rng(0)))
def test_rows_have_the_log_probabilities_of_the_whole(name, rng):
    d = batches(rng)[name]
    x = np.asarray(d.sample(jax.random.key(0)))
    taken = jax.jit(lambda d, rows: rows_of(d, rows).log_prob(x[ROWS]))(d, jnp.asarray(ROWS))
    np.testing.assert_allclose(taken, np.asarray(d.log_prob(x))[ROWS], rtol=1e-5, atol=1e-6)


def test_what_is_not_made_of_its_parameters_gives_none():
    general = dist.MixtureGeneral(dist.Categorical(np.ones((N, 2)) / 2), [dist.Normal(np.zeros(N), 1.0)] * 2)
    assert rows_of(general, ROWS) is None
    assert rows_of(dist.Normal(0.0, 1.0), ROWS) is None
    assert rows_of(dist.Delta(np.zeros((N, 2)), event_dim=1), ROWS) is None


def test_pairs_with_distributions_are_a_conditional_at_inputs(rng):
    x, weights = rng.normal(size=(N, 2)), rng.exponential(size=N)
    soft = dist.Categorical(probs=rng.dirichlet(np.ones(4), N))
    known = describe(kl.Pairs(x, soft, weights))
    assert known.sample is None
    assert known.distribution is soft
    assert known.event_shape == ()
    np.testing.assert_array_equal(known.inputs, x)
    np.testing.assert_array_equal(known.input_weights, weights)
    with pytest.raises(InputError, match="batch shape"):
        kl.Pairs(x[1:], soft)
    with pytest.raises(InputError, match="weights"):
        kl.Pairs(x, soft, weights[1:])
