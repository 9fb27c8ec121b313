"""`Family`: every NumPyro distribution as a learnable side.

Its sizes come from the other side. Some sizes are not learned but part of the class that is built: how many trials, or
of what dimension.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints

from kullback.arguments import numeric
from kullback.distributions import BinomialGivenTotal, DirichletMultinomialGivenTotal, MultinomialGivenTotal, TanhNormal
from kullback.errors import InputError
from kullback.families.form import Form, Sizes, class_of, form_for, nested
from kullback.families.initialisation.guess import Hints, hints_from, initial_parameters
from kullback.families.learnable import Learnable, Params, Structure
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
    learnable = Learnable(structure=structure, fixed=fixed, initial=initial, wrap=wrap, remarks=remarks)
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


# Sizes that a distribution is built with


# Laws that NumPyro builds for a number of trials that is known when a program is compiled.
OF_TRIALS = (dist.MultinomialLogits, dist.MultinomialProbs, dist.DirichletMultinomial)
GIVEN_TOTAL = {
    dist.MultinomialLogits: MultinomialGivenTotal,
    dist.MultinomialProbs: MultinomialGivenTotal,
    dist.DirichletMultinomial: DirichletMultinomialGivenTotal,
}
OF_DIMENSION = (dist.LKJ, dist.LKJCholesky)


def static_sizes(cls: type, fixed: Mapping[str, Any], other: Known) -> dict[str, int]:
    """The numbers that the class takes beside its parameters, from what is held fixed or from the other side.

    Raises `InputError` where the outcomes of the other side do not agree on them.
    """
    if cls in OF_DIMENSION:
        dimension = int((other.event_shape or (0,))[-1])
        if int(fixed.get("dimension", dimension)) != dimension:
            raise InputError(f"dimension: outcomes of {other.name} have {dimension} rows; leave it out, or pass that")
        return {"dimension": dimension}
    if cls not in OF_TRIALS:
        return {}
    stated = np.unique(np.asarray(fixed["total_count"])) if "total_count" in fixed else _totals(other)
    if stated is None:
        raise InputError(f"total_count: {other.name} does not tell how many trials an outcome has; pass total_count=")
    if len(stated) > 1:
        raise InputError(
            f"total_count: outcomes of {stated[0]} to {stated[-1]} trials are of no one {cls.__name__}; fit those of "
            "each total apart, or one kl.Family(dist.Categorical) to the trials"
        )
    return {"total_count": int(stated[0])}


def trials_of(cls: type, fixed: Mapping[str, Any], other: Known) -> tuple[type, dict[str, int]]:
    """The class that a conditional of `cls` learns from these outcomes, and the numbers that it is built with.

    Counts that all have one total are of `cls` with that total. Where each has its own, which is its sum, they are of
    the law given the total; so are successes and failures [2] without a `total_count`.
    Raises `InputError` where totals that are stated are not those of the outcomes.
    """
    if cls in (dist.BinomialLogits, dist.BinomialProbs) and "total_count" not in fixed and other.event_shape == (2,):
        return BinomialGivenTotal, {}
    if cls not in OF_TRIALS:
        return cls, static_sizes(cls, fixed, other)
    totals = _totals(other)
    if totals is None or len(totals) == 1:
        return cls, static_sizes(cls, fixed, other)
    if "total_count" in fixed and not np.array_equal(np.unique(fixed["total_count"]), totals):
        raise InputError(
            f"total_count: the counts of an outcome sum to {totals[0]:g} to {totals[-1]:g}, which is how many trials "
            "it has; leave total_count out"
        )
    return GIVEN_TOTAL[cls], {}


def _totals(other: Known) -> np.ndarray | None:
    sample = other.sample
    if sample is not None and sample.values is not None:
        counted = sample.values if sample.weights is None else sample.values[sample.weights > 0]
        return np.unique(counted.sum(-1))
    total = getattr(other.distribution, "total_count", None)
    return None if total is None else np.unique(np.asarray(total))


def require_parameters(cls: type) -> None:
    """Raise `InputError` for a class that is built of something that is neither a parameter nor a size."""
    known = {*cls.arg_constraints, "self", "total_count", "dimension"}
    needed = [
        name
        for name, parameter in inspect.signature(cls.__init__).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    beyond = [name for name in needed if name not in known]
    if beyond and cls.arg_constraints:
        raise InputError(
            f"distribution: {cls.__name__} is built of {', '.join(beyond)}, so it is not a family by itself; use a "
            "class whose parameters are numbers, or kl.Density for a law of your own"
        )
