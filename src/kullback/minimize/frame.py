"""Coordinates about a mode of the target, in which the parameters of a location-scale law are of one size.

At a mode m of log p with curvature H = −∇² log p(m), Laplace's approximation is the normal law of mean m and covariance
H⁻¹ = C Cᵀ. With loc = m + C·loc′ and scale = S·scale′ the objective has about the identity as its curvature in loc′,
and about a multiple of it in log scale′, whatever the units of the outcomes and however they are correlated; a descent
on (loc′, scale′) then takes as many steps as dimensions, where one on (loc, scale) may end where rounding hides the
slope. Of a full-rank law S = C, so that the whole law is whitened; of independent coordinates S = 1/√diag H, which are
the scales that fit a quadratic best. Elliptical laws other than the normal are whitened the same way.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Float

from kullback.families.form import Form
from kullback.families.learnable import Structure
from kullback.families.mixture import MixtureStructure

LOCATED = (dist.Normal, dist.LogNormal, dist.MultivariateNormal, dist.Laplace, dist.Logistic, dist.Cauchy, dist.Gumbel,
           dist.StudentT, dist.AsymmetricLaplace, dist.SoftLaplace)  # fmt: skip
FLATTEST = 1e-14  # of the largest curvature, in units of the diagonal: below it is rounding


class Frame(NamedTuple):
    """loc = centre + factor·loc′ and scale = spread·scale′.

    centre  [*event]; factor [D, D] over the flattened event; spread [*event], or [*batch, d, d] of a full-rank law
    """

    centre: Any
    factor: Any
    spread: Any


def form_of(structure: Structure) -> Form | None:
    """The form of a structure or of its components."""
    form = structure.form if isinstance(structure, MixtureStructure) else structure
    return form if isinstance(form, Form) else None


def is_located(structure: Structure) -> bool:
    """Whether the structure's location is learned, in the coordinates of its noise."""
    form = form_of(structure)
    return form is not None and form.cls in LOCATED and "loc" in form.names


def plain_frame(structure: Structure, free: Mapping[str, Any]) -> Frame:
    """The frame of one start: its own location and scales, without correlations."""
    form = form_of(structure)
    assert form is not None
    free = free["components"] if isinstance(structure, MixtureStructure) else free
    first = (lambda x: x[0]) if isinstance(structure, MixtureStructure) else (lambda x: x)
    centre = np.asarray(first(free["loc"]), np.float64)
    if "scale" in free:
        spread = np.exp(first(free["scale"]))
    elif "scale_tril" in free:
        lower = matrix(np.asarray(first(free["scale_tril"])), centre.shape[-1])
        spread = np.eye(centre.shape[-1]) * lower
    else:
        spread = np.ones(centre.shape)
    sizes = np.diagonal(spread, axis1=-2, axis2=-1) if spread.ndim > centre.ndim else spread
    return Frame(centre, np.diag(np.ravel(sizes)), spread)


def laplace_frame(plain: Frame, centre: np.ndarray, curvature: np.ndarray) -> Frame:
    """The frame of Laplace's approximation, at a mode [*event] with a curvature [D, D]."""
    typical = np.diagonal(plain.factor)
    factor = inverse_root(curvature, typical)
    h = repaired(curvature, typical)
    spread = 1.0 / np.sqrt(np.diagonal(h)).reshape(centre.shape)
    if plain.spread.ndim > centre.ndim:
        d = centre.shape[-1]
        blocks = [(slice(i, i + d), slice(i, i + d)) for i in range(0, len(h), d)]
        spread = np.stack([inverse_root(h[block], typical[block[0]]) for block in blocks])
    return Frame(centre, factor, spread.reshape(plain.spread.shape))


def repaired(curvature: Float[np.ndarray, "d d"], typical: Float[np.ndarray, " d"]) -> Float[np.ndarray, "d d"]:
    """The curvature itself where it is positive definite; else that of |λ| for λ, none far below the largest.

    typical  scales to use of coordinates that have no curvature
    """
    h = 0.5 * (curvature + curvature.T)
    diagonal = np.abs(np.diagonal(h))
    scale = np.where(diagonal > 0, np.sqrt(diagonal), 1.0 / typical)
    values, vectors = np.linalg.eigh(h / np.outer(scale, scale))
    if values[0] > 0:
        return h
    if not (diagonal > 0).any():
        return np.diag(np.square(scale))
    sizes = np.maximum(np.abs(values), 1e-8 * np.abs(values).max())
    return (vectors * sizes) @ vectors.T * np.outer(scale, scale)


def inverse_root(curvature: Float[np.ndarray, "d d"], typical: Float[np.ndarray, " d"]) -> Float[np.ndarray, "d d"]:
    """Lower-triangular C with C Cᵀ = H⁻¹ for the repaired curvature H, in units of its diagonal, which keep digits."""
    h = repaired(curvature, typical)
    scale = np.sqrt(np.diagonal(h))
    values, vectors = np.linalg.eigh(h / np.outer(scale, scale))
    half = vectors / np.sqrt(np.maximum(values, FLATTEST * values[-1]))
    # C Cᵀ = half halfᵀ: the triangle of its QR decomposition, whose diagonal is made positive.
    lower = np.transpose(np.linalg.qr(half.T, mode="r"))
    return lower * np.sign(np.diagonal(lower)) / scale[:, None]


