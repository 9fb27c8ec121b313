"""Stochastic descent: chunks of steps in one compiled program, with a step size that falls where progress stops.

No learning rate is asked of the user. A chunk of steps is one compiled scan; between chunks its mean objective, at
its mean iterate, is compared in nats with the best so far, and `early_stopping` says what follows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from kullback.result import Status
from kullback.runtime.export_cache import program
from kullback.training.driver import Iterative, Progress, fingerprint
from kullback.training.early_stopping import Best, Plateau, no_progress_yet, watched
from kullback.training.optimiser import DEFAULT, Descent, begin, descend, in_words, restarted
from kullback.training.ravel import on_host

FACTOR = 1.0 / 3.0  # by which the step size falls


class State(NamedTuple):
    """One start: where it is, the best so far, and how long without progress. A stack of them is minimised at once."""

    descent: Descent
    best: Best
    plateau: Plateau
    chunks: Int[Array, ""]


@dataclass(frozen=True)
class Pace:
    """How fast to go: the first step size, steps a chunk, chunks of patience, and how often the step size falls."""

    rate: float = 3e-2
    steps: int = 64
    patience: int = 4
    max_reductions: int = 3
    optimiser: optax.GradientTransformation | None = None

    @property
    def descent(self) -> optax.GradientTransformation:
        return self.optimiser or DEFAULT

    @staticmethod
    def of(optimiser: optax.GradientTransformation | None) -> Pace:
        """The usual pace; updates of an optimiser of the user's have their step size already."""
        return Pace() if optimiser is None else Pace(rate=1.0, optimiser=optimiser)


class StochasticDescent(Iterative):
    """Descent from a stack of starts [s, n] on an objective(feed, vector), fed by `feeds(chunk)` [steps, ...]."""

    def __init__(
        self,
        title: str,
        objective: Any,
        feeds: Callable[[int], Any],
        starts: np.ndarray,
        tolerance: float,
        pace: Pace,
        seed: Any = 0,
    ) -> None:
        self.title, self.objective, self.feeds, self.starts = title, objective, feeds, starts
        self.tolerance, self.pace, self.seed = tolerance, pace, seed

    def init(self) -> State:
        dtype, whole = jnp.result_type(float), np.zeros((), np.int32)

        def one(x: np.ndarray) -> State:
            return on_host(
                State,
                descent=begin(x, self.pace.descent),
                best=on_host(Best, x=x, value=np.asarray(np.inf, dtype), step=whole),
                plateau=no_progress_yet(self.pace.rate),
                chunks=whole,
            )

        return jax.tree.map(lambda *leaves: np.stack(leaves), *map(one, np.asarray(self.starts, dtype)))

    def step(self, state: State) -> State:
        feeds = self.feeds(int(np.max(np.asarray(state.chunks))))
        return advance(self.objective, state, feeds, self.tolerance, self.pace)

    def progress(self, state: State) -> Progress:
        steps = int(np.max(np.asarray(state.chunks))) * self.pace.steps
        values = np.asarray(state.best.value)
        value = float(np.min(values))
        if not (np.asarray(state.plateau.reductions) > self.pace.max_reductions).all():
            return Progress(value, steps)
        return Progress(value, steps, Status.CONVERGED if np.isfinite(value) else Status.DIVERGED)

    def fingerprint(self) -> str:
        pace = self.pace
        own = () if pace.optimiser is None else (in_words(pace.optimiser),)
        settings = (pace.rate, pace.steps, pace.patience, pace.max_reductions)
        return fingerprint(self.title, self.objective, self.starts, self.tolerance, *settings, *own, str(self.seed))


@program(static=(4,))
def advance(objective: Any, states: State, feeds: Any, tolerance: Any, pace: Pace) -> State:
    """One chunk of steps for each start that has not ended, and the decision that follows it."""

    def one(state: State) -> State:
        over = state.plateau.reductions > pace.max_reductions
        return jax.lax.cond(over, lambda s: s, partial(_chunk, objective, feeds, tolerance, pace), state)

    return jax.lax.map(one, states)


def _chunk(objective: Any, feeds: Any, tolerance: Any, pace: Pace, state: State) -> State:
    def one(carry: tuple[Descent, Any], feed: Any) -> tuple[tuple[Descent, Any], Any]:
        descent, total = carry
        value, gradient = jax.value_and_grad(objective, argnums=1)(feed, descent.x)
        descent = descend(descent, gradient, state.plateau.rate, pace.descent)
        return (descent, total + descent.x), value

    (descent, total), values = jax.lax.scan(one, (state.descent, jnp.zeros_like(state.descent.x)), feeds)
    n = values.shape[0]
    # A decrease within the noise of a chunk's mean is no progress.
    needed = jnp.maximum(tolerance, jnp.std(values) / jnp.sqrt(n))
    return _decided(pace, state, descent, total / n, jnp.mean(values), needed)


def _decided(
    pace: Pace,
    state: State,
    descent: Descent,
    mean: Float[Array, " n"],
    value: Float[Array, ""],
    needed: Float[Array, ""],
) -> State:
    """The state after a chunk, whose mean iterate has a value."""
    usable = jnp.isfinite(value) & jnp.all(jnp.isfinite(descent.x))
    better = usable & (value < state.best.value)
    best = Best(
        x=jnp.where(better, mean, state.best.x),
        value=jnp.where(better, value, state.best.value),
        step=jnp.where(better, descent.steps, state.best.step),
    )
    patience, factor = jnp.asarray(pace.patience), jnp.asarray(FACTOR, value.dtype)
    plateau, reduced = watched(state.plateau, value, usable, needed, patience, factor)
    # Values of fresh draws fall below one another by chance: each is judged by the lowest of all.
    plateau = plateau._replace(lowest=best.value)
    return State(
        descent=restarted(descent, best.x, reduced, pace.descent), best=best, plateau=plateau, chunks=state.chunks + 1
    )
