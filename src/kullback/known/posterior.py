"""`Posterior`: a NumPyro model with data as a side of a divergence, with its sites by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.tree_util import Partial
from jaxtyping import Array, Float
from numpyro import handlers
from numpyro.distributions import constraints

from kullback.arguments import whole
from kullback.errors import InputError
from kullback.known import model as models
from kullback.known.host import UNTRACEABLE
from kullback.known.model import Program
from kullback.known.record import Functions, Known
from kullback.known.static import Static
from kullback.known.support import from_constraint
from kullback.runtime.export_cache import program

BLOCK = 1024  # draws that one compiled program takes
MOST_LISTED = 8  # sites that a plan lists


class Posterior:
    """The posterior of a NumPyro model given data: `Posterior(model, x, y)` is P(latent sites ∣ data).

    A fit is made over the unconstrained values of the sites, log p(b(u)) + log|det b′(u)| with the bijection b of their
    supports, and comes back by name: `fit.q.sample(key, 1000)["tau"]`. Discrete latent sites of finitely many values
    are summed out exactly. log Z is the evidence, the log-probability of the data under the model.

    model         a function with NumPyro primitives
    args, kwargs  what it is called with. Arrays are arguments of what is compiled: new data of the same shapes compile
                  nothing

    Raises `InputError`, which names the site, for a model without a latent site, a plate that is subsampled, a
    `numpyro.param`, and a discrete site that cannot be summed out.
    Source: Kucukelbir, Tran, Ranganath, Gelman and Blei (2017), section 2.3, for the unconstrained space.
    """

    def __init__(self, model: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self.sites = Sites(*models.read(model, args, kwargs), title=f"Posterior({_name(model)})")

    def known(self) -> Known:
        return self.sites.known()

    def __repr__(self) -> str:
        return f"{self.sites.title}: {self.sites}"


class Sites:
    """The named sites of a model, and how vectors of their unconstrained values become named values and back."""

    def __init__(self, program: Program, arrays: tuple[Any, ...], title: str) -> None:
        self.program, self.arrays, self.title = program, arrays, title

    def known(self) -> Known:
        return Known(
            name=self.title,
            event_shape=(self.program.size,),
            support=from_constraint(constraints.real_vector),
            functions=Functions(log_density=self.log_density, named=self),
        )

    @property
    def log_density(self) -> Partial:
        """log P of vectors [..., D], less log Z."""
        return Partial(models.log_joint, Static(self.program), self.arrays)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of latent sites, continuous and discrete, and of deterministic ones."""
        discrete = self.program.discrete.choices if self.program.discrete is not None else ()
        continuous = tuple(site.name for site in self.program.sites)
        return (*continuous, *(choice.name for choice in discrete), *self.program.computed)

    @property
    def coordinates(self) -> tuple[str, ...]:
        """The site of each coordinate of the vector [D]."""
        return tuple(site.name for site in self.program.sites for _ in range(site.size))

    @cached_property
    def double(self) -> bool:
        """Whether the model can be traced in double precision."""
        try:
            with jax.enable_x64(True):
                x = jax.ShapeDtypeStruct((1, self.program.size), np.float64)
                jax.eval_shape(lambda x: self.log_density(x), x)
        except TypeError:
            return bool(jnp.result_type(float) == np.float64)
        return True

    def draws(self, x: Float[np.ndarray, "n d"], seed: int = 0) -> dict[str, np.ndarray]:
        """The values of all sites at vectors, by name [n, *shape]; discrete sites are drawn given the others."""
        static, parts = Static(self.program), []
        with jax.enable_x64(self.double):
            for i, (block, size) in enumerate(_blocks(np.asarray(x))):
                words = np.asarray(jax.random.key_data(jax.random.fold_in(jax.random.key(seed), i)))
                found = _constrained(static, self.arrays, words, block)
                parts.append({name: np.asarray(value)[:size] for name, value in found.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in self.names}

    def vectors(self, values: Mapping[str, Any]) -> tuple[Float[np.ndarray, "*b d"], Float[np.ndarray, "*b"]]:
        """The vectors of named values [*b, *shape], and log|det b′| there.

        Raises `InputError` for a site that is missing or of another shape.
        """
        batch = self._batch(values)
        own = {s.name: np.asarray(values[s.name], np.float64) for s in self.program.sites}
        flat = {s.name: np.broadcast_to(own[s.name], (*batch, *s.shape)).reshape(-1, *s.shape) for s in self._sites}
        found = []
        with jax.enable_x64(self.double):
            for at in range(0, max(int(np.prod(batch)), 1), BLOCK):
                some = {name: _padded(value[at : at + BLOCK]) for name, value in flat.items()}
                pair = _unconstrained(Static(self.program), self.arrays, some)
                found.append([np.asarray(part)[: len(next(iter(flat.values()))) - at] for part in pair])
        x, log_det = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return x.reshape(*batch, -1), log_det.reshape(batch)

    def _batch(self, values: Mapping[str, Any]) -> tuple[int, ...]:
        if not isinstance(values, Mapping):
            raise InputError(f"values: {type(values).__name__} is not a mapping from the names of sites to values")
        missing = [site.name for site in self._sites if site.name not in values]
        if missing:
            raise InputError(f"values: site {missing[0]!r} has no value; pass one for each of {self._named()}")
        strange = [name for name in values if name not in self.names]
        if strange:
            raise InputError(f"values: {strange[0]!r} is no site; the sites are {self._named()}")
        batches = []
        for site in self._sites:
            shape = np.shape(values[site.name])
            split = len(shape) - len(site.shape)
            if split < 0 or shape[split:] != site.shape:
                raise InputError(f"values: site {site.name!r} has values of shape {site.shape}, and these have {shape}")
            batches.append(shape[:split])
        try:
            return np.broadcast_shapes(*batches)
        except ValueError as error:
            raise InputError(f"values: the sites have unequal numbers of draws, {sorted(set(batches))}") from error

    @property
    def _sites(self) -> tuple[models.Site, ...]:
        return self.program.sites

    def _named(self) -> str:
        return ", ".join(site.name for site in self._sites)

    def support(self, name: str) -> constraints.Constraint | None:
        """The constraint of a continuous site; None where it depends on other sites."""
        x = np.random.default_rng(0).uniform(-1.0, 1.0, (2, self.program.size))
        draws = self.draws(x)
        args, kwargs = self.program.arguments(self.arrays)
        found = []
        for i in range(2):
            latent = {site: value[i] for site, value in draws.items() if site not in self.program.computed}
            trace = handlers.trace(handlers.substitute(self.program.model, data=latent)).get_trace(*args, **kwargs)
            found.append(trace[name]["fn"].support)
        leaves = [[np.asarray(leaf) for leaf in jax.tree.leaves(support)] for support in found]
        return found[0] if all(map(np.array_equal, *leaves)) else None

    def log_prob_by_site(self, x: Float[np.ndarray, " d"]) -> dict[str, float]:
        """The log-probability of each site at one vector."""
        with jax.enable_x64(self.double):
            found = _log_prob_by_site(Static(self.program), self.arrays, np.asarray(x))
        return {name: float(value) for name, value in found.items()}

    def __str__(self) -> str:
        listed = [f"{s.name}{_size(s.shape)} {s.support}" for s in self._sites[:MOST_LISTED]]
        listed += [f"and {len(self._sites) - MOST_LISTED} more"] if len(self._sites) > MOST_LISTED else []
        words = f"sites {', '.join(listed)}"
        if self.program.discrete is not None:
            words += f"; {', '.join(c.name for c in self.program.discrete.choices)} summed out"
        return words + f"; {self.program.size} unconstrained dimensions"


def _size(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]" if shape else ""


def _name(function: object) -> str:
    name = getattr(function, "__name__", type(function).__name__)
    return "λ" if name == "<lambda>" else name


def _blocks(x: Float[np.ndarray, "n d"]) -> list[tuple[np.ndarray, int]]:
    """Blocks of one size, the last one filled up, with how many of their rows count."""
    return [(_padded(x[at : at + BLOCK]), len(x[at : at + BLOCK])) for at in range(0, max(len(x), 1), BLOCK)]


def _padded(rows: np.ndarray) -> np.ndarray:
    return rows[np.minimum(np.arange(BLOCK), len(rows) - 1)] if len(rows) else np.zeros((BLOCK, *rows.shape[1:]))


@program(static=())
def _constrained(static: Static, arrays: Any, words: Array, x: Float[Array, "n d"]) -> dict[str, Array]:
    return models.constrained(static, arrays, words, x)


@program(static=())
def _unconstrained(static: Static, arrays: Any, values: dict[str, Array]) -> tuple[Array, Array]:
    return jax.vmap(lambda one: models.unconstrained(static, arrays, one))(values)


@program(static=())
def _log_prob_by_site(static: Static, arrays: Any, x: Float[Array, " d"]) -> dict[str, Array]:
    return models.log_prob_by_site(static, arrays, x)


# A log-density of named values


def named_density(
    log_density: Callable[[dict[str, Any]], Any],
    supports: Mapping[str, constraints.Constraint],
    shapes: Mapping[str, Any] | None,
    title: str,
) -> Sites:
    """The sites of a log-density of a dict, as those of a model with flat priors and this factor.

    Raises `InputError` for a support or a shape that is none, and for values that are not numbers.
    """
    shapes = dict(shapes or {})
    if strange := [name for name in shapes if name not in supports]:
        raise InputError(f"shapes: {strange[0]!r} is no name of the supports, which are {', '.join(supports)}")
    if not supports:
        raise InputError("support: there is no name in it; pass such as {'mu': constraints.real}")
    laws = {name: _flat(name, support, _shape_of(name, shapes.get(name, ()))) for name, support in supports.items()}
    found, arrays = models.read(_Factor(log_density, tuple(laws.items())), (), {})
    return Sites(found, arrays, title)


class _Factor:
    """The model of a log-density of named values."""

    def __init__(self, log_density: Callable[..., Any], laws: tuple[tuple[str, Any], ...]) -> None:
        self.log_density, self.laws = log_density, laws

    def __call__(self) -> None:
        values = {name: numpyro.sample(name, law) for name, law in self.laws}
        try:
            found = self.log_density(values)
        except UNTRACEABLE as error:
            raise InputError(
                f"log_density: it is no JAX function ({type(error).__name__}); write it with jax.numpy and without "
                "branches on numbers"
            ) from error
        if np.size(found) != 1:
            raise InputError(f"log_density: it returns an array of shape {np.shape(found)}, and must return one number")
        numpyro.factor("log_density", jnp.reshape(found, ()))


def _shape_of(name: str, shape: object) -> tuple[int, ...]:
    sizes = shape if isinstance(shape, tuple | list) else (shape,)
    return tuple(whole(f"shapes: {name!r}", size) for size in sizes)


def _flat(name: str, support: Any, shape: tuple[int, ...]) -> Any:
    """The flat law of one name."""
    if not isinstance(support, constraints.Constraint):
        raise InputError(f"support: {name!r} has {support!r:.40}, which is no constraint such as constraints.real")
    if support.is_discrete:
        raise InputError(f"support: {name!r} is discrete; sum it out of the log-density")
    if len(shape) < support.event_dim:
        raise InputError(f"shapes: {name!r} needs a shape of {support.event_dim} axes or more; pass shapes={{...}}")
    split = len(shape) - support.event_dim
    law = dist.ImproperUniform(support, (), shape[split:])
    return law.expand(shape[:split]).to_event(split) if split else law
