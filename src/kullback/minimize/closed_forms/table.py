"""Which families have a closed form of maximum likelihood, with which parameters free."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpyro.distributions as dist

from kullback.families.form import Form
from kullback.minimize.closed_forms import concentrations, moments, order_statistics
from kullback.minimize.closed_forms.concentrations import negative_binomial
from kullback.minimize.closed_forms.solution import Expectation, Fixed, Solution

ClosedForm = Callable[[Expectation, Fixed], Solution]


class Kind(NamedTuple):
    """A closed form, the sets of parameters that it finds, and whether matched moments are what it finds them by."""

    solve: ClosedForm
    free: tuple[frozenset[str], ...]
    moments: bool = True


def _sets(*names: str) -> tuple[frozenset[str], ...]:
    return tuple(frozenset(name.split()) for name in names)


CLOSED_FORMS: dict[type, Kind] = {
    dist.Normal: Kind(moments.normal, _sets("loc scale", "scale", "loc")),
    dist.LogNormal: Kind(moments.log_normal, _sets("loc scale", "scale", "loc")),
    dist.MultivariateNormal: Kind(moments.multivariate_normal, _sets("loc scale_tril", "scale_tril")),
    dist.HalfNormal: Kind(moments.half_normal, _sets("scale")),
    dist.Exponential: Kind(moments.exponential, _sets("rate")),
    dist.Poisson: Kind(moments.poisson, _sets("rate")),
    dist.BernoulliLogits: Kind(moments.bernoulli_logits, _sets("logits")),
    dist.BernoulliProbs: Kind(moments.bernoulli_probs, _sets("probs")),
    dist.BinomialLogits: Kind(moments.binomial_logits, _sets("logits")),
    dist.GeometricLogits: Kind(moments.geometric_logits, _sets("logits")),
    dist.Gamma: Kind(concentrations.gamma, _sets("concentration rate", "rate")),
    dist.InverseGamma: Kind(concentrations.inverse_gamma, _sets("concentration rate", "rate")),
    dist.Beta: Kind(concentrations.beta, _sets("concentration1 concentration0")),
    dist.BetaProportion: Kind(concentrations.beta_proportion, _sets("mean concentration")),
    dist.Dirichlet: Kind(concentrations.dirichlet, _sets("concentration")),
    dist.MultinomialLogits: Kind(moments.multinomial_logits, _sets("logits")),
    dist.MultinomialProbs: Kind(moments.multinomial_probs, _sets("probs")),
    dist.Wishart: Kind(moments.wishart, _sets("concentration scale_tril", "scale_tril")),
    dist.WishartCholesky: Kind(moments.wishart_cholesky, _sets("concentration scale_tril", "scale_tril")),
    dist.VonMises: Kind(concentrations.von_mises, _sets("loc concentration", "concentration")),
    dist.Uniform: Kind(order_statistics.uniform, _sets("low high", "low", "high")),
    dist.LogUniform: Kind(order_statistics.log_uniform, _sets("low high", "low", "high"), moments=False),
    dist.Pareto: Kind(order_statistics.pareto, _sets("scale alpha", "scale", "alpha"), moments=False),
    dist.LowerTruncatedPowerLaw: Kind(
        order_statistics.lower_truncated_power_law, _sets("low alpha", "low", "alpha"), moments=False
    ),
    dist.DoublyTruncatedPowerLaw: Kind(
        order_statistics.doubly_truncated_power_law,
        _sets("low high alpha", "alpha", "low high", "low alpha", "high alpha"),
        moments=False,
    ),
    dist.Laplace: Kind(order_statistics.laplace, _sets("loc scale", "scale", "loc"), moments=False),
    dist.AsymmetricLaplace: Kind(
        order_statistics.asymmetric_laplace, _sets("loc scale asymmetry", "loc scale"), moments=False
    ),
    dist.AsymmetricLaplaceQuantile: Kind(
        order_statistics.asymmetric_laplace_quantile, _sets("loc scale quantile", "loc scale"), moments=False
    ),
    dist.Weibull: Kind(order_statistics.weibull, _sets("concentration scale", "scale"), moments=False),
    dist.NegativeBinomial2: Kind(
        negative_binomial("concentration", lambda m, c: {"mean": m, "concentration": c}),
        _sets("mean concentration", "mean"),
        moments=False,
    ),
    dist.GammaPoisson: Kind(
        negative_binomial("concentration", lambda m, c: {"concentration": c, "rate": c / m}),
        _sets("concentration rate", "rate"),
        moments=False,
    ),
    dist.NegativeBinomialProbs: Kind(
        negative_binomial("total_count", lambda m, c: {"total_count": c, "probs": m / (c + m)}),
        _sets("total_count probs", "probs"),
        moments=False,
    ),
    dist.NegativeBinomialLogits: Kind(
        negative_binomial("total_count", lambda m, c: {"total_count": c, "logits": np.log(m / c)}),
        _sets("total_count logits", "logits"),
        moments=False,
    ),
}

_ONE_EVENT = (
    dist.MultivariateNormal,
    dist.CategoricalLogits,
    dist.Wishart,
    dist.WishartCholesky,
)  # whose closed form is not of several side by side


def closed_form(structure: object, fixed: Mapping[str, object]) -> ClosedForm | None:
    """The closed form of a family with these parameters held fixed, or None."""
    if not isinstance(structure, Form) or (structure.cls in _ONE_EVENT and structure.independent):
        return None
    if structure.cls is dist.CategoricalLogits:
        ((_, shape),) = structure.shapes
        return lambda E, fixed: moments.categorical(E, shape[-1])
    kind = CLOSED_FORMS.get(structure.cls)
    return kind.solve if kind is not None and frozenset(structure.names) in kind.free else None


def matches_moments(structure: object) -> bool:
    """Whether the closed form of a family is that expectations are matched."""
    if not isinstance(structure, Form):
        return False
    return structure.cls is dist.CategoricalLogits or CLOSED_FORMS[structure.cls].moments
