"""L-BFGS with one evaluation a step, so that a compiled program holds the objective once.

Limited-memory BFGS (Nocedal and Wright 2006, algorithm 7.4) with the weak-Wolfe bracketing of Lewis and Overton
(2013), written as a state machine: a step evaluates value and gradient at one trial point and either accepts it or
narrows the bracket. A line search nested inside the iteration would inline the objective several times, and its
compilation, not its arithmetic, is what a user waits for. Stopping is in nats: the decrease that the quadratic model
expects, and the last one observed, both below the tolerance; a relative tolerance stops early where values are large.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Float

from kullback.runtime.export_cache import program

MEMORY = 20
_SUFFICIENT, _CURVATURE = 1e-4, 0.9
_MAX_TRIALS = 30
_HISTORY = 12  # fields of a state that come before those of its history

RUNNING, CONVERGED, DIVERGED = 0, 1, 2


class State(NamedTuple):
    """One minimisation. `value` and `gradient` are at `x`; `trial` is the step length under examination.

    The last steps `s`, changes of gradient `y` and inverse curvatures `rho` lie in a ring, whose last row is `newest`:
    a step writes one row, where moving all of them would cost more than the objective of a small problem.
    """

    x: Any
    value: Any
    gradient: Any
    direction: Any
    slope: Any
    trial: Any
    low: Any
    high: Any
    trials: Any
    steps: Any
    accepted: Any
    calm: Any
    s: Any
    y: Any
    rho: Any
    newest: Any
    status: Any


def start(x: np.ndarray) -> State:
    """The state before the first evaluation, on the host."""
    n = len(x)
    zero, whole = np.zeros(()), np.zeros((), np.int32)
    history = np.zeros((min(MEMORY, n), n))
    return State(
        x=x, value=np.array(np.inf), gradient=np.zeros(n), direction=np.zeros(n), slope=zero, trial=zero, low=zero,
        high=np.array(np.inf), trials=whole, steps=whole, accepted=whole,
        calm=whole, s=history, y=history,
        rho=np.zeros(len(history)), newest=whole, status=whole,
    )  # fmt: skip


@program(static=(3,))
def advance(objective: Callable[[Any], Any], states: State, tolerance: Any, steps: int) -> State:
    """At most `steps` evaluations for each of a stack of minimisations; those that ended cost nothing."""

    def one(state: State) -> State:
        def body(carry: tuple[Any, State]) -> tuple[Any, State]:
            i, s = carry
            return i + 1, _step(objective, s, tolerance)

        return lax.while_loop(lambda c: (c[0] < steps) & (c[1].status == RUNNING), body, (0, state))[1]

    return lax.map(one, states)


def _step(objective: Callable[[Any], Any], s: State, tolerance: Any) -> State:
    point = s.x + s.trial * s.direction
    value, gradient = jax.value_and_grad(objective)(point)
    finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient))
    noise = 8 * jnp.finfo(s.x.dtype).eps * jnp.maximum(jnp.abs(s.value), 1.0)
    slope = jnp.vdot(gradient, s.direction)
    first = s.steps == 0
    enough = value <= s.value + jnp.where(jnp.isfinite(s.value), _SUFFICIENT * s.trial * s.slope + noise, 0.0)
    enough = finite & (enough | first)
    curved = slope >= _CURVATURE * s.slope
    # Where the objective falls on and on to a wall, the last step that fell is taken.
    settled = s.trials > _MAX_TRIALS
    accept = enough & (curved | first | settled)

    low = jnp.where(enough, s.trial, s.low)
    high = jnp.where(enough, s.high, s.trial)
    narrowed = jnp.where(jnp.isfinite(high), 0.5 * (low + high), 2.0 * s.trial)
    searching = s._replace(trial=narrowed, low=low, high=high, trials=s.trials + 1, steps=s.steps + 1)
    last = (searching.trials == _MAX_TRIALS + 1) & (low > 0)
    searching = searching._replace(trial=jnp.where(last, low, narrowed))
    searching = _restart_or_stop(searching, first & ~finite, last)
    known = _remembered(s, accept & ~first, point - s.x, gradient - s.gradient)
    accepted = _accepted(known, point, value, gradient, tolerance, noise)
    # The history is chosen row by row above: to choose between two of them would copy both.
    history = {"s": known.s, "y": known.y, "rho": jnp.where(accept, known.rho, searching.rho), "newest": known.newest}
    chosen = [jnp.where(accept, a, b) for a, b in zip(accepted[:_HISTORY], searching[:_HISTORY], strict=True)]
    return State(*chosen, **history, status=jnp.where(accept, accepted.status, searching.status))


def _remembered(s: State, write: Any, moved: Any, change: Any) -> State:
    """The state with one more pair in its history, if it is to be written and its curvature is beyond rounding."""
    curvature = jnp.vdot(moved, change)
    keep = write & (curvature > 1e-10 * jnp.vdot(change, change))
    i = jnp.where(keep, (s.newest + 1) % len(s.rho), s.newest)
    put = lambda ring, row: ring.at[i].set(jnp.where(keep, row, ring[i]))  # noqa: E731
    inverse = 1.0 / jnp.where(keep, curvature, 1.0)
    return s._replace(s=put(s.s, moved), y=put(s.y, change), rho=put(s.rho, inverse), newest=i)


def _accepted(s: State, point: Any, value: Any, gradient: Any, tolerance: Any, noise: Any) -> State:
    direction = -_inverse_hessian_times(s, gradient)
    slope = jnp.vdot(gradient, direction)
    downhill = slope < 0
    direction = jnp.where(downhill, direction, -gradient)
    slope = jnp.where(downhill, slope, -jnp.vdot(gradient, gradient))
    fresh = ~jnp.any(s.rho > 0)
    trial = jnp.where(fresh, 1.0 / jnp.maximum(1.0, jnp.linalg.norm(gradient)), 1.0)
    expected, observed = -0.5 * slope, s.value - value
    # What is expected comes from the gradient, which in double is known far below the noise of the value.
    floor = 0.0 if s.x.dtype == jnp.float64 else noise
    small = (expected <= jnp.maximum(tolerance, floor)) & (observed <= jnp.maximum(tolerance, noise))
    # One small step may be luck; two in a row are the end.
    calm = jnp.where(small & (s.accepted >= 2), s.calm + 1, 0)
    done = (calm >= 2) | jnp.all(gradient == 0)
    zero = jnp.zeros_like(s.low)
    return s._replace(
        x=point, value=value, gradient=gradient, direction=direction, slope=slope, trial=trial.astype(s.trial.dtype),
        low=zero, high=jnp.full_like(s.high, jnp.inf), trials=jnp.zeros_like(s.trials), steps=s.steps + 1,
        accepted=s.accepted + 1,
        calm=calm.astype(s.calm.dtype), status=jnp.where(done, CONVERGED, RUNNING).astype(s.status.dtype),
    )  # fmt: skip


def _restart_or_stop(s: State, hopeless: Any, last: Any) -> State:
    """A line search that found nothing forgets its curvature once; if the gradient itself fails, it is the end."""
    exhausted = (s.trials > _MAX_TRIALS) & ~last
    remembered = jnp.any(s.rho > 0)
    restart = exhausted & remembered
    norm = jnp.linalg.norm(s.gradient)
    ended = jnp.where(hopeless, DIVERGED, jnp.where(exhausted & ~remembered, CONVERGED, s.status))
    return s._replace(
        direction=jnp.where(restart, -s.gradient, s.direction),
        slope=jnp.where(restart, -norm * norm, s.slope),
        trial=jnp.where(restart, 1.0 / jnp.maximum(1.0, norm), s.trial),
        low=jnp.where(restart, 0.0, s.low),
        high=jnp.where(restart, jnp.inf, s.high),
        trials=jnp.where(restart, 0, s.trials),
        rho=jnp.where(restart, 0.0, s.rho),
        status=ended.astype(s.status.dtype),
    )


def _inverse_hessian_times(s: State, gradient: Any) -> Any:
    """The two-loop recursion, from the newest row back and forth; empty rows have rho = 0 and do nothing."""
    m = s.s.shape[0]

    def backward(age: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        q, alphas = carry
        i = (s.newest - age) % m
        alpha = s.rho[i] * jnp.vdot(s.s[i], q)
        return q - alpha * s.y[i], alphas.at[i].set(alpha)

    q, alphas = lax.fori_loop(0, m, backward, (gradient, jnp.zeros_like(s.rho)))
    latest, rho = s.y[s.newest], s.rho[s.newest]
    q = q * jnp.where(rho > 0, 1.0 / jnp.where(rho > 0, rho * jnp.vdot(latest, latest), 1.0), 1.0)

    def forward(j: Any, r: Any) -> Any:
        i = (s.newest + 1 + j) % m
        return r + s.s[i] * (alphas[i] - s.rho[i] * jnp.vdot(s.y[i], r))

    return lax.fori_loop(0, m, forward, q)


def inverse_hessian(state: State, row: int) -> Float[np.ndarray, "n n"]:
    """The inverse Hessian that one minimisation of a stack remembers, as a matrix on the host.

    BFGS updates (Nocedal and Wright 2006, equation 7.16) of the scaled identity, oldest first.
    """
    steps, changes, rho = (np.asarray(leaf[row]) for leaf in (state.s, state.y, state.rho))
    m, n = steps.shape
    order = [i for i in (int(state.newest[row]) + 1 + np.arange(m)) % m if rho[i] > 0]
    found = np.eye(n)
    if order:
        s, y = steps[order[-1]], changes[order[-1]]
        found = found * (s @ y) / (y @ y)
    for s, y in zip(steps[order], changes[order], strict=True):
        v = np.eye(n) - np.outer(y, s) / (s @ y)
        found = v.T @ found @ v + np.outer(s, s) / (s @ y)
    return found
