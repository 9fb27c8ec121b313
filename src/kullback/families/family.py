"""`Family`: every NumPyro distribution as a learnable side."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
from numpyro.distributions import constraints

from kullback.arguments import numeric
from kullback.distributions import TanhNormal
from kullback.errors import InputError
from kullback.families.form import Form, Sizes, class_of, form_for, nested
from kullback.families.initialisation.guess import Hints, hints_from, initial_parameters
from kullback.families.learnable import Learnable, Params, Structure
from kullback.families.static_sizes import require_parameters, static_sizes
from kullback.known import Functions, Known, LearnableHooks, Support
from kullback.known.support import from_constraint
from kullback.runtime.export_cache import program


class Family:
    """A parametric family with learnable parameters: `Family(dist.Normal)`.

    distribution  a NumPyro class; parameters are unconstrained through `biject_to(arg_constraints)`
    fixed         parameters held at a value, by name: `Family(dist.Normal, scale=1.)`

    Its sizes come from the other side. Outcomes with more axes than the class has are independent coordinates.
    The objective of a fit is evaluated in double precision and in forms without cancellation, and is the number to
    trust. `fit.q.log_prob` is NumPyro's formula in JAX's precision: of a concentration of 10⁸ and more it is off by
    nats in single precision, and from about 10¹⁵ in double precision too.
    Raises `InputError` for unknown parameters and for classes without any.
    """

    def __init__(self, distribution: Any, **fixed: Any) -> None:
        self.cls, self._shown = class_of(distribution), distribution.__name__
        self.fixed = parameters(self.cls, fixed)

    def known(self) -> Known:
        return Known(name=self.name, hooks=LearnableHooks(matched=self._matched))

    @property
    def name(self) -> str:
        held = "".join(f", {k}={_short(v)}" for k, v in self.fixed.items())
        return f"Family({self._shown}{held})"

    def form(self, other: Known) -> Form:
        """The form for the other side's outcomes."""
        require_parameters(self.cls)
        _require_shapes(self.cls, self.fixed, other)
        sizes = static_sizes(self.cls, self.fixed, other)
        given = {**self.fixed, **sizes}
        given = {name: value for name, value in given.items() if name not in sizes or name in self.cls.arg_constraints}
        form = form_for(self.cls, given, sizes_of(other))
        if not form.shapes:
            raise InputError(
                f"distribution: every parameter of {self.cls.__name__} is held fixed and none is left to learn; "
                "leave one free, or pass the distribution itself and call estimate()"
            )
        return replace(form, within=_within(other), sizes=tuple(sizes.items()))

    def _matched(self, other: Known) -> Known:
        form = self.form(other)
        hints = hints_from(other, sizes_of(other).categories)
        fixed = {name: value for name, value in self.fixed.items() if name not in dict(form.sizes)}
        initial = partial(_initial, form, hints, fixed)
        return matched_side(self.name, form, fixed, other, initial, _remarks(form, hints))

    def __repr__(self) -> str:
        return self.name


def _require_shapes(cls: type, fixed: Params, other: Known) -> None:
    """Raise `InputError` for a parameter held at numbers that are not of the shape of the outcomes."""
    for name, value in fixed.items():
        number = not getattr(cls.arg_constraints.get(name), "event_dim", 1)
        try:
            fits = not number or np.broadcast_shapes(value.shape, other.event_shape or ()) == (other.event_shape or ())
        except ValueError:
            fits = False
        if not fits:
            raise InputError(
                f"{name}: numbers of shape {value.shape} do not fit outcomes of shape {other.event_shape}; pass one "
                "number, or one for each coordinate"
            )


def matched_side(
    name: str, structure: Structure, fixed: Params, other: Known, initial: Any, remarks: tuple[str, ...] = ()
) -> Known:
    """The record of a learnable side whose sizes are settled."""
    wrap = partial(fitted_distribution, structure, fixed)
    learnable = Learnable(structure, fixed, initial, wrap, remarks=remarks)
    example = jax.eval_shape(structure.distribution, initial(np.random.default_rng(0), 0), fixed)
    if tuple(example.event_shape) != tuple(other.event_shape or ()):
        raise InputError(
            f"p and q: {name} has outcomes of shape {example.event_shape} and {other.name} of {other.event_shape}"
        )
    return Known(
        name=name,
        event_shape=other.event_shape,
        hooks=LearnableHooks(learnable),
        support=support_of_all(example),
        functions=Functions(reparametrized=bool(example.has_rsample)),
    )


def _remarks(form: Form, hints: Hints) -> tuple[str, ...]:
    """What a plan says of categories of which most do not occur: the largest label tells how many there are."""
    if not any(shape == (hints.categories,) for _, shape in form.shapes) or hints.counts is None:
        return ()
    occur, categories = np.count_nonzero(hints.counts), len(hints.counts)
    return (f"{categories:,} categories, of which {occur:,} occur",) if 2 * occur < categories else ()


