"""The record of what is known of one side of a divergence. Rules look at these facts, not at types.

`Known` holds the facts that every kind of side may have, and four groups of facts: functions of the distribution, what
belongs to a conditional, what a learnable side needs to be fitted, and what only a side's own rules use. Every fact can
be read from `Known` itself, whatever group holds it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import numpy as np
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float, Shaped

from kullback.known.support import Support

if TYPE_CHECKING:
    from numpyro.distributions import Distribution

    from kullback.families.learnable import Learnable, Params, Structure

T = TypeVar("T")

# (key, n) -> draws [n, *batch, *event]
Sampler = Callable[[Array, int], Array | np.ndarray]
# x [..., *batch, *event] -> log-probabilities or log-densities [..., *batch], nats
LogDensity = Callable[[ArrayLike], Array]


@dataclass(frozen=True)
class Column:
    """One column of a table: a name and its values (numbers, strings, booleans).

    unit    "time" or "duration" where the values are such, in seconds
    zoned   whether times have a time zone, and so are instants; without one they are local times
    stated  "measured", "counts" or "labels" where the caller stated how to read it
    rest    what double precision rounded off: the numbers are values + rest; None for nothing
    """

    name: str
    values: np.ndarray
    unit: str = ""
    stated: str = ""
    zoned: bool = False
    rest: np.ndarray | None = None

    @property
    def discrete(self) -> bool:
        """Whether the values are of a type for labels or counts, unless the caller stated how to read them."""
        return self.stated != "measured" if self.stated else self.values.dtype.kind not in "f"


@dataclass(frozen=True)
class Sample:
    """A finite sample: `values` [n, *event], `weights` [n] or None (equal), `inputs` [n, ...] for pairs.

    `columns` are the columns of a table, or of an array of which something is stated; `values` is None where some
    column is not numeric. `block` rows one after another depend on each other, 1 for none; None where it is not known.
    """

    values: np.ndarray | None
    weights: np.ndarray | None = None
    inputs: np.ndarray | None = None
    columns: tuple[Column, ...] = ()
    block: int | None = None

    @property
    def size(self) -> int:
        return len(self.values) if self.values is not None else len(self.columns[0].values)

    @property
    def discrete(self) -> bool:
        if self.columns:
            return all(column.discrete for column in self.columns)
        return self.values is not None and self.values.dtype.kind in "iub"

    def normalized_weights(self) -> np.ndarray:
        """Weights that sum to 1, float64 [n]."""
        if self.weights is None:
            return np.full(self.size, 1.0 / self.size)
        return self.weights / self.weights.sum()


@dataclass(frozen=True)
class Moments:
    """The mean [*batch, *event] and the covariance of the flattened event [*batch, d, d]."""

    mean: np.ndarray
    covariance: np.ndarray


@dataclass(frozen=True)
class Functions:
    """The distribution of a side, as functions that can be called. An absent one is None.

    log_prob        normalised log-probability
    log_density     the same up to an additive constant; where log_prob is known it is log_prob itself
    sampler         independent draws
    moments         () -> Moments, raising where they do not exist
    entropy         () -> entropy in nats [*batch]
    distribution    the NumPyro distribution behind the side, for the exact rules
    reparametrized  whether draws are differentiable functions of the parameters
    differentiable  whether log_density can be differentiated by JAX
    around          () -> where most of the mass lies [*event], and −∇² log p there [d, d], where a search has found it
    named           the named sites that an outcome holds the unconstrained values of

    `log_prob`, `log_density` and `sampler` are `jax.tree_util.Partial`s of module-level functions over arrays
    where possible, so that a compiled program is shared by all sides of one kind.
    """

    log_prob: LogDensity | None = None
    log_density: LogDensity | None = None
    sampler: Sampler | None = None
    moments: Callable[[], Moments] | None = None
    entropy: Callable[[], Array | np.ndarray | float] | None = None
    distribution: Distribution | None = None
    reparametrized: bool = False
    differentiable: bool = True
    around: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None
    named: NamedSites | None = None

    def __post_init__(self) -> None:
        if self.log_prob is not None:
            object.__setattr__(self, "log_density", self.log_prob)


class FittedOrigin(Protocol):
    """The fitted conditional behind a side at inputs: its structure, and its parameters, learned and held fixed."""

    @property
    def structure(self) -> Structure: ...
    @property
    def free(self) -> Params: ...
    @property
    def fixed(self) -> Params: ...
    @property
    def members(self) -> int: ...


@dataclass(frozen=True)
class ConditionalFacts:
    """What belongs to a conditional distribution q(y∣x).

    inputs         the inputs x [n, ...] of a conditional evaluated at them: the batch of the side is over these
    input_weights  how much each input counts [n]; None for equally
    conditional    inputs -> the side evaluated at them, of a fitted conditional without inputs yet
    origin         the fitted conditional behind a side at inputs
    """

    inputs: Shaped[np.ndarray, "n ..."] | None = None
    input_weights: Float[np.ndarray, " n"] | None = None
    conditional: Callable[[Shaped[np.ndarray, "n ..."]], Known] | None = None
    origin: FittedOrigin | None = None


@dataclass(frozen=True)
class LearnableHooks:
    """How a learnable side is fitted. Either its sizes are settled, or the other side settles them.

    learnable  the learnable side with its sizes settled
    matched    other side -> this side with its sizes settled
    """

    learnable: Learnable | None = None
    matched: Callable[[Known], Known] | None = None


class SideRule(Protocol):
    """A rule that a side brings: a `kullback.rule.Rule`, as far as the record needs to know of it."""

    name: ClassVar[str]

    def check(self, p: Known, q: Known) -> object: ...


class Solvable(Protocol):
    """What a side's own rules solve: a transition table, or an environment to play. `str` of it stands in the plan."""

    @property
    def discount(self) -> float: ...


