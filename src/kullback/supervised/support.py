"""Where the outcomes of a family may lie, known before anything is fitted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpyro.distributions import constraints

from kullback.errors import InputError
from kullback.families.form import Sizes, class_of, form_for
from kullback.known.support import Support, from_constraint

MOST_CATEGORIES = 10_000


def family_support(
    distribution: Any, fixed: Mapping[str, Any], event_shape: tuple[int, ...], categories: int | None = None
) -> Support | None:
    """The support that every member of a family shares; None where it moves with a learned parameter.

    A support that depends on parameters held fixed (the trials of a binomial) is read from two members.
    """
    cls = class_of(distribution)
    if isinstance(cls.support, constraints.Constraint) and not isinstance(cls.support, type(constraints.dependent)):
        return from_constraint(cls.support)
    form = form_for(cls, fixed, Sizes(event_shape, categories))
    first, second = (form.distribution({k: v + at for k, v in form.zeros().items()}, fixed) for at in (0.0, 1.0))
    supports = [from_constraint(getattr(d, "base_dist", d).support) for d in (first, second)]
    if not all(s.bounded for s in supports):
        return None
    same = all(
        np.array_equal(np.asarray(getattr(supports[0], end)), np.asarray(getattr(supports[1], end)))
        for end in ("lower", "upper")
    )
    return supports[0] if same else None


def within(y: np.ndarray, support: Support | None, name: str) -> np.ndarray:
    """y in the type that the distribution takes: integers for a discrete one, else float64.

    Raises `InputError` naming the first row outside the support of every member of the family.
    """
    y = y.astype(np.float64)
    if support is None or support.constraint is None:
        return y
    inside = np.asarray(support.constraint(y)).reshape(len(y), -1).all(-1)
    shown = support.name
    if support.constraint is constraints.unit_interval and not support.discrete:
        # A density on (0, 1) is 0 or infinite at the ends, for all but one of its members.
        inside &= ((y > 0) & (y < 1)).reshape(len(y), -1).all(-1)
        shown = "(0, 1)"
    elif support.constraint is constraints.positive:
        shown = "(0, ∞)"
    if not inside.all():
        row = int(np.argmin(inside))
        value = np.array2string(np.asarray(y[row]), precision=6, threshold=6)
        raise InputError(
            f"y: row {row}, {value}, lies outside the support {shown} of {name}; choose a distribution whose support "
            "contains the targets"
        )
    return np.round(y).astype(np.int64) if support.discrete else y
