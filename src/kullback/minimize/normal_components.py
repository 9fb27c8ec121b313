"""Steps of expectation maximisation for mixtures of normals, in double precision on the host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float, Int

from kullback.families.form import Form
from kullback.families.initialisation.scaling import mean_and_scale
from kullback.families.learnable import Params

# Numbers of a block, which stays in a cache. Products of matrices this small run on one thread: several would wait for
# each other longer than they compute.
_NUMBERS, _FEWEST_ROWS, _MOST_ROWS = 100_000, 128, 4096
_AT_FLOOR = 1e-6
_ROWS = 10_000  # that tell the spread of a column


class Normals(NamedTuple):
    """Means [K, d], and the factors L of the covariances L Lᵀ [K, d, d] or standard deviations [K, d]."""

    loc: Any
    factor: Any


def is_normal(form: Form) -> bool:
    """Whether a form is a normal, one of independent coordinates, or that of a logarithm."""
    return form.cls in (dist.Normal, dist.LogNormal) or (form.cls is dist.MultivariateNormal and not form.independent)


class NormalComponents:
    """Components N(μ_k, Σ_k) of data y [n, *event] with weights w [n] that sum to 1.

    Every column is standardised first, so that its unit and its origin do not matter. A step works on whitened rows
    z = L⁻¹(y − μ) of the components before it: the new moments are those of z, in which nothing cancels.

    No component is narrower than `floor` times `spread_within` in any direction: below it eigenvalues are raised to it,
    which maximises the likelihood under that bound (Theobald 1975), so that the likelihood never falls from step to
    step; a floor that is added to variances has no such property.
    """

    def __init__(self, form: Form, fixed: Params, y: np.ndarray, w: np.ndarray, floor: float, k: int):
        self.form, self.full = form, form.cls is dist.MultivariateNormal
        rows = np.asarray(y, np.float64).reshape(len(y), -1)
        self.log_jacobian = 0.0
        if form.cls is dist.LogNormal:
            rows = np.log(rows)
            self.log_jacobian = -rows.sum(1)
        self.centre, self.unit = mean_and_scale(rows, w)
        self.rows, self.w = (rows - self.centre) / self.unit, w
        self.log_jacobian = self.log_jacobian - np.log(self.unit).sum()
        self.least = floor * np.square(spread_within(self.rows, w, k))
        given = {name: np.broadcast_to(value, np.shape(y)[1:]).ravel() for name, value in fixed.items()}
        self.loc = (given["loc"] - self.centre) / self.unit if "loc" in given else None
        self.scale = given["scale"] / self.unit if "scale" in given else None

    def part(self, numbers: Int[np.ndarray, " m"], w: np.ndarray) -> NormalComponents:
        """The same over some of the rows, with weights of their own."""
        some = object.__new__(NormalComponents)
        some.__dict__.update(self.__dict__)
        some.rows, some.w = self.rows[numbers], w
        some.log_jacobian = np.broadcast_to(self.log_jacobian, len(self.rows))[numbers]
        return some

    def from_shares(self, shares: Float[np.ndarray, "n K"]) -> tuple[np.ndarray, Normals]:
        """Mixing logits and components from the share of each row that each component has."""
        k, d = shares.shape[1], self.rows.shape[1]
        plain = Normals(np.zeros((k, d)), np.broadcast_to(np.eye(d), (k, d, d)) if self.full else np.ones((k, d)))
        sums = _Sums.zeros(k, d, self.full)
        for part in self._blocks(k):
            z = np.broadcast_to(self.rows[part], (k, *self.rows[part].shape))
            sums.add(z, np.ascontiguousarray((shares[part] * self.w[part, None]).T))
        return self._maximized(sums, plain)

    def step(self, logits: np.ndarray, normals: Normals) -> tuple[np.ndarray, np.ndarray, Normals]:
        """log q(y) [n] at the parameters, and the logits and components that maximise its bound there."""
        k, d = normals.loc.shape
        white = np.linalg.inv(normals.factor).swapaxes(1, 2) if self.full else 1.0 / normals.factor[:, None]
        log_det = np.log(np.diagonal(normals.factor, axis1=1, axis2=2) if self.full else normals.factor).sum(1)
        constant = (logits - log_det - 0.5 * d * np.log(2 * np.pi))[:, None]
        offset = normals.loc[:, None] @ white if self.full else normals.loc[:, None] * white
        sums, found = _Sums.zeros(k, d, self.full), []
        for part in self._blocks(k):
            z = self.rows[part] @ white if self.full else self.rows[part] * white
            z -= offset
            joint = constant - 0.5 * np.einsum("kij,kij->ki", z, z)
            most = joint.max(0)
            np.exp(joint - most, out=joint)
            total = joint.sum(0)
            found.append(most + np.log(total))
            sums.add(z, joint * (self.w[part] / total))
        return np.concatenate(found) + self.log_jacobian, *self._maximized(sums, normals)

    def constrained(self, normals: Normals) -> dict[str, np.ndarray]:
        """The parameters of the form, in the units of the data."""
        loc, factor = self.centre + self.unit * normals.loc, normals.factor
        scale = factor * (self.unit[:, None] if self.full else self.unit)
        shapes = dict(self.form.shapes)
        both = {"loc": loc, "scale_tril" if self.full else "scale": scale}
        return {name: both[name].reshape(len(loc), *shapes[name]) for name in self.form.names}

    def flat(self, logits: np.ndarray, normals: Normals) -> Float[np.ndarray, " p"]:
        """Logits and components as one vector, whose diagonals are logarithms: any vector is a mixture."""
        if not self.full:
            return np.concatenate([logits, normals.loc.ravel(), np.log(normals.factor).ravel()])
        rows, columns = np.tril_indices(normals.loc.shape[1], -1)
        diagonal = np.log(np.diagonal(normals.factor, axis1=1, axis2=2))
        below = normals.factor[:, rows, columns]
        return np.concatenate([logits, normals.loc.ravel(), diagonal.ravel(), below.ravel()])

    def unflat(self, vector: Float[np.ndarray, " p"], like: Normals) -> tuple[np.ndarray, Normals]:
        """Logits of a sum of shares of 1 and components, from a vector; `like` has their shapes."""
        k, d = like.loc.shape
        logits, loc, diagonal, below = np.split(vector, [k, k + k * d, k + 2 * k * d])
        loc, diagonal = loc.reshape(k, d), np.exp(diagonal.reshape(k, d))
        logits = logits - np.logaddexp.reduce(logits)
        if not self.full:
            return logits, Normals(loc, diagonal)
        factor = np.zeros((k, d, d))
        rows, columns = np.tril_indices(d, -1)
        factor[:, rows, columns] = below.reshape(k, -1)
        factor[:, np.arange(d), np.arange(d)] = diagonal
        return logits, Normals(loc, factor)

    def narrowest(self, normals: Normals) -> np.ndarray:
        """Which components [K] are as narrow as the floor lets them be in some direction."""
        if self.scale is not None:
            return np.zeros(len(normals.loc), bool)
        if not self.full:
            least = (np.square(normals.factor) / self.least).min(1)
        else:
            scaled = normals.factor / np.sqrt(self.least)[:, None]
            least = np.linalg.eigvalsh(scaled @ scaled.swapaxes(1, 2)).min(1)
        return least < 1.0 + _AT_FLOOR

    def _blocks(self, k: int) -> Iterator[slice]:
        n, d = self.rows.shape
        size = int(np.clip(_NUMBERS // (k * d), _FEWEST_ROWS, _MOST_ROWS))
        return (slice(start, start + size) for start in range(0, n, size))

    def _maximized(self, sums: _Sums, old: Normals) -> tuple[np.ndarray, Normals]:
        mass = np.maximum(sums.mass, np.finfo(float).tiny)
        logits = np.log(mass / mass.sum())
        shift = sums.first / mass[:, None]
        moved = np.einsum("kij,kj->ki", old.factor, shift) if self.full else old.factor * shift
        mean = old.loc + moved
        loc = mean if self.loc is None else np.broadcast_to(self.loc, mean.shape)
        if self.full:
            inner = sums.second / mass[:, None, None] - shift[:, :, None] * shift[:, None, :]
            away = mean - loc
            covariance = old.factor @ inner @ old.factor.swapaxes(1, 2) + away[:, :, None] * away[:, None, :]
            factor = np.linalg.cholesky(_floored(covariance, self.least))
        else:
            inner = sums.second / mass[:, None] - np.square(shift)
            factor = np.sqrt(np.maximum(np.square(old.factor) * inner + np.square(mean - loc), self.least))
            factor = factor if self.scale is None else np.broadcast_to(self.scale, factor.shape)
        # A component without rows stays where it is.
        empty = sums.mass <= 1e-12
        keep = lambda new, before: np.where(empty.reshape(-1, *(1,) * (new.ndim - 1)), before, new)  # noqa: E731
        return logits, Normals(keep(loc, old.loc), keep(factor, old.factor))


class _Sums(NamedTuple):
    """Weighted sums of 1 [K], z [K, d] and zzᵀ [K, d, d] (or z² [K, d]) for each component."""

    mass: np.ndarray
    first: np.ndarray
    second: np.ndarray

    @staticmethod
    def zeros(k: int, d: int, full: bool) -> _Sums:
        return _Sums(np.zeros(k), np.zeros((k, d)), np.zeros((k, d, d) if full else (k, d)))

    def add(self, z: np.ndarray, shares: np.ndarray) -> None:
        weighted = z * shares[:, :, None]
        self.mass[:] += shares.sum(1)
        self.first[:] += weighted.sum(1)
        full = self.second.ndim == 3
        self.second[:] += weighted.swapaxes(1, 2) @ z if full else np.einsum("kij,kij->kj", weighted, z)


def _floored(covariance: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Covariances [K, d, d] whose eigenvalues, in units of `least` for each column, are at least 1."""
    unit = np.sqrt(least)
    values, vectors = np.linalg.eigh(covariance / (unit[:, None] * unit))
    if (values >= 1.0).all():
        return covariance
    raised = (vectors * np.maximum(values, 1.0)[:, None, :]) @ vectors.swapaxes(1, 2)
    wide = np.all(values >= 1.0, axis=1, keepdims=True)[:, None]
    return np.where(wide, covariance, raised * (unit[:, None] * unit))


