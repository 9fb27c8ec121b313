"""Fresh episodes of a policy: what it returns, what it costs in nats, and with what standard error."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from kullback.control.learning.acting import Acting, Fixed
from kullback.control.simulators import lanes as lanes_of
from kullback.control.simulators.simulator import Compiled, Stepper
from kullback.control.task import Task
from kullback.keys import key_of, words_from
from kullback.programs import program
from kullback.result import Estimate, Guarantee

EPISODES = 100
LANES = 20  # environments that only step, side by side
LONGEST = 20_000  # steps of an episode that no limit ends; it is cut there, and the report says so


class Episodes(NamedTuple):
    """Sums over n episodes, [n] each.

    returns     Σ r
    discounted  Σ γᵗ r
    kl          Σ γᵗ KL(π(·∣s)‖π₀(·∣s)), nats
    log_ratio   Σ log π(a∣s) − log π₀(a∣s), nats
    length      steps
    finished    whether the episode came to an end of its own or to its time limit
    """

    returns: Any
    discounted: Any
    kl: Any
    log_ratio: Any
    length: Any
    finished: Any


def play(task: Task, acting: Acting, free: Any, fixed: Fixed, greedy: bool, rng: np.random.Generator,
         episodes: int = EPISODES) -> Episodes:  # fmt: skip
    """Play `episodes` fresh episodes, of a greedy policy or of a sampled one, which `rng` alone decides.

    Where the environment is compiled they run side by side; else each of a few lanes plays as many as the others, so
    that short episodes do not count more. Raises `EnvironmentFault` as the environment does.
    """
    longest = task.facts.limit or LONGEST
    words = words_from(rng)
    if task.compiled is not None:
        played = _compiled(task.compiled, acting, episodes, np.bool_(greedy), free, fixed, task.compiled.parameters,
                           np.asarray(task.discount), np.int32(longest), words)  # fmt: skip
        return jax.tree.map(np.asarray, played)
    assert task.stepper is not None
    stepper = task.stepper(min(LANES, episodes))
    try:
        return _stepped(stepper, acting, free, fixed, greedy, words, task.discount, longest, episodes)
    finally:
        stepper.close()


@program(static=(0, 1, 2))
def _compiled(
    simulator: Compiled, acting: Acting, episodes: int, greedy: Any,
    free: Any, fixed: Fixed, parameters: Any, discount: Any, longest: Any, words: Any,
) -> Episodes:  # fmt: skip
    dtype = jnp.result_type(float)
    zeros = jnp.zeros(episodes, dtype)
    start_key, key = jax.random.split(key_of(words))
    first = lanes_of.start(simulator, parameters, start_key, episodes)
    sums = Episodes(zeros, zeros, zeros, zeros, zeros, jnp.zeros(episodes, bool))

    def going(carry: Any) -> Any:
        _, sums, steps, _ = carry
        return (steps < longest) & ~sums.finished.all()

    def step(carry: Any) -> Any:
        lanes, sums, steps, key = carry
        keys = jax.random.split(key, 3 + episodes)
        here = acting.at(free, fixed, lanes.observation, lanes.mask)
        drawn, kl, ratio = _acted(here, greedy, keys[1], keys[2])
        # Each lane plays one episode that counts: what one plays afterwards may be anything.
        lanes, seen = lanes_of.moved(simulator, parameters, lanes, drawn, keys[3:], first)
        weight = discount**steps
        return lanes, _added(sums, seen.reward, weight, kl, ratio, seen.terminated | seen.truncated), steps + 1, keys[0]

    return jax.lax.while_loop(going, step, (first, sums, jnp.int32(0), key))[1]


def _acted(here: Any, greedy: Any, act_key: jax.Array, kl_key: jax.Array) -> tuple[Any, Any, Any]:
    """The action, KL(π‖π₀) at the observation, and log π − log π₀ of the action."""
    # One program for both ways of acting: compiling costs more than drawing in vain.
    drawn = jnp.where(greedy, here.greedy(), here.draw(act_key)[0])
    return drawn, here.kl(kl_key), here.log_ratio(drawn)


def _added(sums: Episodes, reward: Any, weight: Any, kl: Any, ratio: Any, over: Any) -> Episodes:
    """The sums after a step; those of finished episodes stay."""
    on = jnp.where(sums.finished, 0.0, 1.0).astype(sums.returns.dtype)
    return Episodes(
        sums.returns + on * jnp.where(sums.finished, 0.0, reward),
        sums.discounted + on * weight * reward,
        sums.kl + on * weight * kl,
        sums.log_ratio + on * ratio,
        sums.length + on,
        sums.finished | over,
    )


@partial(jax.jit, static_argnums=0)
def act(acting: Acting, greedy: Any, free: Any, fixed: Fixed, observation: Any, mask: Any, words: Any,
        step: Any) -> Any:  # fmt: skip
    """(action, KL(π‖π₀), log π − log π₀) at observations [n, ...]: one program for both ways of acting."""
    keys = jax.random.split(jax.random.fold_in(key_of(words), step))
    return _acted(acting.at(free, fixed, observation, mask), greedy, keys[0], keys[1])


def _stepped(
    stepper: Stepper, acting: Acting, free: Any, fixed: Fixed, greedy: bool, words: np.ndarray, discount: float,
    longest: int, episodes: int,
) -> Episodes:  # fmt: skip
    stepper.reset(int(words[0] >> 1))
    n, each = stepper.lanes, -(-episodes // stepper.lanes)
    running = np.zeros((5, n))
    done: list[np.ndarray] = []
    count = np.zeros(n, int)
    step = 0
    while (count < each).any():
        action, kl, ratio = (np.asarray(x) for x in act(
            acting, greedy, free, fixed, stepper.observation, stepper.mask, words, np.int32(step)))  # fmt: skip
        seen = stepper.step(action)
        weight = discount ** running[4]
        valid = seen.valid.astype(float)
        running += valid * np.stack([seen.reward, weight * seen.reward, weight * kl, ratio, np.ones(n)])
        over = seen.valid & (seen.terminated | seen.truncated | (running[4] >= longest))
        for lane in np.flatnonzero(over):
            if count[lane] < each:
                done.append(np.append(running[:, lane], seen.terminated[lane] or seen.truncated[lane]))
            count[lane] += 1
            running[:, lane] = 0.0
        step += 1
    returns, discounted, kl_sum, ratio_sum, length, finished = np.array(done).T
    return Episodes(returns, discounted, kl_sum, ratio_sum, length, finished > 0)


@dataclass(frozen=True)
class Report:
    """What is known of a policy from fresh episodes; the objective of its fit, and numbers for its diagnostics."""

    objective: Estimate
    numbers: Mapping[str, Any]


def assess(task: Task, acting: Acting, free: Any, fixed: Fixed, temperature: float,
           rng: np.random.Generator, episodes: int = EPISODES) -> Report:  # fmt: skip
    """Greedy, sampled and soft values with standard errors, from two times `episodes` fresh episodes.

    The objective is KL(π‖P_opt) − log Z = −J/α with J = E[Σ γᵗ (r − α KL(π(·∣s)‖π₀(·∣s)))]: unbiased, as the episodes
    took no part in the training. With w = R/α − log π(τ)/π₀(τ), log Z ≥ E[w] and log Z ≈ log mean exp w by
    importance sampling, whose expectation is below log Z: their difference bounds KL(π‖P_opt) from below on average.
    """
    greedy = play(task, acting, free, fixed, True, rng, episodes)
    sampled = play(task, acting, free, fixed, False, rng, episodes)
    soft = np.asarray(sampled.discounted, np.float64) - temperature * np.asarray(sampled.kl, np.float64)
    value = _mean(soft / temperature, "−E[R]/α + KL(π‖π₀)")
    cut = int((~np.asarray(sampled.finished, bool)).sum())
    reason = f"{cut} of {len(soft)} episodes had not ended after {LONGEST:,} steps and were cut" if cut else ""
    objective = Estimate(-value.value, value.standard_error, Guarantee.UNBIASED, "KL(π‖P_opt) − log Z",
                         ("log Z",), reason)  # fmt: skip
    weights = np.asarray(sampled.returns, np.float64) / temperature - np.asarray(sampled.log_ratio, np.float64)
    numbers = {
        "greedy_return": _mean(greedy.returns, "E[R], greedy", "reward"),
        "sampled_return": _mean(sampled.returns, "E[R], sampled", "reward"),
        "soft_value": _mean(soft, "soft value", "reward"),
        "prior_kl": _mean(sampled.kl, "KL(π‖π₀) of an episode"),
        "steps": _mean(sampled.length, "steps of an episode", "steps"),
        "temperature": temperature,
        "episodes": len(soft),
    }
    if task.discount == 1.0 and not cut:
        numbers["kl_lower_bound"] = float(np.logaddexp.reduce(weights) - np.log(len(weights)) - weights.mean())
    return Report(objective, numbers)


def _mean(x: Float[np.ndarray, " n"], quantity: str, unit: str = "nats") -> Estimate:
    values = np.asarray(x, np.float64)
    error = float(values.std(ddof=1) / np.sqrt(len(values)))
    return Estimate(float(values.mean()), error, Guarantee.UNBIASED, quantity, unit=unit)
