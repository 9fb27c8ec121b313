"""`LowRank`: normal laws whose covariance is a diagonal and a few factors, W Wᵀ + diag d."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.tree_util import Partial
from jaxtyping import Array, Float

from kullback.arguments import whole
from kullback.errors import InputError
from kullback.families.family import fitted_distribution, matched_side
from kullback.families.form import Form
from kullback.families.learnable import Learnable, Params
from kullback.inference.start import Place
from kullback.known import Known, LearnableHooks
from kullback.minimize.reparameterise import PUSHES
from kullback.result import Fit

FLOOR = 1e-4  # of a variance, below which what is left beside the factors is not learned
MOST = 10  # factors that are taken unless more are asked for


class LowRank:
    """Normal laws N(m, W Wᵀ + diag d) with W [D, rank]: between mean-field and full rank, in D (rank + 2) numbers.

    rank  how many factors; the square root of D, and 10 at most, unless given

    Raises `InputError` for outcomes that are no vectors, and a rank that is not from 1 to D.
    Source: Ong, Nott and Smith (2018), eq. 4.
    """

    def __init__(self, rank: int | None = None) -> None:
        self.rank = None if rank is None else whole("rank", rank)

    def known(self) -> Known:
        return Known(name=repr(self), hooks=LearnableHooks(matched=self._matched))

    def _matched(self, other: Known) -> Known:
        shape = other.event_shape
        if shape is None or len(shape) != 1:
            raise InputError(f"p and q: LowRank is of vectors, and outcomes of {other.name} have shape {shape}")
        d = shape[0]
        rank = min(MOST, max(1, int(np.sqrt(d)))) if self.rank is None else self.rank
        if rank > d:
            raise InputError(f"rank: {rank} factors are more than the {d} dimensions; take Family(MultivariateNormal)")
        sizes = (("loc", (d,)), ("cov_factor", (d, rank)), ("cov_diag", (d,)))
        form = Form(dist.LowRankMultivariateNormal, sizes)
        return matched_side(f"LowRank({rank})", form, {}, other, partial(_initial, d, rank))

    def __repr__(self) -> str:
        return "LowRank()" if self.rank is None else f"LowRank({self.rank})"


class _Floored(dist.LowRankMultivariateNormal):
    """The same law in standard units, whose diagonal stays above a floor: where factors explain a coordinate wholly,
    the divergence falls towards a diagonal of 0 for ever (Heywood 1931)."""

    arg_constraints: ClassVar[dict[str, Any]] = {
        **dist.LowRankMultivariateNormal.arg_constraints,
        "cov_diag": dist.constraints.independent(dist.constraints.greater_than(FLOOR), 1),
    }


PUSHES[_Floored] = PUSHES[dist.LowRankMultivariateNormal]


@dataclass(frozen=True)
class Scaled:
    """A posterior in units of the standard deviations around its place of most mass, in which a low-rank law is fitted.

    centre, scale  [D]
    factors, rest  the low-rank law nearest to Laplace's approximation there: W [D, rank] and d [D]
    """

    centre: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    factors: Float[np.ndarray, "d r"]
    rest: Float[np.ndarray, " d"]

    @staticmethod
    def of(side: Learnable, place: Place) -> Scaled | None:
        """The units for a low-rank law; None for another side."""
        form = side.structure
        if not isinstance(form, Form) or form.cls is not dist.LowRankMultivariateNormal:
            return None
        scale = np.sqrt(np.square(place.factor).sum(1))
        correlation = (place.factor @ place.factor.T) / np.outer(scale, scale)
        values, vectors = np.linalg.eigh(correlation)
        rank = dict(form.shapes)["cov_factor"][1]
        noise = values[:-rank].mean() if rank < len(values) else 0.0
        factors = vectors[:, -rank:] * np.sqrt(np.maximum(values[-rank:] - noise, 1e-3))
        rest = np.maximum(1.0 - np.square(factors).sum(1), 1e-3)
        return Scaled(place.x, scale, factors, rest)

    def sides(self, p: Known, q: Known) -> tuple[Known, Known]:
        """The learnable side with its start, and the target, in these units."""
        assert p.learnable is not None
        form = p.learnable.structure
        assert isinstance(form, Form)
        start = {"loc": np.zeros_like(self.centre), "cov_factor": self.factors, "cov_diag": np.log(self.rest - FLOOR)}

        def initial(rng: np.random.Generator, k: int) -> Params:
            shift = rng.normal(size=len(self.centre)) / np.sqrt(len(self.centre))
            return {**start, "loc": shift * (k > 0)}

        target, floored = Partial(_in_units, q.log_density, self.centre, self.scale), replace(form, cls=_Floored)
        wrap = partial(fitted_distribution, floored, p.learnable.fixed)
        learnable = replace(p.learnable, structure=floored, wrap=wrap, initial=initial)
        return p.holding(learnable=learnable), q.holding(log_density=target)

    def undone(self, fit: Fit, p: Known) -> Fit:
        """The fit in the units of the posterior. The divergence is the same in both."""
        assert p.learnable is not None
        side = p.learnable

        def plain(q: Any) -> Params:
            return {
                "loc": self.centre + self.scale * np.asarray(q.loc),
                "cov_factor": self.scale[:, None] * np.asarray(q.cov_factor),
                "cov_diag": np.log(np.asarray(q.cov_diag)) + 2 * np.log(self.scale),
            }

        free = plain(fit.q)
        optima = tuple((value, side.wrap(plain(q))) for value, q in fit.optima)
        return replace(fit, q=side.wrap(free), optima=optima, record=side.record(p.name, free))


def _in_units(target: Any, centre: Any, scale: Any, u: Any) -> Array:
    return target(centre + scale * u) + jnp.log(scale).sum()


def _initial(d: int, rank: int, rng: np.random.Generator, start: int) -> Params:
    """Unit scales without correlations; factors of 0 would stay there."""
    return {"loc": np.zeros(d), "cov_factor": 0.1 * rng.normal(size=(d, rank)), "cov_diag": np.zeros(d)}