class NamedSites(Protocol):
    """The named sites of a posterior, whose unconstrained values are the outcome x [D] of its side."""

    @property
    def names(self) -> tuple[str, ...]: ...
    def draws(self, x: Float[np.ndarray, "n d"], seed: int = 0) -> dict[str, np.ndarray]: ...
    def vectors(self, values: Mapping[str, Any]) -> tuple[Float[np.ndarray, "n d"], Float[np.ndarray, " n"]]: ...


@dataclass(frozen=True)
class OwnRules:
    """What a side brings that only rules of its own can use.

    rules  these rules, which are tried before those of the catalogue
    facts  what they solve
    takes  a learnable side that suits, as code, where few do
    """

    rules: tuple[SideRule, ...] = ()
    facts: Solvable | None = None
    takes: str = ""


_GROUPS = {
    "functions": Functions,
    "conditioning": ConditionalFacts,
    "hooks": LearnableHooks,
    "own": OwnRules,
}
_GROUP_OF = {field.name: group for group, kind in _GROUPS.items() for field in fields(kind)}


def _accepting_ungrouped(cls: type[T]) -> type[T]:
    """Until the next version: `Known(name=..., sampler=...)` puts facts into their groups, and warns."""
    init: Callable[..., None] = cls.__init__

    @wraps(init)
    def grouping(self: T, *values: Any, **facts: Any) -> None:
        ungrouped = {name: facts.pop(name) for name in _GROUP_OF.keys() & facts.keys()}
        for group in sorted({_GROUP_OF[name] for name in ungrouped}):
            own = {name: fact for name, fact in ungrouped.items() if _GROUP_OF[name] == group}
            said = ", ".join(f"{name}=..." for name in sorted(own))
            warnings.warn(
                f"Known({said}) is Known({group}={_GROUPS[group].__name__}({said})), of kullback.known",
                DeprecationWarning,
                stacklevel=2,
            )
            facts[group] = replace(facts.get(group, _GROUPS[group]()), **own)
        init(self, *values, **facts)

    setattr(cls, "__init__", grouping)  # noqa: B010
    return cls


