"""Policies beside priors: masks, places with different numbers of choices, boxes and their units."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.special import log_softmax

import kullback as kl
from kullback.control.envs.spaces import Actions
from kullback.control.learning.policy import Choosing, InBox
from kullback.control.learning.policy import _log_probs as log_probs
from kullback.control.learning.policy import _uniform as uniform


def choosing(logits, allowed, prior=None):
    log_prior = uniform(jnp.asarray(allowed)) if prior is None else log_probs(prior, jnp.asarray(allowed))
    log_prior = jnp.broadcast_to(log_prior, logits.shape)
    return Choosing(log_probs(dist.CategoricalLogits(jnp.asarray(logits)), log_prior > -1e29), log_prior)


def test_choices_that_a_mask_forbids(precision):
    logits = np.random.default_rng(0).normal(size=(6, 4)).astype(precision)
    allowed = np.array([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 1]] * 2, bool)
    here = choosing(logits, allowed)
    for row in range(6):
        policy = log_softmax(np.where(allowed[row], logits[row].astype(np.float64), -np.inf))
        prior = np.where(allowed[row], -np.log(allowed[row].sum()), -np.inf)
        kept = allowed[row]
        expected = np.sum(np.exp(policy[kept]) * (policy[kept] - prior[kept]))
        assert float(here.kl()[row]) == pytest.approx(expected, abs=1e-6)
        action = np.full(6, np.flatnonzero(kept)[-1])
        assert float(here.log_ratio(action)[row]) == pytest.approx(policy[kept][-1] - prior[kept][-1], abs=1e-5)
    draws = jax.vmap(lambda key: here.draw(key)[0])(jax.random.split(jax.random.key(0), 500))
    assert allowed[np.arange(6), np.asarray(draws)].all()
    gradient = jax.grad(lambda x: choosing(x, allowed).kl().sum())(jnp.asarray(logits))
    assert np.isfinite(gradient).all()
    assert (np.asarray(gradient)[~allowed] == 0).all()


def test_a_prior_that_forbids():
    prior = dist.CategoricalProbs(np.array([[0.5, 0.5, 0.0]]))
    here = choosing(np.array([[0.3, -0.2, 9.0]]), np.ones((1, 3), bool), prior)
    assert int(here.taken(True, jax.random.key(0))[0]) == 0
    p = np.exp([0.3, -0.2]) / np.exp([0.3, -0.2]).sum()
    assert float(here.kl()[0]) == pytest.approx(float(np.sum(p * np.log(p / 0.5))), abs=1e-6)


def test_places_with_different_numbers_of_choices():
    actions = Actions("choices", (2,), (2, 3))
    here = choosing(np.zeros((5, 2, 3)), np.broadcast_to(actions.exists, (5, 2, 3)))
    np.testing.assert_allclose(here.kl(), 0.0, atol=1e-6)
    np.testing.assert_allclose(here.log_prob(np.ones((5, 2), int)), -np.log(6.0), rtol=1e-6)
    draws = jax.vmap(lambda key: here.draw(key)[0])(jax.random.split(jax.random.key(1), 400))
    assert np.asarray(draws)[..., 0].max() == 1
    assert np.asarray(draws)[..., 1].max() == 2


@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_a_box_in_any_units(unit):
    actions = Actions("box", (2,), (), (-unit, 0.0), (unit, 4.0 * unit))
    low, high = actions.bounds
    loc, scale = jnp.array([[0.3, -0.5]]), jnp.array([[0.7, 1.2]])
    here = InBox(dist.Independent(kl.TanhNormal(loc, scale, low, high), 1), None, actions)
    action, ratio = here.draw(jax.random.key(0))
    same = InBox(
        dist.Independent(kl.TanhNormal(loc, scale), 1), None, Actions("box", (2,), (), (-1.0,) * 2, (1.0,) * 2)
    )
    other, other_ratio = same.draw(jax.random.key(0))
    np.testing.assert_allclose((action - low) / (high - low), (other + 1.0) / 2.0, rtol=1e-5)
    np.testing.assert_allclose(ratio, other_ratio, rtol=1e-4)
    np.testing.assert_allclose(here.kl(), same.kl(), rtol=1e-4)
    many = jax.vmap(lambda key: here.draw(key)[1])(jax.random.split(jax.random.key(1), 20_000))
    # The mean of the log-ratio is the KL: within 4.5 standard errors (false alarms: 7 in a million).
    assert abs(float(many.mean() - here.kl()[0])) < 4.5 * float(many.std()) / np.sqrt(20_000)


def test_a_prior_on_the_same_box():
    actions = Actions("box", (1,), (), (-2.0,), (2.0,))
    policy = kl.TanhNormal(jnp.array([[0.2]]), jnp.array([[0.5]]), -2.0, 2.0)
    prior = kl.TanhNormal(jnp.array([[-0.1]]), jnp.array([[0.9]]), -2.0, 2.0)
    here = InBox(dist.Independent(policy, 1), dist.Independent(prior, 1), actions)
    expected = kl.kl_divergence(dist.Normal(0.2, 0.5), dist.Normal(-0.1, 0.9))
    assert float(here.kl()[0]) == pytest.approx(float(expected), rel=1e-5)
