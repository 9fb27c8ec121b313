"""NumPyro models as densities of one vector: normalisation by quadrature, sums by enumeration, and what is refused."""

import decimal
import itertools
import warnings

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pandas as pd
import polars as pl
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from numpyro import handlers
from numpyro.distributions import constraints
from numpyro.infer.reparam import LocScaleReparam

import kullback as kl
from kullback.errors import FitError, InputError
from kullback.inference.worth import log_density_of


def density(model, *args, **kwargs):
    """The posterior's sites, and its log-density as a function of vectors in double precision."""
    sites = kl.Posterior(model, *args, **kwargs).sites
    return sites, lambda x: log_density_of(sites.log_density, np.atleast_2d(x), True)


# Supports of one unconstrained dimension: a prior alone has a density that integrates to 1.
ONE = {
    "real": dist.Normal(1.0, 2.0),
    "positive": dist.Gamma(2.0, 3.0),
    "interval": dist.Uniform(2.0, 5.0),
    "unit": dist.Beta(2.0, 3.0),
    "greater": dist.TruncatedNormal(0.0, 1.0, low=-1.0),
    "simplex": dist.Dirichlet(jnp.array([2.0, 3.0])),
    "circle": dist.VonMises(0.5, 2.0),
    "cholesky": dist.LKJCholesky(2, 2.0),
    "correlation": dist.LKJ(2, 2.0),
    "ordered": dist.TransformedDistribution(
        dist.Normal(0.0, 1.0).expand([1]).to_event(1), dist.transforms.OrderedTransform()
    ),
    "array of one": dist.HalfNormal(2.0).expand([1]),
    "improper factor": dist.ImproperUniform(constraints.positive, (), ()),
}


@pytest.mark.parametrize("law", ONE.values(), ids=ONE.keys())
def test_the_density_of_a_prior_integrates_to_1(law):
    def model():
        x = numpyro.sample("x", law)
        if isinstance(law, dist.ImproperUniform):
            numpyro.factor("f", -x)

    sites, log_density = density(model)
    assert sites.program.size == 1
    t = np.linspace(-60.0, 60.0, 8193)
    values = np.exp(log_density(t[:, None]))
    assert scipy.integrate.trapezoid(values, t) == pytest.approx(1.0, abs=1e-6)


def test_a_support_that_depends_on_another_site():
    """∫∫ of top ~ Gamma(2, 1) and x ~ Uniform(0, top)."""

    def model():
        top = numpyro.sample("top", dist.Gamma(2.0, 1.0))
        numpyro.sample("x", dist.Uniform(0.0, top))

    _, log_density = density(model)
    t = np.linspace(-30.0, 30.0, 201)
    grid = np.stack(np.meshgrid(t, t, indexing="ij"), -1).reshape(-1, 2)
    values = np.exp(log_density(grid)).reshape(201, 201)
    assert values.sum() * (t[1] - t[0]) ** 2 == pytest.approx(1.0, abs=1e-6)


def everything(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    corr = numpyro.sample("corr", dist.LKJCholesky(3, 2.0))
    share = numpyro.sample("share", dist.Dirichlet(jnp.ones(4)))
    with numpyro.plate("group", 2), handlers.reparam(config={"theta": LocScaleReparam(0.0)}):
        theta = numpyro.sample("theta", dist.Normal(mu, 2.0))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0).expand([2, 3]).to_event(2))
    numpyro.deterministic("total", theta.sum())
    numpyro.sample("y", dist.Normal(theta[0] * share[0] + corr[1, 0], scale.mean()), obs=y)


def test_vectors_and_named_values_are_one_to_one(precision, rng):
    sites = kl.Posterior(everything, rng.normal(size=5)).sites
    x = rng.normal(size=(7, sites.program.size))
    draws = sites.draws(x)
    shapes = {name: value.shape[1:] for name, value in draws.items()}
    assert shapes == {
        "mu": (), "corr": (3, 3), "share": (4,), "theta_decentered": (2,), "scale": (2, 3), "theta": (2,), "total": (),
    }  # fmt: skip
    np.testing.assert_allclose(draws["theta"], draws["mu"][:, None] + 2.0 * draws["theta_decentered"])
    back, log_det = sites.vectors(draws)
    np.testing.assert_allclose(back, x, rtol=1e-5, atol=1e-5)
    assert log_det.shape == (7,)
    one, _ = sites.vectors({name: value[3] for name, value in draws.items()})
    np.testing.assert_allclose(one, x[3], rtol=1e-5, atol=1e-5)


