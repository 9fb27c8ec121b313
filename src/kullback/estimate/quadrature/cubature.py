"""Adaptive integration over many boxes at once, by products of Gauss–Kronrod rules.

All boxes are one problem: the boxes that make most of the total error are halved, many at a time, so that a compiled
function is called few times. `scipy.integrate.cubature` refines one box a call, and takes its starting boxes in no
order. Source: Piessens et al. (1983), QUADPACK, section 2.2, for the rule and its error.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Float

Box = tuple[np.ndarray, np.ndarray]

# The 21 nodes of Kronrod's rule, to 0 from the right, and their weights; every second one is Gauss's, of 10 nodes.
_RIGHT = np.array([
    0.995657163025808080735527280689003, 0.973906528517171720077964012084452, 0.930157491355708226001207180059508,
    0.865063366688984510732096688423493, 0.780817726586416897063717578345042, 0.679409568299024406234327365114874,
    0.562757134668604683339000099272694, 0.433395394129247190799265943165784, 0.294392862701460198131126603103866,
    0.148874338981631210884826001129720, 0.0,
])  # fmt: skip
_WEIGHTS = np.array([
    0.011694638867371874278064396062192, 0.032558162307964727478818972459390, 0.054755896574351996031381300244580,
    0.075039674810919952767043140916190, 0.093125454583697605535065465083366, 0.109387158802297641899210590325805,
    0.123491976262065851077958109585166, 0.134709217311473325928054001771707, 0.142775938577060080797094273138717,
    0.147739104901338491374841515972068, 0.149445554002916905664936468389821,
])  # fmt: skip
NODES = np.concatenate([-_RIGHT, _RIGHT[-2::-1]])
KRONROD = np.concatenate([_WEIGHTS, _WEIGHTS[-2::-1]])
GAUSS = np.zeros(21)
GAUSS[1::2] = np.polynomial.legendre.leggauss(10)[1]
RELATIVE, ROUNDING = 1e-11, 1e-14
POINTS = 1 << 15  # a call


def adaptive(
    f: Callable[[np.ndarray], np.ndarray], boxes: Iterable[Box], tolerance: float, subdivisions: int
) -> tuple[np.ndarray, np.ndarray, int]:
    """(∫ f [k], its error [k], boxes used) over boxes (lower [d], upper [d]); f maps points [n, d] to values [n, k].

    tolerance     the error aimed at in each of the k, or RELATIVE times its value
    subdivisions  the most halvings, of all boxes together
    """
    low, high = (np.stack(ends) for ends in zip(*boxes, strict=True))
    table, used, most = _integrated(f, low, high), len(low), subdivisions + len(low)
    while True:
        value, error = table[:, 0].sum(0), table[:, 1].sum(0)
        target = np.maximum(tolerance, RELATIVE * np.abs(value))
        open_ = np.where(table[:, 1] > ROUNDING * table[:, 2], table[:, 1], 0.0) / target
        chosen = _worst(open_, most - used)
        if not len(chosen) or (error <= target).all():
            return value, error, used
        halves_low, halves_high = _halved(low[chosen], high[chosen])
        kept = np.setdiff1d(np.arange(len(low)), chosen)
        table = np.concatenate([table[kept], _integrated(f, halves_low, halves_high)])
        low, high = np.concatenate([low[kept], halves_low]), np.concatenate([high[kept], halves_high])
        used += len(chosen)


def _worst(errors: Float[np.ndarray, "n k"], most: int) -> np.ndarray:
    """The boxes without which the rest have half of an error of 1 or less."""
    score = errors.max(1)
    order = np.argsort(-score, kind="stable")
    rest = score.sum() - np.cumsum(score[order])
    count = int(np.argmax(rest <= 0.5)) + 1 if score.sum() > 0.5 else 0
    count = min(count, most, int((score > 0).sum()))
    return order[: max(count, 0)]


def _halved(low: Float[np.ndarray, "n d"], high: Float[np.ndarray, "n d"]) -> Box:
    """The 2ᵈ parts of each box."""
    middle = 0.5 * (low + high)
    lows, highs = [], []
    for upper in itertools.product((False, True), repeat=low.shape[1]):
        lows.append(np.where(upper, middle, low))
        highs.append(np.where(upper, high, middle))
    return np.concatenate(lows), np.concatenate(highs)


def _integrated(
    f: Callable[[np.ndarray], np.ndarray], low: Float[np.ndarray, "n d"], high: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "n 3 k"]:
    """(∫ f, the difference to Gauss's rule, ∫ |f|) over each box."""
    d = low.shape[1]
    places = np.stack([x.ravel() for x in np.meshgrid(*[0.5 * (NODES + 1.0)] * d, indexing="ij")], 1)
    kronrod, gauss = (_product(weights, d) for weights in (KRONROD, GAUSS))
    each = max(1, POINTS // len(places))
    tables = []
    for at in range(0, len(low), each):
        some, size = low[at : at + each], high[at : at + each] - low[at : at + each]
        points = some[:, None] + size[:, None] * places
        values = f(points.reshape(-1, d)).reshape(len(some), len(places), -1)
        volume = (0.5 * size).prod(1)[:, None]
        whole = volume * np.einsum("p,npk->nk", kronrod, values)
        difference = np.abs(whole - volume * np.einsum("p,npk->nk", gauss, values))
        tables.append(np.stack([whole, difference, volume * np.einsum("p,npk->nk", kronrod, np.abs(values))], 1))
    return np.concatenate(tables)


def _product(weights: Float[np.ndarray, " m"], d: int) -> Float[np.ndarray, " p"]:
    found = np.ones(1)
    for _ in range(d):
        found = np.multiply.outer(found, weights).ravel()
    return found
