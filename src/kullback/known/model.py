"""A NumPyro model with data as a function of one vector: its named sites, and the way to them.

The vector x [D] holds the unconstrained values of the continuous latent sites, one after another in the order of the
model. With the bijections b of the sites' supports and the joint density p of the model, log p(b(x)) + log|det b′(x)|
is the log-density of the posterior of x up to log Z, the evidence of the data. It is NumPyro's `potential_energy` with
the sign changed. Discrete latent sites are summed out (`known.enumeration`).

Arrays among the model's arguments are arguments of the compiled programs too, so that new data of the same shapes
compile nothing; what a model uses as Python numbers, such as the size of a plate, is part of the program.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Number
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpyro import handlers
from numpyro.distributions import biject_to
from numpyro.distributions.util import sum_rightmost
from numpyro.infer import init_to_uniform
from numpyro.infer.util import compute_log_probs, constrain_fn, potential_energy

from kullback.errors import InputError, KullbackError
from kullback.known.enumeration import Choice, Enumerated, log_sum, posterior_choice
from kullback.known.host import UNTRACEABLE
from kullback.known.static import Static

T = TypeVar("T")
Model = Callable[..., Any]
Named = dict[str, Any]  # site -> values


@dataclass(frozen=True)
class Site:
    """A continuous latent site.

    shape    of its value; `free_shape` that of its unconstrained value
    support  the constraint, in words
    """

    name: str
    shape: tuple[int, ...]
    free_shape: tuple[int, ...]
    support: str

    @property
    def size(self) -> int:
        return int(np.prod(self.free_shape))


class Held:
    """An argument that is part of the program. Objects that cannot be compared are told apart by identity."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Held) or type(self.value) is not type(other.value):
            return False
        if isinstance(self.value, np.ndarray):
            return np.array_equal(self.value, other.value)
        return self.value is other.value or (_is_number(self.value) and self.value == other.value)

    def __hash__(self) -> int:
        return hash(self.value) if _is_number(self.value) else hash(type(self.value))


def _is_number(value: object) -> bool:
    return isinstance(value, bool | int | float | complex | str | np.generic)


