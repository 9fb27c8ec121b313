"""A predicted scale is never below its minimum over the training rows."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.families.conditional import FittedConditional
from kullback.supervised import KLRegressor


def rows(rng, n=600):
    """Noise that falls with x from e⁻¹ at −1 to e⁻³ at 1, so that a network goes on down beyond."""
    x = rng.uniform(-1.0, 1.0, size=(n, 1))
    return x, np.sin(x[:, 0]) + np.exp(-2.0 - x[:, 0]) * rng.normal(size=n)


FAR = np.linspace(-4.0, 4.0, 81)[:, None]


def fitted(pairs, distribution=dist.Normal, ensemble=1, network=None, **rule):
    q = kl.Conditional(network or kl.MLP(hidden=(16,)), distribution, ensemble=ensemble)
    return kl.KL(pairs, q).minimize(rule=kl.rules.Minibatches(rate=3e-3, **rule), steps=400, seed=0, quiet=True)


def scales_of(d):
    if isinstance(d, dist.MultivariateNormal):
        return np.diagonal(np.asarray(d.scale_tril), axis1=-2, axis2=-1)
    if isinstance(d, dist.MixtureSameFamily):
        return np.asarray(d.component_distribution.scale)
    return np.asarray(d.base_dist.scale if isinstance(d, dist.Independent) else d.scale)


def without_minimum(q):
    fixed = {name: value for name, value in q.fixed.items() if name != "least"}
    return FittedConditional(q.structure, fixed, q.name, q.free, q.members)


def several(x, y):
    return x, np.stack([y, -y], 1)


@pytest.mark.parametrize(
    ("distribution", "ensemble", "outcomes"),
    [
        (dist.Normal, 1, None),
        (dist.Normal, 3, None),
        (dist.Normal, 1, several),
        (dist.LogNormal, 1, lambda x, y: (x, np.exp(y))),
        (dist.StudentT, 1, None),
        (dist.MultivariateNormal, 1, several),
        (kl.Mixture(kl.Family(dist.Normal), 2), 1, None),
    ],
    ids=["normal", "three members", "two outputs", "log-normal", "t", "multivariate", "mixture"],
)
def test_no_scale_far_off_is_below_the_least_of_the_rows(rng, distribution, ensemble, outcomes):
    x, y = rows(rng)
    x, y = outcomes(x, y) if outcomes else (x, y)
    held = fitted(kl.Pairs(x, y), distribution, ensemble, held_out=0.0).q
    free = without_minimum(held)
    # Of 600 rows the minimum is over all of them, at which it changes nothing.
    np.testing.assert_allclose(scales_of(held(x)), scales_of(free(x)), rtol=1e-5)
    axes = (0, 1) if ensemble > 1 else 0  # members share one minimum
    least = scales_of(free(x)).min(axes)
    assert (scales_of(free(FAR)).min(axes) < 0.7 * least).any()
    np.testing.assert_allclose(scales_of(held(FAR)), np.maximum(scales_of(free(FAR)), least), rtol=1e-5)


def test_the_objective_is_that_of_the_law_with_its_minimum(rng):
    """Of 9,000 rows every fourth sets the minimum, and the surest of the others are lifted to it."""
    x, y = rows(rng, 9000)
    fit = fitted(kl.Pairs(x, y), held_out=0.0)
    lifted = scales_of(fit.q(x)) > 1.0001 * scales_of(without_minimum(fit.q)(x))
    assert 0 < lifted.sum() < 30
    double = dist.Normal(*(jnp.asarray(np.asarray(v, np.float64)) for v in (fit.q(x).loc, fit.q(x).scale)))
    assert fit.objective.value == pytest.approx(-float(np.mean(np.asarray(double.log_prob(y)))), rel=1e-5)


def test_chunks_have_the_minimum_of_resident_rows(rng):
    x, y = rows(rng, 9000)
    one, other = (fitted(kl.Pairs(x, y), memory=memory) for memory in (None, 50_000))
    np.testing.assert_allclose(other.q.fixed["least"], one.q.fixed["least"], rtol=1e-6)
    assert other.diagnostics["heldout_nll"] == pytest.approx(one.diagnostics["heldout_nll"], rel=1e-6)


def test_the_plan_says_so(rng):
    divergence = kl.KL(kl.Pairs(*rows(rng)), kl.Conditional(kl.MLP(hidden=(4,)), dist.Normal))
    assert "10% of the rows held out, with a minimum of the scale" in str(divergence.plan())
    assert "minimum" not in str(divergence.plan(rule=kl.rules.Minibatches(min_scale=False)))


def test_rows_without_weight_set_no_minimum(rng):
    x, y = rows(rng)
    weights = (x[:, 0] < 0).astype(float)
    some, alone = (fitted(pairs).q for pairs in (kl.Pairs(x, y, weights), kl.Pairs(x, y)))
    assert scales_of(some(FAR)).min() > 1.5 * scales_of(alone(FAR)).min()


def test_lines_and_tables_have_none_nor_what_asks_for_none(rng):
    x, y = rows(rng)
    assert "least" not in fitted(kl.Pairs(x, y), min_scale=False).q.fixed
    assert "least" not in fitted(kl.Pairs(x, y), network=kl.Linear()).q.fixed
    # Weibull's scale says where the law lies, and not how wide it is.
    assert "least" not in fitted(kl.Pairs(x, np.exp(y)), dist.Weibull).q.fixed
    labels = rng.integers(0, 5, 600)
    assert "least" not in fitted(kl.Pairs(labels, y), network=kl.Table()).q.fixed
    fixed = kl.KL(kl.Pairs(x, y), kl.Conditional(kl.MLP(hidden=(4,)), dist.Normal, scale=1.0))
    assert "least" not in fixed.minimize(steps=20, quiet=True).q.fixed


def test_a_file_keeps_the_minimum_and_a_warm_start_drops_it(rng, tmp_path):
    fit = fitted(kl.Pairs(*rows(rng)))
    fit.save(tmp_path / "q.kl")
    again = kl.load(tmp_path / "q.kl").q
    np.testing.assert_array_equal(scales_of(again(FAR)), scales_of(fit.q(FAR)))
    x, y = rows(rng)
    warm = kl.KL(kl.Pairs(x, 1e-3 * y), kl.learnable(fit.q)).minimize(seed=0, quiet=True)
    assert scales_of(warm.q(x)).min() < 0.1 * scales_of(fit.q(x)).min()


def test_a_stream_of_one_kind_after_another_sets_none(rng):
    x, y = rows(rng)
    model = KLRegressor(network=kl.MLP(hidden=(16,)), random_state=0)
    for kind in (x[:, 0] > 0, x[:, 0] <= 0):
        model.partial_fit(x[kind], y[kind])
    assert "least" not in model.q_.fixed


def test_the_former_name_of_the_setting_still_works():
    with pytest.warns(DeprecationWarning, match="min_scale"):
        rule = kl.rules.Minibatches(floor=False)
    assert rule == kl.rules.Minibatches(min_scale=False)
    assert replace(rule, batch=8) == kl.rules.Minibatches(min_scale=False, batch=8)
