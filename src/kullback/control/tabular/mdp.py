"""A finite Markov decision process: every outcome of every state and action, and which states its chain can reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import ArrayLike
from scipy.sparse.csgraph import breadth_first_order, connected_components

from kullback.errors import InputError

ROUNDING = 1e-6  # how far a row of probabilities may be from 1 before it is an error and not rounding


@dataclass(frozen=True, eq=False)
class Model:
    """The outcomes of a finite decision process, one row for each thing that can follow (state, action).

    states, actions  how many there are
    state, action, successor  [m] integers
    probability, reward       [m]; the probabilities of one (state, action) sum to 1
    ends                      [m] whether the outcome ends the trajectory, after its reward
    start                     [states] the law of the first state
    """

    states: int
    actions: int
    state: np.ndarray
    action: np.ndarray
    successor: np.ndarray
    probability: np.ndarray
    reward: np.ndarray
    ends: np.ndarray
    start: np.ndarray
    name: str = "a finite MDP"

    @property
    def pair(self) -> np.ndarray:
        """The index state · actions + action of every outcome, [m]."""
        return self.state * self.actions + self.action

    @cached_property
    def expected_reward(self) -> np.ndarray:
        """E[r | s, a], [states · actions]."""
        return np.bincount(self.pair, self.probability * self.reward, minlength=self.states * self.actions)

    @cached_property
    def going_on(self) -> sp.csr_array:
        """The probability of going on to each state, [states · actions, states]; the rest of a row ends."""
        kept = ~self.ends
        entries = (self.probability[kept], (self.pair[kept], self.successor[kept]))
        return sp.csr_array(sp.coo_array(entries, shape=(self.states * self.actions, self.states)))

    @cached_property
    def may_end(self) -> np.ndarray:
        """Whether some outcome of (s, a) ends the trajectory, [states · actions]."""
        return np.bincount(self.pair, self.ends, minlength=self.states * self.actions) > 0

    @cached_property
    def pays(self) -> np.ndarray:
        """Whether some outcome of (s, a) has a reward other than 0, [states · actions]."""
        return np.bincount(self.pair, self.reward != 0, minlength=self.states * self.actions) > 0

    @cached_property
    def acting(self) -> np.ndarray:
        """Whether anything follows a state, [states]; False for a terminal one."""
        return np.bincount(self.state, minlength=self.states) > 0

    @cached_property
    def deterministic(self) -> bool:
        """Whether one outcome alone follows every (state, action)."""
        return len(np.unique(self.pair)) == len(self.pair)


class FiniteMDP:
    """A finite Markov decision process given as arrays.

    transition  [S, A, S] probabilities P(s′∣s, a), or a sequence of A sparse [S, S] matrices
    reward      [S], [S, A] or [S, A, S]: of the state left, of the action taken in it, or of the transition
    terminal    [S] booleans, or the indices of the terminal states: arriving there gives the reward and ends
    start       the first state, or its law [S]; uniform over the states that are not terminal unless given

    Raises `InputError` for shapes that differ, probabilities that are negative or do not sum to 1, NaN or infinite
    rewards, and a start law without mass. Source: Puterman (1994), chapter 2.
    """

    def __init__(
        self,
        transition: ArrayLike | Sequence[Any],
        reward: ArrayLike,
        terminal: Any = None,
        start: ArrayLike | None = None,
    ) -> None:
        matrices = _matrices(transition)
        states, actions = matrices[0].shape[0], len(matrices)
        over = _terminal(terminal, states)
        blocks = [m.tocoo() for m in matrices]
        state = np.concatenate([b.row for b in blocks]).astype(np.int64)
        successor = np.concatenate([b.col for b in blocks]).astype(np.int64)
        action = np.repeat(np.arange(actions), [b.nnz for b in blocks])
        kept = ~over[state]
        state, successor, action = state[kept], successor[kept], action[kept]
        self._model = model_from_outcomes(
            states,
            actions,
            (state, action, successor),
            np.concatenate([b.data for b in blocks])[kept],
            _rewards(reward, (states, actions), (state, action, successor)),
            over[successor],
            _start(start, over),
        )

    def model(self) -> Model:
        """The list of outcomes."""
        return self._model

    def __repr__(self) -> str:
        return f"FiniteMDP({self._model.states} states × {self._model.actions} actions)"


def model_from_outcomes(
    states: int,
    actions: int,
    where: tuple[np.ndarray, np.ndarray, np.ndarray],
    probability: np.ndarray,
    reward: np.ndarray,
    ends: np.ndarray,
    start: np.ndarray,
    name: str = "a finite MDP",
) -> Model:
    """A checked `Model`, sorted by state and action, from (state, action, successor) [m] and what goes with them."""
    state, action, successor = where
    if not np.isfinite(reward).all():
        row = int(np.argmin(np.isfinite(reward)))
        raise InputError(
            f"reward: it is {reward[row]} after action {action[row]} in state {state[row]}; "
            "every reward must be a finite number"
        )
    if not (np.isfinite(probability).all() and (probability >= 0).all()):
        raise InputError("transition: some probabilities are negative, NaN or infinite")
    kept = probability > 0
    order = np.flatnonzero(kept)[np.lexsort((action[kept], state[kept]))]
    pair = state[order] * actions + action[order]
    total = np.bincount(pair, probability[order], minlength=states * actions)
    by_state = np.bincount(state[order], minlength=states) > 0
    wrong = (np.abs(total - 1.0) > ROUNDING) & np.repeat(by_state, actions)
    if wrong.any():
        s, a = divmod(int(np.argmax(wrong)), actions)
        raise InputError(
            f"transition: the probabilities after action {a} in state {s} sum to {total[s * actions + a]:.6g}, not 1"
        )
    return Model(
        states,
        actions,
        state[order],
        action[order],
        successor[order],
        probability[order] / total[pair],
        np.asarray(reward, np.float64)[order],
        np.asarray(ends, bool)[order],
        checked_start(start, states),
        name,
    )


def checked_start(start: np.ndarray, states: int) -> np.ndarray:
    """The law of the first state, [states]; raises `InputError` unless it is one."""
    start = np.asarray(start, np.float64)
    if start.shape != (states,):
        raise InputError(f"start: shape {start.shape} for {states} states; pass a state or a law over all of them")
    if not (np.isfinite(start).all() and (start >= 0).all() and abs(start.sum() - 1.0) < ROUNDING):
        raise InputError("start: it must be non-negative and sum to 1")
    return start / start.sum()


def _matrices(transition: ArrayLike | Sequence[Any]) -> list[Sparse]:
    if isinstance(transition, Sequence) and all(sp.issparse(m) for m in transition) and len(transition):
        matrices: list[Sparse] = [sp.csr_array(m, dtype=np.float64) for m in transition]
    else:
        array = np.asarray(transition, np.float64)
        if array.ndim != 3:
            raise InputError(
                f"transition: shape {array.shape} is not [S, A, S]; pass P(s′∣s, a), "
                "or a list of A sparse [S, S] matrices"
            )
        matrices = [sp.csr_array(array[:, a]) for a in range(array.shape[1])]
    if not matrices or any(m.shape != (matrices[0].shape[0],) * 2 for m in matrices) or not matrices[0].shape[0]:
        raise InputError("transition: every action needs a square matrix over the same states")
    return matrices


def _terminal(terminal: ArrayLike | None, states: int) -> np.ndarray:
    over = np.zeros(states, bool)
    if terminal is None:
        return over
    given = np.asarray(terminal)
    if given.dtype == bool and given.shape != (states,):
        raise InputError(f"terminal: {given.shape} booleans for {states} states")
    if given.dtype != bool and given.size and (given.dtype.kind not in "iu" or not np.isin(given, range(states)).all()):
        raise InputError(f"terminal: pass booleans [{states}], or indices between 0 and {states - 1}")
    over[given if given.size else []] = True
    return over


def _rewards(reward: ArrayLike, shape: tuple[int, int], where: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    array = np.asarray(reward, np.float64)
    states, actions = shape
    if array.shape not in ((states,), (states, actions), (states, actions, states)):
        raise InputError(f"reward: shape {array.shape} is none of [{states}], [{states}, {actions}], [S, A, S]")
    return array[where[: array.ndim]]


def _start(start: Any, over: np.ndarray) -> np.ndarray:
    if start is None:
        if over.all():
            raise InputError("terminal: every state is terminal, so there is nothing to control")
        return ~over / np.sum(~over)
    if np.ndim(start):
        return np.asarray(start, np.float64)
    if not 0 <= int(start) < len(over):
        raise InputError(f"start: there is no state {start}; the states are 0 to {len(over) - 1}")
    return np.eye(len(over))[int(start)]


Sparse = Any  # a SciPy sparse array: their stubs do not say that it has a shape


def reached(graph: Sparse, start: np.ndarray) -> np.ndarray:
    """The states that can be reached from where `start` [S] is True along the edges of graph [S, S]."""
    size = graph.shape[0]
    first = sp.csr_array(start[None, :].astype(np.float64))
    rooted = sp.block_array([[graph, None], [first, sp.csr_array((1, 1))]], format="csr")
    order = breadth_first_order(rooted, size, directed=True, return_predecessors=False)
    found = np.zeros(size + 1, bool)
    found[order] = True
    return found[:size]


def never_left(graph: Sparse, may_end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The states of the closed classes that neither end nor are left, as a mask [S], and each state's class [S]."""
    count, label = connected_components(graph, directed=True, connection="strong")
    edges = graph.tocoo()
    is_open = np.zeros(count, bool)
    is_open[label[edges.row[label[edges.row] != label[edges.col]]]] = True
    is_open[label[may_end]] = True
    return ~is_open[label], label
