"""The one optimiser beside Optax and NumPy, and optimisers of the user's in each rule that descends."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import optax
import pytest

import kullback as kl
from kullback.errors import InputError, KullbackError
from kullback.training.optimiser import DEFAULT, adaptive_clipping, begin, descend, in_words, restarted

RULES = [
    kl.rules.Minibatches,
    kl.rules.ReverseMinibatches,
    kl.rules.PathwiseGradients,
    kl.rules.ScoreFunction,
    kl.rules.StreamingDraws,
    kl.control.TrajectoryGradient,
    kl.control.SoftActorCritic,
    kl.control.TiltAndProject,
    kl.control.RelabelledImitation,
]


def path(optimiser, gradients, rate=1.0):
    descent = begin(np.zeros(gradients.shape[1:], gradients.dtype), optimiser)
    step = jax.jit(lambda descent, gradient: descend(descent, gradient, rate, optimiser))
    for gradient in gradients:
        descent = step(descent, gradient)
    return descent


def test_the_default_is_adam_of_optax_where_no_gradient_is_long(rng, precision):
    gradients = rng.normal(size=(50, 7)).astype(jnp.result_type(float))
    ours, theirs = path(DEFAULT, gradients, 1e-2), path(optax.adam(1e-2), gradients)
    np.testing.assert_allclose(ours.x, theirs.x, rtol=1e-5)
    assert int(ours.steps) == 50


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_a_long_gradient_of_any_scale_is_clipped_to_four_times_the_usual(scale, rng):
    """The usual length in NumPy: the root of an average of squares that remembers 1,000 steps, without its bias."""
    gradients = scale * rng.normal(size=(30, 4)).astype(np.float32)
    gradients[[5, 20]] *= 1e3
    clip = adaptive_clipping()
    state, square = clip.init(jnp.zeros(4)), 0.0
    for t, gradient in enumerate(gradients):
        clipped, state = clip.update(jnp.asarray(gradient), state)
        length, usual = np.linalg.norm(gradient.astype(float)), np.sqrt(square / (1 - 0.999 ** max(t, 1)))
        wanted = 4 * usual if t >= 10 and length > 4 * usual else length
        assert np.linalg.norm(np.asarray(clipped, float)) == pytest.approx(wanted, rel=1e-3), t
        square = 0.999 * square + 0.001 * wanted**2
    assert np.linalg.norm(gradients[5]) > 100 * scale  # the first ten only measure


def test_a_restart_forgets(rng):
    gradients = rng.normal(size=(9, 3)).astype(np.float32)
    for optimiser in (DEFAULT, optax.adam(1e-2), optax.sgd(1e-2, momentum=0.9)):
        descent = path(optimiser, gradients)
        there, gone = (restarted(descent, jnp.ones(3), where, optimiser) for where in (False, True))
        np.testing.assert_array_equal(there.x, descent.x)
        np.testing.assert_array_equal(gone.x, np.ones(3))
        fresh = optimiser.init(jnp.ones(3))
        assert all(map(np.array_equal, jax.tree.leaves(gone.memory), jax.tree.leaves(fresh)))


def test_plain_gradient_steps_by_hand(rng):
    """Full batches and gradient descent: the second step goes along the gradient at the first, here in NumPy.

    The model is linear in standardised inputs; its outputs are in the unit of the outcomes, which only scales steps.
    """
    x, y = rng.normal(size=(64, 2)), rng.normal(size=64)
    rule = kl.rules.Minibatches(held_out=0, batch=64, optimiser=optax.sgd(0.1), linear=False)
    q = kl.Conditional(kl.Linear(), dist.Normal, scale=1.0)
    first, second = (
        np.asarray(kl.KL(kl.Pairs(x, y), q).minimize(rule=rule, steps=n, quiet=True).q(x).loc, np.float64)
        for n in (1, 2)
    )
    z = np.c_[(x - x.mean(0)) / x.std(0), np.ones(64)]
    wanted = 0.1 * z @ (z.T @ (y - first) / 64)
    unit = (second - first) @ wanted / (wanted @ wanted)
    assert unit > 0.1
    np.testing.assert_allclose(second - first, unit * wanted, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.__name__)
def test_what_is_no_transformation_is_refused(kind):
    for wrong in ("adam", optax.adam, 0.1):
        with pytest.raises(InputError, match=re.compile(r"optimiser: .* is no Optax gradient transformation")):
            kind(optimiser=wrong)
    assert "0x" not in repr(kind(optimiser=optax.adam(1e-3)))


@pytest.mark.parametrize("rule", [kl.rules.PathwiseGradients, kl.rules.ScoreFunction])
def test_reverse_fits_by_another_optimiser_find_the_same(rule):
    target = dist.Normal(1.0, 2.0)
    fit = kl.KL(kl.Family(dist.Normal), target).minimize(rule=rule(optimiser=optax.adabelief(0.03)), quiet=True)
    # What is minimised is within the tolerance of 1e-3 nats of 0, and KL of normals is quadratic in both errors.
    assert float(kl.kl_divergence(fit.q, target)) < 0.01


def test_a_resumed_training_by_another_optimiser_is_the_same_training(tmp_path, rng):
    x, y = rng.normal(size=(300, 2)), rng.normal(size=300)
    problem = kl.KL(kl.Pairs(x, y), kl.Conditional(kl.MLP((4,)), dist.Normal))
    rule = lambda rate: kl.rules.Minibatches(optimiser=optax.adamw(rate))  # noqa: E731
    whole = problem.minimize(rule=rule(1e-2), steps=60, quiet=True)
    saved = tmp_path / "checkpoint"
    problem.minimize(rule=rule(1e-2), steps=25, checkpoint=saved, quiet=True)
    with pytest.raises(KullbackError, match="another problem"):
        problem.minimize(rule=rule(3e-2), steps=60, checkpoint=saved, quiet=True)
    resumed = problem.minimize(rule=rule(1e-2), steps=60, checkpoint=saved, quiet=True)
    np.testing.assert_array_equal(resumed.q(x).loc, whole.q(x).loc)


def test_two_processes_say_the_same_of_an_optimiser():
    made = "optax.chain(optax.clip(1.0), optax.adam(optax.cosine_decay_schedule(0.1, 100), nesterov=True))"
    code = f"import optax; from kullback.training.optimiser import in_words; print(in_words({made}))"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert there == in_words(eval(made))
    assert in_words(optax.adam(1e-3)) != in_words(optax.adam(1e-2))
