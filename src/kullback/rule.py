"""What a rule is: an identity, what it needs of P and Q, what its answer is worth, and two functions."""

from __future__ import annotations

import abc
import re
from collections.abc import Iterable
from dataclasses import dataclass
from os import PathLike
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from kullback.arguments import checked_fields, flag, path, positive, whole
from kullback.errors import InputError
from kullback.known import Known
from kullback.result import Estimate, Fit, Guarantee
from kullback.runtime.loggers import Logger

Question = Literal["estimate", "forward", "reverse"]


@dataclass(frozen=True)
class Applies:
    """The rule answers this question. What it states of these two sides overrides what it states in general.

    `dropped` are the terms left out of the answer (H(P), log Z); `note` is a remark for the plan.
    """

    guarantee: Guarantee | None = None
    cost: float | None = None
    dropped: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Missing:
    """The rule does not answer this question, and why; `unlock` is the one fact that would make it, if there is one."""

    reason: str
    unlock: str = ""


@dataclass(frozen=True)
class Request:
    """What the caller asked of an answer.

    seed        an integer or a JAX key
    tolerance   nats; None lets the rule choose
    steps       the most steps of an iterative rule; None lets the rule choose
    checkpoint  a file to save to between chunks of steps, and to resume from if it exists
    quiet       no progress bar
    logger      receives the numbers of each epoch

    Raises `InputError` for a field of another kind, before anything is computed.
    """

    seed: int | jax.Array = 0
    tolerance: float | None = None
    steps: int | None = None
    checkpoint: str | PathLike[str] | None = None
    quiet: bool = False
    logger: Logger | None = None

    def __post_init__(self) -> None:
        if self.tolerance is not None:
            object.__setattr__(self, "tolerance", positive("tolerance", self.tolerance))
        if self.steps is not None:
            object.__setattr__(self, "steps", whole("steps", self.steps))
        if not _is_seed(self.seed):
            raise InputError(f"seed: {self.seed!r} is neither a non-negative integer nor a JAX key")
        if self.checkpoint is not None:
            path("checkpoint", self.checkpoint)
        flag("quiet", self.quiet)
        if self.logger is not None and (isinstance(self.logger, type) or not isinstance(self.logger, Logger)):
            raise InputError(
                f"logger: {self.logger!r} has no methods log(row) and close(); kl.loggers.CSVLogger(path) has"
            )

    @property
    def key(self) -> jax.Array:
        """The JAX key of this request."""
        return jax.random.key(self.seed) if isinstance(self.seed, int | np.integer) else self.seed

    def host_rng(self, *stream: int) -> np.random.Generator:
        """A NumPy generator for work on the host, one for each `stream`."""
        words = [int(self.seed)] if isinstance(self.seed, int | np.integer) else _key_words(self.seed)
        return np.random.default_rng([*words, *stream])


def _is_seed(x: object) -> bool:
    if isinstance(x, jax.Array):
        is_new = jnp.issubdtype(x.dtype, jax.dtypes.prng_key) and x.ndim == 0
        return bool(is_new or (x.dtype == np.uint32 and x.ndim == 1))
    return isinstance(x, int | np.integer) and not isinstance(x, bool) and bool(x >= 0)


def _key_words(key: jax.Array) -> list[int]:
    data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    return [int(word) for word in np.asarray(data).ravel()]


@dataclass(frozen=True)
class Rule(abc.ABC):
    """One way to answer one question. A subclass is final, and its fields are the rule's own settings.

    name       what `rule=` calls it
    question   "estimate" (both sides fixed), "forward" (Q learnable) or "reverse" (P learnable)
    identity   the mathematics, in a line
    needs_p    what must be known of P, in words; `needs_q` of Q
    guarantee  what the answer is worth
    cost       ranks rules of one guarantee: roughly log10 of the evaluations of a log-density it takes
    source     where the method comes from: author, year, equation
    aliases    other names that a searcher would type, which `rule=` takes too
    """

    name: ClassVar[str]
    question: ClassVar[Question]
    identity: ClassVar[str]
    needs_p: ClassVar[str]
    needs_q: ClassVar[str]
    guarantee: ClassVar[Guarantee]
    cost: ClassVar[float]
    source: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    signed: ClassVar[frozenset[str]] = frozenset()  # settings that may be below 0

    def __post_init__(self) -> None:
        checked_fields(self, self.signed)

    @abc.abstractmethod
    def check(self, p: Known, q: Known) -> Applies | Missing:
        """Whether the rule applies to what is known of the two sides. Cheap: no sampling, no fitting."""

    @abc.abstractmethod
    def run(self, p: Known, q: Known, request: Request) -> Estimate | Fit:
        """The answer. Called only where `check` said `Applies`."""


def rules_called(name: str, rules: Iterable[Rule]) -> list[Rule]:
    """The rules of this name, or else those with this alias. Case, spaces and hyphens do not matter."""
    rules, asked = list(rules), _compared(name)
    named = [rule for rule in rules if _compared(rule.name) == asked]
    return named or [rule for rule in rules if asked in map(_compared, rule.aliases)]


def _compared(name: str) -> str:
    return re.sub(r"[\s_‐‑–—-]+", "", name).casefold()


def rules_brought(p: Known, q: Known) -> list[Rule]:
    """The rules that the two sides bring, each once."""
    brought = [*p.rules, *(rule for rule in q.rules if rule not in p.rules)]
    return [rule for rule in brought if isinstance(rule, Rule)]
