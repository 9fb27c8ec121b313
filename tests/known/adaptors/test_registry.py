"""Every accepted kind of side is read, and says the truth about itself."""

import flowjax.bijections as bijections
import flowjax.distributions as flow
import flowjax.flows as flows
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import polars as pl
import pytest
import scipy.stats as st

import kullback as kl
from kullback.errors import InputError, UnknownSideError
from kullback.known import Functions, Known, describe

KEY = jax.random.key(0)


class TestNumPyro:
    def test_facts_of_a_normal(self):
        known = describe(dist.Normal(1.0, 2.0))
        assert known.event_shape == known.batch_shape == ()
        assert known.normalized
        assert known.reparametrized
        assert known.name == "Normal(loc=1, scale=2)"
        assert known.log_prob(0.5) == pytest.approx(st.norm(1, 2).logpdf(0.5))
        assert known.sampler(KEY, 7).shape == (7,)
        assert float(known.moments().mean) == 1.0
        assert np.asarray(known.moments().covariance).item() == 4.0
        assert float(known.entropy()) == pytest.approx(st.norm(1, 2).entropy())

    @pytest.mark.parametrize(
        ("d", "count", "shape"),
        [
            (dist.Bernoulli(0.3), 2, ()),
            (dist.Categorical(probs=jnp.ones(4) / 4), 4, ()),
            (dist.Binomial(5, 0.3), 6, ()),
            (dist.Bernoulli(0.3 * jnp.ones(3)).to_event(1), 8, (3,)),
        ],
    )
    def test_atoms_hold_all_of_the_probability(self, d, count, shape):
        known = describe(d)
        assert known.atoms.shape == (count, *shape)
        assert np.exp(known.log_prob(known.atoms)).sum() == pytest.approx(1.0, abs=1e-6)

    @pytest.mark.parametrize("d", [dist.Poisson(3.0), dist.Normal(0.0, 1.0)])
    def test_no_atoms_without_a_finite_support(self, d):
        assert describe(d).atoms is None

    @pytest.mark.parametrize(
        ("d", "outside"),
        [
            (dist.Uniform(0.0, 1.0), 1.5),
            (dist.Exponential(1.0), -1.0),
            (dist.Beta(2.0, 2.0), 1.5),
            (dist.Poisson(2.0), -1),
        ],
    )
    def test_log_prob_is_minus_infinity_outside_the_support(self, d, outside):
        assert describe(d).log_prob(jnp.asarray(outside)) == -jnp.inf

    def test_a_batch_of_bounds_against_one_batch_of_points(self):
        known = describe(dist.Uniform(jnp.array([0.0, 0.5]), 1.0))
        values = known.log_prob(jnp.array([[0.25], [0.75]]))
        assert np.allclose(values, [[0.0, -np.inf], [0.0, np.log(2.0)]])

    def test_moments_of_independent_coordinates(self):
        moments = describe(dist.Normal(jnp.zeros(2), jnp.array([1.0, 2.0])).to_event(1)).moments()
        assert np.allclose(moments.covariance, np.diag([1.0, 4.0]))

    def test_names_of_composites(self):
        weights = dist.Categorical(probs=jnp.ones(2) / 2)
        assert (
            describe(dist.MixtureSameFamily(weights, dist.Normal(jnp.zeros(2), 1.0))).name == "a mixture of 2 × Normal"
        )
        assert "independent over (2,)" in describe(dist.Normal(jnp.zeros(2), 1.0).to_event(1)).name


