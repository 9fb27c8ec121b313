"""Tilt and project where the values are given: it comes to the tilted prior, whatever the prior is."""

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import log_softmax, softmax

from kullback.control.learning.policy import Choosing
from kullback.control.off_policy.replay import Batch
from kullback.control.off_policy.tilt_and_project import ForwardProjection
from kullback.training.optimiser import DEFAULT, begin

ALPHA = 0.5


def improved(projection, prior, values, steps, rate=0.02):
    """The policy's logits and those that follow them, after so many steps at two states."""
    start = np.zeros(values.shape, np.float32).ravel()
    given: Any = SimpleNamespace(
        at=lambda x, *_: Choosing(jax.nn.log_softmax(x.reshape(values.shape)), jnp.asarray(prior, jnp.float32)),
        descent=DEFAULT,
    )
    states = Batch(None, None, None, None, jnp.ones(len(values)), None, None, None)

    def step(_: Any, carry: Any) -> Any:
        learner: Any = SimpleNamespace(policy=carry[0], extra=carry[1])
        return projection(given, None, learner, lambda seen: jnp.asarray(values), ALPHA, states, rate, None)

    adam, follower = jax.jit(lambda carry: jax.lax.fori_loop(0, steps, step, carry))((begin(start), start))
    return np.asarray(adam.x).reshape(values.shape), np.asarray(follower).reshape(values.shape)


def test_it_comes_to_the_tilted_prior(rng):
    """The one fixed point is π ∝ π₀ exp(Q/α): from there no tilt leads away, and elsewhere one does."""
    prior, values = log_softmax(rng.normal(size=(2, 3)), -1), rng.normal(size=(2, 3)).astype(np.float32)
    found, _ = improved(ForwardProjection(0.1, 8, 0.0, 0.05), prior, values, 3_000)
    np.testing.assert_allclose(softmax(found, -1), softmax(prior + values / ALPHA, -1), atol=2e-3)


def test_the_old_policy_follows_slowly(rng):
    values = rng.normal(size=(2, 3)).astype(np.float32)
    found, follower = improved(ForwardProjection(0.1, 8, 0.0, 0.05), np.full((2, 3), -np.log(3)), values, 1)
    assert np.abs(found).min() > 0.01
    np.testing.assert_allclose(follower, 0.05 * found, rtol=1e-5)
