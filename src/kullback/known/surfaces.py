"""Sets without volume that laws live on, beside those that NumPyro has constraints for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpyro.distributions import constraints


class Surface(constraints.Constraint):
    """A set of outcomes, of which two that have equal names and equal `place`s are one.

    name      how it reads, as in "P lives on ..."
    contains  whether outcomes [..., *event] lie on it, but for rounding: booleans [...]
    place     numbers that tell it from others of its name
    rank      the rank of an outcome
    """

    def __init__(self, name: str, contains: Callable[[Any], Any], place: Any = (), rank: int = 1) -> None:
        self.name, self.contains, self.place, self.event_dim = name, contains, np.asarray(place, float), rank

    def __call__(self, x: Any) -> Any:
        return self.contains(x)

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Surface) and self.name == other.name and self.place.shape == other.place.shape
        return bool(same and np.allclose(self.place, other.place, rtol=1e-8, atol=1e-8))  # pyright: ignore

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        return self.name


def orthogonal_matrices(size: int) -> Surface:
    return Surface(f"the orthogonal matrices of size {size}", _is_unitary, rank=2)


def unitary_matrices(size: int) -> Surface:
    return Surface(f"the unitary matrices of size {size}", _is_unitary, rank=2)


def isospectral_correlations(eigenvalues: Any) -> Surface:
    """The correlation matrices of given eigenvalues."""
    place = np.sort(eigenvalues)

    def contains(x: Any) -> Any:
        near = jnp.abs(jnp.linalg.eigvalsh(x) - place).max(-1) < 1e-4
        return near & (jnp.abs(jnp.diagonal(x, axis1=-2, axis2=-1) - 1.0).max(-1) < 1e-4)

    return Surface(f"the correlation matrices with the eigenvalues {_shown(place)}", contains, place, rank=2)


def plane(origin: Any, covariance: Any) -> Surface:
    """The points origin + covariance · z."""
    values, vectors = np.linalg.eigh(covariance)
    within = vectors[:, values > 1e-10 * max(values.max(), 0.0)]
    away = np.eye(len(values)) - within @ within.T
    offset = away @ np.asarray(origin, float)

    def contains(x: Any) -> Any:
        return jnp.abs(x @ away - offset).max(-1) < 1e-4 * (1.0 + jnp.abs(x).max(-1))

    kind = ("a point", "a line", "a plane")[within.shape[1]] if within.shape[1] < 3 else f"{within.shape[1]} dimensions"
    return Surface(f"{kind} in {len(values)} dimensions", contains, np.append(away.ravel(), offset))


def _is_unitary(x: Any) -> Any:
    product = jnp.conj(jnp.swapaxes(x, -1, -2)) @ x
    return jnp.abs(product - jnp.eye(x.shape[-1])).max((-1, -2)) < 1e-4


def _shown(numbers: np.ndarray) -> str:
    return ", ".join(f"{x:.4g}" for x in numbers)
