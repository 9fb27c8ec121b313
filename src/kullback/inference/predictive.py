"""The posterior predictive distribution: draws of the observed sites, given draws of the latent ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array
from numpyro import handlers

from kullback.errors import InputError
from kullback.inference.named_law import Named
from kullback.known import model as models
from kullback.known.posterior import Sites
from kullback.known.static import Static
from kullback.runtime.export_cache import program

BLOCK = 256  # draws that one compiled program takes


def predicted(sites: Sites, latent: Named, key: jax.Array, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Named:
    """Draws of the observed and deterministic sites of the model, called with these arguments or with those of the fit.

    Latent sites that the model has only with new arguments are drawn from their law given the others. So are discrete
    ones that belong to rows of the data.
    """
    own, arrays, rows = sites.program, sites.arrays, ()
    if args or kwargs:
        own, arrays = models.read_arguments(own.model, args, kwargs)
        rows = sites.program.discrete.rows if sites.program.discrete is not None else ()
    trace = models.traced(own, arrays, handlers.uncondition)
    _require_shapes(sites, trace)
    given = tuple(name for name in latent if name in trace and name not in rows and trace[name]["type"] == "sample")
    wanted = tuple(
        name
        for name, site in trace.items()
        if name not in given
        and (site["type"] == "deterministic" or (site["type"] == "sample" and not isinstance(site["fn"], dist.Unit)))
    )
    static, parts, n = Static((own, wanted)), [], len(next(iter(latent.values())))
    with jax.enable_x64(sites.double):
        for i, at in enumerate(range(0, n, BLOCK)):
            places = np.minimum(np.arange(at, at + BLOCK), n - 1)
            words = np.asarray(jax.random.key_data(jax.random.fold_in(key, i)))
            found = _predicted(static, arrays, words, {name: latent[name][places] for name in given})
            parts.append({name: np.asarray(value)[: n - at] for name, value in found.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in wanted}


def _require_shapes(sites: Sites, trace: Mapping[str, Any]) -> None:
    for site in sites.program.sites:
        if site.name not in trace:
            raise InputError(f"args: site {site.name!r} is not in the model with these arguments; pass those of a fit")
        shape = tuple(np.shape(trace[site.name]["value"]))
        if shape != site.shape:
            raise InputError(
                f"args: site {site.name!r} has shape {shape} with these arguments, and {site.shape} in the fit, so its "
                "draws say nothing of it; pass data of the same groups"
            )


@program(static=())
def _predicted(static: Static, arrays: Any, words: Array, latent: dict[str, Array]) -> dict[str, Array]:
    own, wanted = static.value

    def one(words: Array, values: dict[str, Array]) -> dict[str, Array]:
        args, kwargs = own.arguments(arrays)
        given = handlers.substitute(handlers.uncondition(own.model), data=values)
        trace = handlers.trace(handlers.seed(given, jax.random.wrap_key_data(words))).get_trace(*args, **kwargs)
        return {name: jnp.asarray(trace[name]["value"]) for name in wanted}

    keys = jax.random.key_data(jax.random.split(jax.random.wrap_key_data(words), BLOCK))
    return jax.vmap(one)(keys, latent)