def own_frame(structure: Structure, free: Mapping[str, Any]) -> Frame:
    """The frame of a law itself: its own location and scale, with its correlations where it has them."""
    plain = plain_frame(structure, free)
    if isinstance(structure, MixtureStructure) or "scale_tril" not in free or plain.centre.ndim > 1:
        return plain
    lower = matrix(np.asarray(free["scale_tril"]), plain.centre.shape[-1])
    return Frame(plain.centre, lower, lower)


def natural(
    structure: Structure, frame: Frame | None, free: Mapping[str, Any], slope: Mapping[str, Any]
) -> Float[np.ndarray, " k"]:
    """A gradient in the frame, in units of the law itself: half its square is a decrease whatever the frame.

    Of normal laws it is the length of the natural gradient, but for what a triangle has off its diagonal.
    """
    if frame is None or isinstance(structure, MixtureStructure):
        return np.zeros(0)
    by_location = np.ravel(slope["loc"])
    if "scale_tril" in free and is_full_rank(structure) and np.ndim(frame.centre) == 1:
        d = len(by_location)
        by_location = matrix(np.asarray(free["scale_tril"]), d).T @ by_location
        return np.concatenate([by_location, np.asarray(slope["scale_tril"])[-d:] / np.sqrt(2.0)])
    if "scale" not in free:
        return np.zeros(0)
    by_location = np.linalg.solve(frame.factor.T, by_location) * np.ravel(frame.spread * np.exp(free["scale"]))
    return np.concatenate([by_location, np.ravel(slope["scale"]) / np.sqrt(2.0)])


def from_frame(structure: Structure, frame: Frame | None, free: Any) -> Any:
    """Free parameters from those in the frame, on the host."""
    if frame is None:
        return free
    if isinstance(structure, MixtureStructure):
        return {**free, "components": from_frame(structure.form, frame, free["components"])}
    found = {**free, "loc": located(frame, free["loc"])}
    if "scale" in free:
        found["scale"] = np.log(frame.spread) + free["scale"]
    if "scale_tril" in free:
        d = np.shape(free["loc"])[-1]
        found["scale_tril"] = packed_from(np.matmul(frame.spread, matrix(free["scale_tril"], d)))
    return found


def located(frame: Frame, loc: Any) -> Any:
    """The location from that in the frame, both [..., *event]."""
    shape = np.shape(loc)
    lead = shape[: len(shape) - np.ndim(frame.centre)]
    return frame.centre + (loc.reshape(*lead, -1) @ frame.factor.T).reshape(shape)


def placed(structure: Structure, frame: Frame, free: Any) -> Any:
    """In a compiled program, the free parameters of the law in the coordinates of `outcome`: those of a full-rank law
    are left in the frame, from which its outcomes come."""
    if isinstance(structure, MixtureStructure):
        return {**free, "components": placed(structure.form, frame, free["components"])}
    if is_full_rank(structure):
        return free
    found = {**free, "loc": located(frame, free["loc"])}
    if "scale" in free:
        found["scale"] = jnp.log(frame.spread) + free["scale"]
    return found


def is_full_rank(structure: Structure) -> bool:
    """Whether the law is whitened as a whole, by way of its outcomes."""
    form = form_of(structure)
    return form is not None and form.cls is dist.MultivariateNormal and "scale_tril" in form.names


def outcome(frame: Frame, x: Float[Array, "m ..."]) -> tuple[Float[Array, "m ..."], Float[Array, ""]]:
    """Outcomes of a full-rank law from those in the frame, and the log-determinant of the way."""
    away = jnp.matmul(frame.spread, x[..., None])[..., 0]
    return frame.centre + away, jnp.log(jnp.diagonal(frame.spread, axis1=-2, axis2=-1)).sum()


def to_frame(structure: Structure, frame: Frame | None, free: Any) -> Any:
    """The inverse of `from_frame`, on the host."""
    if frame is None:
        return free
    if isinstance(structure, MixtureStructure):
        return {**free, "components": to_frame(structure.form, frame, free["components"])}
    found = dict(free)
    loc = np.asarray(free["loc"])
    lead = loc.shape[: loc.ndim - frame.centre.ndim]
    away = (loc - frame.centre).reshape(*lead, -1)
    found["loc"] = np.linalg.solve(frame.factor, away[..., None])[..., 0].reshape(loc.shape)
    if "scale" in free:
        found["scale"] = free["scale"] - np.log(frame.spread)
    if "scale_tril" in free:
        d = loc.shape[-1]
        found["scale_tril"] = packed_from(np.linalg.solve(frame.spread, matrix(np.asarray(free["scale_tril"]), d)))
    return found


def matrix(packed: np.ndarray, d: int) -> Float[np.ndarray, "*b d d"]:
    """The lower-triangular matrix whose free parameters these are, on the host."""
    found = np.zeros((*packed.shape[:-1], d, d))
    rows, columns = np.tril_indices(d, -1)
    found[..., rows, columns] = packed[..., : len(rows)]
    found[..., np.arange(d), np.arange(d)] = np.exp(packed[..., len(rows) :])
    return found


def packed_from(lower: Float[np.ndarray, "*b d d"]) -> Float[np.ndarray, "*b n"]:
    """The free parameters of a lower-triangular matrix, on the host."""
    rows, columns = np.tril_indices(lower.shape[-1], -1)
    return np.concatenate([lower[..., rows, columns], np.log(np.diagonal(lower, axis1=-2, axis2=-1))], -1)