# Discrete sites


def labels(y):
    share = numpyro.sample("share", dist.Dirichlet(jnp.ones(3)))
    mu = numpyro.sample("mu", dist.Normal(0.0, 3.0).expand([3]).to_event(1))
    with numpyro.plate("row", len(y)):
        z = numpyro.sample("z", dist.Categorical(share))
        numpyro.sample("y", dist.Normal(mu[z], 0.7), obs=y)


def test_labels_of_a_mixture_are_summed_out(rng):
    """log Σ_k π_k N(y; μ_k, 0.7) over 200 rows; one by one there would be 3²⁰⁰ terms."""
    y = rng.normal(size=200)
    sites, log_density = density(labels, y)
    x = rng.normal(size=sites.program.size)
    d = {name: value[0] for name, value in sites.draws(x[None]).items()}
    rows = scipy.stats.norm.logpdf(y[:, None], d["mu"], 0.7) + np.log(d["share"])
    log_det = np.asarray(sites.vectors(d)[1])
    want = scipy.special.logsumexp(rows, 1).sum() + scipy.stats.norm.logpdf(d["mu"], 0.0, 3.0).sum()
    want += scipy.stats.dirichlet.logpdf(d["share"], np.ones(3)) + log_det
    assert log_density(x)[0] == pytest.approx(want, rel=1e-6)


def test_labels_are_drawn_given_the_other_sites(rng):
    """Of 4000 draws the share of each label is within 5 standard errors: one false alarm in 10⁶ at 6 shares."""
    y = np.array([-1.0, 2.0])
    sites, _ = density(labels, y)
    x = np.zeros(sites.program.size)
    x[-3:] = -1.0, 0.0, 2.0
    draws = sites.draws(np.repeat(x[None], 4000, 0), seed=3)
    terms = np.exp(scipy.stats.norm.logpdf(y[:, None], draws["mu"][0], 0.7)) * draws["share"][0]
    want = terms / terms.sum(1, keepdims=True)
    got = np.stack([(draws["z"] == k).mean(0) for k in range(3)], 1)
    assert (np.abs(got - want) < 5 * np.sqrt(want * (1 - want) / 4000) + 1e-9).all()


def two_switches(y):
    """Sites of one value beside sites of rows, and a term that several of them share."""
    p = numpyro.sample("p", dist.Beta(2.0, 2.0))
    regime = numpyro.sample("regime", dist.Categorical(jnp.array([0.2, 0.3, 0.5])))
    start = numpyro.sample("start", dist.DiscreteUniform(3, 5))
    with numpyro.plate("row", len(y)):
        on = numpyro.sample("on", dist.Bernoulli(p))
        side = numpyro.sample("side", dist.Categorical(jnp.array([0.4, 0.6])))
        numpyro.sample("y", dist.Normal(regime * on + 0.1 * start * side, 1.0), obs=y)


def test_sites_of_one_value_and_sites_of_rows_together(rng):
    y = rng.normal(size=4)
    sites, log_density = density(two_switches, y)
    x = rng.normal(size=1)
    p = float(sites.draws(x[None])["p"][0])
    terms = []
    for regime, start in itertools.product(range(3), range(3, 6)):
        for cells in itertools.product(range(2), range(2), repeat=len(y)):
            on, side = np.array(cells[0::2]), np.array(cells[1::2])
            log_p = np.log([0.2, 0.3, 0.5][regime] / 3) + scipy.stats.bernoulli.logpmf(on, p).sum()
            log_p += np.log(np.array([0.4, 0.6])[side]).sum()
            terms.append(log_p + scipy.stats.norm.logpdf(y, regime * on + 0.1 * start * side).sum())
    want = scipy.special.logsumexp(terms) + scipy.stats.beta.logpdf(p, 2, 2) + np.log(p * (1 - p))
    assert log_density(x)[0] == pytest.approx(want, rel=1e-6)


