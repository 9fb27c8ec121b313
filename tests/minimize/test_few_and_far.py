"""Few rows, and rows far from all others: neither may make a fit sure of what it cannot know."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy import stats

import kullback as kl
from kullback.families.conditional_structure import FARTHEST
from kullback.minimize import minibatch
from kullback.training.batches import some_of
from kullback.training.early_stopping import at_start, bounded, stepped


def rows(rng, n, d=6):
    x = rng.normal(size=(n, d))
    return x, x[:, 0] + rng.normal(size=n)


def side(network, **settings):
    return kl.Conditional(network, dist.Normal, **settings)


@pytest.mark.parametrize(
    ("n", "settings", "rule"),
    [
        (40, {"prior_scale": 1.0}, "minibatches"),  # residuals near 0 would pass for certainty
        (80, {"prior_scale": 1.0}, "maximum likelihood"),
        (40, {}, "maximum likelihood"),  # without a prior it was asked for
        (40, {"prior_scale": 1.0, "scale": 1.0}, "least squares"),
    ],
)
def test_the_rule_for_a_line_with_few_rows(rng, n, settings, rule):
    assert kl.KL(kl.Pairs(*rows(rng, n)), side(kl.Linear(), **settings)).plan().rule.name == rule


@pytest.mark.parametrize("network", [kl.Linear(), kl.MLP(hidden=(16,))], ids=str)
def test_few_rows_give_a_usable_law(rng, network):
    x, y = rows(rng, 24)
    fit = kl.KL(kl.Pairs(x, y), side(network, prior_scale=1.0)).minimize(quiet=True)
    x_test, y_test = rows(rng, 2000)
    d = fit.q(x_test)
    nats = -stats.norm.logpdf(y_test, np.asarray(d.loc, np.float64), np.asarray(d.scale, np.float64)).mean()
    # The marginal law of y, of variance 2, has 1.77 nats, and the truth 1.42; to its optimum it would have thousands.
    assert nats < 2.5


def test_beyond_ten_deviations_a_network_says_what_it_says_there(rng):
    x, y = rows(rng, 200, 1)
    fit = kl.KL(kl.Pairs(x, y), side(kl.MLP(hidden=(8,)))).minimize(quiet=True, steps=50)
    line = kl.KL(kl.Pairs(x, y), side(kl.Linear(), scale=1.0)).minimize(quiet=True)
    edge = x.mean() + FARTHEST * x.std()
    far = np.array([[edge], [3 * edge]])
    at_edge, beyond = np.asarray(fit.q(far).loc)
    assert beyond == pytest.approx(at_edge, rel=1e-5)
    slope = stats.linregress(x[:, 0], y).slope
    assert np.diff(np.asarray(line.q(far).loc))[0] == pytest.approx(2 * edge * slope, rel=1e-4)


def test_a_long_gradient_is_shortened_to_four_times_the_usual(rng):
    """Adam (Kingma and Ba 2015, algorithm 1) in NumPy, with the one gradient that is far too long cut by hand."""
    gradients = rng.normal(size=(40, 5))
    gradients[30] *= 1e6
    member = at_start(np.zeros(5, np.float32), 1e-2)
    step = jax.jit(stepped)
    x, first, second = np.zeros(5), np.zeros(5), np.zeros(5)
    for t, gradient in enumerate(gradients, start=1):
        member = step(member, gradient.astype(np.float32), np.float32(0.0), np.int32(t))
        usual = np.sqrt(second.sum() / (1 - 0.999 ** max(t - 1, 1)))
        if t > 10 and np.linalg.norm(gradient) > 4 * usual:
            gradient = gradient * 4 * usual / np.linalg.norm(gradient)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        x = x - 1e-2 * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(member.descent.x, x, rtol=1e-3)


def _bounded(weights, losses):
    return bounded(weights, losses, np.arange(len(losses))[some_of(len(losses))])


def test_a_row_that_is_held_out_counts_for_twenty_nats_beyond_the_median_at_most(rng):
    """Order statistics of NumPy; where most rows are far apart, ten interquartile ranges."""
    for spread in (0.3, 9.0):
        losses = spread * rng.normal(size=101)
        losses[[3, 50]] = 1e5, 35.0
        weights = np.where(np.arange(101) % 4 == 0, 0.0, 1.0)
        kept = np.sort(losses[weights > 0])
        low, middle, high = (kept[len(kept) * k // 4] for k in (1, 2, 3))
        most = middle + max(20.0, 10.0 * (high - low))
        below = np.asarray(_bounded(weights.astype(np.float32), losses.astype(np.float32)))
        np.testing.assert_allclose(below, np.minimum(losses, most), rtol=1e-6)
    assert np.asarray(_bounded(np.ones(9, np.float32), np.array([np.inf, *range(8)], np.float32)))[0] == np.inf
    lost = np.full(9, np.inf, np.float32)
    np.testing.assert_array_equal(_bounded(np.zeros(9, np.float32), lost), lost)


def test_quartiles_of_some_rows_speak_for_many(rng):
    losses = rng.normal(size=10_000).astype(np.float32)
    losses[77] = 1e6
    below = np.asarray(_bounded(np.ones(10_000, np.float32), losses))
    np.testing.assert_array_equal(np.delete(below, 77), np.delete(losses, 77))
    # The median of 2,048 normal numbers or more has a standard error of 0.03.
    assert abs(below[77] - 20.0) < 0.2


def test_one_mistyped_row_does_not_decide_when_training_ends(rng, monkeypatch):
    def made(n):
        x = rng.normal(size=(n, 2))
        return x, np.sin(2 * x[:, 0]) + 0.05 * rng.normal(size=n)

    parts, split = [], minibatch.split
    monkeypatch.setattr(minibatch, "split", lambda *given: parts.append(split(*given)) or parts[-1])
    (x, y), (x_test, y_test) = made(4000), made(4000)

    def nats():
        fit = kl.KL(kl.Pairs(x, y), side(kl.MLP(hidden=(32,)))).minimize(quiet=True, seed=0)
        return -float(np.mean(fit.q(x_test).log_prob(y_test))), fit.diagnostics["heldout_nll"], fit.history

    usual, *_ = nats()
    y[parts[0][1].numbers[0]] += 4.0
    mistyped, heldout, history = nats()
    # Judged by the mean in full, the second fit is almost two nats worse: it ends while its scale is wide.
    assert mistyped < usual + 0.05
    # What is reported counts the row in full: of 400 rows that are held out, one of some 3,000 nats.
    assert heldout > usual + 2.0
    assert history[-1]["heldout_nll"] > usual + 2.0
