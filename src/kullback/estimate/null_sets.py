"""Sets to which every density gives probability 0 and on which a sample may lie: atoms, planes, curved surfaces."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Float
from scipy.spatial import cKDTree  # pyright: ignore[reportAttributeAccessIssue]
from scipy.special import ndtri
from scipy.stats import rankdata

from kullback.known import Known
from kullback.rule import Request

FEWEST_DRAWS = 2_000

NEIGHBOURS, FEWEST, QUERIES = 10, 50, 2000
# The curse of dimensionality: with more columns a thousand rows do not tell a surface from the space about it.
MOST_COLUMNS = 4
# Half of the dimension that a surface lacks, and a little more for the noise of the estimate.
LACKING = 0.65


def has_atoms(law: Known, values: Float[np.ndarray, " n *event"], request: Request) -> bool:
    """Whether a law draws the given outcomes, each of which a sample repeats."""
    if len(values) == 0 or law.sampler is None:
        return len(values) == 0
    known: set[bytes] = set()
    for double in (True, False):  # single precision rounds more draws to an end of a support
        with jax.enable_x64(double):
            draws = np.asarray(law.sampler(request.key, FEWEST_DRAWS))
        known |= {row.tobytes() for row in draws.reshape(len(draws), -1).astype(np.float32)}
    return all(row.tobytes() in known for row in np.unique(values.reshape(len(values), -1), axis=0).astype(np.float32))


def is_flat(values: np.ndarray, scale: Float[np.ndarray, " d"], eps: float, law: Known, request: Request) -> bool:
    """Whether a sample [n, *event] lies on a plane, exactly, on which a law does not; draws of the law say so if any.

    scale  what each coordinate is divided by
    eps    the relative rounding of the numbers
    """
    points = np.unique(values.reshape(len(values), -1) / scale, axis=0)
    directions = flat_directions(points, eps)
    if directions.shape[1] == 0 or law.sampler is None:
        return directions.shape[1] > 0
    with jax.enable_x64(True):
        draws = np.asarray(law.sampler(request.key, FEWEST_DRAWS), np.float64)
    others = draws.reshape(len(draws), -1) / scale
    return bool((np.ptp(others @ directions, axis=0) > 1e4 * eps * np.abs(others).max()).any())


def on_dimension(points: Float[np.ndarray, "n d"], rng: np.random.Generator) -> str:
    """The remark on a sample that fills fewer dimensions than it has columns; empty where it may fill them all."""
    found = apparent_dimension(points, rng)
    if found is None:
        return ""
    return (
        f"P's rows fill about {found:.1f} of {points.shape[1]} dimensions, as on a curve or a surface, to which a "
        "density gives probability 0, or in a layer thinner than the distances between rows: a lower bound"
    )


def flat_directions(points: Float[np.ndarray, "n d"], eps: float) -> Float[np.ndarray, "d r"]:
    """Directions, of length 1, in which the rows do not vary beyond the rounding of their numbers.

    eps  the relative rounding of the numbers

    With n ≤ d + 1 rows there are such directions whatever the law, and none are returned.
    """
    n, d = points.shape
    if d < 2 or n < d + 2:
        return np.zeros((d, 0))
    centred = points - points.mean(0)
    # Some rows say where to look, for all of them to confirm.
    some = centred[:: max(1, n // max(10 * d, QUERIES))]
    _, _, axes = np.linalg.svd(some, full_matrices=False)
    rounding = 32.0 * np.sqrt(d) * eps * np.abs(points).max()
    return axes.T[:, np.ptp(centred @ axes.T, axis=0) <= rounding]


def apparent_dimension(points: Float[np.ndarray, "n d"], rng: np.random.Generator) -> float | None:
    """The dimension that the rows fill about each of them; None where it may be that of the space.

    With T_j the distance to the j-th nearest row, the mean of log(T_k/T_j) over j < k and over rows is the reciprocal
    of the dimension. A column is first mapped to normal scores by its ranks, which bends a surface and leaves its
    dimension, so that tails and skewness are not taken for one; and the estimate is compared with that of as many
    independent normal rows, whose bias it shares. A law whose thickness the rows do not resolve has a lower dimension
    too, and the same bias of all that is told by distances.

    Source: Levina and Bickel (2004), NIPS 17, eq. 8, averaged as MacKay and Ghahramani (2005) propose.
    """
    points = np.unique(points, axis=0)
    n, d = points.shape
    if not 2 <= d <= MOST_COLUMNS or n < FEWEST:
        return None
    scores = np.stack([ndtri(rankdata(column) / (n + 1.0)) for column in points.T], 1)
    found, whole = _dimension(rng.permutation(scores)), _dimension(rng.normal(size=(n, d)))
    return d * found / whole if found < (1.0 - LACKING / d) * whole else None


def _dimension(points: np.ndarray) -> float:
    distance, _ = cKDTree(points).query(points[:QUERIES], k=NEIGHBOURS + 1)
    near = distance[distance[:, 1] > 0][:, 1:]
    return float(1.0 / np.log(near[:, -1:] / near[:, :-1]).mean()) if len(near) else 0.0
