"""A form: one NumPyro class with sizes, its unconstrained parameters, and the way between the two."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import biject_to, constraints

from kullback import distributions as laws
from kullback.errors import FileError, InputError
from kullback.families.learnable import Params, Structure

# NumPyro's functions that choose between classes: the unconstrained one is the family, or one of ours.
CLASSES: dict[Any, type] = {
    dist.Bernoulli: dist.BernoulliLogits,
    dist.Binomial: dist.BinomialLogits,
    dist.Categorical: dist.CategoricalLogits,
    dist.Geometric: dist.GeometricLogits,
    dist.Multinomial: dist.MultinomialLogits,
    dist.NegativeBinomial: dist.NegativeBinomialLogits,
    dist.TruncatedNormal: laws.TruncatedNormal,
    dist.ZeroInflatedNegativeBinomial2: laws.ZeroInflatedNegativeBinomial,
}

# Of parameters that say the same thing, the first is learned unless another is given.
ALTERNATIVES = (
    ("scale_tril", "covariance_matrix", "precision_matrix"),
    ("scale_tril", "scale_matrix", "rate_matrix"),
    ("correlation_cholesky", "correlation_matrix"),
)

# Parameters at which a law's support begins or ends: a reverse fit keeps them inside the support of its target.
LOWER_ENDS = {
    ("Uniform", "low"),
    ("TanhNormal", "low"),
    ("LogUniform", "low"),
    ("Pareto", "scale"),
    ("Levy", "loc"),
    ("DoublyTruncatedPowerLaw", "low"),
    ("LowerTruncatedPowerLaw", "low"),
    ("TruncatedNormal", "low"),
}
UPPER_ENDS = {
    ("Uniform", "high"),
    ("TanhNormal", "high"),
    ("LogUniform", "high"),
    ("DoublyTruncatedPowerLaw", "high"),
    ("TruncatedNormal", "high"),
}

# Scales over one axis of a matrix.
AXES = {"scale_tril_row": 0, "scale_tril_column": 1}

_EDGE = 1e-12  # how near to the ends of an interval a parameter may be, as a share of it

MOST_CATEGORIES = 10_000_000

# Student's t with more degrees of freedom is normal to 1e-6 nats, and single precision cannot evaluate its constant.
MOST_DEGREES = 1e3


@dataclass(frozen=True)
class Sizes:
    """What the other side says of sizes: the outcome's shape, and the number of categories where they are finite."""

    event_shape: tuple[int, ...]
    categories: int | None = None


