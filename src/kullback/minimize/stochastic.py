"""Stochastic descent: Adam in compiled chunks, with a step size that falls where progress stops.

No learning rate is asked of the user. A chunk of steps is one compiled scan; between chunks its mean objective, at
its mean iterate, is compared in nats with the best so far, the step size falls by three after `patience` chunks without
improvement, and after `cuts` such falls the best parameters are returned.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from kullback.result import Status
from kullback.runtime.export_cache import program
from kullback.training.driver import Iterative, Progress, fingerprint

_ADAM = optax.scale_by_adam()


class State(NamedTuple):
    """One start: where it is, the best so far, and how long without progress. A stack of them is minimised at once."""

    x: Any
    adam: Any
    rate: Any
    best: Any
    best_value: Any
    stale: Any
    cuts: Any
    chunks: Any
    failed: Any


@dataclass(frozen=True)
class Pace:
    """How fast to go: the first step size, steps a chunk, chunks of patience, and how often the step size falls."""

    rate: float = 3e-2
    steps: int = 64
    patience: int = 4
    cuts: int = 3


class StochasticDescent(Iterative):
    """Adam from a stack of starts [s, n] on an objective(feed, vector), fed by `feeds(chunk)` [steps, ...]."""

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
        dtype = jnp.result_type(float)
        whole = np.zeros((), np.int32)

        def one(x: np.ndarray) -> State:
            adam = jax.tree.map(np.asarray, _ADAM.init(x))
            return State(x, adam, np.asarray(self.pace.rate, dtype), x, np.asarray(np.inf, dtype), *[whole] * 4)

        return jax.tree.map(lambda *leaves: np.stack(leaves), *[one(x) for x in np.asarray(self.starts, dtype)])

    def step(self, state: State) -> State:
        feeds = self.feeds(int(np.max(np.asarray(state.chunks))))
        return advance(self.objective, state, feeds, self.tolerance, self.pace.patience, self.pace.cuts)

    def progress(self, state: State) -> Progress:
        steps = int(np.max(np.asarray(state.chunks))) * self.pace.steps
        value = float(np.min(np.asarray(state.best_value)))
        failed = np.asarray(state.failed) > 0
        if not (failed | (np.asarray(state.cuts) > self.pace.cuts)).all():
            return Progress(value, steps)
        if failed.all():
            return Progress(value, steps, Status.DIVERGED)
        return Progress(value, steps, Status.CONVERGED)

    def fingerprint(self) -> str:
        return fingerprint(self.title, self.objective, self.starts, self.tolerance, repr(self.pace), str(self.seed))


@program(static=(4, 5))
def advance(objective: Any, states: State, feeds: Any, tolerance: Any, patience: int, cuts: int) -> State:
    """One chunk of steps for each start that has not ended, and the decision that follows it."""

    def work(state: State) -> State:
        return _chunk(objective, state, feeds, tolerance, patience)

    def one(state: State) -> State:
        return jax.lax.cond((state.failed > 0) | (state.cuts > cuts), lambda s: s, work, state)

    return jax.lax.map(one, states)


def _chunk(objective: Any, state: State, feeds: Any, tolerance: Any, patience: int) -> State:
    def one(carry: tuple[Any, Any, Any], feed: Any) -> tuple[tuple[Any, Any, Any], Any]:
        x, adam, total = carry
        value, gradient = jax.value_and_grad(objective, argnums=1)(feed, x)
        update, adam = _ADAM.update(gradient, adam)
        x = x - state.rate * update
        return (x, adam, total + x), value

    (x, adam, total), values = jax.lax.scan(one, (state.x, state.adam, jnp.zeros_like(state.x)), feeds)
    n = values.shape[0]
    needed = jnp.maximum(tolerance, jnp.std(values) / jnp.sqrt(n))
    return _decide(state, x, adam, total / n, jnp.mean(values), needed, patience)


def _decide(state: State, x: Any, adam: Any, candidate: Any, value: Any, needed: Any, patience: int) -> State:
    finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(x))
    better = finite & (value < state.best_value)
    enough = finite & ((value < state.best_value - needed) | jnp.isinf(state.best_value))
    stale = jnp.where(enough, 0, state.stale + 1)
    cut = (stale >= patience) | (~finite & jnp.isfinite(state.best_value))
    best = jnp.where(better, candidate, state.best)
    pick = lambda new, old: jnp.where(cut, new, old)  # noqa: E731
    return State(
        x=pick(best, x),
        adam=jax.tree.map(lambda a: pick(jnp.zeros_like(a), a), adam),
        rate=pick(state.rate / 3, state.rate),
        best=best,
        best_value=jnp.where(better, value, state.best_value),
        stale=pick(0, stale).astype(state.stale.dtype),
        cuts=(state.cuts + cut).astype(state.cuts.dtype),
        chunks=(state.chunks + 1).astype(state.chunks.dtype),
        failed=(~finite & ~jnp.isfinite(state.best_value)).astype(state.failed.dtype),
    )
