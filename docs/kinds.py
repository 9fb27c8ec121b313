"""Examples of every kind of distribution in NumPyro, by the shape of an outcome: what the generated pages ask about.

The first two examples of a kind are at generic parameters. The ones after them are other parametrisations, or stand in
a relation to the first under which a pair may become exact: an equal scale, a nested support, a shared bijection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpyro.distributions as dist
from numpyro.distributions import constraints, transforms


@dataclass(frozen=True)
class Kind:
    """A name, its examples, and whether it is made of other distributions, and so no family of its own."""

    name: str
    examples: tuple[Any, ...]
    composite: bool = False


def kind(name: str, *examples: Any) -> Kind:
    return Kind(name, examples)


def made(name: str, *examples: Any) -> Kind:
    return Kind(name, examples, True)


N, M = dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0)
G, H = dist.Gamma(2.0, 1.0), dist.Gamma(3.0, 2.0)
HALVES, THIRDS = dist.CategoricalProbs(jnp.array([0.5, 0.5])), dist.CategoricalProbs(jnp.array([0.3, 0.7]))
TWO = jnp.array([0.0, 1.0])
EYE, SLANT = jnp.eye(2), jnp.array([[2.0, 0.5], [0.5, 1.0]])
ROOT = jnp.array([[1.0, 0.0], [0.5, 2.0]])
GRAPH = jnp.array([[0.0, 1.0], [1.0, 0.0]])


def drift(x: Any, t: Any) -> tuple[Any, Any]:
    return -x, jnp.ones_like(x)


def uniforms(weights: Any, *intervals: tuple[float, float]) -> Any:
    return dist.MixtureGeneral(weights, [dist.Uniform(*interval) for interval in intervals])


def bernoullis(weights: Any, chances: Any) -> Any:
    return dist.MixtureSameFamily(weights, dist.BernoulliProbs(jnp.array(chances)))


def poissons(weights: Any, rates: Any) -> Any:
    return dist.MixtureGeneral(weights, [dist.Poisson(rate) for rate in rates])


def normals(weights: Any, locs: Any) -> Any:
    return dist.MixtureSameFamily(weights, dist.Normal(jnp.array(locs), 1.0))


LINE = (
    kind("Normal", N, M),
    kind("Laplace", dist.Laplace(0.0, 1.0), dist.Laplace(1.0, 2.0)),
    kind(
        "AsymmetricLaplace",
        dist.AsymmetricLaplace(0.0, 1.0, 1.5),
        dist.AsymmetricLaplace(1.0, 2.0, 0.5),
        dist.AsymmetricLaplaceQuantile(0.0, 1.0, 0.3),
    ),
    kind("SoftLaplace", dist.SoftLaplace(0.0, 1.0), dist.SoftLaplace(1.0, 2.0), dist.SoftLaplace(1.0, 1.0)),
    kind("Logistic", dist.Logistic(0.0, 1.0), dist.Logistic(1.0, 2.0), dist.Logistic(1.0, 1.0)),
    kind("Gumbel", dist.Gumbel(0.0, 1.0), dist.Gumbel(1.0, 2.0)),
    kind("Cauchy", dist.Cauchy(0.0, 1.0), dist.Cauchy(1.0, 2.0)),
    kind("StudentT", dist.StudentT(4.0, 0.0, 1.0), dist.StudentT(5.0, 1.0, 2.0), dist.StudentT(4.0, 1.0, 2.0)),
)

HALF_LINE = (
    kind("HalfNormal", dist.HalfNormal(1.0), dist.HalfNormal(2.0)),
    kind("HalfCauchy", dist.HalfCauchy(1.0), dist.HalfCauchy(2.0)),
    kind("LogNormal", dist.LogNormal(0.0, 1.0), dist.LogNormal(1.0, 0.5)),
    kind("Exponential", dist.Exponential(1.0), dist.Exponential(2.0)),
    kind("Gamma", G, H),
    kind("Chi2", dist.Chi2(3.0), dist.Chi2(4.0)),
    kind("InverseGamma", dist.InverseGamma(4.0, 1.0), dist.InverseGamma(5.0, 2.0)),
    kind("Weibull", dist.Weibull(1.0, 1.5), dist.Weibull(2.0, 2.5)),
    kind("Gompertz", dist.Gompertz(1.0, 1.5), dist.Gompertz(2.0, 0.5), dist.Gompertz(2.0, 1.5)),
    kind("Dagum", dist.Dagum(1.0, 3.0, 1.0), dist.Dagum(2.0, 4.0, 2.0), dist.Dagum(2.0, 3.0, 1.0)),
    kind("Levy", dist.Levy(0.0, 1.0), dist.Levy(1.0, 2.0), dist.Levy(0.0, 2.0)),
    kind("Pareto", dist.Pareto(1.0, 3.0), dist.Pareto(0.5, 4.0)),
    kind("LowerTruncatedPowerLaw", dist.LowerTruncatedPowerLaw(-3.0, 1.0), dist.LowerTruncatedPowerLaw(-4.0, 0.5)),
    kind("HurdleGamma", dist.HurdleGamma(0.3, 2.0, 1.0), dist.HurdleGamma(0.4, 3.0, 2.0)),
    kind("HurdleLogNormal", dist.HurdleLogNormal(0.3, 0.0, 1.0), dist.HurdleLogNormal(0.4, 1.0, 0.5)),
)

INTERVAL = (
    kind("Uniform", dist.Uniform(0.2, 0.8), dist.Uniform(0.1, 0.9)),
    kind("LogUniform", dist.LogUniform(0.3, 0.6), dist.LogUniform(0.2, 0.8)),
    kind("Beta", dist.Beta(2.0, 3.0), dist.Beta(1.5, 2.0), dist.BetaProportion(0.3, 4.0)),
    kind("Kumaraswamy", dist.Kumaraswamy(2.0, 3.0), dist.Kumaraswamy(1.5, 2.0)),
    kind("RelaxedBernoulli", dist.RelaxedBernoulliLogits(0.5, 0.3), dist.RelaxedBernoulliLogits(0.7, -0.5)),
    kind(
        "DoublyTruncatedPowerLaw",
        dist.DoublyTruncatedPowerLaw(-2.0, 0.3, 0.6),
        dist.DoublyTruncatedPowerLaw(-3.0, 0.2, 0.8),
    ),
    kind("TruncatedPolyaGamma", dist.TruncatedPolyaGamma()),
    kind("VonMises", dist.VonMises(0.0, 1.0), dist.VonMises(1.0, 2.0)),
)

TRUNCATED = (
    kind("LeftTruncated(Normal)", dist.TruncatedNormal(0.0, 1.0, low=0.5), dist.TruncatedNormal(1.0, 2.0, low=0.2)),
    kind("RightTruncated(Normal)", dist.TruncatedNormal(0.0, 1.0, high=0.5), dist.TruncatedNormal(1.0, 2.0, high=0.7)),
    kind(
        "TwoSidedTruncated(Normal)",
        dist.TruncatedNormal(0.0, 1.0, low=0.3, high=0.5),
        dist.TruncatedNormal(1.0, 2.0, low=0.2, high=0.7),
    ),
    kind(
        "TwoSidedTruncated(Cauchy)",
        dist.TruncatedCauchy(0.0, 1.0, low=0.3, high=0.5),
        dist.TruncatedCauchy(1.0, 2.0, low=0.2, high=0.7),
    ),
    kind("LeftTruncatedGamma", dist.LeftTruncatedGamma(G, 0.5), dist.LeftTruncatedGamma(H, 0.2)),
    kind("RightTruncatedGamma", dist.RightTruncatedGamma(G, 0.5), dist.RightTruncatedGamma(H, 0.7)),
    kind("TwoSidedTruncatedGamma", dist.TwoSidedTruncatedGamma(G, 0.3, 0.5), dist.TwoSidedTruncatedGamma(H, 0.2, 0.7)),
)

MADE = (
    made("Delta", dist.Delta(0.3), dist.Delta(0.4)),
    made("MixtureSameFamily", normals(HALVES, [0.0, 3.0]), normals(THIRDS, [1.0, 2.0]), normals(HALVES, [0.0, 3.0])),
    made(
        "MixtureGeneral",
        uniforms(HALVES, (0.0, 0.3), (0.5, 0.6)),
        uniforms(THIRDS, (0.0, 0.5), (0.2, 0.9)),
        uniforms(THIRDS, (0.0, 0.4), (0.5, 0.6)),
    ),
    made(
        "TransformedDistribution",
        dist.TransformedDistribution(N, transforms.SigmoidTransform()),
        dist.TransformedDistribution(M, transforms.AffineTransform(1.0, 3.0)),
        dist.TransformedDistribution(M, transforms.SigmoidTransform()),
    ),
    made("FoldedDistribution", dist.FoldedDistribution(N), dist.FoldedDistribution(M)),
    made("ExpandedDistribution", N.expand([2]), M.expand([2])),
    made(
        "MaskedDistribution",
        dist.MaskedDistribution(N, jnp.array(True)),
        dist.MaskedDistribution(M, jnp.array(True)),
    ),
)

COUNTS = (
    kind("Poisson", dist.Poisson(2.0), dist.Poisson(3.0)),
    kind("Geometric", dist.GeometricProbs(0.3), dist.GeometricProbs(0.4), dist.GeometricLogits(0.5)),
    kind(
        "NegativeBinomial",
        dist.NegativeBinomial2(3.0, 2.0),
        dist.NegativeBinomial2(4.0, 3.0),
        dist.NegativeBinomial2(5.0, 2.0),
        dist.NegativeBinomialProbs(2.0, 0.3),
        dist.NegativeBinomialLogits(2.0, 0.3),
        dist.GammaPoisson(2.0, 0.5),
    ),
    kind("BetaNegativeBinomial", dist.BetaNegativeBinomial(4.0, 2.0, 3.0), dist.BetaNegativeBinomial(5.0, 3.0, 4.0)),
    kind("ZeroInflatedPoisson", dist.ZeroInflatedPoisson(0.3, 2.0), dist.ZeroInflatedPoisson(0.4, 3.0)),
    kind(
        "ZeroInflated(NegativeBinomial2)",
        dist.ZeroInflatedNegativeBinomial2(3.0, 2.0, gate=0.3),
        dist.ZeroInflatedNegativeBinomial2(4.0, 3.0, gate=0.4),
        dist.ZeroInflatedNegativeBinomial2(4.0, 2.0, gate_logits=0.4),
    ),
    kind("HurdlePoisson", dist.HurdlePoisson(0.3, 2.0), dist.HurdlePoisson(0.4, 3.0)),
    kind(
        "Hurdle(NegativeBinomial2)",
        dist.HurdleNegativeBinomial2(0.3, 3.0, 2.0),
        dist.HurdleNegativeBinomial2(0.4, 4.0, 3.0),
        dist.HurdleDistribution(dist.NegativeBinomial2(4.0, 2.0), gate_logits=0.4),
    ),
    kind("Binomial", dist.BinomialProbs(0.3, 5), dist.BinomialProbs(0.4, 7), dist.BinomialLogits(0.5, 5)),
    kind(
        "BetaBinomial", dist.BetaBinomial(2.0, 3.0, 5), dist.BetaBinomial(3.0, 2.0, 7), dist.BetaBinomial(3.0, 2.0, 5)
    ),
)

LABELS = (
    kind("Bernoulli", dist.BernoulliProbs(0.3), dist.BernoulliProbs(0.4), dist.BernoulliLogits(0.5)),
    kind(
        "Categorical",
        dist.CategoricalProbs(jnp.array([0.2, 0.3, 0.5])),
        dist.CategoricalProbs(jnp.array([0.5, 0.3, 0.2])),
        dist.CategoricalLogits(jnp.array([0.0, 1.0])),
    ),
    kind("OrderedLogistic", dist.OrderedLogistic(0.5, TWO), dist.OrderedLogistic(-0.5, jnp.zeros(1))),
    kind("DiscreteUniform", dist.DiscreteUniform(0, 2), dist.DiscreteUniform(0, 4)),
    made("Mixture, of Bernoulli", bernoullis(HALVES, [0.2, 0.7]), bernoullis(THIRDS, [0.3, 0.6])),
    made("Mixture, of Poisson", poissons(HALVES, [1.0, 4.0]), poissons(THIRDS, [2.0, 3.0])),
)

VECTORS = (
    kind(
        "MultivariateNormal",
        dist.MultivariateNormal(TWO, covariance_matrix=SLANT),
        dist.MultivariateNormal(TWO, precision_matrix=EYE),
        dist.LowRankMultivariateNormal(TWO, jnp.ones((2, 1)), jnp.ones(2)),
    ),
    kind(
        "CirculantNormal",
        dist.CirculantNormal(TWO, jnp.array([2.0, 0.5])),
        dist.CirculantNormal(TWO, jnp.array([1.0, 0.2])),
    ),
    kind("CAR", dist.CAR(TWO, 0.5, 1.0, GRAPH), dist.CAR(TWO, 0.2, 2.0, GRAPH)),
    kind("GaussianRandomWalk", dist.GaussianRandomWalk(1.0, 2), dist.GaussianRandomWalk(2.0, 2)),
    kind("ZeroSumNormal", dist.ZeroSumNormal(1.0, (2,)), dist.ZeroSumNormal(2.0, (2,))),
    kind(
        "MultivariateStudentT",
        dist.MultivariateStudentT(4.0, TWO, ROOT),
        dist.MultivariateStudentT(5.0, TWO, EYE),
        dist.MultivariateStudentT(4.0, TWO, EYE),
    ),
    kind(
        "GaussianCopula",
        dist.GaussianCopula(G, correlation_matrix=jnp.array([[1.0, 0.3], [0.3, 1.0]])),
        dist.GaussianCopula(H, correlation_matrix=EYE),
        dist.GaussianCopula(G, correlation_matrix=EYE),
    ),
    kind(
        "GaussianCopulaBeta",
        dist.GaussianCopulaBeta(2.0, 3.0, correlation_matrix=jnp.array([[1.0, 0.3], [0.3, 1.0]])),
        dist.GaussianCopulaBeta(3.0, 2.0, correlation_matrix=EYE),
        dist.GaussianCopulaBeta(2.0, 3.0, correlation_matrix=EYE),
    ),
    kind("Dirichlet", dist.Dirichlet(jnp.array([1.0, 2.0])), dist.Dirichlet(jnp.array([2.0, 3.0]))),
    kind("ProjectedNormal", dist.ProjectedNormal(TWO), dist.ProjectedNormal(-TWO)),
    kind(
        "SineBivariateVonMises",
        dist.SineBivariateVonMises(0.0, 0.0, 1.0, 1.0, 0.5),
        dist.SineBivariateVonMises(1.0, 0.0, 2.0, 1.0, 0.2),
    ),
    kind(
        "Multinomial",
        *(dist.MultinomialProbs(jnp.array(p), 5) for p in ([0.3, 0.7], [0.4, 0.6])),
        dist.MultinomialLogits(TWO, 5),
        dist.MultinomialProbs(jnp.array([0.4, 0.6]), 6),
    ),
    kind(
        "DirichletMultinomial",
        dist.DirichletMultinomial(jnp.array([1.0, 2.0]), 5),
        dist.DirichletMultinomial(jnp.array([2.0, 3.0]), 5),
        dist.DirichletMultinomial(jnp.array([2.0, 3.0]), 6),
    ),
    made(
        "Independent",
        dist.Normal(TWO, 1.0).to_event(1),
        dist.Normal(TWO, 2.0).to_event(1),
        dist.Gamma(jnp.ones(2), 1.0).to_event(1),
    ),
    made(
        "SineSkewed",
        dist.SineSkewed(dist.SineBivariateVonMises(0.0, 0.0, 1.0, 1.0, 0.5), jnp.array([0.2, 0.3])),
        dist.SineSkewed(dist.SineBivariateVonMises(1.0, 0.0, 2.0, 1.0, 0.2), jnp.array([0.1, 0.2])),
    ),
    made("Delta, of a vector", dist.Delta(TWO, event_dim=1), dist.Delta(2.0 * TWO, event_dim=1)),
)

MATRICES = (
    kind("MatrixNormal", dist.MatrixNormal(EYE, EYE, ROOT), dist.MatrixNormal(SLANT, ROOT, EYE)),
    kind("Wishart", dist.Wishart(4.0, EYE), dist.Wishart(5.0, SLANT)),
    kind("InverseWishart", dist.InverseWishart(4.0, EYE), dist.InverseWishart(5.0, SLANT)),
    kind("WishartCholesky", dist.WishartCholesky(4.0, EYE), dist.WishartCholesky(5.0, SLANT)),
    kind("InverseWishartCholesky", dist.InverseWishartCholesky(4.0, EYE), dist.InverseWishartCholesky(5.0, SLANT)),
    kind("LKJ", dist.LKJ(2, 1.0), dist.LKJ(2, 2.0)),
    kind("LKJCholesky", dist.LKJCholesky(2, 1.0), dist.LKJCholesky(2, 2.0)),
    kind(
        "GaussianStateSpace",
        dist.GaussianStateSpace(2, 0.5 * EYE, covariance_matrix=EYE),
        dist.GaussianStateSpace(2, 0.2 * EYE, covariance_matrix=SLANT),
    ),
)

# What has no pair: a law of paths, whose outcomes have a shape of their own, and what is no law of an outcome at all.
ALONE = (
    kind(
        "EulerMaruyama",
        dist.EulerMaruyama(jnp.linspace(0.0, 1.0, 3), drift, dist.Normal(0.0, 1.0)),
        dist.EulerMaruyama(jnp.linspace(0.0, 1.0, 3), drift, dist.Normal(0.0, 2.0)),
    ),
    made(
        "IntervalCensoredDistribution",
        dist.IntervalCensoredDistribution(G, False, True),
        dist.IntervalCensoredDistribution(H, False, True),
    ),
    made("LeftCensoredDistribution", dist.LeftCensoredDistribution(G), dist.LeftCensoredDistribution(H)),
    made("RightCensoredDistribution", dist.RightCensoredDistribution(G), dist.RightCensoredDistribution(H)),
    made(
        "ImproperUniform",
        dist.ImproperUniform(constraints.real, (), ()),
        dist.ImproperUniform(constraints.real, (), ()),
    ),
    made("Unit", dist.Unit(0.0), dist.Unit(1.0)),
)

TABLES: dict[str, tuple[Kind, ...]] = {
    "Real numbers": (*LINE, *HALF_LINE, *INTERVAL, *TRUNCATED, *MADE),
    "Counts and labels": (*COUNTS, *LABELS),
    "Vectors": VECTORS,
    "Matrices": MATRICES,
}

# Names of NumPyro that are functions which return one of the above, or no distribution.
FUNCTIONS = {
    "Bernoulli", "Binomial", "Categorical", "Geometric", "HurdleDistribution", "HurdleNegativeBinomial2", "Mixture",
    "Multinomial", "NegativeBinomial", "RelaxedBernoulli", "TruncatedCauchy", "TruncatedDistribution", "TruncatedGamma",
    "TruncatedNormal", "ZeroInflatedDistribution", "ZeroInflatedNegativeBinomial2", "biject_to", "constraints",
    "kl_divergence", "transforms",
}  # fmt: skip
ABSTRACT = {"Distribution"}