def chain(y):
    """A hidden Markov chain, whose rows are not independent."""
    mu = numpyro.sample("mu", dist.Normal(0.0, 3.0))
    with numpyro.plate("row", len(y)):
        z = numpyro.sample("z", dist.Bernoulli(0.5))
        numpyro.sample("y", dist.Normal(mu * z, 1.0), obs=y)
    numpyro.factor("stay", jnp.where(z[1:] == z[:-1], 0.5, -1.0).sum())


def test_a_short_chain_is_summed_and_a_long_one_refused_by_name(rng):
    y = rng.normal(size=6)
    _, log_density = density(chain, y)
    terms = [
        scipy.stats.norm.logpdf(y, 0.8 * np.array(z)).sum()
        + np.where(np.diff(z) == 0, 0.5, -1.0).sum()
        - 6 * np.log(2.0)
        for z in itertools.product(range(2), repeat=6)
    ]
    want = scipy.special.logsumexp(terms) + scipy.stats.norm.logpdf(0.8, 0.0, 3.0)
    assert log_density(np.array([0.8]))[0] == pytest.approx(want, rel=1e-6)
    with pytest.raises(InputError, match="site 'z' cannot be summed out"):
        kl.Posterior(chain, rng.normal(size=60))


# What is refused, by the name of the site


def poisson(y):
    n = numpyro.sample("n", dist.Poisson(3.0))
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(a * n, 1.0), obs=y)


def subsampled(y):
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    with numpyro.plate("rows", 10, subsample_size=5):
        numpyro.sample("y", dist.Normal(a, 1.0), obs=y)


def with_param(y):
    a = numpyro.param("a", 1.0)
    b = numpyro.sample("b", dist.Normal(a, 1.0))
    numpyro.sample("y", dist.Normal(b, 1.0), obs=y)


def observed_only(y):
    numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y)


def counted(y):
    numpyro.sample("w", dist.Multinomial(3, jnp.ones(2) / 2))
    numpyro.sample("a", dist.Normal(0.0, 1.0))


REFUSED = {
    poisson: "site 'n' is a latent Poisson, and cannot be summed out",
    subsampled: "plate 'rows' takes 5 of 10 rows",
    with_param: "site 'a' is a numpyro.param",
    observed_only: "no continuous latent site",
    counted: "site 'w' is a latent .* since its outcomes are vectors",
}


@pytest.mark.parametrize(("model", "said"), REFUSED.items(), ids=[model.__name__ for model in REFUSED])
def test_a_model_without_a_density_of_a_vector_is_refused(model, said):
    with pytest.raises(InputError, match=said):
        kl.Posterior(model, np.ones(5))


def test_a_model_that_needs_the_numbers_of_its_data():
    def model(group, y):
        with numpyro.plate("group", int(group.max()) + 1):
            a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(a[group], 1.0), obs=y)

    sites = kl.Posterior(model, np.array([0, 1, 1, 2]), np.ones(4)).sites
    assert sites.program.size == 3
    assert len(sites.arrays) == 1


def test_named_values_are_checked_by_site():
    sites = kl.Posterior(labels, np.ones(3)).sites
    good = {"share": np.array([0.2, 0.3, 0.5]), "mu": np.zeros(3)}
    for bad, said in (
        ({"mu": good["mu"]}, "site 'share' has no value"),
        ({**good, "mu": np.zeros(2)}, r"site 'mu' has values of shape \(3,\)"),
        ({**good, "nu": 1.0}, "'nu' is no site"),
        ({"share": np.ones((2, 3)) / 3, "mu": np.zeros((4, 3))}, "unequal numbers"),
        ([1.0], "not a mapping"),
    ):
        with pytest.raises(InputError, match=said):
            sites.vectors(bad)


# A log-density of a dict


