"""Exact evaluation of any policy for a table: its return, state visits, and divergences along trajectories."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpyro.distributions as dist
import scipy.sparse as sp
import scipy.sparse.linalg as spla
from jaxtyping import Float
from numpyro.distributions import CategoricalLogits

from kullback.control.tabular.mdp import Sparse, never_left, reached
from kullback.control.tabular.soft_bellman import SingularChain, solve_chain
from kullback.control.task import TableProblem, kl_rows
from kullback.errors import FitError, InputError
from kullback.families.conditional import ConditionalStructure
from kullback.families.learnable import Learnable


def log_policy_of(policy: Any, states: int, actions: int, horizon: int | None = None) -> np.ndarray:
    """log π(a∣s) of a fitted conditional, [S, A]; [horizon, S, A] if it depends on time.

    Raises `InputError` where it is no policy over these actions.
    """
    labels = getattr(getattr(getattr(policy, "structure", None), "network", None), "labels", None)
    timed = horizon is not None and labels == states * horizon
    side = policy.on(np.arange(states * horizon if timed and horizon else states))
    table = log_rows(side.distribution, actions)
    return table.reshape(horizon, states, actions) if timed and horizon else table


def log_rows(distribution: dist.Distribution, actions: int) -> np.ndarray:
    """The normalised log-probabilities of a batch of categorical distributions, float64 [n, A]."""
    logits = getattr(distribution, "logits", None)
    if logits is None or np.shape(logits)[-1] != actions:
        raise InputError(
            f"policy: {type(distribution).__name__} does not choose among {actions} actions; "
            "fit a kl.Conditional(..., dist.Categorical)"
        )
    table = np.asarray(logits, np.float64)
    return table - np.logaddexp.reduce(table, axis=-1, keepdims=True)


def why_no_policy(side: Learnable, actions: int) -> str:
    """Why a learnable side cannot be a policy over `actions` actions, or nothing."""
    if not isinstance(side.structure, ConditionalStructure):
        return "P does not depend on the state, and a policy does"
    if side.structure.form.cls is not CategoricalLogits:
        return f"P is {side.structure.form.cls.__name__}, which does not choose among {actions} actions"
    return ""


def into_table(side: Learnable, log_policy: np.ndarray) -> np.ndarray:
    """The free parameters of a `Table` whose rows are these log-probabilities [n, A]."""
    return (log_policy - side.fixed["offset"]) / side.fixed["gain"]


STEP = 1e5  # multiplications of a dense product that take as long as one sparse step
LARGEST = 2_000  # states of a matrix that is written out


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a policy does from the law of the first state.

    expected_return  E[R], infinite or NaN where it is; discounted as the problem is
    steps            expected steps to the end, infinite where it may never come
    occupancy        expected visits to each state, [S] or [horizon, S]
    log_policy       the policy that was evaluated, [S, A] or [horizon, S, A]
    """

    expected_return: float
    steps: float
    occupancy: np.ndarray
    log_policy: np.ndarray

    def trajectory_kl(self, log_other: np.ndarray) -> float:
        """KL of this policy's trajectories to another's, dynamics being equal, nats: Σ_s d(s) KL(π(·∣s)‖other(·∣s))."""
        rows = kl_rows(self.log_policy, np.broadcast_to(log_other, self.log_policy.shape))
        visited = (self.occupancy > 0) & (rows > 0)
        return float(self.occupancy[visited] @ rows[visited])


def evaluate(problem: TableProblem, log_policy: np.ndarray) -> Evaluation:
    """The exact return, duration and occupancy of a policy, [S, A] or with a horizon [horizon, S, A].

    The occupancy solves d = μ + γ Pᵀ d (a sparse linear system), or goes forward through a horizon; everything else
    is a sum over it. Where the policy may stay for ever in a set of states, the visits there are infinite, and the
    return is that of the time before if the set pays nothing. Source: Puterman (1994), chapters 4 to 7.
    """
    log_policy = log_policy - np.logaddexp.reduce(log_policy, axis=-1, keepdims=True)
    if problem.horizon is not None:
        return _forward(problem, problem.horizon, log_policy)
    model, policy = problem.model, np.exp(log_policy)
    chain = _chain(problem, policy)
    payment = np.where(model.acting, (policy * model.expected_reward.reshape(policy.shape)).sum(1), 0.0)
    seen = reached(chain, model.start > 0)
    ending = (policy * model.may_end.reshape(policy.shape)).sum(1) > 0
    closed, label = never_left(chain, ending | ~model.acting | (problem.discount < 1.0))
    passing, trapped = seen & model.acting & ~closed, seen & closed
    occupancy = np.zeros(model.states)
    try:
        occupancy[passing] = solve_chain(sp.csr_array(chain[passing][:, passing].T), model.start[passing])
    except SingularChain as error:
        raise FitError("env: the policy's trajectories are too long to sum; pass discount= or horizon=") from error
    total = float(occupancy @ payment)
    for class_ in np.unique(label[trapped]):
        total += _for_ever(chain, payment, label == class_)
    occupancy[trapped] = np.inf
    return Evaluation(total, float(occupancy.sum()), occupancy, log_policy)