def spread_within(rows: Float[np.ndarray, "n d"], w: np.ndarray, groups: int) -> Float[np.ndarray, " d"]:
    """The standard deviation of each column within groups, when it is cut at its widest gaps into so many.

    Columns of clusters that lie far apart are measured by the width of the clusters. A column that takes no more values
    than there are groups is measured as a whole, and one that is constant as 1.
    """
    some = slice(None, None, -(-len(rows) // _ROWS))
    rows, w, spreads = rows[some], w[some] / w[some].sum(), []
    for column in rows.T:
        order = np.argsort(column, kind="stable")
        values, weights = column[order], w[order]
        cuts = np.sort(np.argsort(np.diff(values), kind="stable")[len(values) - groups :]) + 1 if groups > 1 else []
        starts = np.unique(np.concatenate([[0], cuts])).astype(int)
        mass = np.add.reduceat(weights, starts)
        centre = np.add.reduceat(weights * values, starts) / np.where(mass > 0, mass, 1.0)
        away = values - np.repeat(centre, np.diff(np.append(starts, len(values))))
        within = np.sqrt(weights @ np.square(away))
        # Rounding of the column leaves about this much of a point.
        tiny = 1e-13 * np.abs(values).max()
        whole = np.sqrt(weights @ np.square(values - weights @ values))
        spreads.append(within if within > tiny else whole if whole > tiny else 1.0)
    return np.array(spreads)
