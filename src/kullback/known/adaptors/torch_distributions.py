"""The adaptor for torch.distributions, read by the names of attributes: torch itself is not imported.

The families that NumPyro has, too, and their composites are translated; the others are evaluated by callback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import Distribution, constraints, transforms

from kullback.known.adaptors import numpyro_distributions
from kullback.known.host import host_log_prob, host_sampler
from kullback.known.record import Functions, Known
from kullback.known.support import Support, from_constraint

TorchDistribution = Any  # torch is not imported here, so its classes have no names
Tensor = Any


def accepts(x: object) -> bool:
    return any(kind.__name__ == "Distribution" and _is_torch(kind) for kind in type(x).__mro__)


def known(d: TorchDistribution) -> Known:
    """What is known of a torch distribution. Its parameters are read now; none of its gradients are."""
    law = translated(d)
    if law is not None:
        return numpyro_distributions.known(law)
    event, batch = tuple(d.event_shape), tuple(d.batch_shape)
    return Known(
        name=f"torch {type(d).__name__}",
        event_shape=event,
        batch_shape=batch,
        support=_support(d),
        atoms=np.eye(event[0], dtype=np.int32) if _is_one_hot(d) else None,
        functions=Functions(
            sampler=host_sampler(
                partial(_draw, d), (*batch, *event), whole=bool(getattr(d.support, "is_discrete", False))
            ),
            log_prob=host_log_prob(partial(_log_prob, d), len(event), batch),
            differentiable=False,
        ),
    )


def translated(d: TorchDistribution) -> Distribution | None:
    """The same law in NumPyro, or None where it has none."""
    name = type(d).__name__
    if not _is_torch(type(d)):
        return None
    if name in NAMED:
        return NAMED[name](d)
    if name in BY_PROBS_OR_LOGITS:
        by_probs, by_logits = BY_PROBS_OR_LOGITS[name]
        given = getattr(d, "_param", None) is vars(d).get("logits") and "logits" in vars(d)
        return by_logits(_array(d.logits), d) if given else by_probs(_array(d.probs), d)
    return COMPOSED[name](d) if name in COMPOSED else None


def _is_torch(kind: type) -> bool:
    return kind.__module__.startswith("torch.distributions")


def _array(x: Tensor) -> np.ndarray | float:
    """A tensor as an array of doubles or integers, and as a number where it is one."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = np.asarray(x.double() if x.is_floating_point() else x)
    array = np.asarray(x)
    return array.item() if array.ndim == 0 else array


def _named(law: Callable[..., Any], *attributes: str) -> Callable[[Any], Any]:
    return lambda d: law(*(_array(getattr(d, name)) for name in attributes))


# Their class -> NumPyro's law of the attributes named.
NAMED: dict[str, Callable[[Any], Any]] = {
    "Beta": _named(dist.Beta, "concentration1", "concentration0"),
    "Cauchy": _named(dist.Cauchy, "loc", "scale"),
    "Chi2": _named(dist.Gamma, "concentration", "rate"),
    "Dirichlet": _named(dist.Dirichlet, "concentration"),
    "Exponential": _named(dist.Exponential, "rate"),
    "Gamma": _named(dist.Gamma, "concentration", "rate"),
    "Gumbel": _named(dist.Gumbel, "loc", "scale"),
    "HalfCauchy": _named(dist.HalfCauchy, "scale"),
    "HalfNormal": _named(dist.HalfNormal, "scale"),
    "InverseGamma": _named(dist.InverseGamma, "concentration", "rate"),
    "Kumaraswamy": _named(dist.Kumaraswamy, "concentration1", "concentration0"),
    "LKJCholesky": lambda d: dist.LKJCholesky(int(d.dim), _array(d.concentration)),
    "Laplace": _named(dist.Laplace, "loc", "scale"),
    "LogNormal": _named(dist.LogNormal, "loc", "scale"),
    "LowRankMultivariateNormal": _named(dist.LowRankMultivariateNormal, "loc", "cov_factor", "cov_diag"),
    "MultivariateNormal": lambda d: dist.MultivariateNormal(_array(d.loc), scale_tril=_array(d.scale_tril)),
    "Normal": _named(dist.Normal, "loc", "scale"),
    "Pareto": _named(dist.Pareto, "scale", "alpha"),
    "Poisson": _named(dist.Poisson, "rate"),
    "StudentT": _named(dist.StudentT, "df", "loc", "scale"),
    "Uniform": _named(dist.Uniform, "low", "high"),
    "VonMises": _named(dist.VonMises, "loc", "concentration"),
    "Weibull": _named(dist.Weibull, "scale", "concentration"),
    "Wishart": lambda d: dist.Wishart(_array(d.df), scale_tril=_array(d.scale_tril)),
}


def _trials(d: TorchDistribution) -> int | np.ndarray:
    n = _array(d.total_count)
    return int(n) if np.ndim(n) == 0 else np.asarray(n).astype(int)


