"""Targets that have no normaliser: what a reverse fit does on them, and the tests by which it says so.

Where log p falls like −a log|x| with a at most the dimension, or not at all, ∫ p = ∞. The divergence of a law of scale
s is then −d log s − E log p, which as s grows falls for ever, or tends to a limit: it has no minimum, and where a
descent stops is a matter of rounding. A law that is e⁴⁰ times as wide is then no worse than the one found.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from kullback.families.learnable import Params, Structure
from kullback.families.mixture import MixtureStructure
from kullback.known.static import Static
from kullback.minimize import lbfgs
from kullback.minimize.fixed_draw_objective import FARTHEST, Reparameterised, logarithms, matrix, packed_from, terms
from kullback.runtime.export_cache import program
from kullback.training.ravel import Layout

SCALES, RATE = ("scale", "scale_tril"), "rate"
WIDER, LEAST = 40.0, 5.0  # of the logarithm of a scale: how much wider a law is tried, and the least that says anything
ALONE = 7  # coordinates that are widened by themselves, the widest first
ALONG = 3.0  # the same along the longest axis of a full-rank law, which is not known better than for that
NO_WORSE = 0.05  # nats; by so much a law of the descent's own draws, and at any width, may look better than another
CHUNK = 40  # evaluations in the program of a descent
RAY = np.arange(0.0, 7.0)  # powers of ten of a scale, at which log p is looked at
LEVEL = 1.0  # nats that log p falls by from its mode, below which it has not fallen

IMPROPER = (
    "diverged: log P is improper, so the divergence has no minimum: it does not rise as the scale grows without end, "
    "since log P falls too slowly, or not at all, along some direction; add a prior that falls there"
)


def is_improper(
    structure: Structure,
    layout: Layout,
    vector: Float[np.ndarray, " n"],
    values: Callable[[np.ndarray], Float[np.ndarray, " m"]],
) -> bool:
    """Whether a far wider law is no worse than the one at `vector`: as a whole, or along a coordinate.

    values  the divergence at each of some parameters [m, n], ∞ or NaN where it is not finite
    """
    wide = [layout.flat(free).astype(vector.dtype) for free in widened(structure, layout.tree(vector))]
    if not wide:
        return False
    here, *there = values(np.stack([vector, *wide]))
    return bool(np.isfinite(here) and any(np.isfinite(x) and x <= here + NO_WORSE for x in there))


def widened(structure: Structure, free: Params) -> list[Any]:
    """Free parameters of laws up to e⁴⁰ times as wide, as far as their walls allow."""
    if isinstance(structure, MixtureStructure):
        return [{**free, "components": wide} for wide in widened(structure.form, free["components"])[:1]]
    sizes = {
        name: -x if name == RATE else x for name, x in logarithms(structure, free).items() if name in (*SCALES, RATE)
    }
    if not sizes:
        return []
    flat = np.concatenate([np.ravel(x) for x in sizes.values()])
    chosen = [np.full(len(flat), True)]
    if len(flat) > 1:
        chosen += [np.arange(len(flat)) == i for i in np.argsort(-flat, kind="stable")[:ALONE]]
    room = [FARTHEST - 1 - flat[one].max() for one in chosen]
    more = [
        (WIDER if flat[one].max() + WIDER < FARTHEST else left) * one for one, left in zip(chosen, room, strict=True)
    ]
    return [_wider(free, sizes, by) for by in more if by.max() > LEAST] + _along_axis(free)


def _along_axis(free: Params) -> list[Any]:
    """The free parameters of a full-rank law that is wider along the longest axis of its ellipsoid alone."""
    packed = np.asarray(free.get("scale_tril", np.zeros(0)))
    d = int(np.sqrt(2 * packed.size))
    if packed.ndim != 1 or d < 2:
        return []
    lower = matrix(packed, d)
    if np.log(np.abs(lower).max()) + ALONG > FARTHEST:
        return []
    axis = np.linalg.svd(lower)[0][:, 0]
    root = np.transpose(np.linalg.qr((lower + np.expm1(ALONG) * np.outer(axis, axis @ lower)).T, mode="r"))
    root = root * np.sign(np.diagonal(root))
    return [{**free, "scale_tril": packed_from(root)}]


def _wider(free: Params, sizes: dict[str, np.ndarray], by: Float[np.ndarray, " k"]) -> Any:
    """Free parameters whose scales are larger by these logarithms, given over all scales one after another."""
    found, parts = dict(free), np.split(by, np.cumsum([x.size for x in sizes.values()])[:-1])
    for (name, size), part in zip(sizes.items(), parts, strict=True):
        more = part.reshape(size.shape)
        if name == "scale_tril":  # row by row
            d = size.shape[-1]
            below = free[name][..., : -d or None] * np.exp(more[..., np.tril_indices(d, -1)[0]])
            found[name] = np.concatenate([below, size + more], -1)
        else:
            found[name] = free[name] + (-more if name == RATE else more)
    return found


def values_at(objective: Any, stack: int, vectors: Float[np.ndarray, "m n"]) -> Float[np.ndarray, " m"]:
    """The objective at each of these parameters, ∞ where it is not finite, by the program of a descent from `stack`
    starts.

    A state that is about to end, whatever it meets, ends at its first evaluation.
    """
    found = []
    for at in range(0, len(vectors), stack):
        some = vectors[np.minimum(np.arange(at, at + stack), len(vectors) - 1)]
        states = [lbfgs.start(x)._replace(accepted=np.asarray(2, np.int32), calm=np.asarray(1, np.int32)) for x in some]
        ended = lbfgs.advance(objective, jax.tree.map(lambda *leaves: np.stack(leaves), *states), np.inf, CHUNK)
        found.append(np.asarray(ended.value, np.float64))
    return np.concatenate(found)[: len(vectors)]


def falls_everywhere(target: Any, mode: Float[np.ndarray, "*event"], away: Float[np.ndarray, "k ..."]) -> bool:
    """Whether log p falls in the end along every ray from its mode, forward and back, in these directions.

    Along a ray on which it does not, a density has no normaliser, unless its mass thins out beside the ray.
    """
    lengths = np.concatenate([10.0**RAY, -(10.0**RAY)])
    points = mode + np.multiply.outer(lengths, away)
    with np.errstate(invalid="ignore"):
        values = np.asarray(log_density_at(target, points.reshape(-1, *mode.shape)), np.float64).reshape(
            2, len(RAY), -1
        )
        start, end = float(log_density_at(target, mode[None])[0]), values[:, -2:]
    return not bool((np.isfinite(end).all(1) & (end >= start - LEVEL).all(1)).any())


@program(static=())
def log_density_at(target: Any, points: Float[Array, "m ..."]) -> Float[Array, " m"]:
    """log p at points."""
    return target(points)


def no_start(problem: Reparameterised, starts: Float[np.ndarray, "s n"], noise: np.ndarray) -> str:
    """Why the divergence is finite at no start, from log p at its draws, and what would do."""
    given = problem.static, problem.learnable.fixed, problem.target.log_density, noise, problem.frame
    log_p = np.stack([np.asarray(_log_p(*given, start)) for start in starts])
    if np.isnan(log_p).any(1).all():
        return (
            "log P is NaN at draws of q from every start; correct it there, or state its support=, and fit a family "
            "that lies inside"
        )
    if (log_p == np.inf).any(1).all():
        return "log P is ∞ at draws of q from every start, so it is improper: it rises without end, or has a pole"
    outside = np.isneginf(log_p).mean(1)
    if (outside > 0).all():
        return (
            f"log P is −∞ at {outside.min():.1%} or more of the draws of q from every start, so the divergence "
            "is infinite there; use a family whose support lies inside that of P, or pass kl.learnable(q) of a nearer q"
        )
    return (
        f"the divergence is not finite at any of the {len(starts)} starts; check that the log-density is finite where "
        "the family puts its mass, or pass kl.learnable(q) of a nearer q"
    )


@program(static=())
def _log_p(
    static: Static, fixed: Params, target: Any, noise: Float[Array, "m ..."], frame: Any, vector: Float[Array, " n"]
) -> Float[Array, " m"]:
    return terms(static, fixed, target, noise, frame, vector)[1]
