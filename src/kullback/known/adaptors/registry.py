"""From what users have to `Known`: an ordered list of small adaptors, each a test and a reading.

To add one, write a file here with `accepts(x)` and `known(x)`, and put it into `ADAPTORS` before those that would also
accept it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import jax
import numpy as np
import numpyro.distributions as dist

from kullback.errors import UnknownSideError
from kullback.known.adaptors import (
    flowjax_distributions,
    kernel_density,
    numpyro_distributions,
    scipy_frozen,
    scipy_variables,
    scipy_vectors,
    torch_distributions,
)
from kullback.known.columns import is_frame
from kullback.known.record import Known
from kullback.known.samples import Samples

Adaptor = tuple[str, Callable[[Any], bool], Callable[[Any], Known]]

ADAPTORS: tuple[Adaptor, ...] = (
    ("a NumPyro distribution", lambda x: isinstance(x, dist.Distribution), numpyro_distributions.known),
    ("a frozen scipy.stats variable", scipy_frozen.accepts, scipy_frozen.known),
    ("a frozen scipy.stats variable of vectors or matrices", scipy_vectors.accepts, scipy_vectors.known),
    ("one of SciPy's newer random variables", scipy_variables.accepts, scipy_variables.known),
    ("a scipy.stats.gaussian_kde", kernel_density.accepts, kernel_density.known),
    ("a torch distribution", torch_distributions.accepts, torch_distributions.known),
    ("a FlowJAX distribution", flowjax_distributions.accepts, flowjax_distributions.known),
    ("a NumPy or JAX array of draws", lambda x: isinstance(x, np.ndarray | jax.Array), lambda x: Samples(x).known()),
    ("a pandas or polars frame", is_frame, lambda x: Samples(x).known()),
)

OWN = "Samples, Pairs, Density, Tilted, Posterior, Optimal, Family, Mixture, Conditional"


def describe(side: object, argument: str = "p") -> Known:
    """What is known of `side`. An object's own method `known()` comes first, then the list of adaptors.

    Raises `UnknownSideError`, which lists what is accepted and says how to add an adaptor.
    """
    if isinstance(side, Known):
        return side
    if not isinstance(side, type) and callable(own := getattr(side, "known", None)):
        return cast(Known, own())
    for _, accepts, read in ADAPTORS:
        if accepts(side):
            return read(side)
    what = f"the class {side.__name__}" if isinstance(side, type) else f"an object of type {type(side).__name__}"
    hint = "; did you mean kl.Family of it?" if isinstance(side, type) else ""
    hint = "; did you mean numpy.asarray of it?" if isinstance(side, list | tuple) else hint
    raise UnknownSideError(
        f"{argument}: {what} cannot be read as a side of a divergence{hint}; accepted are "
        f"{', '.join(kind for kind, _, _ in ADAPTORS)}, and kl.{{{OWN}}}; to add a kind, give its class a method "
        "known() that returns a kullback.known.Known"
    )