# Their class -> NumPyro's law of probabilities, and of logits, whichever was given.
BY_PROBS_OR_LOGITS: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "Bernoulli": (lambda p, d: dist.BernoulliProbs(p), lambda t, d: dist.BernoulliLogits(t)),
    "Binomial": (lambda p, d: dist.BinomialProbs(p, _trials(d)), lambda t, d: dist.BinomialLogits(t, _trials(d))),
    "Categorical": (lambda p, d: dist.CategoricalProbs(p), lambda t, d: dist.CategoricalLogits(t)),
    "Geometric": (lambda p, d: dist.GeometricProbs(p), lambda t, d: dist.GeometricLogits(t)),
    "Multinomial": (
        lambda p, d: dist.MultinomialProbs(p, _trials(d)),
        lambda t, d: dist.MultinomialLogits(t, _trials(d)),
    ),
    "NegativeBinomial": (
        lambda p, d: dist.NegativeBinomialProbs(_array(d.total_count), p),
        lambda t, d: dist.NegativeBinomialLogits(_array(d.total_count), t),
    ),
}


def _independent(d: TorchDistribution) -> Distribution | None:
    base = translated(d.base_dist)
    return None if base is None else base.to_event(int(d.reinterpreted_batch_ndims))


def _mixture(d: TorchDistribution) -> Distribution | None:
    weights, parts = translated(d.mixture_distribution), translated(d.component_distribution)
    return None if weights is None or parts is None else dist.MixtureSameFamily(weights, parts)


def _transformed(d: TorchDistribution) -> Distribution | None:
    """A chain of transforms that NumPyro has, each with the support of what it is applied to as its domain."""
    law = translated(d.base_dist)
    for t in d.transforms:
        move = TRANSFORMS.get(type(t).__name__)
        if law is None or move is None:
            return None
        law = dist.TransformedDistribution(law, move(t, law.support))
    return law


COMPOSED = {"Independent": _independent, "MixtureSameFamily": _mixture, "TransformedDistribution": _transformed}

# Of numbers one by one, whose base law may have any shape.
TRANSFORMS: dict[str, Callable[[Any, Any], Any]] = {
    "AffineTransform": lambda t, domain: transforms.AffineTransform(_array(t.loc), _array(t.scale), domain=domain),
    "ExpTransform": lambda t, domain: transforms.ExpTransform(),
    "SigmoidTransform": lambda t, domain: transforms.SigmoidTransform(),
    "SoftplusTransform": lambda t, domain: transforms.SoftplusTransform(),
}


def _torch(d: TorchDistribution) -> Any:
    """The module of a distribution's own torch, which is imported where there is one."""
    kind = next(kind for kind in type(d).__mro__ if _is_torch(kind))
    return sys.modules[kind.__module__.partition(".")[0]]


def _log_prob(d: TorchDistribution, x: np.ndarray) -> np.ndarray:
    """log d(x), with −∞ outside the support, where torch refuses."""
    torch = _torch(d)
    with torch.no_grad():
        filler = d.sample()
        values = torch.as_tensor(np.array(x), device=filler.device)
        inside = d.support.check(values)
        rank = (1,) * len(d.event_shape)
        values = torch.where(inside.reshape(*inside.shape, *rank), values, filler.to(values.dtype))
        return np.where(np.asarray(inside.cpu()), np.asarray(d.log_prob(values).double().cpu()), -np.inf)


def _draw(d: TorchDistribution, random: np.random.Generator, n: int) -> np.ndarray:
    torch = _torch(d)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(int(random.integers(2**62)))
        return np.asarray(d.sample((n,)).cpu())


def _is_one_hot(d: TorchDistribution) -> bool:
    return type(d.support).__name__ == "_OneHot"


def _support(d: TorchDistribution) -> Support | None:
    """The support where it is one that is described by its ends, unit vectors or the simplex; else unknown."""
    if _is_one_hot(d):
        return Support("unit vectors", True, constraint=lambda x: ((x == 0) | (x == 1)).all(-1) & (x.sum(-1) == 1))
    stated, dims = d.support, 0
    while type(stated).__name__ == "_IndependentConstraint":
        stated, dims = stated.base_constraint, dims + stated.reinterpreted_batch_ndims
    name = type(stated).__name__
    if name == "_Simplex":
        return from_constraint(constraints.simplex)
    if name in ("_Real", "_GreaterThan", "_GreaterThanEq", "_LessThan", "_Interval", "_HalfOpenInterval"):
        low, high = (
            _array(getattr(stated, end, other)) for end, other in (("lower_bound", -np.inf), ("upper_bound", np.inf))
        )
        found = constraints.real if name == "_Real" else constraints.interval(low, high)
        return from_constraint(constraints.independent(found, dims) if dims else found)
    return None
