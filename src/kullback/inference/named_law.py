"""`NamedLaw`: a fitted distribution over the named sites of a posterior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float
from numpyro.distributions import biject_to

from kullback.arguments import whole
from kullback.errors import InputError
from kullback.known import Known, describe
from kullback.known.adaptors import numpyro_distributions
from kullback.known.posterior import BLOCK, Sites
from kullback.runtime.export_cache import program

ROWS = 24  # of a table that is printed
SHOWN = 4096  # draws by which a table is made
Named = dict[str, np.ndarray]


class NamedLaw:
    """A distribution q over the latent sites of a posterior, which is fitted over their unconstrained values.

    flat   q over the unconstrained vector [D], a NumPyro distribution
    sites  the sites, which turn vectors into named values and back
    """

    def __init__(self, sites: Sites, flat: Any) -> None:
        self.sites, self.flat = sites, flat

    def sample(self, key: jax.Array | int, n: int = 1) -> Named:
        """Draws by name, each [n, *shape], in double precision: latent sites, discrete ones given the others, and
        deterministic ones.

        The first draws of a key are the same however many are asked for.
        """
        n, key = whole("n", n), as_key(key)
        x = self.vectors(key, n)[0]
        return self.sites.draws(x, seed=_word(key))

    def log_prob(self, values: Mapping[str, Any]) -> Float[np.ndarray, "*b"]:
        """log q of named values of the continuous sites [*b, *shape], as a density of these values.

        Raises `InputError`, which names the site, for one that is missing or of another shape.
        """
        x, log_det = self.sites.vectors(values)
        return self.log_prob_of_vectors(x.reshape(-1, x.shape[-1])).reshape(log_det.shape) - log_det

    def marginal(self, name: str) -> Any:
        """The distribution of one site under q, as NumPyro has it; exact.

        Raises `InputError` for a site that is not continuous, whose support depends on other sites, or of a q that is
        not of normal laws.
        """
        sites = {site.name: site for site in self.sites.program.sites}
        if name not in sites:
            raise InputError(f"name: {name!r} is no continuous site; they are {', '.join(sites)}; draws are of all")
        places = np.flatnonzero(np.asarray(self.sites.coordinates) == name)
        free = sites[name].free_shape
        base = _part(self.flat, places, free)
        if base is None:
            raise InputError(f"name: {type(self.flat).__name__} has no marginals in closed form; use draws")
        support = self.sites.support(name)
        if support is None:
            raise InputError(f"name: the support of {name!r} depends on other sites; use draws")
        transform = biject_to(support)
        if len(free) > 1:
            transform = [dist.transforms.ReshapeTransform(free, (len(places),)), transform]
        return dist.TransformedDistribution(base, transform)

    def vectors(self, key: jax.Array, n: int) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]:
        """Draws of the unconstrained vector, and log q there."""
        parts = []
        with jax.enable_x64(True):
            for i in range(-(-n // BLOCK)):
                words = np.asarray(jax.random.key_data(jax.random.fold_in(key, i)))
                parts.append(tuple(map(np.asarray, _drawn(self.flat, words))))
        x, log_q = (np.concatenate(part)[:n] for part in zip(*parts, strict=True))
        return x, log_q

    def log_prob_of_vectors(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        """log q of unconstrained vectors."""
        with jax.enable_x64(True):
            rows = np.concatenate([x, np.zeros((-len(x) % BLOCK, x.shape[1]))])
            found = [np.asarray(_log_q(self.flat, rows[i : i + BLOCK])) for i in range(0, len(rows), BLOCK)]
        return np.concatenate(found)[: len(x)] if found else np.zeros(0)

    def known(self) -> Known:
        """What is known of the law over the unconstrained vector."""
        return describe(self.flat)

    def table(self, weights: Float[np.ndarray, " n"] | None = None, draws: Named | None = None) -> str:
        """Mean, standard deviation and 5 %, 50 % and 95 % quantiles of each site, by element."""
        draws = self.sample(jax.random.key(0), SHOWN) if draws is None else draws
        return table(draws, weights)

    def __repr__(self) -> str:
        return f"{_kind(self.flat)} over {self.sites.title}\n{self.table()}"


def _kind(flat: Any) -> str:
    base = flat
    while isinstance(base, dist.Independent):
        base = base.base_dist
    if isinstance(base, dist.MixtureSameFamily):
        return f"Mixture of {base.mixture_size}"
    return type(base).__name__


def as_key(key: jax.Array | int) -> jax.Array:
    """A JAX key from a key of either kind or a whole number. Raises `InputError` for anything else."""
    if isinstance(key, int | np.integer) and not isinstance(key, bool) and key >= 0:
        return jax.random.key(int(key))
    if isinstance(key, jax.Array) and jnp.issubdtype(key.dtype, jax.dtypes.prng_key) and key.ndim == 0:
        return key
    if isinstance(key, jax.Array) and key.dtype == np.uint32 and key.ndim == 1:
        return jax.random.wrap_key_data(key)
    raise InputError(f"key: {key!r:.40} is neither a JAX key nor a whole number")


def _word(key: jax.Array) -> int:
    return int(np.asarray(jax.random.key_data(key)).ravel()[-1] >> 1)


@program(static=())
def _drawn(flat: Any, words: Array) -> tuple[Array, Array]:
    x = flat.sample(jax.random.wrap_key_data(words), (BLOCK,))
    return x, numpyro_distributions.log_prob(flat, x)


@program(static=())
def _log_q(flat: Any, x: Float[Array, "n d"]) -> Array:
    return numpyro_distributions.log_prob(flat, x)


def _part(flat: Any, places: np.ndarray, free: tuple[int, ...]) -> Any:
    """The marginal of some coordinates of a normal law."""
    base = flat.base_dist if isinstance(flat, dist.Independent) else flat
    if isinstance(base, dist.Normal):
        loc, scale = np.asarray(base.loc)[places], np.asarray(base.scale)[places]
        return dist.Normal(loc[0], scale[0]) if not free else dist.Normal(loc, scale).to_event(1)
    if isinstance(base, dist.MultivariateNormal | dist.LowRankMultivariateNormal):
        covariance = np.asarray(base.covariance_matrix, np.float64)[np.ix_(places, places)]
        loc = np.asarray(base.loc)[places]
        if not free:
            return dist.Normal(loc[0], np.sqrt(covariance[0, 0]))
        return dist.MultivariateNormal(loc, covariance)
    return None


# Tables

QUANTILES = (0.05, 0.5, 0.95)


def table(draws: Mapping[str, np.ndarray], weights: Float[np.ndarray, " n"] | None = None) -> str:
    """A line for each element of each site, at most 80 columns wide and `ROWS` lines long."""
    lines = [(label, column) for name, value in draws.items() for label, column in _elements(name, value)]
    width = min(max([len(label) for label, _ in lines[:ROWS]] + [4]), 28)
    head = f"{'site':<{width}}{'mean':>11}{'sd':>10}{'5%':>11}{'50%':>11}{'95%':>11}"
    rows = [_row(label, column, weights, width) for label, column in lines[:ROWS]]
    more = [f"... and {len(lines) - ROWS:,} more; sample(key, n) has all"] if len(lines) > ROWS else []
    return "\n".join([head, *rows, *more])


def _elements(name: str, values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    shape = values.shape[1:]
    flat = values.reshape(len(values), -1)
    labels = [f"{name}[{', '.join(map(str, index))}]" if shape else name for index in np.ndindex(shape)]
    return list(zip(labels, flat.T, strict=True))


def _row(label: str, column: np.ndarray, weights: np.ndarray | None, width: int) -> str:
    mean, sd, *cuts = summary(column, weights)
    label = label if len(label) <= width else label[: width - 1] + "…"
    return f"{label:<{width}}{mean:>11.4g}{sd:>10.3g}" + "".join(f"{cut:>11.4g}" for cut in cuts)


def summary(column: np.ndarray, weights: np.ndarray | None) -> tuple[float, ...]:
    """Mean, standard deviation and quantiles of weighted draws."""
    column = np.asarray(column, np.float64)
    w = np.full(len(column), 1 / len(column)) if weights is None else weights
    mean = float(w @ column)
    sd = float(np.sqrt(w @ np.square(column - mean)))
    order = np.argsort(column)
    below = np.cumsum(w[order])
    cuts = [float(column[order][min(np.searchsorted(below, q), len(column) - 1)]) for q in QUANTILES]
    return mean, sd, *cuts
