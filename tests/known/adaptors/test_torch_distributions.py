"""Distributions of torch: the real ones where torch is there, and stand-ins of the same attributes everywhere."""

import types
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats as st

import kullback as kl
from kullback.catalogue import ClosedForm, FiniteSum, Quadrature
from kullback.known import describe

KEY = jax.random.key(0)


class Tensor:
    """What the adaptor asks of a tensor."""

    def __init__(self, values):
        self.values = np.asarray(values, np.float32)

    def detach(self):
        return self

    def cpu(self):
        return self

    def double(self):
        return self

    def is_floating_point(self):
        return True

    def __array__(self, dtype=None, copy=None):
        return self.values.astype(dtype or np.float64)


def stand_in(name, **attributes):
    """An object whose class is named as one of torch's is, with these attributes."""
    base = type("Distribution", (), {"__module__": "torch.distributions.distribution"})
    made = type(name, (base,), {"__module__": f"torch.distributions.{name.lower()}"})()
    vars(made).update(
        {key: Tensor(value) if isinstance(value, float | list) else value for key, value in attributes.items()}
    )
    return made


NORMAL = stand_in("Normal", loc=[0.0, 1.0], scale=[1.0, 2.0])
OURS = dist.Normal(np.array([0.0, 1.0]), np.array([1.0, 2.0]))
STAND_INS = {
    "normal": (NORMAL, OURS),
    "gamma": (stand_in("Gamma", concentration=2.0, rate=3.0), dist.Gamma(2.0, 3.0)),
    "weibull": (stand_in("Weibull", scale=2.0, concentration=1.5), dist.Weibull(2.0, 1.5)),
    "multivariate normal": (
        stand_in("MultivariateNormal", loc=[0.0, 1.0], scale_tril=[[1.0, 0.0], [0.5, 1.0]]),
        dist.MultivariateNormal(np.array([0.0, 1.0]), scale_tril=np.array([[1.0, 0.0], [0.5, 1.0]])),
    ),
    "independent": (
        stand_in("Independent", base_dist=NORMAL, reinterpreted_batch_ndims=1),
        OURS.to_event(1),
    ),
    "mixture": (
        stand_in(
            "MixtureSameFamily",
            mixture_distribution=stand_in("Categorical", probs=[0.25, 0.75]),
            component_distribution=NORMAL,
        ),
        dist.MixtureSameFamily(dist.Categorical(probs=np.array([0.25, 0.75])), OURS),
    ),
    "transformed": (
        stand_in(
            "TransformedDistribution",
            base_dist=stand_in("Gamma", concentration=2.0, rate=3.0),
            transforms=(stand_in("AffineTransform", loc=1.0, scale=2.0),),
        ),
        dist.TransformedDistribution(
            dist.Gamma(2.0, 3.0), dist.transforms.AffineTransform(1.0, 2.0, domain=dist.constraints.positive)
        ),
    ),
}


@pytest.mark.parametrize("name", STAND_INS)
def test_stand_ins(name):
    """Attributes alone are read, and torch is not imported for it."""
    theirs, ours = STAND_INS[name]
    known = describe(theirs)
    assert type(known.distribution) is type(ours)
    assert (known.batch_shape, known.event_shape) == (ours.batch_shape, ours.event_shape)
    x = ours.sample(KEY, (20,))
    np.testing.assert_allclose(known.log_prob(x), ours.log_prob(x), rtol=1e-5, atol=1e-6)


def test_logits_that_were_given_are_not_rounded_to_probabilities():
    logits = Tensor([-200.0, 3.0])
    known = describe(stand_in("Bernoulli", logits=logits, _param=logits, probs=[0.0, 0.95]))
    assert type(known.distribution) is dist.BernoulliLogits
    np.testing.assert_allclose(known.log_prob(jnp.ones(2, int)), [-200.0, -np.log1p(np.exp(-3.0))], rtol=1e-6)


def test_a_class_of_that_name_elsewhere_is_none_of_torchs():
    with pytest.raises(kl.errors.UnknownSideError):
        describe(type("Distribution", (), {})())


@pytest.fixture(scope="module")
def torch() -> types.ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("torch")


