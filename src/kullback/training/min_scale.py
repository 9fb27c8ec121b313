"""The floor of fitted scales: a network is nowhere surer than where it was trained.

Beyond the rows that it has seen a network that is not linear makes up the logarithm of a scale as it pleases, and one
new row at e⁻¹³ costs more than all the others together.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kullback.families.initialisation.output_scaling import scales
from kullback.known import Known
from kullback.runtime.export_cache import program
from kullback.training.batches import Rows, some_of
from kullback.training.member import each_member


def floor_of(structure: Any) -> tuple[bool, ...]:
    """Which outputs get a floor: the scales of a network that is not linear, at inputs that are no labels."""
    network = getattr(structure, "network", None)
    if network is None or network.linear or network.labels is not None:
        return ()
    found = scales(structure)
    return tuple(found.tolist()) if found.any() else ()


def with_floor(side: Known, least: np.ndarray) -> Known:
    """The side with the least outputs among its fixed parameters, where there are any."""
    learnable = side.learnable
    if learnable is None or not least.size:
        return side
    return side.holding(learnable=learnable.holding(least=least))


def least_outputs(problem: Any, fixed: Any, rows: Rows, vectors: Any) -> jax.Array:
    """What the outputs [width] that have a floor are at the least, in any member at some of the rows.

    Not all rows: the least of very many is of a row that was learned by heart, or will be at nothing like it.
    """
    if not problem.floor:
        return jnp.zeros(0)
    some = some_of(len(rows.weights))
    x, counted = rows.x[some], rows.weights[some] > 0
    at_one = lambda v: problem.structure.beyond_offset(problem.layout.tree(v), fixed, x)  # noqa: E731
    outputs = jnp.where(counted[:, None], each_member(len(vectors), at_one, vectors), jnp.inf)
    least = jnp.min(outputs, (0, 1))
    return jnp.where(np.array(problem.floor) & jnp.isfinite(least), least, -fixed["reach"])


def floored(fixed: Any, least: Any) -> Any:
    """`fixed` with the least outputs, where there are any."""
    return {**fixed, "least": least} if np.size(least) else fixed


least_now = program(least_outputs)