def support_of_all(example: Any) -> Support | None:
    """The support that every member of a family shares; None where it depends on the parameters."""
    support = example.support
    if support is None or any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(support)):
        return None
    return from_constraint(support)


def _initial(form: Form, hints: Hints, fixed: Params, rng: np.random.Generator, start: int) -> dict[str, np.ndarray]:
    return initial_parameters(form, hints, rng, start, fixed)


def fitted_distribution(structure: Structure, fixed: Params, free: Params) -> Any:
    """The NumPyro distribution at fitted parameters, built in one compiled program.

    Its parameters are arrays of NumPy in double precision: those of data far from 0 would be rounded away in single.
    """
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, _build(structure, *jax.tree.map(_double, (free, fixed))))


def _double(leaf: Any) -> np.ndarray:
    array = np.asarray(leaf)
    return array.astype(np.float64) if array.dtype.kind == "f" else array


@program
def _build(structure: Structure, free: Params, fixed: Params) -> Any:
    return structure.distribution(free, fixed)


def sizes_of(other: Known) -> Sizes:
    """The sizes that the other side tells."""
    if other.event_shape is None:
        raise InputError(f"p and q: {other.name} does not tell the shape of its outcomes; wrap it in kl.Samples")
    return Sizes(other.event_shape, _categories(other))


def ends_from(cls: type, fixed: Params, other: Known) -> Params:
    """The ends of the box that a `TanhNormal` lives on, from the other side's support, where they were not given.

    Raises `InputError` where neither tells them.
    """
    if cls is not TanhNormal or {"low", "high"} <= set(fixed):
        return {}
    support, shape = other.support, other.event_shape or ()
    if other.sample is not None or support is None or support.discrete or not support.bounded:
        raise InputError("low, high: TanhNormal lives on a box, and the other side does not tell its ends; pass both")
    ends = {"low": support.lower, "high": support.upper}
    if not np.isfinite([np.min(ends["low"]), np.max(ends["high"])]).all():
        raise InputError(
            "distribution: TanhNormal lives on a bounded box, and the other side's is none; use dist.Normal"
        )
    ends = {name: np.broadcast_to(np.asarray(end, np.float64), shape) for name, end in ends.items()}
    return {name: end for name, end in ends.items() if name not in fixed}


def _within(other: Known) -> tuple[Any, Any] | None:
    """The ends of the support of a target that can only be evaluated: a law with mass beyond them is infinitely far."""
    support = other.support
    if other.sampler is not None or other.sample is not None or other.log_density is None:
        return None
    if support is None or support.discrete or not support.bounded:
        return None
    lower, upper = (np.asarray(end, np.float64).tolist() for end in (support.lower, support.upper))
    return (nested(lower), nested(upper)) if np.isfinite([np.max(lower), -np.min(upper)]).any() else None


def _categories(other: Known) -> int | None:
    if other.event_shape and other.sample is None:
        support = other.support
        if support is None or not support.discrete or not support.bounded or not np.isfinite(support.upper).all():
            return None
        return int(np.max(support.upper)) + 1
    if other.atoms is not None:
        return int(np.max(other.atoms)) + 1
    sample = other.sample
    if sample is not None and sample.values is not None and sample.discrete and sample.values.min() >= 0:
        return int(sample.values.max()) + 1
    return None


def parameters(cls: type, given: Params) -> dict[str, np.ndarray]:
    """Parameters that are held fixed. Raises `InputError` for a number that no member of the class could have."""
    fixed = {name: as_parameter(name, value) for name, value in given.items()}
    for name, value in fixed.items():
        constraint = getattr(cls, "arg_constraints", {}).get(name)
        # What speaks of vectors and matrices, or depends on other parameters, is left to the fit.
        if constraint is None or getattr(constraint, "event_dim", 1):
            continue
        if not isinstance(constraint, type(constraints.dependent)) and not np.all(constraint(value)):
            within = f"{constraint}".strip("<>").lower().replace("_", " ")
            raise InputError(f"{name}: {_short(value)} is not a {name} of {cls.__name__}, which is {within}")
    return fixed


def as_parameter(name: str, value: Any) -> np.ndarray:
    array = np.asarray(numeric(name, value))
    if array.dtype.kind not in "iubf" or not np.isfinite(array).all():
        raise InputError(f"{name}: {value!r:.60} is not a finite number or array; a fixed parameter needs a value")
    return array


def _short(value: np.ndarray) -> str:
    return f"{float(value):g}" if value.ndim == 0 else f"array{value.shape}"
