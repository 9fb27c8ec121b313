"""Fits of posteriors as ArviZ has them, of its versions 0.x and 1.x."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np
from numpyro import handlers

from kullback.errors import InputError

if TYPE_CHECKING:
    from kullback.inference.fit import PosteriorFit


def exported(fit: PosteriorFit, key: jax.Array, draws: int) -> Any:
    """`InferenceData` or `DataTree` with the groups posterior, posterior_predictive and observed_data; one chain.

    Raises `InputError` where ArviZ is not installed.
    """
    try:
        import arviz
    except ImportError as error:
        raise InputError("to_arviz: ArviZ is not installed; pip install 'kullback[arviz]'") from error
    first, second = jax.random.split(key)
    groups = {
        "posterior": fit.sample(first, draws),
        "posterior_predictive": fit.predict(second, draws),
        "observed_data": observed(fit),
    }
    chained = {name: {k: v[None] for k, v in group.items()} for name, group in groups.items()}
    chained["observed_data"] = groups["observed_data"]
    make: Any = arviz.from_dict
    return make(chained) if int(arviz.__version__.split(".")[0]) >= 1 else make(**chained)


def observed(fit: PosteriorFit) -> dict[str, np.ndarray]:
    """The data of the observed sites, by name."""
    sites = fit.q.sites
    args, kwargs = sites.program.arguments(sites.arrays)
    latent = {name: value[0] for name, value in fit.draws.items() if name not in sites.program.computed}
    traced = handlers.trace(handlers.substitute(sites.program.model, data=latent)).get_trace(*args, **kwargs)
    return {name: np.asarray(traced[name]["value"]) for name in sites.program.observed}
