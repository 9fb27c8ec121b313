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
from jaxtyping import Array, Float, Int

from kullback.runtime.export_cache import program
from kullback.training.ravel import on_host

MEMORY = 20
_SUFFICIENT, _CURVATURE = 1e-4, 0.9
_MAX_TRIALS = 30

RUNNING, CONVERGED, DIVERGED = 0, 1, 2


class LineSearch(NamedTuple):
    """The search along `direction`, by the weak Wolfe conditions.

    slope      the derivative along it at the point that the search started from
    trial      the step length under examination, between `low` and `high`
    trials     how many step lengths were tried
    """

    direction: Float[Array, "*s n"]
    slope: Float[Array, "*s"]
    trial: Float[Array, "*s"]
    low: Float[Array, "*s"]
    high: Float[Array, "*s"]
    trials: Int[Array, "*s"]


class History(NamedTuple):
    """The last steps and changes of gradient, and their inverse curvatures, in a ring whose last row is `newest`.

    A step writes one row, where moving all of them would cost more than the objective of a small problem. Rows that are
    still empty have the inverse curvature 0.
    """

    steps: Float[Array, "*s m n"]
    changes: Float[Array, "*s m n"]
    inverse_curvatures: Float[Array, "*s m"]
    newest: Int[Array, "*s"]


class State(NamedTuple):
    """One minimisation, or a stack [s] of them.

    x, value, gradient  the last accepted point
    search              the search for the next one
    evaluations         how many there were; `accepted`: how many of them became the next point
    calm                accepted steps in a row whose decrease was below the tolerance
    history             what the inverse Hessian is approximated by
    status              RUNNING, CONVERGED or DIVERGED
    """

    x: Float[Array, "*s n"]
    value: Float[Array, "*s"]
    gradient: Float[Array, "*s n"]
    search: LineSearch
    evaluations: Int[Array, "*s"]
    accepted: Int[Array, "*s"]
    calm: Int[Array, "*s"]
    history: History
    status: Int[Array, "*s"]


def start(x: Float[np.ndarray, " n"]) -> State:
    """The state before the first evaluation, on the host."""
    n = len(x)
    zero, whole = np.zeros(()), np.zeros((), np.int32)
    ring = np.zeros((min(MEMORY, n), n))
    search = on_host(
        LineSearch, direction=np.zeros(n), slope=zero, trial=zero, low=zero, high=np.array(np.inf), trials=whole
    )
    history = on_host(History, steps=ring, changes=ring, inverse_curvatures=np.zeros(len(ring)), newest=whole)
    return on_host(
        State,
        x=x,
        value=np.array(np.inf),
        gradient=np.zeros(n),
        search=search,
        evaluations=whole,
        accepted=whole,
        calm=whole,
        history=history,
        status=whole,
    )


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
    """One evaluation, at the trial point, and what follows from it."""
    search = s.search
    point = s.x + search.trial * search.direction
    value, gradient = jax.value_and_grad(objective)(point)
    finite = jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient))
    noise = 8 * jnp.finfo(s.x.dtype).eps * jnp.maximum(jnp.abs(s.value), 1.0)
    slope = jnp.vdot(gradient, search.direction)
    first = s.evaluations == 0
    least = jnp.where(jnp.isfinite(s.value), _SUFFICIENT * search.trial * search.slope + noise, 0.0)
    enough = value <= s.value + least
    enough = finite & (enough | first)
    curved = slope >= _CURVATURE * search.slope
    # Where the objective falls on and on to a wall, the last step that fell is taken.
    settled = search.trials > _MAX_TRIALS
    accept = enough & (curved | first | settled)

    low = jnp.where(enough, search.trial, search.low)
    high = jnp.where(enough, search.high, search.trial)
    narrowed = jnp.where(jnp.isfinite(high), 0.5 * (low + high), 2.0 * search.trial)
    trials = search.trials + 1
    last = (trials == _MAX_TRIALS + 1) & (low > 0)
    narrower = search._replace(trial=jnp.where(last, low, narrowed), low=low, high=high, trials=trials)
    searching = s._replace(search=narrower, evaluations=s.evaluations + 1)
    searching = _restart_or_stop(searching, first & ~finite, last)
    known = _remembered(s, accept & ~first, point - s.x, gradient - s.gradient)
    accepted = _accepted(known, point, value, gradient, tolerance, noise)
    # The history is chosen row by row above: to choose between two of them would copy both.
    inverse = jnp.where(accept, known.history.inverse_curvatures, searching.history.inverse_curvatures)

    def chosen(name: str) -> Any:
        return jax.tree.map(lambda a, b: jnp.where(accept, a, b), getattr(accepted, name), getattr(searching, name))

    others = {name: chosen(name) for name in State._fields if name != "history"}
    return State(**others, history=known.history._replace(inverse_curvatures=inverse))


def _remembered(s: State, write: Any, moved: Float[Array, " n"], change: Float[Array, " n"]) -> State:
    """The state with one more pair in its history, if it is to be written and its curvature is beyond rounding."""
    ring = s.history
    curvature = jnp.vdot(moved, change)
    keep = write & (curvature > 1e-10 * jnp.vdot(change, change))
    i = jnp.where(keep, (ring.newest + 1) % len(ring.inverse_curvatures), ring.newest)
    put = lambda rows, row: rows.at[i].set(jnp.where(keep, row, rows[i]))  # noqa: E731
    inverse = 1.0 / jnp.where(keep, curvature, 1.0)
    history = History(
        steps=put(ring.steps, moved),
        changes=put(ring.changes, change),
        inverse_curvatures=put(ring.inverse_curvatures, inverse),
        newest=i,
    )
    return s._replace(history=history)


