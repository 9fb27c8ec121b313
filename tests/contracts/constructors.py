"""The one table of constructors that every contract runs over: pairs with their divergence, and families."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpyro.distributions as dist
import scipy.integrate
import scipy.stats as st


@dataclass(frozen=True)
class Pair:
    """Two distributions, and the same two in SciPy from which the truth is integrated or summed."""

    name: str
    p: Any
    q: Any
    peer_p: Any
    peer_q: Any

    @property
    def truth(self) -> float:
        if hasattr(self.peer_p, "pmf"):
            k = np.arange(*(self.peer_p.support() + np.array([0, 1])).clip(0, 400).astype(int))
            p = self.peer_p.pmf(k)
            keep = p > 0
            return float(np.sum(p[keep] * (self.peer_p.logpmf(k) - self.peer_q.logpmf(k))[keep]))
        ends = [self.peer_p.ppf(t) for t in (1e-15, 0.001, 0.1, 0.5, 0.9, 0.999, 1 - 1e-15)]
        integrand = lambda x: self.peer_p.pdf(x) * (self.peer_p.logpdf(x) - self.peer_q.logpdf(x))  # noqa: E731
        pieces = itertools.pairwise(ends)
        return float(sum(scipy.integrate.quad(integrand, a, b, limit=200, epsabs=1e-12)[0] for a, b in pieces))


class Peaks:
    """A mixture of two normals with equal weights, as SciPy would state it."""

    def __init__(self, *locs: float) -> None:
        self.parts = [st.norm(loc, 1) for loc in locs]

    def pdf(self, x: Any) -> Any:
        return sum(part.pdf(x) for part in self.parts) / 2

    def logpdf(self, x: Any) -> Any:
        return np.logaddexp(*(part.logpdf(x) for part in self.parts)) - np.log(2)

    def ppf(self, t: float) -> float:
        """Between the quantiles of the parts, which is all that the ends of an integral need."""
        return float(np.mean([part.ppf(t) for part in self.parts])) + (8 if t > 0.99 else -8 if t < 0.01 else 0)


def peaks(*locs: float) -> Any:
    return dist.MixtureSameFamily(dist.CategoricalProbs(np.ones(2) / 2), dist.Normal(np.asarray(locs), 1.0))


PAIRS = [
    Pair("normal", dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0), st.norm(0, 1), st.norm(1, 2)),
    Pair("normal, near", dist.Normal(0.0, 1.0), dist.Normal(0.01, 1.01), st.norm(0, 1), st.norm(0.01, 1.01)),
    Pair("laplace", dist.Laplace(0.0, 1.0), dist.Laplace(0.5, 2.0), st.laplace(0, 1), st.laplace(0.5, 2)),
    Pair("gamma", dist.Gamma(2.0, 1.0), dist.Gamma(3.0, 2.0), st.gamma(2), st.gamma(3, scale=0.5)),
    Pair("exponential", dist.Exponential(1.0), dist.Exponential(2.5), st.expon(), st.expon(scale=0.4)),
    Pair("beta", dist.Beta(2.0, 3.0), dist.Beta(1.5, 1.0), st.beta(2, 3), st.beta(1.5, 1)),
    Pair("uniform", dist.Uniform(0.2, 0.5), dist.Uniform(0.0, 2.0), st.uniform(0.2, 0.3), st.uniform(0, 2)),
    Pair("normal and laplace", dist.Normal(0.0, 1.0), dist.Laplace(0.5, 1.5), st.norm(), st.laplace(0.5, 1.5)),
    Pair("normal and t", dist.Normal(0.0, 1.0), dist.StudentT(4.0, 0.5, 1.0), st.norm(), st.t(4, 0.5, 1)),
    Pair("gumbel and logistic", dist.Gumbel(0.0, 1.0), dist.Logistic(0.5, 1.0), st.gumbel_r(), st.logistic(0.5, 1)),
    Pair("gamma and lognormal", dist.Gamma(3.0, 1.0), dist.LogNormal(1.0, 0.6), st.gamma(3), st.lognorm(0.6, 0, np.e)),
    Pair("mixtures", peaks(-2.0, 2.0), peaks(-1.5, 1.0), Peaks(-2, 2), Peaks(-1.5, 1)),
    Pair("mixture and normal", peaks(-2.0, 2.0), dist.Normal(0.0, 2.5), Peaks(-2, 2), st.norm(0, 2.5)),
    Pair("bernoulli", dist.Bernoulli(0.3), dist.Bernoulli(logits=0.7), st.bernoulli(0.3), st.bernoulli(0.668187772)),
    Pair("binomial", dist.Binomial(8, 0.3), dist.Binomial(8, 0.6), st.binom(8, 0.3), st.binom(8, 0.6)),
    Pair("poisson", dist.Poisson(3.0), dist.Poisson(4.5), st.poisson(3), st.poisson(4.5)),
    Pair("binomial and poisson", dist.Binomial(8, 0.3), dist.Poisson(2.0), st.binom(8, 0.3), st.poisson(2)),
    Pair("poisson and geometric", dist.Poisson(3.0), dist.Geometric(0.3), st.poisson(3), st.geom(0.3, loc=-1)),
]

# P has mass where Q has none.
ESCAPES = [
    (dist.Uniform(0.0, 2.0), dist.Uniform(0.0, 1.0)),
    (dist.Normal(0.0, 1.0), dist.Gamma(2.0, 1.0)),
    (dist.Gamma(2.0, 1.0), dist.Beta(2.0, 2.0)),
    (dist.Poisson(3.0), dist.Binomial(10, 0.5)),
    (dist.Binomial(12, 0.5), dist.Binomial(10, 0.5)),
    (dist.Categorical(probs=np.array([0.5, 0.5])), dist.Categorical(probs=np.array([1.0, 0.0]))),
    (dist.Normal(0.0, 1.0), dist.Poisson(2.0)),
    (dist.Poisson(2.0), dist.Normal(0.0, 1.0)),
    (dist.Normal(np.zeros(2), 1.0).to_event(1), dist.Uniform(np.zeros(2), 5.0).to_event(1)),
]

# Bijections, applied to both sides of a continuous pair.
BIJECTIONS = {
    "affine": dist.transforms.AffineTransform(3.0, -2.0),
    "exp": dist.transforms.ExpTransform(),
    "sigmoid": dist.transforms.SigmoidTransform(),
}


@dataclass(frozen=True)
class Fitted:
    """A family as a user names it, and a member of it to draw from. `fixed` are parameters that are given."""

    family: Any
    member: Any
    fixed: dict[str, Any]

    @property
    def name(self) -> str:
        return self.family.__name__ + "".join(f", {k}" for k in self.fixed)


def fitted(family: Any, member: Callable[[], Any] | Any, **fixed: Any) -> Fitted:
    return Fitted(family, member, fixed)


FAMILIES = [
    fitted(dist.Normal, dist.Normal(1.0, 2.0)),
    fitted(dist.Normal, dist.Normal(1.0, 2.0), scale=2.0),
    fitted(dist.Normal, dist.Normal(np.array([1.0, -3.0]), np.array([2.0, 0.5])).to_event(1)),
    fitted(dist.MultivariateNormal, dist.MultivariateNormal(np.ones(2), np.array([[2.0, 0.7], [0.7, 1.0]]))),
    fitted(dist.Laplace, dist.Laplace(1.0, 2.0)),
    fitted(dist.StudentT, dist.StudentT(4.0, 1.0, 2.0)),
    fitted(dist.Cauchy, dist.Cauchy(1.0, 2.0)),
    fitted(dist.Gumbel, dist.Gumbel(1.0, 2.0)),
    fitted(dist.LogNormal, dist.LogNormal(1.0, 0.5)),
    fitted(dist.Gamma, dist.Gamma(3.0, 2.0)),
    fitted(dist.Exponential, dist.Exponential(2.0)),
    fitted(dist.HalfNormal, dist.HalfNormal(2.0)),
    fitted(dist.Weibull, dist.Weibull(2.0, 1.5)),
    fitted(dist.Beta, dist.Beta(2.0, 5.0)),
    fitted(dist.Dirichlet, dist.Dirichlet(np.array([1.0, 2.0, 4.0]))),
    fitted(dist.VonMises, dist.VonMises(1.0, 2.0)),
    fitted(dist.Bernoulli, dist.Bernoulli(0.3)),
    fitted(dist.Categorical, dist.Categorical(probs=np.array([0.2, 0.5, 0.3]))),
    fitted(dist.Poisson, dist.Poisson(3.0)),
    fitted(dist.Geometric, dist.Geometric(0.3)),
    fitted(dist.Binomial, dist.Binomial(10, 0.3), total_count=10),
    fitted(dist.NegativeBinomial2, dist.NegativeBinomial2(3.0, 2.0)),
    fitted(dist.ZeroInflatedPoisson, dist.ZeroInflatedPoisson(0.3, 3.0)),
]
