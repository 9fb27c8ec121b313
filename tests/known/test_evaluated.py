"""Functions of the user's own that JAX cannot trace are called on the host, and have no gradient."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats as st

import kullback as kl
from kullback.errors import InputError, PlanError
from kullback.known import describe

HALF_LOG_2PI = 0.5 * np.log(2 * np.pi)
# The standard normal's log-density, each untraceable for a reason of its own.
UNTRACEABLE = {
    "float": lambda x: float(-0.5 * x**2 - HALF_LOG_2PI),
    "numpy": lambda x: -0.5 * np.square(np.asarray(x)) - HALF_LOG_2PI,
    "math": lambda x: -0.5 * math.pow(x, 2) - HALF_LOG_2PI,
    "scipy.stats": lambda x: st.norm.logpdf(x),
    "a branch": lambda x: -0.5 * x**2 - HALF_LOG_2PI if x > 0 else -0.5 * x * x - HALF_LOG_2PI,
    "jax, then float": lambda x: float(jnp.sum(-0.5 * jnp.square(x))) - HALF_LOG_2PI,
    "an array of one": lambda x: np.array([float(-0.5 * x**2 - HALF_LOG_2PI)]),
}
NORMAL = lambda x: -0.5 * x**2 - HALF_LOG_2PI  # noqa: E731
TRUTH = np.log(2.0) + 1 / 8 - 0.5  # KL(N(0, 1) ‖ N(0, 2²))


@pytest.mark.parametrize("name", UNTRACEABLE)
def test_a_function_that_cannot_be_traced_is_answered(name, precision):
    side = kl.Density(UNTRACEABLE[name], normalized=True)
    assert not describe(side).differentiable
    forth = kl.KL(side, dist.Normal(0.0, 2.0)).estimate()
    assert forth.value == pytest.approx(TRUTH, abs=1e-6)
    back = kl.KL(dist.Normal(0.0, 2.0), side).estimate()
    assert back.value == pytest.approx(-np.log(2.0) + 2 - 0.5, abs=1e-6)
    drawn = kl.KL(dist.Normal(0.0, 2.0), side).estimate(rule=kl.rules.MonteCarlo(pilot=512, draws=4096), tolerance=0.1)
    # Five standard errors: 6e-7 false alarms.
    assert drawn.value == pytest.approx(-np.log(2.0) + 2 - 0.5, abs=5 * drawn.standard_error)


def test_one_that_can_be_traced_still_is():
    known = describe(kl.Density(NORMAL))
    assert known.differentiable
    assert float(jax.grad(known.log_density)(2.0)) == pytest.approx(-2.0)


def test_events_and_batches_of_points():
    weights = np.array([1.0, 2.0, 3.0])
    known = describe(kl.Density(lambda x: float(np.dot(weights, np.asarray(x))), (3,), dist.constraints.real_vector))
    x = np.arange(24.0).reshape(2, 4, 3)
    np.testing.assert_allclose(known.log_density(x), x @ weights, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(jax.vmap(known.log_density))(x), x @ weights, rtol=1e-6)


def test_labels_reach_the_function_as_integers():
    table = [0.2, 0.5, 0.3]
    side = kl.Density(
        lambda k: math.log(table[int(k)]), support=dist.constraints.integer_interval(0, 2), normalized=True
    )
    answer = kl.KL(dist.Categorical(probs=jnp.array([0.5, 0.25, 0.25])), side).estimate()
    p = np.array([0.5, 0.25, 0.25])
    assert answer.value == pytest.approx(np.sum(p * np.log(p / np.array(table))), abs=1e-6)


def test_rules_that_need_gradients_say_so():
    expression = kl.KL(kl.Family(dist.Normal), kl.Density(UNTRACEABLE["float"]))
    with pytest.raises(PlanError, match="cannot differentiate"):
        expression.plan(rule="fixed draws")
    fit = kl.KL(kl.Density(UNTRACEABLE["float"], normalized=True), kl.Family(dist.Normal)).minimize(quiet=True)
    np.testing.assert_allclose([fit.q.loc, fit.q.scale], [0.0, 1.0], atol=1e-4)


def test_rewards_that_cannot_be_traced():
    """N(0, 1) tilted by 2x is N(2, 1), on a line and by a sample's weights."""
    tilted = kl.Tilted(dist.Normal(0.0, 1.0), lambda x: float(2 * x))
    assert not describe(tilted).differentiable
    assert kl.KL(tilted, dist.Normal(2.0, 1.0)).estimate().value == pytest.approx(0.0, abs=1e-5)
    rows = np.linspace(-1.0, 1.0, 9)
    weights = kl.Tilted(rows, lambda x: math.sin(x)).known().sample.weights
    np.testing.assert_allclose(weights / weights.sum(), np.exp(np.sin(rows)) / np.exp(np.sin(rows)).sum(), rtol=1e-12)
    labels = kl.Tilted(dist.Categorical(probs=jnp.ones(3) / 3), lambda k: [0.0, 1.0, 2.0][int(k)])
    answer = kl.KL(labels, dist.Categorical(probs=jnp.ones(3) / 3)).estimate()
    p = np.exp(np.arange(3.0)) / np.exp(np.arange(3.0)).sum()
    assert answer.value == pytest.approx(np.sum(p * np.log(3 * p)), abs=1e-6)