class TestSciPy:
    @pytest.mark.parametrize(
        "frozen",
        [
            st.norm(1, 2),
            st.laplace(1, 2),
            st.cauchy(1, 2),
            st.logistic(1, 2),
            st.gumbel_r(1, 2),
            st.t(3, 1, 2),
            st.uniform(1, 2),
            st.expon(scale=2),
            st.gamma(2.5, scale=2),
            st.beta(2, 3),
            st.lognorm(0.5, scale=2),
            st.halfnorm(scale=2),
            st.halfcauchy(scale=2),
            st.rayleigh(scale=2),
            st.weibull_min(1.5, scale=2),
            st.chi2(3, scale=2),
            st.invgamma(3, scale=2),
            st.pareto(3, scale=2),
            st.loguniform(1, 3, scale=2),
            st.levy(1, 2),
            st.truncnorm(-1, 2, 1, 2),
            st.truncnorm(-np.inf, 2, 1, 2),
            st.skewnorm(1.5),
            st.expon(1, 2),
        ],
        ids=lambda frozen: frozen.dist.name,
    )
    def test_densities_coincide(self, frozen):
        points = frozen.ppf([0.01, 0.3, 0.7, 0.99])
        assert np.allclose(describe(frozen).log_prob(jnp.asarray(points)), frozen.logpdf(points), atol=2e-5)

    @pytest.mark.parametrize(
        "frozen",
        [
            st.poisson(3),
            st.bernoulli(0.3),
            st.binom(5, 0.3),
            st.nbinom(3, 0.4),
            st.betabinom(5, 2, 3),
            st.poisson(3, loc=2),
            st.hypergeom(20, 7, 12),
        ],
        ids=lambda frozen: frozen.dist.name,
    )
    def test_masses_coincide(self, frozen):
        points = frozen.ppf([0.1, 0.5, 0.9]).astype(int)
        assert np.allclose(describe(frozen).log_prob(jnp.asarray(points)), frozen.logpmf(points), atol=2e-5)

    def test_a_law_that_numpyro_lacks_is_called_back(self):
        known = describe(st.skewnorm(1.5))
        assert known.name == "scipy.stats.skewnorm"
        assert not known.differentiable
        assert known.distribution is None
        draws = known.sampler(KEY, 1000)
        assert st.kstest(draws, st.skewnorm(1.5).cdf).pvalue > 1e-4
        assert np.array_equal(draws, known.sampler(KEY, 1000))

    def test_atoms_of_a_finite_law(self):
        known = describe(st.hypergeom(20, 7, 12))
        assert np.exp(known.log_prob(known.atoms)).sum() == pytest.approx(1.0, abs=1e-5)

    def test_multivariate_normal(self):
        known = describe(st.multivariate_normal([1.0, 2.0], [[2.0, 0.5], [0.5, 1.0]]))
        assert known.event_shape == (2,)
        expected = st.multivariate_normal([1.0, 2.0], [[2.0, 0.5], [0.5, 1.0]]).logpdf([0.0, 0.0])
        assert known.log_prob(jnp.zeros(2)) == pytest.approx(expected, abs=1e-5)


def test_flowjax():
    known = describe(flow.Normal(jnp.array([0.0, 1.0]), 2.0))
    assert known.event_shape == (2,)
    assert known.sampler(KEY, 5).shape == (5, 2)
    assert known.log_prob(jnp.zeros(2)) == pytest.approx(st.norm([0, 1], 2).logpdf(0).sum(), abs=1e-5)


def test_a_conditional_flow_is_a_law_at_a_condition_only():
    conditional = flows.coupling_flow(
        jax.random.key(0), base_dist=flow.Normal(jnp.zeros(2)), transformer=bijections.Affine(), cond_dim=3,
        flow_layers=1, nn_width=4,
    )  # fmt: skip
    normal = dist.Normal(jnp.zeros(2), 1.0).to_event(1)
    for sides in ((normal, conditional), (conditional, normal)):
        with pytest.raises(
            InputError, match=r"flow: a conditional FlowJAX Transformed \(cond_shape \(3,\)\).*kl.Density"
        ):
            kl.KL(*sides)
    c = jnp.ones(3)
    at = kl.Density(lambda x: conditional.log_prob(x, c), conditional.shape, normalized=True)
    x = np.asarray(normal.sample(jax.random.key(1), (20000,)))
    ratios = np.asarray(normal.log_prob(x) - conditional.log_prob(x, c))
    # Five standard errors of both together: 6e-7 false alarms.
    answer = kl.KL(normal, at).estimate(rule="monte carlo", tolerance=0.02)
    error = np.hypot(answer.standard_error, ratios.std() / np.sqrt(len(ratios)))
    assert answer.value == pytest.approx(ratios.mean(), abs=5 * error)