@_accepting_ungrouped
@dataclass(frozen=True)
class Known:
    """What is known of a side; an absent fact is None.

    name          how a plan speaks of the side
    event_shape   shape of one outcome; `batch_shape` that of a batch of distributions
    support       where the probability lies
    atoms         every outcome of a finite support, [K, *event]
    sample        a finite sample
    functions     the distribution, as functions: log-probability, sampler, moments, ...
    conditioning  of a conditional: the inputs, and how it is evaluated at others
    hooks         of a learnable side: what a fit needs
    own           rules that the side brings, and what they solve

    The facts of the four groups are read from here as well, as in `known.log_prob`, and replaced by `holding`.
    """

    name: str
    event_shape: tuple[int, ...] | None = None
    batch_shape: tuple[int, ...] = ()
    support: Support | None = None
    atoms: Shaped[np.ndarray, "k ..."] | None = None
    sample: Sample | None = None
    functions: Functions = Functions()
    conditioning: ConditionalFacts = ConditionalFacts()
    hooks: LearnableHooks = LearnableHooks()
    own: OwnRules = OwnRules()

    def holding(self, **facts: Any) -> Known:
        """The same side with these facts in place of its own, each by its name, whatever group holds it."""
        changed = {name: fact for name, fact in facts.items() if name not in _GROUP_OF}
        for group in {_GROUP_OF[name] for name in facts.keys() - changed.keys()}:
            own = {name: fact for name, fact in facts.items() if _GROUP_OF.get(name) == group}
            changed[group] = replace(getattr(self, group), **own)
        return replace(self, **changed)

    @property
    def log_prob(self) -> LogDensity | None:
        """Normalised log-probability: x [..., *batch, *event] -> [..., *batch], nats."""
        return self.functions.log_prob

    @property
    def log_density(self) -> LogDensity | None:
        """The log-probability up to an additive constant."""
        return self.functions.log_density

    @property
    def sampler(self) -> Sampler | None:
        """(key, n) -> draws [n, *batch, *event]."""
        return self.functions.sampler

    @property
    def moments(self) -> Callable[[], Moments] | None:
        """() -> mean and covariance, raising where they do not exist."""
        return self.functions.moments

    @property
    def named(self) -> NamedSites | None:
        """The named sites that an outcome holds the unconstrained values of."""
        return self.functions.named

    @property
    def entropy(self) -> Callable[[], Array | np.ndarray | float] | None:
        """() -> entropy in nats [*batch]."""
        return self.functions.entropy

    @property
    def distribution(self) -> Distribution | None:
        """The NumPyro distribution behind the side."""
        return self.functions.distribution

    @property
    def reparametrized(self) -> bool:
        """Whether draws are differentiable functions of the parameters."""
        return self.functions.reparametrized

    @property
    def differentiable(self) -> bool:
        """Whether `log_density` can be differentiated by JAX."""
        return self.functions.differentiable

    @property
    def around(self) -> Callable[[], tuple[np.ndarray, np.ndarray]] | None:
        """() -> where most of the mass lies, and the curvature −∇² log p there."""
        return self.functions.around

    @property
    def inputs(self) -> Shaped[np.ndarray, "n ..."] | None:
        """The inputs at which a conditional is evaluated."""
        return self.conditioning.inputs

    @property
    def input_weights(self) -> Float[np.ndarray, " n"] | None:
        """How much each input counts; None for equally."""
        return self.conditioning.input_weights

    @property
    def conditional(self) -> Callable[[Shaped[np.ndarray, "n ..."]], Known] | None:
        """Inputs -> this side evaluated at them."""
        return self.conditioning.conditional

    @property
    def origin(self) -> FittedOrigin | None:
        """The fitted conditional behind a side at inputs."""
        return self.conditioning.origin

    @property
    def learnable(self) -> Learnable | None:
        """The learnable side with its sizes settled."""
        return self.hooks.learnable

    @property
    def matched(self) -> Callable[[Known], Known] | None:
        """Other side -> this side with its sizes settled."""
        return self.hooks.matched

    @property
    def rules(self) -> tuple[SideRule, ...]:
        """Rules that the side brings."""
        return self.own.rules

    @property
    def facts(self) -> Solvable | None:
        """What the side's own rules solve."""
        return self.own.facts

    @property
    def takes(self) -> str:
        """A learnable side that suits this one, as code, where few do."""
        return self.own.takes

    @property
    def is_learnable(self) -> bool:
        return self.learnable is not None or self.matched is not None

    @property
    def normalized(self) -> bool:
        return self.log_prob is not None

    def facts_in_words(self) -> str:
        """The facts that are present, as a plan lists them."""
        if self.is_learnable:
            if self.learnable is None:
                return "learnable"
            n = self.learnable.parameter_count
            return ", ".join(("learnable", f"{n} parameter{'s' if n != 1 else ''}", *self.learnable.remarks))
        words = []
        if self.sample is not None:
            words.append("a weighted sample" if self.sample.weights is not None else "a sample")
        if self.inputs is not None and self.facts is None:
            words.append(f"a conditional at {len(self.inputs):,} inputs")
        if self.atoms is not None:
            words.append(f"{len(self.atoms):,} atoms")
        if self.log_prob is not None:
            words.append("log-probability")
        elif self.log_density is not None:
            words.append("log-density up to a constant")
        if self.sampler is not None:
            words.append("sampler")
        if self.facts is not None:
            words.append(str(self.facts))
        if self.named is not None:
            words.append(str(self.named))
        elif self.support is not None and self.sample is None:
            words.append(f"support {self.support.name}")
        return ", ".join(words) if words else "nothing"
