"""From recorded episodes to numbers for every step: returns to go, and advantages over a fitted baseline."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import equinox as eqx
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float, Int, Shaped

from kullback.divergence import KL
from kullback.errors import InputError
from kullback.families.conditional import Conditional, input_sizes
from kullback.families.dense import InputSizes
from kullback.families.networks import MLP, Table
from kullback.known import Pairs


def side_by_side(sizes: Sequence[InputSizes], parts: Sequence[Any], xp: ModuleType = np) -> Any:
    """Parts [n, ...] one beside another [n, width], in float32: labels as one among their number, arrays flattened.

    xp  `jax.numpy` inside a compiled program
    """
    rows = [
        part.reshape(len(part), -1) if size.labels is None else part[:, None] == np.arange(size.labels)
        for size, part in zip(sizes, parts, strict=True)
    ]
    return xp.concatenate([row.astype(np.float32) for row in rows], axis=-1)


def as_one_label(sizes: Sequence[InputSizes], parts: Sequence[Any]) -> Any:
    """Parts that are labels [n] as one: of s among S and g among G it is s · G + g."""
    label = parts[0].astype(np.int32)
    for size, part in zip(sizes[1:], parts[1:], strict=True):
        assert size.labels is not None
        label = label * size.labels + part.astype(np.int32)
    return label


def labels_among(sizes: Sequence[InputSizes]) -> int | None:
    """How many labels `as_one_label` tells apart; None where a part is no label."""
    counts = [size.labels for size in sizes if size.labels is not None]
    return math.prod(counts) if len(counts) == len(sizes) else None


MOST_LABELS = 1_000_000  # of observations and actions together, in a table


def returns_to_go(
    rewards: Float[np.ndarray, " n"],
    episode: Int[np.ndarray, " n"],
    discount: float = 1.0,
    beyond: Float[np.ndarray, " episodes"] | None = None,
) -> Float[np.ndarray, " n"]:
    """G_t = r_t + γ G_{t+1} of every step, to the end of its episode, in double precision.

    rewards   of the steps, those of one episode in the order of time (others may lie between them)
    episode   the number of each step's episode, from 0
    discount  γ in [0, 1]
    beyond    what would have come after each episode's last step, where it was cut off: V of the observation after it,
              and 0 for episodes that came to an end; None for all 0

    Raises `InputError` for NaN, other lengths or numbers out of range.
    """
    reward, number = np.asarray(rewards, np.float64), np.asarray(episode)
    if reward.ndim != 1 or number.shape != reward.shape or number.dtype.kind not in "iu" or (number < 0).any():
        raise InputError(
            f"episode: shape {number.shape} of {number.dtype} beside rewards of shape {reward.shape}; "
            "pass for each step the number of its episode, from 0"
        )
    if not np.isfinite(reward).all():
        raise InputError("rewards: they have NaN or infinite values; drop those episodes, or correct them")
    if not 0 <= discount <= 1:
        raise InputError(f"discount: {discount} is not in [0, 1]; 1 is no discounting")
    count = int(number.max(initial=-1)) + 1
    after = np.zeros(count) if beyond is None else np.asarray(beyond, np.float64)
    if after.shape != (count,) or not np.isfinite(after).all():
        raise InputError(
            f"beyond: shape {after.shape}, or values that are not finite, for {count} episodes; pass one "
            "number for each"
        )
    running, gathered = after.tolist(), []
    for r, e in zip(reward[::-1].tolist(), number[::-1].tolist(), strict=True):
        running[e] = r + discount * running[e]
        gathered.append(running[e])
    return np.array(gathered[::-1])


def advantages(
    observations: Shaped[np.ndarray, "n ..."],
    returns: Float[np.ndarray, " n"],
    actions: Shaped[np.ndarray, "n ..."] | None = None,
    episode: Int[np.ndarray, " n"] | None = None,
    *,
    network: Any = None,
    folds: int = 5,
    seed: int = 0,
) -> Float[np.ndarray, " n"]:
    """How much better it went than is usual at the observation: returns less a fitted baseline V(s).

    V is the mean of the return given the observation, by forward KL: `kl.KL(kl.Pairs(observations, returns),
    kl.Conditional(network, dist.Normal, scale=...))`. It is cross-fitted: a row's baseline is learned from the other
    folds, so that its own luck does not leak into it.

    The return of one episode holds the luck of that episode. Tilting by it at temperature α weights an action by
    E[exp(G/α)∣s, a], which likes risk: it conditions the dynamics on luck. Of an action that wins 1 with probability
    0.1 and loses 1 otherwise, against a safe 0, it makes a probability of 0.937 at α = 0.2, where tilting by the
    expected return makes 0.018. With `actions` the expected return Q(s, a) is fitted in the same way, and the answer
    is Q(s, a) − V(s): the luck is averaged out, as far as the network tells observations and actions apart. Where the
    dynamics are deterministic there is no such luck, only that of what the policy did later.

    actions   [n, ...] labels (integers) or real numbers; None takes the returns as they are
    episode   the number of each row's episode; its rows then go into one fold together, as they share their luck
    network   of V and Q; None is a `kl.Table` where everything is a label, else `kl.MLP()`
    folds     parts of the data, each judged by what the others teach; 1 fits to all of them at once, leaks included

    Raises `InputError` for other lengths, NaN, and fewer episodes (or rows) than two folds need.
    Source: Peng, Kumar, Zhang and Levine (2019), arXiv:1910.00177, algorithm 1, for the baseline; Chernozhukov et al.
    (2018) for cross-fitting.
    """
    seen, gained = np.asarray(observations), np.asarray(returns, np.float64)
    n = len(seen)
    done = None if actions is None else np.asarray(actions)
    group = np.arange(n) if episode is None else np.asarray(episode)
    for name, array in (("returns", gained), ("actions", done), ("episode", group)):
        if array is not None and array.shape[:1] != (n,):
            raise InputError(f"{name}: shape {array.shape} beside {n} observations; pass one for each")
    if gained.ndim != 1 or not np.isfinite(gained).all():
        raise InputError("returns: they are not one finite number for each observation; drop such rows")
    fold = _folds(group, folds, seed)
    value = _regressed([seen], gained, fold, network, seed)
    if done is None:
        return gained - value
    columns = [done] if done.ndim == 1 or done.dtype.kind not in "iub" else list(done.reshape(n, -1).T)
    return _regressed([seen, *columns], gained, fold, network, seed) - value


def _folds(group: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of every row [n]; rows of one group share theirs."""
    if isinstance(folds, bool) or int(folds) != folds or folds < 1:
        raise InputError(f"folds: {folds} is no positive whole number; 5 is usual, and 1 is no cross-fitting")
    _, index = np.unique(group, return_inverse=True)
    count = int(index.max()) + 1
    if folds > 1 and count < 2:
        raise InputError(
            "folds: there is one episode only, so none is left to judge it by; pass folds=1, or more of them"
        )
    return np.random.default_rng(seed).permutation(count)[index] % min(folds, count)