def _accepted(
    s: State,
    point: Float[Array, " n"],
    value: Float[Array, ""],
    gradient: Float[Array, " n"],
    tolerance: Any,
    noise: Float[Array, ""],
) -> State:
    """The state at an accepted point, with the direction of the next search."""
    direction = -_inverse_hessian_times(s.history, gradient)
    slope = jnp.vdot(gradient, direction)
    downhill = slope < 0
    direction = jnp.where(downhill, direction, -gradient)
    slope = jnp.where(downhill, slope, -jnp.vdot(gradient, gradient))
    fresh = ~jnp.any(s.history.inverse_curvatures > 0)
    trial = jnp.where(fresh, 1.0 / jnp.maximum(1.0, jnp.linalg.norm(gradient)), 1.0)
    expected, observed = -0.5 * slope, s.value - value
    # What is expected comes from the gradient, which in double is known far below the noise of the value.
    least = 0.0 if s.x.dtype == jnp.float64 else noise
    small = (expected <= jnp.maximum(tolerance, least)) & (observed <= jnp.maximum(tolerance, noise))
    # One small step may be luck; two in a row are the end.
    calm = jnp.where(small & (s.accepted >= 2), s.calm + 1, 0)
    done = (calm >= 2) | jnp.all(gradient == 0)
    search = LineSearch(
        direction=direction,
        slope=slope,
        trial=trial.astype(s.search.trial.dtype),
        low=jnp.zeros_like(s.search.low),
        high=jnp.full_like(s.search.high, jnp.inf),
        trials=jnp.zeros_like(s.search.trials),
    )
    return State(
        x=point,
        value=value,
        gradient=gradient,
        search=search,
        evaluations=s.evaluations + 1,
        accepted=s.accepted + 1,
        calm=calm.astype(s.calm.dtype),
        history=s.history,
        status=jnp.where(done, CONVERGED, RUNNING).astype(s.status.dtype),
    )


def _restart_or_stop(s: State, hopeless: Any, last: Any) -> State:
    """A line search that found nothing forgets its curvature once; if the gradient itself fails, it is the end."""
    search, inverse = s.search, s.history.inverse_curvatures
    exhausted = (search.trials > _MAX_TRIALS) & ~last
    remembered = jnp.any(inverse > 0)
    restart = exhausted & remembered
    norm = jnp.linalg.norm(s.gradient)
    ended = jnp.where(hopeless, DIVERGED, jnp.where(exhausted & ~remembered, CONVERGED, s.status))
    return s._replace(
        search=LineSearch(
            direction=jnp.where(restart, -s.gradient, search.direction),
            slope=jnp.where(restart, -norm * norm, search.slope),
            trial=jnp.where(restart, 1.0 / jnp.maximum(1.0, norm), search.trial),
            low=jnp.where(restart, 0.0, search.low),
            high=jnp.where(restart, jnp.inf, search.high),
            trials=jnp.where(restart, 0, search.trials),
        ),
        history=s.history._replace(inverse_curvatures=jnp.where(restart, 0.0, inverse)),
        status=ended.astype(s.status.dtype),
    )


def _inverse_hessian_times(history: History, gradient: Float[Array, " n"]) -> Float[Array, " n"]:
    """The two-loop recursion, from the newest row back and forth; empty rows have rho = 0 and do nothing."""
    steps, changes, rho, newest = history
    m = steps.shape[0]

    def backward(age: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        q, alphas = carry
        i = (newest - age) % m
        alpha = rho[i] * jnp.vdot(steps[i], q)
        return q - alpha * changes[i], alphas.at[i].set(alpha)

    q, alphas = lax.fori_loop(0, m, backward, (gradient, jnp.zeros_like(rho)))
    latest, last = changes[newest], rho[newest]
    q = q * jnp.where(last > 0, 1.0 / jnp.where(last > 0, last * jnp.vdot(latest, latest), 1.0), 1.0)

    def forward(j: Any, r: Any) -> Any:
        i = (newest + 1 + j) % m
        return r + steps[i] * (alphas[i] - rho[i] * jnp.vdot(changes[i], r))

    return lax.fori_loop(0, m, forward, q)


def remembered_inverse_hessian(state: State, row: int, vectors: Float[np.ndarray, "b n"]) -> Float[np.ndarray, "b n"]:
    """Vectors times the inverse Hessian that one minimisation of a stack remembers, on the host.

    The two-loop recursion (Nocedal and Wright 2006, algorithm 7.4); as a matrix of all parameters it would take longer
    than the descent.
    """
    steps, changes, rho, newest = (np.asarray(leaf[row]) for leaf in state.history)
    m = len(steps)
    pairs = [(steps[i], changes[i]) for i in (int(newest) + 1 + np.arange(m)) % m if rho[i] > 0]
    found, shares = np.asarray(vectors, np.float64), []
    for s, y in reversed(pairs):
        shares.append(found @ s / (s @ y))
        found = found - shares[-1][:, None] * y
    if pairs:
        s, y = pairs[-1]
        found = found * (s @ y) / (y @ y)
    for (s, y), share in zip(pairs, reversed(shares), strict=True):
        found = found + (share - found @ y / (s @ y))[:, None] * s
    return found
