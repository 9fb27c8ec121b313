"""Fits of posteriors as ArviZ has them, of its versions 0.x and 1.x."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpyro import handlers

from kullback.errors import InputError
from kullback.known.posterior import Sites


def exported(posterior: Mapping[str, np.ndarray], predictive: Mapping[str, np.ndarray], sites: Sites) -> Any:
    """`InferenceData` or `DataTree` with the groups posterior, posterior_predictive and observed_data; one chain.

    Raises `InputError` where ArviZ is not installed.
    """
    try:
        import arviz  # pyright: ignore[reportMissingImports]  # an extra
    except ImportError as error:
        raise InputError("to_arviz: ArviZ is not installed; pip install 'kullback[arviz]'") from error
    groups = {
        name: {site: values[None] for site, values in drawn.items()}
        for name, drawn in (("posterior", posterior), ("posterior_predictive", predictive))
    }
    groups["observed_data"] = observed(sites, posterior)
    make: Any = arviz.from_dict
    return make(groups) if int(arviz.__version__.split(".")[0]) >= 1 else make(**groups)


def observed(sites: Sites, draws: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The data of the observed sites, by name."""
    args, kwargs = sites.program.arguments(sites.arrays)
    latent = {name: value[0] for name, value in draws.items() if name not in sites.program.computed}
    traced = handlers.trace(handlers.substitute(sites.program.model, data=latent)).get_trace(*args, **kwargs)
    return {name: np.asarray(traced[name]["value"]) for name in sites.program.observed}
