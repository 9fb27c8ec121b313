"""The adaptor for SciPy's random variables of the newer kind: `stats.Normal(mu=0., sigma=1.)`, what `make_distribution`
makes of the older laws, and mixtures, truncations and functions of them.

NumPyro's law is taken where public attributes say all of it; the others are evaluated by callback.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import Distribution

from kullback.known.adaptors import numpyro_distributions
from kullback.known.adaptors.scipy_frozen import as_number, counts_between, support_between
from kullback.known.host import host_log_prob, host_sampler
from kullback.known.record import Functions, Known, Moments

Variable = Any  # SciPy has no public class of these variables

# Their class -> what NumPyro calls the law, and its parameters.
TRANSLATIONS: dict[str, tuple[Callable[..., Any], Callable[[Variable], tuple[Any, ...]]]] = {
    "Binomial": (lambda p, n: dist.BinomialProbs(p, np.asarray(n).astype(int)), lambda x: (x.p, x.n)),
    "Logistic": (dist.Logistic, lambda x: (np.zeros(np.shape(x.mean())), np.ones(np.shape(x.mean())))),
    "Normal": (dist.Normal, lambda x: (x.mu, x.sigma)),
    "StandardNormal": (dist.Normal, lambda x: (np.zeros(np.shape(x.mean())), np.ones(np.shape(x.mean())))),
    "Uniform": (dist.Uniform, lambda x: (x.a, x.b)),
}


def accepts(x: object) -> bool:
    kinds = {kind.__name__ for kind in type(x).__mro__ if kind.__module__.startswith("scipy.stats")}
    return bool(kinds & {"ContinuousDistribution", "DiscreteDistribution", "Mixture"})


def known(variable: Variable) -> Known:
    """What is known of one of SciPy's newer random variables."""
    law = _mixture(variable) if type(variable).__name__ == "Mixture" else _translated([variable])
    if law is not None:
        return numpyro_distributions.known(law)
    discrete = any(kind.__name__ == "DiscreteDistribution" for kind in type(variable).__mro__)
    low, high = (np.asarray(end, float) for end in variable.support())
    batch = np.broadcast_shapes(low.shape, high.shape)
    return Known(
        name=_named(variable),
        event_shape=(),
        batch_shape=batch,
        support=support_between(low, high, discrete),
        atoms=counts_between(low, high) if discrete else None,
        functions=Functions(
            sampler=host_sampler(partial(_draw, variable), batch, whole=discrete),
            log_prob=host_log_prob(variable.logpmf if discrete else variable.logpdf, 0, batch),
            moments=partial(_moments, variable),
            entropy=variable.entropy,
            differentiable=False,
        ),
    )


def _translated(variables: list[Variable]) -> Distribution | None:
    """Variables of one kind as NumPyro's: one as a law, more as a batch of them. None where NumPyro has no such law."""
    kinds = {type(variable) for variable in variables}
    kind = kinds.pop()
    if kinds or not kind.__module__.startswith("scipy.stats") or kind.__name__ not in TRANSLATIONS:
        return None
    law, parameters = TRANSLATIONS[kind.__name__]
    rows = [tuple(map(as_number, parameters(variable))) for variable in variables]
    return law(*rows[0]) if len(rows) == 1 else law(*(np.stack(column) for column in zip(*rows, strict=True)))


def _mixture(variable: Variable) -> Distribution | None:
    """A mixture whose components are of one kind."""
    parts = _translated(list(variable.components))
    if parts is None or len(variable.components) < 2:
        return parts
    return dist.MixtureSameFamily(dist.CategoricalProbs(np.asarray(variable.weights, float)), parts)


def _named(variable: Variable) -> str:
    text = " ".join(str(variable).split())
    return f"scipy.stats {text if len(text) <= 60 else type(variable).__name__}"


def _moments(variable: Variable) -> Moments:
    with np.errstate(all="ignore"):
        return Moments(np.asarray(variable.mean()), np.asarray(variable.variance())[..., None, None])


def _draw(variable: Variable, random: np.random.Generator, n: int) -> np.ndarray:
    return variable.sample(shape=(n,), rng=random)