@dataclass(frozen=True)
class Program:
    """What a model's compiled programs depend on, hashable.

    tree, held  the structure of (args, kwargs), and each leaf that is not an array; None stands for an array
    sites       the continuous latent sites, in the order of the vector
    discrete    the latent sites that are summed out, by how
    computed    the deterministic sites
    observed    the observed sites that are laws of data, and no factors
    """

    model: Model
    tree: Any
    held: tuple[Held | None, ...]
    sites: tuple[Site, ...] = ()
    discrete: Enumerated | None = None
    computed: tuple[str, ...] = ()
    observed: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """The length D of the vector."""
        return sum(site.size for site in self.sites)

    def arguments(self, arrays: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the model, with these arrays among them."""
        given = iter(arrays)
        return jax.tree.unflatten(self.tree, [next(given) if one is None else one.value for one in self.held])

    def free(self, x: Any) -> Named:
        """The unconstrained values by site, of one vector."""
        ends = np.cumsum([site.size for site in self.sites])
        return {
            site.name: x[end - site.size : end].reshape(site.free_shape)
            for site, end in zip(self.sites, ends, strict=True)
        }


# Functions of one vector and of many


def log_joint(static: Static, arrays: tuple[Any, ...], x: ArrayLike) -> Array:
    """log p(b(x)) + log|det b′(x)| of vectors x [..., D], with the discrete sites summed out."""
    return _over_rows(lambda one: _log_joint(static.value, arrays, one), x)


def _log_joint(program: Program, arrays: tuple[Any, ...], x: Array) -> Array:
    args, kwargs = program.arguments(arrays)
    if program.discrete is None:
        with _quiet():
            return -jnp.reshape(potential_energy(program.model, args, kwargs, program.free(x)), ())
    values, log_det = _constrained(program, arrays, x)
    return log_sum(program.discrete, _log_probs(program, arrays, values)) + log_det


def log_det(static: Static, arrays: tuple[Any, ...], x: ArrayLike) -> Array:
    """log|det b′(x)| of vectors [..., D]."""
    return _over_rows(lambda one: _constrained(static.value, arrays, one)[1], x)


def constrained(static: Static, arrays: tuple[Any, ...], words: Array, x: Float[Array, "n d"]) -> Named:
    """The values of all latent and deterministic sites at vectors [n, D]; discrete sites are drawn given the others."""
    program: Program = static.value

    def one(x: Array, words: Array) -> Named:
        values, _ = _constrained(program, arrays, x)
        if program.discrete is not None:
            log_probs = _log_probs(program, arrays, values)
            values |= posterior_choice(program.discrete, log_probs, jax.random.wrap_key_data(words))
        args, kwargs = program.arguments(arrays)
        trace = handlers.trace(handlers.substitute(program.model, data=values)).get_trace(*args, **kwargs)
        return {**values, **{name: jnp.asarray(trace[name]["value"]) for name in program.computed}}

    keys = jax.random.key_data(jax.random.split(jax.random.wrap_key_data(words), len(x)))
    return jax.vmap(one)(x, keys)


def unconstrained(static: Static, arrays: tuple[Any, ...], values: Named) -> tuple[Array, Array]:
    """The vector of named values of one draw, and log|det b′| there."""
    program: Program = static.value
    trace = _trace_at(program, arrays, values)
    free = {site.name: biject_to(trace[site.name]["fn"].support).inv(values[site.name]) for site in program.sites}
    x = jnp.concatenate([jnp.reshape(free[site.name], -1) for site in program.sites])
    return x, _log_det(program, trace, free, values)


def log_prob_by_site(static: Static, arrays: tuple[Any, ...], x: Float[Array, " d"]) -> dict[str, Array]:
    """The log-probability of each site at one vector."""
    values, _ = _constrained(static.value, arrays, x)
    first = static.value.discrete.first() if static.value.discrete is not None else {}
    return {name: jnp.sum(found) for name, found in _log_probs(static.value, arrays, values)(first).items()}


def _constrained(program: Program, arrays: tuple[Any, ...], x: Array) -> tuple[Named, Array]:
    args, kwargs = program.arguments(arrays)
    free = program.free(x)
    values = constrain_fn(_filled(program), args, kwargs, free)
    return values, _log_det(program, _trace_at(program, arrays, values), free, values)


def _filled(program: Program) -> Model:
    """The model with some value at each discrete site, which those of the others do not depend on."""
    if program.discrete is None:
        return program.model
    return handlers.substitute(program.model, data=program.discrete.first())


def _trace_at(program: Program, arrays: tuple[Any, ...], values: Named) -> Any:
    args, kwargs = program.arguments(arrays)
    own = {site.name: values[site.name] for site in program.sites}
    return handlers.trace(handlers.substitute(_filled(program), data=own)).get_trace(*args, **kwargs)


def _log_det(program: Program, trace: Any, free: Named, values: Named) -> Array:
    total: Any = jnp.zeros(())
    for site in program.sites:
        found = biject_to(trace[site.name]["fn"].support).log_abs_det_jacobian(free[site.name], values[site.name])
        total = total + jnp.sum(sum_rightmost(found, jnp.ndim(found)))
    return total


def _log_probs(program: Program, arrays: tuple[Any, ...], values: Named) -> Callable[[Named], dict[str, Array]]:
    """Values of the discrete sites -> the log-probability of each site, not summed."""
    args, kwargs = program.arguments(arrays)
    own = {site.name: values[site.name] for site in program.sites}

    def log_probs(z: Named) -> dict[str, Array]:
        with _quiet():
            return compute_log_probs(program.model, args, kwargs, {**own, **z}, sum_log_prob=False)[0]

    return log_probs


@contextmanager
def _quiet() -> Iterator[None]:
    """Without NumPyro's warnings: of data outside a support a fit says so itself, and names the site."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _over_rows(function: Callable[[Array], Array], x: ArrayLike) -> Array:
    x = jnp.asarray(x)
    return jax.vmap(function)(x.reshape(-1, x.shape[-1])).reshape(x.shape[:-1])


# Reading a model


def read(model: Model, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Program, tuple[Any, ...]]:
    """The program of a model and its arrays.

    Where a model needs the numbers of an array, as in `int(group.max())`, the arrays of whole numbers become part of
    the program, and where that does not help, all arrays do.
    Raises `InputError`, which names the site, for a model that has no posterior over real numbers.
    """
    if not callable(model):
        raise InputError(f"model: {type(model).__name__} is not a function; pass a NumPyro model and then its data")
    return _first_traceable(model, args, kwargs, lambda program, arrays: (_described(program, arrays), arrays))


def read_arguments(model: Model, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Program, tuple[Any, ...]]:
    """The program of a model whose sites are known otherwise, and its arrays."""

    def tried(program: Program, arrays: tuple[Any, ...]) -> tuple[Program, tuple[Any, ...]]:
        traced(program, arrays, handlers.uncondition)
        return program, arrays

    return _first_traceable(model, args, kwargs, tried)


def _first_traceable(model: Model, args: tuple[Any, ...], kwargs: Mapping[str, Any], use: Callable[..., T]) -> T:
    leaves, tree = jax.tree.flatten((args, dict(kwargs)), is_leaf=lambda leaf: leaf is None or _is_list(leaf))
    leaves = [_column(leaf) for leaf in leaves]
    for held in ("", "biu", "biufc"):
        dynamic = [_is_array(leaf) and leaf.dtype.kind not in held for leaf in leaves]
        static = tuple(None if given else Held(leaf) for given, leaf in zip(dynamic, leaves, strict=True))
        arrays = tuple(leaf for given, leaf in zip(dynamic, leaves, strict=True) if given)
        try:
            return use(Program(model=model, tree=tree, held=static), arrays)
        except KullbackError:
            raise
        except UNTRACEABLE as error:
            if held == "biufc" or not any(map(_is_array, leaves)):
                raise _fault(error) from error
        except Exception as error:
            raise _fault(error) from error
    raise AssertionError


def _fault(error: Exception) -> InputError:
    said = (str(error).strip() or "no message").splitlines()[0]
    return InputError(
        f"model: called with its data it raised {type(error).__name__}: {said}; the data must be what the model takes, "
        "as arrays of numbers with at least one row, and every site must have a name of its own"
    )


def _column(leaf: Any) -> Any:
    """The array of a list or of a column of a data frame, which NumPyro cannot take; everything else as it is."""
    numbers = isinstance(leaf, np.ndarray) and leaf.dtype.kind != "O"
    if _is_list(leaf):
        return np.asarray(leaf, float)
    if numbers or isinstance(leaf, np.generic | jax.Array | np.ma.MaskedArray) or not hasattr(leaf, "__array__"):
        return leaf
    array: np.ndarray = np.asarray(leaf)
    if array.ndim == 1 and array.dtype == object and all(isinstance(one, Number) for one in array):
        array = array.astype(float)
    return array if array.ndim == 1 and array.dtype.kind in "biuf" else leaf  # columns of frames are taken by name


def _is_list(leaf: Any) -> bool:
    """Whether it is a list of data; one of whole numbers alone may be a shape."""
    return isinstance(leaf, list) and any(type(x) is float for x in leaf) and all(type(x) in (int, float) for x in leaf)


def _is_array(leaf: object) -> bool:
    return isinstance(leaf, np.ndarray | jax.Array) and leaf.dtype.kind in "biufc"


def traced(
    program: Program, arrays: tuple[Any, ...], handler: Callable[[Model], Model] = lambda model: model
) -> dict[str, Any]:
    """The sites of a model with their laws, of which only shapes and kinds are known; `handler` is put around it."""
    found: dict[str, Any] = {}

    def sites(words: Array, arrays: tuple[Any, ...]) -> None:
        args, kwargs = program.arguments(arrays)
        started = handlers.seed(handler(program.model), jax.random.wrap_key_data(words))
        with _quiet():  # of sites that a handler of the model's gives a value
            trace = handlers.trace(handlers.substitute(started, substitute_fn=_start)).get_trace(*args, **kwargs)
        # The support of a site may depend on other sites, and is gone with the trace.
        found.update({name: {**site, "free_shape": _free_shape(name, site)} for name, site in trace.items()})

    jax.eval_shape(sites, jax.random.key_data(jax.random.key(0)), arrays)
    return found


def _start(site: Any) -> Any:
    """A value in the support, also of an improper law, which cannot be drawn from."""
    latent = site["type"] == "sample" and not site["is_observed"] and site["value"] is None
    return init_to_uniform(site) if latent and not _is_discrete(site) else None


def _is_discrete(site: Any) -> bool:
    return bool(site["fn"].is_discrete)


def _described(program: Program, arrays: tuple[Any, ...]) -> Program:
    """The program with what a trace says of its sites."""
    trace = traced(program, arrays)
    latent = {n: s for n, s in trace.items() if s["type"] == "sample" and not s["is_observed"]}
    for name, site in trace.items():
        _require_fixed(name, site)
    choices = tuple(_choice(name, site) for name, site in latent.items() if _is_discrete(site))
    sites = tuple(_site(name, site) for name, site in latent.items() if not _is_discrete(site))
    if not sites:
        raise InputError(
            "model: it has no continuous latent site, so there is no posterior to fit; a latent site is a "
            "numpyro.sample without obs="
        )
    observed = [n for n, s in trace.items() if s["type"] == "sample" and s["is_observed"]]
    found = replace(
        program,
        sites=sites,
        computed=tuple(name for name, site in trace.items() if site["type"] == "deterministic"),
        observed=tuple(name for name in observed if not isinstance(trace[name]["fn"], dist.Unit)),
    )
    return found if not choices else _enumerated(found, arrays, choices)


def _require_fixed(name: str, site: Any) -> None:
    value = site["value"]
    if isinstance(value, np.ndarray) and value.dtype.kind not in "biufc":
        raise InputError(f"model: site {name!r} has values of type {value.dtype}; pass an array of numbers")
    if site["type"] == "param":
        raise InputError(
            f"model: site {name!r} is a numpyro.param, which has no prior; make it a numpyro.sample, of a prior or of "
            "dist.ImproperUniform"
        )
    size, part = site["args"][:2] if site["type"] == "plate" else (None, None)
    if part not in (None, size):
        raise InputError(
            f"model: plate {name!r} takes {part} of {size} rows at random, so that its density is not a function of "
            "the latent sites; leave subsample_size out"
        )


def _site(name: str, site: Any) -> Site:
    shape, support = tuple(np.shape(site["value"])), site["fn"].support
    return Site(name=name, shape=shape, free_shape=site["free_shape"], support=_words(support))


def _free_shape(name: str, site: Any) -> tuple[int, ...]:
    if site["type"] != "sample" or site["is_observed"] or _is_discrete(site):
        return ()
    try:
        return tuple(biject_to(site["fn"].support).inverse_shape(np.shape(site["value"])))
    except NotImplementedError as error:
        raise InputError(
            f"model: site {name!r} lies on {site['fn'].support}, for which NumPyro has no bijection from the real "
            "numbers; write it as a function of sites that do"
        ) from error


def _words(support: Any) -> str:
    base = getattr(support, "base_constraint", support)
    if base in (_REAL, dist.constraints.real_vector):
        return "real"
    kind = type(base).__name__.strip("_").lower().replace("_", " ")
    bounds = [getattr(base, end, None) for end in ("lower_bound", "upper_bound")]
    known = [b for b in bounds if isinstance(b, int | float | np.ndarray | np.generic) and np.ndim(b) == 0]
    if kind in ("positive", "greaterthan", "greaterthaneq", "softplus positive") and known in ([0], [0.0], []):
        return "positive"
    if kind == "interval" or kind == "unitinterval":
        return f"({known[0]:g}, {known[1]:g})" if len(known) == 2 else "interval"
    return {"greaterthan": "half-line", "greaterthaneq": "half-line", "lessthan": "half-line"}.get(kind, kind)


_REAL = dist.constraints.real


def _choice(name: str, site: Any) -> Choice:
    """A discrete site with its values, which are whole numbers from a first one. Raises `InputError` without an end."""
    law = site["fn"]
    while isinstance(law, dist.ExpandedDistribution | dist.MaskedDistribution):
        law = law.base_dist
    what = f"model: site {name!r} is a latent {type(law).__name__}, and cannot be summed out"
    remedy = "; pass its value as obs=, or write the sum into a numpyro.factor"
    if site["fn"].event_shape:
        raise InputError(f"{what}, since its outcomes are vectors{remedy}")
    try:
        count = len(law.enumerate_support(expand=False))
        first = int(np.asarray(law.low)) if isinstance(law, dist.DiscreteUniform) else 0
    except (NotImplementedError, *UNTRACEABLE) as error:
        raise InputError(f"{what}, since its outcomes have no end that is known{remedy}") from error
    return Choice(name, tuple(site["fn"].batch_shape), first, count)


def _enumerated(program: Program, arrays: tuple[Any, ...], choices: tuple[Choice, ...]) -> Program:
    """The program with the way in which its discrete sites are summed out."""

    def log_probs(x: Array) -> Callable[[Named], dict[str, Array]]:
        own = replace(program, discrete=Enumerated(choices))
        return _log_probs(own, arrays, _constrained(own, arrays, x)[0])

    # How the terms depend on one another is the model's, and not of the numbers in its data.
    key = program, choices, tuple((np.shape(array), str(array.dtype)) for array in arrays)
    if key not in _ways:
        if len(_ways) >= _MOST_WAYS:
            _ways.clear()
        _ways[key] = Enumerated.of(choices, log_probs, program.size)
    return replace(program, discrete=_ways[key])


_ways: dict[Any, Enumerated] = {}
_MOST_WAYS = 64