def test_one_that_fails_either_way_is_our_error():
    with pytest.raises(InputError, match=r"log_density: it is no JAX function.*write it with jax.numpy"):
        kl.KL(dist.Normal(0.0, 1.0), kl.Density(lambda x: float(x) + [][0]))
    with pytest.raises(InputError, match="reward: it is no JAX function"):
        kl.KL(dist.Normal(0.0, 1.0), kl.Tilted(dist.Normal(0.0, 1.0), lambda x: np.log(x) + {}["a"]))


# What reads as probabilities.


@pytest.mark.parametrize("make", [np.array, jnp.array, lambda x: np.array(x, np.float32)])
def test_two_arrays_of_probabilities_are_refused(make):
    with pytest.raises(InputError, match=r"Categorical\(probs=p\)"):
        kl.KL(make([0.2, 0.8]), make([0.5, 0.5]))
    with pytest.raises(InputError, match="sum to 1"):
        kl.KL(make(np.full(300, 1 / 300)), make([0.0, 1.0]))


def test_series_of_probabilities_are_refused():
    pd = pytest.importorskip("pandas")
    with pytest.raises(InputError, match="probabilities"):
        kl.KL(pd.Series([0.2, 0.8]), pd.Series([0.5, 0.5]))


def test_samples_are_not_taken_for_probabilities(rng):
    """Proportions, labels of 0 and 1, whole tables of compositions, and what is said to be a sample."""
    for n in (2, 3, 8, 100):
        for _ in range(300):
            kl.KL(rng.uniform(size=n), rng.uniform(size=n))
            kl.KL(rng.dirichlet(np.ones(n + 1))[:n], rng.dirichlet(np.ones(n)))
    kl.KL(np.array([0.0, 1.0, 0.0]), np.array([1.0, 0.0]))
    kl.KL(np.array([0, 1, 0]), np.array([1, 0, 0]))
    kl.KL(rng.dirichlet(np.ones(3), size=20), rng.dirichlet(np.ones(3), size=20))
    kl.KL(kl.Samples(np.array([0.2, 0.8])), kl.Samples(np.array([0.5, 0.5])))
    kl.KL(np.array([-0.5, 1.5]), np.array([0.5, 0.5]))


# Points.


@pytest.mark.parametrize("q", [dist.Normal(0.0, 1.0), dist.Uniform(0.0, 1.0), kl.Density(NORMAL, normalized=True)])
def test_a_point_and_a_density(q):
    """NumPyro gives log_density − log q(v); here that is ∞, and the reason says so."""
    answer = kl.KL(dist.Delta(0.3, log_density=1.5), q).estimate()
    assert answer.value == np.inf
    assert answer.guarantee is kl.Guarantee.EXACT
    assert "NumPyro and TFP" in answer.reason
    assert "NumPyro" not in kl.KL(dist.Poisson(2.0), q).estimate().reason


def test_a_point_and_counts():
    assert kl.KL(dist.Delta(2.0), dist.Poisson(3.0)).estimate().value == pytest.approx(-st.poisson(3.0).logpmf(2))


@pytest.mark.parametrize(
    ("function", "said"),
    [(lambda x: jnp.zeros(3), "shape \\(3,\\)"), (lambda x: None, "NoneType"), (lambda x: x + 1j, "complex")],
)
def test_what_is_not_one_real_number_is_refused(function, said):
    with pytest.raises(InputError, match=f"log_density: it returns .*{said}.*must return one"):
        kl.KL(dist.Normal(0.0, 1.0), kl.Density(function, normalized=True)).estimate()
