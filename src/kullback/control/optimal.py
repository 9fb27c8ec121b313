"""`Optimal`: the optimal trajectories of an environment, the target of control."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpyro.distributions import constraints

from kullback.control.environment import make, read_table, step_limit
from kullback.control.mdp import FiniteMDP, Model
from kullback.control.policy import log_policy_of
from kullback.control.problem import Problem
from kullback.control.rules import PolicyEvaluation, SoftValueIteration, SoftValueIterationProjected
from kullback.errors import InputError
from kullback.known import Known
from kullback.known.support import from_constraint

ROWS_SUM = 1e-4  # float32 probabilities of a fitted prior add up to 1 only so far


def _is_number(x: object) -> bool:
    return isinstance(x, int | float | np.integer | np.floating) and not isinstance(x, bool)


class Optimal:
    """P_opt(τ) ∝ prior(τ) · exp(R(τ)/temperature): a prior policy's trajectories tilted by their return.

    `kl.KL(policy, kl.Optimal(env)).minimize()` is maximum-entropy reinforcement learning: the dynamics are the
    environment's on both sides, so that KL(Q‖P_opt) = log Z − E_Q[R]/α + KL(Q‖prior), in nats.

    env          a Gymnasium id or environment that publishes `env.unwrapped.P`, or a `FiniteMDP` of arrays
    temperature  α: reward per nat, positive; the lower, the greedier
    prior        π₀(a∣s): None for the uniform policy, a fitted conditional, or probabilities [S, A] whose rows
                 sum to 1 ([horizon, S, A] if it depends on time); an action of probability 0 is forbidden
    discount     γ in (0, 1]: after each step the trajectory goes on with probability γ, for Q and P_opt alike
    horizon      None for no end but the environment's own; a number of steps; or "limit" for the environment's
                 step limit. A horizon makes the policy depend on time: its inputs are the integers t · S + s

    Raises `InputError` for unknown ids (naming the nearest), tables that are not probabilities and values out of
    range, `PlanError` for an environment without a table.
    Source: Todorov (2007); Ziebart (2010); Levine (2018), arXiv:1805.00909, section 2.
    """

    def __init__(
        self,
        env: Any,
        temperature: float = 1.0,
        prior: Any = None,
        discount: float = 1.0,
        horizon: int | str | None = None,
    ) -> None:
        if not (_is_number(temperature) and 0 < temperature < np.inf):
            raise InputError(f"temperature: {temperature} is not a positive number of reward units per nat")
        if not (_is_number(discount) and 0 < discount <= 1):
            raise InputError(f"discount: {discount} is not in (0, 1]; 1 is no discounting")
        self.env = env if isinstance(env, FiniteMDP) else make(env)
        self.temperature, self.prior, self.discount = float(temperature), prior, float(discount)
        self.model: Model = self.env.model() if isinstance(self.env, FiniteMDP) else read_table(self.env)
        self.horizon = self._steps(horizon)

    @cached_property
    def problem(self) -> Problem:
        """The same as numbers, for the rules."""
        return Problem(self.model, self.temperature, self.discount, self.horizon, self._log_prior())

    def known(self) -> Known:
        """What is known of it: the table, and the rules that solve it."""
        return Known(
            name=repr(self),
            event_shape=(),
            inputs=np.arange(self.problem.labels),
            support=from_constraint(constraints.integer_interval(0, self.model.actions - 1)),
            atoms=np.arange(self.model.actions),
            rules=(SoftValueIteration(), SoftValueIterationProjected(), PolicyEvaluation()),
            facts=self.problem,
        )

    def _steps(self, horizon: int | str | None) -> int | None:
        if horizon is None:
            return None
        if horizon == "limit":
            if isinstance(self.env, FiniteMDP):
                raise InputError('horizon: a FiniteMDP has no step limit, so "limit" means nothing; pass a number')
            return step_limit(self.env)
        if isinstance(horizon, str | bool) or int(horizon) != horizon or horizon < 1:
            raise InputError(f'horizon: {horizon!r} is none of a positive number of steps, "limit" and None')
        return int(horizon)

    def _log_prior(self) -> np.ndarray:
        states, actions = self.model.states, self.model.actions
        if self.prior is None:
            return np.full((states, actions), -np.log(actions))
        if hasattr(self.prior, "on"):
            return log_policy_of(self.prior, states, actions, self.horizon)
        prior = np.asarray(self.prior, np.float64)
        shapes = [(states, actions)] + ([(self.horizon, states, actions)] if self.horizon else [])
        if prior.shape not in shapes:
            raise InputError(f"prior: shape {prior.shape} where probabilities {list(shapes[0])} are needed")
        total = prior.sum(-1, keepdims=True)
        if not ((prior >= 0).all() and (np.abs(total - 1.0) < ROWS_SUM).all()):
            raise InputError("prior: each row must be non-negative and sum to 1")
        with np.errstate(divide="ignore"):
            return np.log(prior / total)

    def __repr__(self) -> str:
        return f"Optimal({self.model.name})"
