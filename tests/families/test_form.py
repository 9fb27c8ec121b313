"""Families take their sizes from the other side, and say what is wrong."""

import equinox as eqx
import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.errors import InputError, PlanError
from kullback.families.form import Form, Sizes, form_for
from kullback.known import describe

# distribution, fixed parameters, event shape, categories -> number of unconstrained parameters
SIZES = [
    (dist.Normal, {}, (), None, 2),
    (dist.Normal, {"scale": 1.0}, (), None, 1),
    (dist.Normal, {}, (3,), None, 6),
    (dist.Normal, {}, (2, 3), None, 12),
    (dist.Gamma, {}, (), None, 2),
    (dist.StudentT, {}, (), None, 3),
    (dist.MultivariateNormal, {}, (4,), None, 4 + 10),
    (dist.MultivariateNormal, {"loc": np.zeros(4)}, (4,), None, 10),
    (dist.MultivariateStudentT, {}, (2,), None, 1 + 2 + 3),
    (dist.Dirichlet, {}, (5,), None, 5),
    (dist.Categorical, {}, (), 7, 7),
    (dist.Bernoulli, {}, (), None, 1),
    (dist.Bernoulli, {}, (4,), None, 4),
    (dist.Poisson, {}, (), None, 1),
    (dist.NegativeBinomial2, {}, (), None, 2),
    (dist.Binomial, {"total_count": 10}, (), None, 1),
    (dist.ZeroInflatedPoisson, {}, (), None, 2),
    (dist.VonMises, {}, (), None, 2),
    (dist.Weibull, {}, (), None, 2),
]


@pytest.mark.parametrize(("cls", "fixed", "event", "categories", "count"), SIZES)
def test_parameters_counted_and_distribution_built(cls, fixed, event, categories, count):
    form = form_for(cls, fixed, Sizes(event, categories))
    zeros = form.zeros()
    assert sum(np.size(value) for value in zeros.values()) == count
    d = jax.eval_shape(form.distribution, zeros, {k: np.asarray(v) for k, v in fixed.items()})
    assert d.event_shape == event
    assert d.batch_shape == ()


@pytest.mark.parametrize(("cls", "fixed", "event", "categories", "count"), SIZES)
def test_forms_survive_json(cls, fixed, event, categories, count):
    form = form_for(cls, fixed, Sizes(event, categories))
    assert Form.from_spec(form.spec()) == form


def test_unconstrain_inverts_the_bijection(rng):
    form = form_for(dist.MultivariateNormal, {}, Sizes((3,)))
    tril = np.tril(rng.normal(size=(2, 3, 3)), -1) + np.eye(3) * rng.uniform(0.1, 2, size=(2, 3, 1))
    free = form.unconstrain({"loc": rng.normal(size=(2, 3)), "scale_tril": tril})
    np.testing.assert_allclose(form.transform("scale_tril")(free["scale_tril"]), tril, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: kl.Family(dist.Normal(0.0, 1.0)), "class"),
        (lambda: kl.Family(float), "class"),
        (lambda: kl.Family(dist.Normal, scale=np.nan), "scale"),
        (lambda: kl.Mixture(dist.Normal, 2), "kl.Family"),
        (lambda: kl.Mixture(kl.Family(dist.Normal), 0), "components"),
        (lambda: kl.Mixture(kl.Family(dist.Normal), True), "components"),
        (lambda: kl.MLP(hidden=(8, 0)), "hidden"),
        (lambda: kl.MLP(activation="step"), "activation"),
    ],
)
def test_bad_sides_are_refused_at_once(make, says):
    with pytest.raises(InputError, match=says):
        make()


@pytest.mark.parametrize(
    ("p", "q", "says"),
    [
        (np.zeros(3), lambda: kl.Family(dist.Normal, sigma=1.0), "no such parameter"),
        (np.zeros(3, int), lambda: kl.Family(dist.Binomial), "total_count"),
        (np.zeros((3, 2)), lambda: kl.Family(dist.MixtureSameFamily), "kl.Mixture for"),
        (np.zeros(3), lambda: kl.Family(dist.MultivariateNormal), "axes"),
        (np.zeros(3), lambda: kl.Conditional(kl.Linear(), dist.Normal), "needs inputs"),
        (np.zeros((3, 4)), lambda: kl.Family(dist.LowRankMultivariateNormal), "cov_factor"),
        (kl.Pairs(np.zeros(4), np.zeros(4)), lambda: kl.Conditional(kl.Table(), dist.Normal), "integer"),
        (kl.Pairs(np.zeros(4), np.zeros(4)), lambda: kl.Conditional(kl.MLP, dist.Normal), "call it"),
        (kl.Pairs(np.zeros(4), np.zeros(4)), lambda: kl.Conditional(abs, dist.Normal), "Equinox"),
    ],
)
def test_mismatched_sides_are_refused_before_anything_is_computed(p, q, says):
    with pytest.raises(InputError, match=says):
        kl.KL(p, q())


def test_a_module_of_the_wrong_width_is_refused(key):
    net = eqx.nn.MLP(2, 3, 8, 1, key=key)
    with pytest.raises(InputError, match="returns 3 numbers"):
        kl.KL(kl.Pairs(np.zeros((4, 2)), np.array([0, 1, 0, 1])), kl.Conditional(net, dist.Categorical))


def test_both_sides_learnable_is_an_error_that_says_so():
    with pytest.raises(PlanError, match="both sides are learnable"):
        kl.KL(kl.Family(dist.Normal), kl.Family(dist.Normal)).plan()


def test_a_family_whose_support_cannot_hold_p_is_refused():
    with pytest.raises(PlanError, match="infinite for every member"):
        kl.KL(kl.Family(dist.Normal), dist.Gamma(2.0, 1.0)).minimize()
    with pytest.raises(PlanError, match="infinite for every member"):
        kl.KL(dist.Normal(0.0, 1.0), kl.Family(dist.Gamma)).minimize()


def test_names_are_the_users():
    assert describe(kl.Family(dist.Categorical)).name == "Family(Categorical)"
    shown = repr(kl.Conditional(kl.MLP(hidden=(3,)), dist.Normal, scale=1.0))
    assert shown == "Conditional(MLP(3,), Normal, scale=1.0)"