@dataclass(frozen=True)
class Form(Structure):
    """NumPyro's class `cls` with free parameters of given constrained shapes, over `independent` extra event axes.

    `sizes` are whole numbers that the class is built with. `within` is an interval, or the two ends of a box as nested
    tuples, that the ends of the support stay inside.
    """

    cls: type
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    independent: int = 0
    within: tuple[Any, Any] | None = None
    sizes: tuple[tuple[str, int], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.shapes)

    def transform(self, name: str) -> Any:
        """The bijection from the real numbers to the parameter's constraint."""
        return biject_to(self.constraint(name))

    def constraint(self, name: str) -> Any:
        """What a parameter satisfies, as a constraint of NumPyro's."""
        own = _static(self.cls.arg_constraints[name])
        if self.within is None or (self.cls.__name__, name) not in LOWER_ENDS | UPPER_ENDS:
            return own
        lower, upper = (np.asarray(end, np.float64) for end in self.within)
        lower = np.maximum(lower, getattr(own, "lower_bound", -np.inf))
        if np.isfinite(lower).all() and np.isfinite(upper).all():
            return constraints.interval(lower, upper)
        if np.isfinite(lower).all():
            return constraints.greater_than(lower)
        return constraints.less_than(upper) if np.isfinite(upper).all() else own

    def free_shape(self, name: str) -> tuple[int, ...]:
        """The unconstrained shape of a parameter."""
        return tuple(self.transform(name).inverse_shape(dict(self.shapes)[name]))

    def distribution(self, free: Params, fixed: Params, inputs: Any = None) -> Any:
        constrained = {name: self._constrained(name, free[name]) for name in self.names}
        d = self.cls(**constrained, **fixed, **dict(self.sizes), validate_args=False)
        return d.to_event(self.independent) if self.independent else d

    def _constrained(self, name: str, value: Any) -> Any:
        constrained = self.transform(name)(value)
        return jnp.minimum(constrained, MOST_DEGREES) if self.is_capped(name) else constrained

    def is_capped(self, name: str) -> bool:
        """Whether a parameter stops at `MOST_DEGREES`: beyond it the law is its limit."""
        return name == "df" and "loc" in self.cls.arg_constraints

    def free_shapes(self) -> dict[str, jax.ShapeDtypeStruct]:
        return {name: jax.ShapeDtypeStruct(self.free_shape(name), np.float32) for name in self.names}

    def zeros(self) -> dict[str, np.ndarray]:
        return {name: np.zeros(self.free_shape(name)) for name in self.names}

    def unconstrain(self, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Constrained values to free parameters, on the host where the inverse is elementary."""
        return {
            name: np.asarray(_inverse(self.constraint(name), np.asarray(value), self.transform(name)))
            for name, value in values.items()
        }

    def constrain(self, free: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Free parameters to constrained values, in double on the host where the bijection is elementary."""
        return {
            name: _forward(self.constraint(name), np.asarray(value, np.float64), self.transform(name))
            for name, value in free.items()
        }

    def spec(self) -> dict[str, Any] | None:
        if _class_named(self.cls.__name__) is not self.cls:
            return None
        shapes = {name: list(shape) for name, shape in self.shapes}
        spec = {"kind": "form", "distribution": self.cls.__name__, "shapes": shapes, "independent": self.independent}
        spec |= {"sizes": dict(self.sizes)} if self.sizes else {}
        return spec if self.within is None else {**spec, "within": self.within}

    @staticmethod
    def from_spec(spec: Mapping[str, Any]) -> Form:
        shapes = tuple((name, tuple(shape)) for name, shape in spec["shapes"].items())
        name, within = spec["distribution"], spec.get("within")
        cls = _class_named(name)
        if cls is None:
            raise FileError(f"path: the file holds an unknown distribution {name!r}; a newer version may read it")
        within = None if within is None else (nested(within[0]), nested(within[1]))
        return Form(
            cls=cls,
            shapes=shapes,
            independent=spec["independent"],
            within=within,
            sizes=tuple(spec.get("sizes", {}).items()),
        )


def nested(end: Any) -> Any:
    """Numbers in nested lists as nested tuples, which hash."""
    return tuple(map(nested, end)) if isinstance(end, list | tuple) else float(end)


def _class_named(name: str) -> type | None:
    """A class of NumPyro's or of ours by its name."""
    cls = getattr(laws, name, None) or getattr(dist, name, None)
    return cls if isinstance(cls, type) and issubclass(cls, dist.Distribution) else None


def form_for(distribution: Any, fixed: Mapping[str, Any], sizes: Sizes) -> Form:
    """The form of `distribution` (a NumPyro class or chooser) for outcomes of the given sizes.

    Raises `InputError` where a parameter must be given, is unknown, or has no size that the other side tells.
    """
    cls = class_of(distribution)
    free = _free_names(cls, fixed)
    base_ndim = _event_ndim(cls)
    event = sizes.event_shape
    if len(event) < base_ndim:
        raise InputError(
            f"distribution: outcomes of {cls.__name__} have {base_ndim} axes and the other side's have shape {event}"
        )
    split = len(event) - base_ndim
    extra, core = event[:split], event[split:]
    shapes = tuple((name, extra + _core_shape(cls, name, core, sizes.categories)) for name in free)
    return Form(cls, shapes, split)


def class_of(distribution: Any) -> type:
    """The NumPyro class behind a class or a chooser such as `dist.Categorical`."""
    cls = CLASSES.get(distribution, distribution) if callable(distribution) else distribution
    if inspect.isfunction(cls) and getattr(dist, cls.__name__, None) is cls:
        raise InputError(
            f"distribution: {cls.__name__} is a function of NumPyro's that composes laws, and not a class with "
            "parameters to learn; use a class such as dist.Normal, or kl.Density for a law of your own"
        )
    if not (isinstance(cls, type) and issubclass(cls, dist.Distribution)):
        raise InputError(
            f"distribution: {distribution!r:.60} is not a NumPyro distribution class; pass one such as dist.Normal, "
            "not an instance"
        )
    return cls


def _free_names(cls: type, fixed: Mapping[str, Any]) -> list[str]:
    known = list(cls.arg_constraints)
    for name in fixed:
        if name not in known:
            raise InputError(f"{name}: {cls.__name__} has no such parameter; it has {', '.join(known)}")
    covered: set[str] = set()
    for group in ALTERNATIVES:
        if len(present := [name for name in group if name in known]) > 1:
            chosen = next((name for name in present if name in fixed), present[0])
            covered |= set(present) - {chosen}
    if cls is laws.TruncatedNormal:
        covered |= {"low", "high"}
        if not {"low", "high"} & set(fixed):
            raise InputError(
                "low, high: TruncatedNormal has its ends fixed; pass low=, high= or both, or use dist.Normal"
            )
    free = [name for name in known if name not in fixed and name not in covered]
    for name in free:
        if getattr(cls.arg_constraints[name], "is_discrete", False):
            raise InputError(f"{name}: {cls.__name__} counts with it, so it cannot be learned; pass {name}=")
    if not known:
        raise InputError(
            f"distribution: {cls.__name__} has no parameters of its own that a fit could learn; use a class with "
            "parameters, or kl.Mixture for a mixture of one"
        )
    return free


def _event_ndim(cls: type) -> int:
    if cls is dist.Levy:
        return 0  # NumPyro does not say it
    try:
        return int(cls.support.event_dim)
    except (AttributeError, NotImplementedError) as error:
        raise InputError(
            f"distribution: {cls.__name__} is built of other distributions, so it is not a family by itself; "
            "use kl.Mixture, or a class with parameters"
        ) from error


def _core_shape(cls: type, name: str, core: tuple[int, ...], categories: int | None) -> tuple[int, ...]:
    constraint = cls.arg_constraints[name]
    ndim = constraint.event_dim
    if ndim == 0:
        return ()
    if ndim == len(core):
        # A matrix normal has a scale over each axis of the outcome, which need not be square.
        return (core[AXES[name]],) * 2 if name in AXES else core
    if ndim == 2 and len(core) == 1 and not isinstance(constraint, constraints.independent):
        return core * 2
    if ndim == 1 and not core and categories is not None:
        if categories > MOST_CATEGORIES:
            raise InputError(
                f"{name}: labels up to {categories - 1} would make {categories:,} categories of {cls.__name__}; number "
                "those that occur from 0, for example by numpy.unique(x, return_inverse=True)"
            )
        return (max(categories - 1, 1) if constraint is constraints.ordered_vector else categories,)
    if ndim == 1 and len(core) == 2:
        return core if constraint is constraints.real_vector else core[:1]
    raise InputError(f"{name}: the other side does not tell its size for {cls.__name__}; pass {name}= to fix it")


def _static(constraint: constraints.Constraint) -> Any:
    """A constraint that depends on other parameters (an interval's ends) is left to the rule that solves for it."""
    return constraints.real if isinstance(constraint, type(constraints.dependent)) else constraint


def _inverse(constraint: constraints.Constraint, value: np.ndarray, transform: Any) -> np.ndarray:
    base = constraint.base_constraint if isinstance(constraint, constraints.independent) else constraint
    if base in (constraints.real, constraints.real_vector):
        return value
    if base in (constraints.positive, constraints.nonnegative):
        return np.log(np.where(value > 0, value, np.finfo(np.float32).tiny))
    if base is constraints.unit_interval:
        inside = np.clip(value, 1e-30, 1 - 1e-15)
        return np.log(inside) - np.log1p(-inside)
    if base is constraints.ordered_vector:
        return np.concatenate([value[..., :1], np.log(np.diff(value))], -1)
    if base is constraints.lower_cholesky:
        rows, columns = np.tril_indices(value.shape[-1], -1)
        diagonal = np.diagonal(value, axis1=-2, axis2=-1)
        return np.concatenate([value[..., rows, columns], np.log(diagonal)], -1)
    if isinstance(base, constraints.interval):
        lower, width = base.lower_bound, base.upper_bound - base.lower_bound
        share = np.clip((value - lower) / width, _EDGE, 1 - _EDGE)
        return np.log(share) - np.log1p(-share)
    if isinstance(base, constraints.greater_than):
        return np.log(np.maximum(value - base.lower_bound, 1e-3))
    if isinstance(base, constraints.less_than):
        return np.log(np.maximum(base.upper_bound - value, _EDGE))
    with jax.enable_x64(True):
        return np.asarray(transform.inv(value))


def _forward(constraint: constraints.Constraint, value: np.ndarray, transform: Any) -> np.ndarray:
    """What `_inverse` inverts."""
    base = constraint.base_constraint if isinstance(constraint, constraints.independent) else constraint
    if base in (constraints.real, constraints.real_vector):
        return value
    if base in (constraints.positive, constraints.nonnegative):
        return np.exp(value)
    if base is constraints.lower_cholesky:
        d = transform.forward_shape(value.shape)[-1]
        matrix = np.zeros((*value.shape[:-1], d, d))
        matrix[..., *np.tril_indices(d, -1)] = value[..., :-d]
        matrix[..., np.arange(d), np.arange(d)] = np.exp(value[..., -d:])
        return matrix
    with jax.enable_x64(True):
        return np.asarray(transform(value))