def _regressed(
    parts: list[np.ndarray], gained: np.ndarray, fold: np.ndarray, network: eqx.Module, seed: int
) -> np.ndarray:
    """The mean of what was gained given the parts, [n], each fold's learned from the others."""
    sizes = [input_sizes(part) if part.dtype.kind in "iub" else InputSizes(part.shape[1:]) for part in parts]
    x, labels = _inputs(sizes, parts, network)
    network = network or (MLP() if labels is None else Table())
    answer = np.empty(len(gained))
    for k in np.unique(fold):
        judged = fold == k
        learned = ~judged if fold.max() > 0 else judged
        answer[judged] = _mean(x[learned], gained[learned], labels, network, seed)(x[judged])
    return answer


def _inputs(sizes: list[InputSizes], parts: list[np.ndarray], network: eqx.Module) -> tuple[np.ndarray, int | None]:
    """The parts as one input, and how many labels there are if it is a label."""
    labels = labels_among(sizes)
    if len(parts) == 1:
        return parts[0], labels
    if labels is not None and labels <= MOST_LABELS and (network is None or isinstance(network, Table)):
        return as_one_label(sizes, parts), labels
    return side_by_side(sizes, parts), None


def _mean(x: np.ndarray, gained: np.ndarray, labels: int | None, network: eqx.Module, seed: int) -> Any:
    """Inputs -> the mean of what is gained there, in reward."""
    scale = float(gained.std()) or 1.0
    weights = None
    if labels is not None:  # room for those that this part of the data does not have
        x, gained = np.concatenate([x, np.arange(labels)]), np.concatenate([gained, np.full(labels, gained.mean())])
        weights = np.concatenate([np.ones(len(x) - labels), np.zeros(labels)])
    q = Conditional(network, dist.Normal, scale=scale)
    fitted = KL(Pairs(x, gained, weights), q).minimize(seed=seed, quiet=True).q
    return lambda inputs: np.asarray(fitted(inputs).mean, np.float64)