class Episode(NamedTuple):
    """What the environment counts: the expected undiscounted return of an episode, and its expected steps."""

    expected_return: float
    steps: float


def episode(problem: TableProblem, found: Evaluation) -> Episode:
    """The return of a policy as the environment counts it: undiscounted, and cut off at its time limit.

    Backward induction over the steps of one episode, V_n = r_π + P_π V_{n−1}: a time limit ends what the environment
    counts, but not what the stationary policy was solved for. Without a limit it is the sum to the end. A `FiniteMDP`
    has no return but the problem's own. NaN where there is none, as of rewards that alternate for ever.
    Source: Puterman (1994), chapter 4.
    """
    limit, horizon = problem.limit, problem.horizon
    if problem.is_arrays or (limit is None and problem.discount == 1.0):
        return Episode(found.expected_return, found.steps)
    undiscounted = replace(problem, discount=1.0)
    if horizon is not None:
        counted = min(horizon, limit or horizon)
        shorter = replace(undiscounted, horizon=counted, log_prior=problem.prior_by_time[:counted])
        whole = _forward(shorter, counted, found.log_policy[:counted])
        return Episode(whole.expected_return, whole.steps)
    if limit is None:
        try:
            whole = evaluate(undiscounted, found.log_policy)
        except FitError:
            return Episode(np.nan, np.nan)
        return Episode(whole.expected_return, whole.steps)
    model, policy = problem.model, np.exp(found.log_policy)
    gain = np.stack([(policy * model.expected_reward.reshape(policy.shape)).sum(1), np.ones(model.states)], 1)
    gain[~model.acting] = 0.0
    total, steps = model.start @ _summed(_chain(undiscounted, policy), gain, limit)
    return Episode(float(total), float(steps))


def _summed(chain: Sparse, gain: Float[np.ndarray, "states k"], steps: int) -> Float[np.ndarray, "states k"]:
    """Σ_{t < steps} chainᵗ gain."""
    states, columns = gain.shape
    if states <= LARGEST and states**3 * np.log2(steps) < STEP * steps:
        # The same sum is a block of ((chain, gain), (0, 1)) to the power of steps, by squaring.
        block = np.eye(states + columns)
        block[:states, :states], block[:states, states:] = chain.toarray(), gain
        return np.linalg.matrix_power(block, steps)[:states, states:]
    value = np.zeros_like(gain)
    for _ in range(steps):
        before, value = value, gain + chain @ value
        if (value == before).all():
            break
    return value


def _chain(problem: TableProblem, policy: np.ndarray) -> Sparse:
    states, actions = policy.shape
    bounds = np.arange(0, states * actions + 1, actions)
    mixing = sp.csr_array((policy.reshape(-1), np.arange(states * actions), bounds), shape=(states, states * actions))
    chain = sp.csr_array(problem.discount * (mixing @ problem.model.going_on))
    chain.eliminate_zeros()
    return chain


def _for_ever(chain: Sparse, payment: np.ndarray, members: np.ndarray) -> float:
    """What a class that is never left adds to the return: 0, ±∞ by its average reward, or NaN where that is 0."""
    paid = payment[members]
    if not paid.any():
        return 0.0
    if (paid >= 0).all() or (paid <= 0).all():
        return float(np.sign(paid.sum()) * np.inf)
    inside = sp.lil_array((sp.eye_array(len(paid)) - chain[members][:, members]).T)
    inside[-1] = 1.0  # the stationary law solves this system with one equation replaced by its sum
    stationary = spla.spsolve(sp.csc_array(inside), np.eye(len(paid))[-1])
    average = float(stationary @ paid)
    small = 1e-12 * np.abs(paid).max()
    return np.nan if abs(average) < small else float(np.sign(average) * np.inf)


def _forward(problem: TableProblem, horizon: int, log_policy: np.ndarray) -> Evaluation:
    model, policy = problem.model, np.exp(np.broadcast_to(log_policy, problem.prior_by_time.shape))
    occupancy = np.zeros((horizon, model.states))
    here, total = np.where(model.acting, model.start, 0.0), 0.0
    onward = sp.csr_array(model.going_on.T)
    for t in range(horizon):
        occupancy[t] = here
        pairs = (here[:, None] * policy[t]).reshape(-1)
        total += float(pairs @ model.expected_reward)
        here = np.where(model.acting, problem.discount * (onward @ pairs), 0.0)
    return Evaluation(total, float(occupancy.sum()), occupancy, np.array(np.broadcast_to(log_policy, policy.shape)))
