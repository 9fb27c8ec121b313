"""Scales that grow or shrink without end: how a divergence without a minimum, or one at an edge, shows in a descent.

Where log p is improper the entropy of q wins over −E log p, and the divergence falls like −log scale for ever; where a
family's limit is a point, or mass at an edge, a concentration falls to 0 or rises without end. Such parameters are
learned as logarithms, and here they end at walls, `FARTHEST` from where they started, at which numbers are still finite
and what goes on is plain.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import transforms

from kullback.families.form import Form
from kullback.families.learnable import Structure
from kullback.families.mixture import MixtureStructure
from kullback.training.ravel import Layout

FARTHEST = 60.0  # of a logarithm: a factor of 1e26
FAR = 10.0  # a factor of 2e4, further than an optimum lies from a sensible start


def logarithms(structure: Structure, free: Any) -> dict[str, Any]:
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


def far(structure: Structure, free: Any, least: float = FAR) -> str:
    """The parameters that have run far from where they started, in words; empty where none has."""
    found = logarithms(structure, free)
    words = [(name, "grows", x > least) for name, x in found.items()]
    words += [(name, "goes to 0", x < -least) for name, x in found.items()]
    return " and ".join(f"{name} {how}" for name, how, there in words if there.any())