def families(torch):
    td, t = torch.distributions, torch.tensor
    normal, three = td.Normal(0.0, 1.0), t([0.2, 0.3, 0.5])
    return (
        td.Normal(t([0.0, 1.0]), t([1.0, 2.0])),
        td.Laplace(1.0, 2.0),
        td.Cauchy(0.0, 1.0),
        td.Gumbel(1.0, 2.0),
        td.LogNormal(0.0, 0.5),
        td.HalfNormal(2.0),
        td.HalfCauchy(1.0),
        td.StudentT(3.0, 1.0, 2.0),
        td.Uniform(0.0, 2.0),
        td.Exponential(t(2.0, requires_grad=True)),
        td.Gamma(2.0, 3.0),
        td.Chi2(3.0),
        td.InverseGamma(t(2.0), t(3.0)),
        td.Beta(2.0, 3.0),
        td.Dirichlet(t([1.0, 2.0, 3.0])),
        td.Kumaraswamy(2.0, 3.0),
        td.Pareto(1.0, 3.0),
        td.Weibull(2.0, 1.5),
        td.VonMises(1.0, 2.0),
        td.Poisson(3.0),
        td.Geometric(0.3),
        td.Geometric(logits=t(0.3)),
        td.Bernoulli(0.3),
        td.Bernoulli(logits=t([-200.0, 3.0])),
        td.Binomial(5, t(0.3)),
        td.NegativeBinomial(5.0, t(0.3)),
        td.Categorical(three),
        td.Categorical(logits=t([1.0, 2.0, 3.0])),
        td.OneHotCategorical(three),
        td.MultivariateNormal(torch.zeros(2), 2.0 * torch.eye(2)),
        td.LowRankMultivariateNormal(torch.zeros(3), torch.ones(3, 1), torch.ones(3)),
        td.Multinomial(5, three),
        td.Wishart(t(4.0), torch.eye(2)),
        td.LogisticNormal(torch.zeros(2), torch.ones(2)),
        td.LKJCholesky(3, 1.5),
        td.FisherSnedecor(3.0, 6.0),
        td.ContinuousBernoulli(0.3),
        td.RelaxedBernoulli(t(0.5), 0.3),
        td.RelaxedOneHotCategorical(t(0.5), three),
        td.Independent(td.Normal(torch.zeros(3), torch.ones(3)), 1),
        td.MixtureSameFamily(td.Categorical(t([0.3, 0.7])), td.Normal(t([0.0, 3.0]), t([1.0, 2.0]))),
        td.TransformedDistribution(normal, [td.AffineTransform(1.0, 2.0), td.SigmoidTransform()]),
        td.TransformedDistribution(normal, [td.TanhTransform()]),
    )


@pytest.mark.filterwarnings("ignore:Singular sample detected")  # torch's, of its Wishart
def test_every_family(torch):
    """Densities at torch's own draws, shapes, draws that repeat, and no probability outside the support."""
    state = torch.get_rng_state()
    for d in families(torch):
        torch.manual_seed(1)
        x = d.sample((6,))
        x = x.float() if x.is_floating_point() else x
        with jax.enable_x64(True):
            known = describe(d)
            found = np.asarray(known.log_prob(jnp.asarray(x.numpy())))
            np.testing.assert_allclose(found, d.log_prob(x).detach().double(), rtol=2e-5, atol=2e-5, err_msg=str(d))
            assert (known.batch_shape, known.event_shape) == (tuple(d.batch_shape), tuple(d.event_shape))
            before = torch.get_rng_state()
            draws = np.asarray(known.sampler(KEY, 5))
            assert draws.shape == (5, *known.batch_shape, *known.event_shape)
            np.testing.assert_array_equal(draws, known.sampler(KEY, 5))
            assert torch.equal(before, torch.get_rng_state())
    torch.set_rng_state(state)


def test_parameters_of_any_precision(torch):
    half = torch.distributions.HalfNormal(torch.tensor(1.5, dtype=torch.bfloat16))
    assert describe(half).distribution.scale == 1.5


def test_divergences(torch):
    td, t = torch.distributions, torch.tensor
    found = kl.KL(td.Normal(0.0, 1.0), td.Normal(1.0, 2.0)).estimate()
    assert isinstance(found.plan.rule, ClosedForm)
    assert found.value == pytest.approx(np.log(2) + 2 / 8 - 0.5, rel=1e-6)
    one, other = (td.OneHotCategorical(t(p)) for p in ([0.2, 0.3, 0.5], [0.3, 0.3, 0.4]))
    found = kl.KL(one, other).estimate()
    assert isinstance(found.plan.rule, FiniteSum)
    assert found.value == pytest.approx(0.2 * np.log(2 / 3) + 0.5 * np.log(5 / 4), rel=1e-5)
    one, other = (td.ContinuousBernoulli(t(p)) for p in (0.3, 0.6))
    found = kl.KL(one, other).estimate()
    assert isinstance(found.plan.rule, Quadrature)
    assert found.value == pytest.approx(td.kl_divergence(one, other).item(), rel=1e-5)
    squashed = td.TransformedDistribution(td.Normal(0.0, 1.0), [td.TanhTransform()])
    # The entropy of a normal, and E log(1 − tanh² x) = −2 E log cosh x by SciPy.
    entropy = 0.5 * np.log(2 * np.pi * np.e) - 2 * st.norm.expect(lambda x: np.logaddexp(x, -x) - np.log(2))
    assert kl.KL(squashed, dist.Uniform(-1.0, 1.0)).estimate().value == pytest.approx(np.log(2) - entropy, abs=1e-5)
    shifted = td.TransformedDistribution(td.Gamma(2.0, 1.0), [td.AffineTransform(1.0, 2.0)])
    assert kl.KL(shifted, st.gamma(2, loc=0.5)).estimate().value > 0
    assert kl.KL(st.gamma(2, loc=0.5), shifted).estimate().value == np.inf
    fit = kl.KL(kl.Family(dist.Normal), td.Normal(1.0, 2.0)).minimize(quiet=True)
    assert float(fit.objective) == pytest.approx(0.0, abs=1e-5)