class TestSamples:
    @pytest.mark.parametrize("array", [np.zeros((4, 2)), jnp.zeros((4, 2))], ids=["numpy", "jax"])
    def test_arrays(self, array):
        known = describe(array)
        assert known.sample.size == 4
        assert known.event_shape == (2,)
        assert not known.sample.discrete
        assert known.name == "a sample of 4 rows × 2"

    @pytest.mark.parametrize("values", [[0, 1, 2], [True, False, True]])
    def test_integers_and_booleans_are_discrete(self, values):
        assert describe(np.array(values)).sample.discrete

    def test_lists_of_numbers_in_samples(self):
        assert kl.Samples([1.0, 2.0]).known().sample.size == 2

    @pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
    def test_frames(self, frame):
        known = describe(frame({"a": [1.0, 2.0], "b": ["x", "y"], "c": [1, 2]}))
        columns = known.sample.columns
        assert [column.name for column in columns] == ["a", "b", "c"]
        assert [column.discrete for column in columns] == [False, True, True]
        assert known.sample.values is None
        assert known.event_shape == (3,)
        assert describe(frame({"a": [1.0, 2.0], "c": [1, 2]})).sample.values.shape == (2, 2)

    def test_series_categories_and_missing_text(self):
        assert describe(pd.Series([1.0, 2.0], name="a")).sample.columns[0].name == "a"
        labels = pd.DataFrame({"a": pd.Categorical(["x", "y", "x"])})
        assert list(describe(labels).sample.columns[0].values) == ["x", "y", "x"]
        with pytest.raises(InputError, match=r"x\['a'\]: it has missing values"):
            describe(pd.DataFrame({"a": ["x", None]}))

    def test_weights(self):
        sample = kl.Samples(np.arange(3.0), weights=[1, 1, 2]).known().sample
        assert np.allclose(sample.normalized_weights(), [0.25, 0.25, 0.5])

    def test_pairs(self):
        known = kl.Pairs(np.zeros((5, 3)), np.arange(5)).known()
        assert known.sample.inputs.shape == (5, 3)
        assert known.event_shape == ()
        assert known.name == "5 pairs (x: real 3, y: integer)"


class TestDensities:
    def test_density(self):
        known = describe(kl.Density(lambda x: -(x**2) / 2))
        assert known.name == "Density(λ)"
        assert not known.normalized
        assert np.allclose(known.log_density(jnp.array([0.0, 2.0])), [0.0, -2.0])

    def test_density_of_vectors_takes_any_batch(self):
        known = describe(kl.Density(lambda x: -x @ x, (3,), dist.constraints.real_vector, normalized=True))
        assert known.log_prob(jnp.ones((2, 4, 3))).shape == (2, 4)

    def test_tilted(self):
        known = describe(kl.Tilted(dist.Normal(0.0, 1.0), lambda x: 3.0 * x, temperature=2.0))
        assert known.log_prob is None
        assert known.log_density(jnp.asarray(1.0)) == pytest.approx(st.norm.logpdf(1.0) + 1.5, abs=1e-6)
        assert known.name == "Tilted(Normal(loc=0, scale=1), λ, temperature=2)"

    def test_tilted_over_atoms_is_normalised(self):
        known = describe(kl.Tilted(dist.Categorical(probs=jnp.array([0.5, 0.25, 0.25])), lambda x: jnp.log(1.0 + x)))
        assert np.allclose(np.exp(known.log_prob(known.atoms)), [2 / 7, 2 / 7, 3 / 7], atol=1e-6)


class TestUnknown:
    def test_error_lists_what_is_accepted_and_how_to_add_a_kind(self):
        with pytest.raises(UnknownSideError) as error:
            kl.KL(dist.Normal(0.0, 1.0), "normal")
        assert str(error.value) == (
            "q: an object of type str cannot be read as a side of a divergence; accepted are a NumPyro distribution, a "
            "frozen scipy.stats variable, a frozen scipy.stats variable of vectors or matrices, one of SciPy's newer "
            "random variables, a scipy.stats.gaussian_kde, a torch distribution, a FlowJAX distribution, a NumPy or "
            "JAX array of draws, a pandas or polars frame, and kl.{Samples, Pairs, Density, Tilted, Posterior, "
            "Optimal, Family, Mixture, Conditional}; to add a kind, give its class a method known() that returns a "
            "kullback.known.Known"
        )

    def test_a_class_gets_a_hint(self):
        with pytest.raises(
            UnknownSideError, match=r"p: the class Normal cannot be read .*; did you mean kl.Family of it"
        ):
            kl.KL(dist.Normal, dist.Normal(0.0, 1.0))

    def test_a_user_adds_a_kind_by_a_method(self):
        class Mine:
            def known(self):
                return Known(name="mine", event_shape=(), functions=Functions(sampler=lambda key, n: np.zeros(n)))

        assert describe(Mine()).name == "mine"
        known = describe(Mine())
        assert describe(known) is known
