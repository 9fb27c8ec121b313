"""The reverse KL on fixed draws as a function of parameters, in coordinates that suit the target.

At a mode m of log p with curvature H = −∇² log p(m), Laplace's approximation is the normal law of mean m and
covariance H⁻¹ = C Cᵀ. With loc = m + C·loc′ and scale = S·scale′ the objective has about the identity as its curvature
in loc′, and about a multiple of it in log scale′, whatever the units of the outcomes and however they are correlated;
a descent on (loc′, scale′) then takes as many steps as dimensions, where one on (loc, scale) may end where rounding
hides the slope. Of a full-rank law S = C, so that the whole law is whitened; of independent coordinates S = 1/√diag H,
which are the scales that fit a quadratic best. Elliptical laws other than the normal are whitened the same way.

Some scales grow or shrink without end. Where log p is improper the entropy of q exceeds −E log p, and the divergence
falls like −log scale for ever; where a family's limit is a point, or mass at an edge, a concentration falls to 0 or
rises without end. Such parameters are learned as logarithms, and they end at walls, `FARTHEST` from where they
started: numbers are still finite there, and the trend is plain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.tree_util import Partial
from jaxtyping import Array, Float
from numpyro.distributions import transforms

from kullback.families.form import Form
from kullback.families.learnable import Learnable, Params, Structure
from kullback.families.mixture import MixtureStructure
from kullback.known import Known
from kullback.known.static import Static
from kullback.minimize.reparameterise import Push, weighted_draws
from kullback.rule import Request
from kullback.training.ravel import Layout

# Frames: coordinates in which the parameters of a location-scale law have one size


LOCATED = (
    dist.Normal,
    dist.LogNormal,
    dist.MultivariateNormal,
    dist.Laplace,
    dist.Logistic,
    dist.Cauchy,
    dist.Gumbel,
    dist.StudentT,
    dist.AsymmetricLaplace,
    dist.SoftLaplace,
)
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


def from_frame(structure: Structure, frame: Frame | None, free: Params) -> Any:
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


def placed(structure: Structure, frame: Frame, free: Params) -> Any:
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


def to_frame(structure: Structure, frame: Frame | None, free: Params) -> Any:
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


# Walls: parameters that run away


FARTHEST = 60.0  # of a logarithm: a factor of 1e26
FAR = 10.0  # a factor of 2e4, further than an optimum lies from a sensible start


def logarithms(structure: Structure, free: Params) -> dict[str, Any]:
    """The free parameters that are logarithms, by name."""
    if isinstance(structure, MixtureStructure):
        return logarithms(structure.form, free["components"])
    if not isinstance(structure, Form):
        return {}
    found = {}
    for name in structure.names:
        transform = structure.transform(name)
        inner = transform.base_transform if isinstance(transform, transforms.IndependentTransform) else transform
        if isinstance(inner, transforms.ExpTransform):
            found[name] = free[name]
        elif isinstance(inner, transforms.LowerCholeskyTransform):
            found[name] = free[name][..., -dict(structure.shapes)[name][-1] :]
    return found


def logarithmic(structure: Structure, layout: Layout) -> np.ndarray:
    """Which entries of the flat parameters are logarithms, 1 or 0 [n]."""
    size = sum(int(np.prod(shape)) for shape in layout.shapes)
    places = logarithms(structure, layout.tree(np.arange(size)))
    found = np.zeros(size)
    found[np.concatenate([np.ravel(place) for place in places.values()] or [np.zeros(0)]).astype(int)] = 1.0
    return found


def walled(
    structure: Structure, layout: Layout, vector: Float[Array, " n"], value: Float[Array, ""]
) -> Float[Array, ""]:
    """The value, and ∞ where a logarithm is beyond its wall."""
    outside = jnp.abs(vector) * logarithmic(structure, layout) > FARTHEST
    return jnp.where(jnp.any(outside), jnp.inf, value)


def far(structure: Structure, free: Params, least: float = FAR) -> str:
    """The parameters that have run far from where they started, in words; empty where none has."""
    found = logarithms(structure, free)
    words = [(name, "grows", x > least) for name, x in found.items()]
    words += [(name, "goes to 0", x < -least) for name, x in found.items()]
    return " and ".join(f"{name} {how}" for name, how, there in words if there.any())


# The objective


@dataclass(frozen=True)
class Reparameterised:
    """A learnable side whose draws follow from noise, and its target.

    frame     the coordinates of the parameters; None for their own
    improper  whether log p was seen not to fall along a ray
    """

    learnable: Learnable
    layout: Layout
    push: Push
    target: Known
    frame: Frame | None = None
    improper: bool = False

    @property
    def static(self) -> Static:
        return Static((self.learnable.structure, self.layout, self.push))

    @property
    def event_shape(self) -> tuple[int, ...]:
        return self.target.event_shape or ()

    @property
    def is_mixture(self) -> bool:
        return isinstance(self.learnable.structure, MixtureStructure)

    def noise(self, draws: int, request: Request) -> Float[np.ndarray, "n ..."]:
        """Evenly spread noise, for the fit."""
        return self.push.noise.even(request.host_rng(1), draws, self.event_shape)

    def reaching(self) -> Reparameterised:
        """The same problem, on noise that reaches into the tails."""
        return replace(self, push=self.push.reaching())

    def objective(self, noise: np.ndarray) -> Partial:
        """The divergence on this noise, a function of parameters in the frame [n]."""
        return Partial(
            fixed_draw_divergence, self.static, self.learnable.fixed, self.target.log_density, noise, self.frame
        )

    def reframed(self, vectors: Float[np.ndarray, "s n"]) -> tuple[Reparameterised, Float[np.ndarray, "s n"]]:
        """The problem in the coordinates of a law found, the first of these parameters, and all of them there."""
        if self.frame is None:
            return self, vectors
        problem = replace(self, frame=own_frame(self.learnable.structure, self.layout.tree(vectors[0])))
        return problem, problem.framed(vectors)

    def framed(self, vectors: Float[np.ndarray, "s n"]) -> Float[np.ndarray, "s n"]:
        """Parameters in the coordinates of the frame."""
        trees = [to_frame(self.learnable.structure, self.frame, self.layout.tree(vector)) for vector in vectors]
        return np.stack([Layout.flat(tree) for tree in trees])

    def natural(self, vector: Float[np.ndarray, " n"], gradient: Float[np.ndarray, " n"]) -> Float[np.ndarray, " k"]:
        """A gradient in the frame in units of the law there; empty of a law that has no location and scale."""
        return natural(self.learnable.structure, self.frame, self.layout.tree(vector), self.layout.tree(gradient))

    def unframed(self, vectors: Float[np.ndarray, "s n"]) -> Float[np.ndarray, "s n"]:
        """Parameters from those in the frame."""
        trees = [from_frame(self.learnable.structure, self.frame, self.layout.tree(vector)) for vector in vectors]
        return np.stack([Layout.flat(tree) for tree in trees])


def fixed_draw_divergence(
    static: Static,
    fixed: Params,
    target: Any,
    noise: Float[Array, "m ..."],
    frame: Frame | None,
    vector: Float[Array, " n"],
) -> Float[Array, ""]:
    """Σ w_i (log q(x_i) − log p(x_i)) over the pushed draws; infinite beyond the walls of the parameters."""
    structure, layout, _ = static.value
    log_q, log_p, w = terms(static, fixed, target, noise, frame, vector)
    return walled(structure, layout, vector, jnp.sum(w * (log_q - log_p)))


def terms(
    static: Static,
    fixed: Params,
    target: Any,
    noise: Float[Array, "m ..."],
    frame: Frame | None,
    vector: Float[Array, " n"],
) -> tuple[Float[Array, " m"], Float[Array, " m"], Float[Array, " m"]]:
    """log q and log p at the pushed draws, and the weights of these, which sum to 1."""
    structure, layout, push = static.value
    free = layout.tree(vector)
    placed_free = free if frame is None else placed(structure, frame, free)
    x, log_q, w = weighted_draws(push, structure.distribution(placed_free, fixed), noise)
    if frame is not None and is_full_rank(structure):
        x, log_det = outcome(frame, x)
        log_q = log_q - log_det
    return log_q, target(x), w