def test_a_density_of_named_values_is_that_of_a_model():
    supports = {"mu": constraints.real, "tau": constraints.positive, "w": constraints.simplex}

    def log_density(v):
        law = dist.Dirichlet(jnp.array([2.0, 3.0, 4.0]))
        return dist.Normal(1.0, 2.0).log_prob(v["mu"]) - v["tau"] + law.log_prob(v["w"])

    side = kl.Density(log_density, supports, shapes={"w": 3})
    assert side.sites is not None
    assert {site.name: site.shape for site in side.sites.program.sites} == {"mu": (), "tau": (), "w": (3,)}
    x = np.array([0.3, -0.2, 0.1, 0.4])
    d = {name: value[0] for name, value in side.sites.draws(x[None]).items()}
    want = scipy.stats.norm.logpdf(d["mu"], 1, 2) - d["tau"] + scipy.stats.dirichlet.logpdf(d["w"], [2, 3, 4])
    got = log_density_of(side.sites.log_density, x[None], True)[0]
    assert got == pytest.approx(want + float(side.sites.vectors(d)[1]), rel=1e-6)


@pytest.mark.parametrize(
    ("supports", "shapes", "said"),
    [
        ({"a": constraints.real}, {"b": 2}, "'b' is no name"),
        ({"a": 3}, None, "event_shape: .*a constraint for each name"),
        ({"a": 3, "b": constraints.real}, None, "'a' has 3"),
        ({"a": constraints.nonnegative_integer}, None, "'a' is discrete"),
        ({"a": constraints.simplex}, None, "'a' needs a shape"),
        ({}, None, "no name in it"),
    ],
)
def test_named_supports_are_checked(supports, shapes, said):
    with pytest.raises(InputError, match=said):
        kl.Density(lambda v: 0.0, supports, shapes=shapes)


def test_shapes_without_names_are_refused():
    with pytest.raises(InputError, match="shapes: they are of named outcomes"):
        kl.Density(lambda x: -(x**2), shapes={"a": 2})


def test_nothing_is_warned_of(rng):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "sites mu real, corr[3, 3] correlation" in repr(kl.Posterior(everything, rng.normal(size=2))).replace(
            "corrcholesky", "correlation"
        )


# What NumPyro or the model itself raises and warns of


def normal_rows(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 3.0))
    with numpyro.plate("rows", len(y)):
        numpyro.sample("y", dist.Normal(mu, 1.0), obs=y)


def two_of_one_name(y):
    numpyro.sample("a", dist.Normal(0.0, 1.0))
    a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(a, 1.0), obs=y)


FAULTS = {
    "no rows": (normal_rows, (np.ones(0),), "size of plate should be positive"),
    "one name twice": (two_of_one_name, (1.0,), "got `a` duplicated"),
    "no data": (normal_rows, (), "missing 1 required positional argument: 'y'"),
    "objects": (normal_rows, (np.array([1.0, "2"], object),), "site 'y' has values of type object"),
    "strings": (normal_rows, (np.array(["1", "2"]),), "site 'y' has values of type <U1"),
    "masked": (normal_rows, (np.ma.masked_invalid([1.0, np.nan]),), "called with its data it raised"),
    "the model's own": (lambda y: {}["b"], (1.0,), "raised KeyError: 'b'"),
}


@pytest.mark.parametrize(("model", "args", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_a_model_that_raises_is_refused_in_one_sentence(model, args, said):
    with pytest.raises(InputError, match=f"^model: .*{said}"):
        kl.Posterior(model, *args)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_data_that_numpyro_warns_of_are_refused_by_the_name_of_their_site(bad):
    posterior = kl.Posterior(normal_rows, np.array([1.0, bad, 2.0]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(FitError, match=r"site 'y' is (infinite|NaN)"):
            kl.KL(kl.Family(dist.Normal), posterior).minimize(quiet=True)


def decimals(values):
    return np.array([decimal.Decimal(str(value)) for value in values])


@pytest.mark.parametrize("column", [pd.Series, pl.Series, np.ndarray.tolist, decimals])
def test_a_column_of_a_frame_is_an_array(column):
    given = np.array([1.0, 2.0, 4.0])
    (_, of_column), (_, of_array) = density(normal_rows, column(given)), density(normal_rows, given)
    assert of_column([[0.5]]) == of_array([[0.5]])
