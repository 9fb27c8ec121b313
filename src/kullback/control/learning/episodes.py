"""Fresh episodes of a policy: what it returns, and what it costs in nats."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped, UInt32

from kullback.control.envs.simulator import Compiled, Stepper, Transition, moved_lanes, start_lanes
from kullback.control.envs.table import TableSimulator
from kullback.control.learning.policy import Acting, Fixed, Here
from kullback.control.task import Task
from kullback.runtime.export_cache import program
from kullback.runtime.random import key_of, words_from

LANES = 20  # environments that only step, side by side
FEWEST = 2  # episodes, however small the budget: one has no standard error
ANY = 2**31 - 1  # steps: no limit
TOLD = 0.2  # seconds between two lines of progress

Tell = Callable[[str], None]


def silent(text: str) -> None:
    """What tells nobody."""


class Episodes(NamedTuple):
    """Sums over n episodes, [n] each. Where the trajectories of P_opt go on beyond the environment's time limit, the
    discounted sums and log_ratio go on as well.

    returns     Σ r, up to the environment's time limit
    discounted  Σ γᵗ r
    kl          Σ γᵗ KL(π(·∣s)‖π₀(·∣s)), nats
    log_ratio   Σ log π(a∣s) − log π₀(a∣s), nats
    length      steps, up to the environment's time limit
    finished    whether the episode came to an end of its own or was truncated by its time limit
    truncated   whether it was truncated
    """

    returns: Any
    discounted: Any
    kl: Any
    log_ratio: Any
    length: Any
    finished: Any
    truncated: Any


class Played(NamedTuple):
    """Episodes, and how they came about.

    wanted   how many were asked for
    longest  steps after which one was cut
    counted  steps whose rewards are the return: up to the environment's time limit, or however many there are
    settled  whether nothing that happened in them decided how many there are
    """

    episodes: Episodes
    wanted: int
    longest: int
    counted: int
    settled: bool


def play(
    task: Task,
    acting: Acting,
    free: PyTree,
    fixed: Fixed,
    greedy: bool,
    rng: np.random.Generator,
    wanted: int,
    budget: int | None = None,
    tell: Tell = silent,
) -> Played:
    """Play `wanted` fresh episodes, of a greedy policy or of a sampled one, which `rng` alone decides.

    Where the environment is compiled they run side by side; else each of a few lanes plays a number that is settled
    before, so that short episodes do not count more.

    budget  the most environment steps. Episodes are played in rounds, each of as many as are sure to fit into what is
            left of it, so that all are whole; there are at least two, which are cut if they must be

    Raises `EnvironmentFault` as the environment does.
    """
    longest, counted = _lengths(task, greedy)
    # A budget that nobody asked for cuts no episode that a time limit ends.
    is_strict = budget is not None and task.fresh.budget is not None
    if budget is not None and is_strict:
        longest = max(1, min(longest, budget // FEWEST))
    how = "played greedily" if greedy else "as the policy draws"

    at_most = "" if budget is None else "at most "

    def said(done: int, steps: int) -> None:
        tell(f"{done:,} of {at_most}{wanted:,} fresh episodes {how} · {steps:,} steps")

    if task.env.compiled is not None:
        played = _on_device(task, acting, free, fixed, greedy, longest, counted, wanted)
        episodes, settled = _in_rounds(lambda n, words, _: played(n, words), wanted, budget, longest, 1, rng, said)
        return Played(episodes, wanted, longest, counted, settled)
    assert task.env.stepper is not None
    sure = wanted if budget is None else min(wanted, budget // longest)
    # Half of the lanes that surely fit leave room for another round where episodes turn out short.
    stepper = task.env.stepper(min(LANES, sure if sure == wanted else max(FEWEST, sure // 2)))
    if budget is not None and is_strict:  # of a vector environment there are as many lanes as it has
        longest = max(1, min(longest, budget // max(stepper.lanes, FEWEST)))
    try:
        step = partial(_stepped, stepper, acting, free, fixed, greedy, task.discount, longest)
        episodes, settled = _in_rounds(step, wanted, budget, longest, stepper.lanes, rng, said)
    finally:
        stepper.close()
    return Played(episodes, wanted, longest, counted, settled)


def _lengths(task: Task, greedy: bool) -> tuple[int, int]:
    """The most steps of an episode, and how many of them the environment counts."""
    if not isinstance(task.env.compiled, TableSimulator):
        return task.env.facts.limit or task.closing.longest, task.env.facts.limit or ANY
    # The trajectories of P_opt go on beyond the time limit of a table's environment; a greedy policy has only a return.
    limit, whole = task.env.compiled.limit, task.env.compiled.horizon or task.closing.longest
    return min(whole, limit or whole) if greedy else whole, limit or ANY


def _in_rounds(
    play_round: Callable[[int, np.ndarray, Callable[[int, int], None]], tuple[Episodes, int]],
    wanted: int,
    budget: int | None,
    longest: int,
    lanes: int,
    rng: np.random.Generator,
    said: Callable[[int, int], None],
) -> tuple[Episodes, bool]:
    """Rounds of (n, words, said) -> n episodes and the steps of all lanes; and whether one round was all."""
    rounds: list[Episodes] = []
    done, used = 0, 0
    while done < wanted:
        n = wanted - done
        if budget is not None:
            fits, least = (budget - used) // (lanes * longest) * lanes, 0 if rounds else max(FEWEST, lanes)
            n = min(n, max(fits, least))
        if n < 1:
            break
        said(done, used)
        before = done, used
        episodes, steps = play_round(
            n, words_from(rng), lambda more, steps, at=before: said(at[0] + more, at[1] + steps)
        )
        rounds.append(episodes)
        done, used = done + n, used + steps
    whole = Episodes(*(np.concatenate(column) for column in zip(*rounds, strict=True)))
    return whole, len(rounds) == 1 and done >= wanted


def _on_device(
    task: Task, acting: Acting, free: PyTree, fixed: Fixed, greedy: bool, longest: int, counted: int, lanes: int
) -> Callable[[int, np.ndarray], tuple[Episodes, int]]:
    """(n, words) -> n episodes, at most as many as there are lanes, and their steps."""
    simulator = task.env.compiled
    assert simulator is not None
    if isinstance(simulator, TableSimulator):
        simulator = replace(simulator, limit=None)

    def played(n: int, words: np.ndarray) -> tuple[Episodes, int]:
        sums, steps = _compiled(
            simulator,
            acting,
            lanes,
            np.bool_(greedy),
            free,
            fixed,
            simulator.parameters,
            np.asarray(task.discount),
            np.int32(longest),
            np.int32(counted),
            np.int32(n),
            words,
        )
        return Episodes(*(np.asarray(column)[:n] for column in sums)), int(steps) * n

    return played


@program(static=(0, 1, 2))
def _compiled(
    simulator: Compiled,
    acting: Acting,
    lanes: int,
    greedy: bool | Bool[Array | np.ndarray, ""],
    free: PyTree,
    fixed: Fixed,
    parameters: PyTree,
    discount: float | Float[Array | np.ndarray, ""],
    longest: int | Int[Array | np.ndarray, ""],
    counted: int | Int[Array | np.ndarray, ""],
    wanted: int | Int[Array | np.ndarray, ""],
    words: UInt32[Array | np.ndarray, ...],
) -> tuple[Episodes, Any]:
    """Sums over an episode of each of the first `wanted` lanes, and the steps of the longest."""
    dtype = jnp.result_type(float)
    zeros, no = jnp.zeros(lanes, dtype), jnp.zeros(lanes, bool)
    start_key, key = jax.random.split(key_of(words))
    first = start_lanes(simulator, parameters, start_key, lanes)
    sums = Episodes(zeros, zeros, zeros, zeros, zeros, jnp.arange(lanes) >= wanted, no)

    def going(carry: PyTree) -> Any:
        _, sums, steps, _ = carry
        return (steps < longest) & ~sums.finished.all()

    def step(carry: PyTree) -> Any:
        now, sums, steps, key = carry
        keys = jax.random.split(key, 3 + lanes)
        here = acting.at(free, fixed, now.observation, now.mask)
        drawn, kl, ratio = _acted(here, greedy, keys[1], keys[2])
        # Each lane plays one episode that counts: what one plays afterwards may be anything.
        now, seen = moved_lanes(simulator, parameters, now, drawn, keys[3:], first)
        sums = _added(sums, seen, discount**steps, kl, ratio, steps < counted)
        return now, sums, steps + 1, keys[0]

    _, sums, steps, _ = jax.lax.while_loop(going, step, (first, sums, jnp.int32(0), key))
    return sums, steps


def _acted(
    here: Here, greedy: bool | Bool[Array | np.ndarray, ""], act_key: jax.Array, kl_key: jax.Array
) -> tuple[Any, Any, Any]:
    """The action, KL(π‖π₀) at the observation, and log π − log π₀ of the action."""
    # One program for both ways of acting: compiling costs more than drawing in vain.
    drawn = here.taken(greedy, act_key)
    return drawn, here.kl(kl_key), here.log_ratio(drawn)


def _added(
    sums: Episodes,
    seen: Transition,
    weight: Float[Array, " n"],
    kl: Float[Array, " n"],
    ratio: Float[Array, " n"],
    counts: Bool[Array, " n"],
) -> Episodes:
    """The sums after a step; those of finished episodes stay."""
    on = jnp.where(sums.finished, 0.0, 1.0).astype(sums.returns.dtype)
    reward = jnp.where(sums.finished, 0.0, seen.reward)
    return Episodes(
        sums.returns + counts * reward,
        sums.discounted + weight * reward,
        sums.kl + on * weight * kl,
        sums.log_ratio + on * ratio,
        sums.length + counts * on,
        sums.finished | seen.terminated | seen.truncated,
        sums.truncated | (seen.truncated & ~sums.finished),
    )


@partial(jax.jit, static_argnums=0)
def act(
    acting: Acting,
    greedy: bool | Bool[Array | np.ndarray, ""],
    free: PyTree,
    fixed: Fixed,
    observation: Shaped[Array | np.ndarray, "n ..."],
    mask: Bool[Array | np.ndarray, "n ..."] | None,
    words: UInt32[Array | np.ndarray, ...],
    step: Int[Array | np.ndarray, ""],
) -> Any:
    """(action, KL(π‖π₀), log π − log π₀) at observations [n, ...]: one program for both ways of acting."""
    keys = jax.random.split(jax.random.fold_in(key_of(words), step))
    return _acted(acting.at(free, fixed, observation, mask), greedy, keys[0], keys[1])


def _stepped(
    stepper: Stepper,
    acting: Acting,
    free: PyTree,
    fixed: Fixed,
    greedy: bool,
    discount: float,
    longest: int,
    n: int,
    words: np.ndarray,
    said: Callable[[int, int], None],
) -> tuple[Episodes, int]:
    """Sums over n episodes, and the steps that all lanes took together."""
    stepper.reset(int(words[0] >> 1))
    lanes = stepper.lanes
    running = np.zeros((5, lanes))
    done: list[np.ndarray] = []
    count, each = np.zeros(lanes, int), n // lanes + (np.arange(lanes) < n % lanes)
    step, told = 0, time.monotonic()
    while (count < each).any():
        action, kl, ratio = (
            np.asarray(x)
            for x in act(acting, greedy, free, fixed, stepper.observation, stepper.mask, words, np.int32(step))
        )
        seen = stepper.step(action)
        weight = discount ** running[4]
        valid = seen.valid.astype(float)
        running += valid * np.stack([seen.reward, weight * seen.reward, weight * kl, ratio, np.ones(lanes)])
        over = seen.valid & (seen.terminated | seen.truncated | (running[4] >= longest))
        for lane in np.flatnonzero(over):
            if count[lane] < each[lane]:
                ends = seen.terminated[lane] or seen.truncated[lane], seen.truncated[lane]
                done.append(np.append(running[:, lane], ends))
            count[lane] += 1
            running[:, lane] = 0.0
        step += 1
        if time.monotonic() - told > TOLD:
            said(len(done), step * lanes)
            told = time.monotonic()
    columns = np.array(done).T
    return Episodes(*columns[:5], *(columns[5:] > 0)), step * lanes
