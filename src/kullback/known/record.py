"""The record of what is known of one side of a divergence. Rules look at these facts, not at types."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from kullback.families.learnable import Learnable
    from kullback.known.support import Support
    from kullback.rule import Rule


@dataclass(frozen=True)
class Column:
    """One column of a table: a name and its values (numbers, strings, booleans).

    unit    "time" or "duration" where the values are such, in seconds
    zoned   whether times have a time zone, and so are instants; without one they are what some clock shows
    stated  "measured", "counts" or "labels" where the caller said how to read it
    """

    name: str
    values: np.ndarray
    unit: str = ""
    stated: str = ""
    zoned: bool = False

    @property
    def discrete(self) -> bool:
        """Whether the values are of a type for labels or counts, unless the caller stated how to read them."""
        return self.stated != "measured" if self.stated else self.values.dtype.kind not in "f"


@dataclass(frozen=True)
class Sample:
    """A finite sample: `values` [n, *event], `weights` [n] or None (equal), `inputs` [n, ...] for pairs.

    `columns` are the columns of a table, or of an array of which something is stated; `values` is None where some
    column is not numeric.
    """

    values: np.ndarray | None
    weights: np.ndarray | None = None
    inputs: np.ndarray | None = None
    columns: tuple[Column, ...] = ()

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
class Known:
    """What is known of a side; an absent fact is None.

    name           how a plan speaks of the side
    event_shape    shape of one outcome; `batch_shape` that of a batch of distributions
    sample         a finite sample
    sampler        (key, n) -> draws [n, *batch, *event]
    log_prob       x [..., *batch, *event] -> normalised log-probability [..., *batch], nats
    log_density    the same up to an additive constant; where log_prob is known it is log_prob itself
    support        where the probability lies
    atoms          every outcome of a finite support, [K, *event]
    moments        () -> Moments, raising where they do not exist
    entropy        () -> entropy in nats [*batch]
    distribution   the NumPyro distribution behind the side, for the exact rules
    inputs         the inputs x of a conditional side evaluated at x [n, ...]: the batch is over them
    input_weights  how much each input counts [n]; None for equally
    conditional    inputs -> this side evaluated at them (fitted conditionals only)
    origin         the fitted conditional behind a side at inputs
    learnable      the learnable side with its sizes settled
    matched        other side -> this side with its sizes settled (learnable sides only)
    rules          rules that the side brings of its own
    facts          anything else that those rules need
    takes          a learnable side that suits this one, as code, where few do
    reparametrized whether draws are differentiable functions of the parameters
    differentiable whether log_density can be differentiated by JAX

    `log_prob`, `log_density` and `sampler` are `jax.tree_util.Partial`s of module-level functions over arrays
    where possible, so that a compiled program is shared by all sides of one kind.
    """

    name: str
    event_shape: tuple[int, ...] | None = None
    batch_shape: tuple[int, ...] = ()
    sample: Sample | None = None
    sampler: Callable[..., Any] | None = None
    log_prob: Callable[..., Any] | None = None
    log_density: Callable[..., Any] | None = None
    support: Support | None = None
    atoms: np.ndarray | None = None
    moments: Callable[[], Moments] | None = None
    entropy: Callable[[], Any] | None = None
    distribution: Any = None
    inputs: np.ndarray | None = None
    input_weights: np.ndarray | None = None
    conditional: Callable[[np.ndarray], Known] | None = None
    origin: Any = None
    learnable: Learnable | None = None
    matched: Callable[[Known], Known] | None = None
    rules: tuple[Rule, ...] = ()
    facts: Any = None
    takes: str = ""
    reparametrized: bool = False
    differentiable: bool = True

    def __post_init__(self) -> None:
        if self.log_prob is not None:
            object.__setattr__(self, "log_density", self.log_prob)

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
        if self.support is not None and self.sample is None:
            words.append(f"support {self.support.name}")
        return ", ".join(words) if words else "nothing"
