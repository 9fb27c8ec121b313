"""Units of the outcomes' own for a network: what it predicts in other units, by its offsets and gains alone.

A network's outputs are unconstrained parameters, offset + gain · network. Where outcomes are y = c z and the family is
closed under scaling, a location is multiplied by c and the logarithm of a scale moves by log c: the weights stay what
they are. Outcomes of 1e-300 or 1e300, whose squares are no numbers, are learned from so.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Float

from kullback.families.closure import INVERSE, LENGTH, LOG, PLACE, RATE, ROOT, SQUARE, VARIANCE, kinds_of
from kullback.families.conditional_structure import ConditionalStructure
from kullback.families.form import Form
from kullback.families.learnable import Learnable, Params
from kullback.families.units import Units

SMALLEST, LARGEST = 1e-18, 1e18  # outcomes whose squares, and those of their parts, are numbers of single precision
_POWERS = {PLACE: 0.0, LENGTH: 1.0, RATE: -1.0, LOG: 1.0, VARIANCE: 2.0}


def outcome_units(structure: Any, y: Any) -> Units | None:
    """Powers of 2 as units of outcomes y [n, *event]; None where none are needed or the family is not closed."""
    if not isinstance(structure, ConditionalStructure) or not isinstance(y, np.ndarray) or y.dtype.kind != "f":
        return None
    form = structure.form
    kinds = kinds_of(form.cls)
    if kinds is None or {SQUARE, INVERSE} & {kinds[name] for name in form.names if name in kinds}:
        return None
    peak = np.abs(y).max(0).astype(np.float64)
    beyond = ((peak < SMALLEST) & (peak > 0)) | (peak > LARGEST)
    if not beyond.any():
        return None
    scale = np.where(peak > 0, np.exp2(np.floor(np.log2(np.where(peak > 0, peak, 1.0)))), 1.0)
    return Units(np.zeros(scale.shape), scale)


def in_units(learnable: Learnable, units: Units, back: bool = False) -> Learnable:
    """A network's learnable side of outcomes y, as that of z = y/units, or `back`."""
    structure, begin = learnable.structure, learnable.begin
    assert isinstance(structure, ConditionalStructure)
    if back or begin is None:
        return learnable.holding(**_moved(structure, learnable.fixed, units, 1.0 if back else -1.0))

    def begun(x: Any, z: Any, w: Any) -> Params:
        return _moved(structure, begin(x, z * units.scale, w), units, -1.0)

    return replace(learnable.holding(**_moved(structure, learnable.fixed, units, -1.0)), begin=begun)


def _moved(structure: ConditionalStructure, fixed: Params, units: Units, way: float) -> Params:
    """Those of the fixed parameters that say how outputs become parameters, from z to y (1) or from y to z (−1)."""
    factor, shift = _factor_and_shift(structure, np.log(units.scale) * way)
    changed: Params = {}
    for name in ("offset", "gain", "slope", "least", "reach"):
        if name in fixed:
            changed[name] = np.asarray(fixed[name], np.float64) * factor + (shift if name == "offset" else 0.0)
    if "given" in fixed:
        form = structure.form
        change = units.back if way > 0 else units.into
        changed["given"] = {**fixed["given"], **change(form.cls, fixed["given"])}
    return changed


def _factor_and_shift(structure: ConditionalStructure, log: Float[np.ndarray, "*event"]) -> tuple[Any, Any]:
    """What each output [width] is multiplied by, and what is added to it, where outcomes are multiplied by exp(log)."""
    parts = [_of_parameter(structure.form, name, log) for name in structure.form.names]
    factor, shift = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    count = structure.components
    if not count:
        return factor, shift
    return np.concatenate([np.ones(count), np.tile(factor, count)]), np.concatenate(
        [np.zeros(count), np.tile(shift, count)]
    )


def _of_parameter(form: Form, name: str, log: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kind, shape = (kinds_of(form.cls) or {}).get(name), form.free_shape(name)
    factor, shift = np.ones(shape), np.zeros(shape)
    if kind == PLACE:
        factor = np.broadcast_to(np.exp(log), shape)
    elif kind == ROOT and name == "scale_tril":  # below the diagonal row by row, then the logarithms of the diagonal
        rows = np.tril_indices(log.size, -1)[0]
        factor[: len(rows)], shift[len(rows) :] = np.exp(log)[rows], log
    elif kind == ROOT:
        factor = np.broadcast_to(np.exp(log)[:, None], shape)
    elif kind is not None:
        shift = np.broadcast_to(_POWERS[kind] * log, shape)
    return np.ravel(factor), np.ravel(shift)
