"""`Optimal`: the optimal trajectories of an environment, the target of control."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import gymnasium as gym
import numpy as np
from numpyro.distributions import constraints

from kullback.arguments import flag, positive, whole
from kullback.control.catalogue import RULES
from kullback.control.envs.adaptors import spec_of, stepped
from kullback.control.envs.lane import PATIENCE
from kullback.control.envs.spec import EnvSpec, make, step_limit, table_of, time_limit
from kullback.control.envs.table import AsTable, table_simulator
from kullback.control.learning.temperature import Temperature, as_temperature
from kullback.control.tabular.evaluation import log_policy_of
from kullback.control.tabular.mdp import FiniteMDP, Model
from kullback.control.tabular.rules import POLICY, exact_numbers
from kullback.control.task import PRIOR, Fresh, TableProblem, Task, bounded, policy_for
from kullback.errors import InputError
from kullback.families.conditional import FittedConditional
from kullback.known import ConditionalFacts, Known, OwnRules
from kullback.known.support import from_constraint

ROWS_SUM = 1e-4  # float32 probabilities of a fitted prior add up to 1 only so far
USUAL_DISCOUNT = 0.99  # of an environment whose episodes need not end


class Optimal:
    """P_opt(τ) ∝ prior(τ) · exp(R(τ)/temperature): a prior policy's trajectories tilted by their return.

    `kl.KL(policy, kl.Optimal(env)).minimize()` is maximum-entropy reinforcement learning: the dynamics are the
    environment's on both sides, so that KL(Q‖P_opt) = log Z − E_Q[R]/α + KL(Q‖prior), in nats.

    env          a Gymnasium id or environment (single, vector or functional), a gymnax environment, or a `FiniteMDP` of
                 arrays; one that publishes `env.unwrapped.P` is solved from that table, and its time limit counts in
                 what is called its return
    temperature  α: reward per nat, positive; the lower, the greedier. A number, `kl.control.Annealed(first, last)`, or
                 `kl.control.TargetKL(nats)`, which finds it
    prior        π₀(a∣s): None for the uniform policy (on a box of actions uniform on the box), a fitted conditional,
                 or of a table probabilities [S, A] whose rows sum to 1 ([horizon, S, A] if it depends on time); an
                 action of probability 0 is forbidden, as are those that an environment's action mask forbids
    discount     γ in (0, 1]: after each step the trajectory goes on with probability γ, for Q and P_opt alike. None is
                 1 for a table or with a horizon, and 0.99 for other environments, whose episodes a time limit may cut
    horizon      None for no end but the environment's own; a number of steps; or "limit" for the environment's
                 step limit, which then ends episodes and does not merely truncate them. Of a table it makes the policy
                 depend on time: its inputs are the integers t · S + s
    compiled     whether a compiled twin of the environment, or its table, may be played in its place
    patience     seconds after which a step that has not returned is a fault; None waits for ever
    episodes     fresh episodes that say what a fit is worth, as many played greedily and as many as the policy draws;
                 None is 100, or as many as fit into the budget
    budget       the most environment steps of these episodes; None is 200,000 for an environment that is stepped,
                 unless `episodes` is given, and else no bound. Without a time limit episodes are cut in place of it, so
                 that all take 200,000 steps at most, compiled 1,000,000, though not before 1,000 steps

    Raises `InputError` for unknown ids (naming the nearest), tables that are not probabilities and values out of
    range. EnvSpec: Todorov (2007); Ziebart (2010); Levine (2018), arXiv:1805.00909, section 2.
    """

    def __init__(
        self,
        env: Any,
        temperature: float | Temperature = 1.0,
        prior: object = None,
        discount: float | None = None,
        horizon: int | str | None = None,
        compiled: bool = True,
        patience: float | None = PATIENCE,
        episodes: int | None = None,
        budget: int | None = None,
    ) -> None:
        self.temperature, self.fresh = as_temperature(temperature), Fresh(episodes, budget)
        self.prior, self.compiled = prior, flag("compiled", compiled)
        self.patience = None if patience is None else positive("patience", patience)
        self.env = make(env) if isinstance(env, str) else env
        self.model, self.spec = self._model(self.patience)
        self.horizon = self._steps(horizon)
        self.discount = self._discount(discount)

    @cached_property
    def problem(self) -> TableProblem:
        """A table as numbers, for the rules that solve it."""
        assert self.model is not None
        is_arrays = isinstance(self.env, FiniteMDP)
        return TableProblem(
            model=self.model,
            temperature=self.temperature.last,
            discount=self.discount,
            horizon=self.horizon,
            log_prior=self._log_prior(self.model),
            asked=self.temperature,
            playing=self._playing,
            limit=None if is_arrays else time_limit(self.env),
            is_arrays=is_arrays,
        )

    def _playing(self) -> Task:
        """The table as an environment to play; or the environment itself, where no compiled one may take its place."""
        problem, model = self.problem, self.problem.model
        prior = (
            None
            if self.prior is None
            else np.broadcast_to(problem.log_prior, (self.horizon or 1, model.states, model.actions)).reshape(
                -1, model.actions
            )
        )
        table = table_simulator(model, self.horizon, problem.limit, is_arrays=problem.is_arrays)
        env = EnvSpec(table.facts, compiled=table)
        if not self.compiled and not isinstance(self.env, FiniteMDP):
            env = stepped(AsTable(self.env, self.horizon), self.patience)
            env = replace(env, remark="")
        return Task(
            env=env,
            temperature=self.temperature,
            discount=self.discount,
            prior=prior,
            truth=partial(exact_numbers, problem),
            fresh=self.fresh,
        )

    @cached_property
    def task(self) -> Task:
        """An environment without a table, for the rules that play it."""
        env = self.spec
        assert env is not None
        if self.horizon is not None:
            env = env.until(self.horizon)
        if self.prior is not None and not isinstance(self.prior, FittedConditional):
            raise InputError(f"prior: {type(self.prior).__name__} is not a fitted conditional; pass the q of a fit")
        actions = env.facts.actions
        if self.prior is None and actions.kind == "box" and not actions.is_bounded:
            raise InputError(
                f"prior: the actions of {env.facts.name} have no bounds, so no prior is uniform; bound them by "
                f"{bounded(actions)}; or pass a prior=, as {PRIOR}"
            )
        return Task(
            env=env,
            temperature=self.temperature,
            discount=self.discount,
            cut_ends=self.horizon is not None,
            prior=self.prior,
            fresh=self.fresh,
        )

    def known(self) -> Known:
        """What is known of it: a table or an environment to play, and the rules for either."""
        if self.model is not None:
            return Known(
                name=repr(self),
                event_shape=(),
                support=from_constraint(constraints.integer_interval(0, self.model.actions - 1)),
                atoms=np.arange(self.model.actions),
                conditioning=ConditionalFacts(np.arange(self.problem.labels)),
                own=OwnRules(RULES, self.problem, POLICY),
            )
        facts = self.task.env.facts
        return Known(
            name=repr(self),
            event_shape=facts.actions.shape,
            support=from_constraint(facts.actions.support),
            atoms=np.arange(facts.actions.categories) if facts.actions.kind == "choice" else None,
            conditioning=ConditionalFacts(facts.observations.example),
            own=OwnRules(RULES, self.task, policy_for(facts.actions)),
        )

    @property
    def name(self) -> str:
        if self.model is not None:
            return self.model.name
        assert self.spec is not None
        return self.spec.facts.name

    def _model(self, patience: float | None) -> tuple[Model | None, EnvSpec | None]:
        """The transition table of an environment that states one, or else how to play it."""
        if isinstance(self.env, FiniteMDP):
            return self.env.model(), None
        model, reason = table_of(self.env) if isinstance(self.env, gym.Env) else (None, "")
        if model is not None:
            return model, None
        spec = spec_of(self.env, self.compiled, patience)
        if not reason:
            return None, spec
        remark = f"{spec.remark}, and without its table, as {reason}" if spec.lanes else f"stepped, as {reason}"
        return None, replace(spec, remark=remark)

    def _steps(self, horizon: int | str | None) -> int | None:
        if horizon is None:
            return None
        if isinstance(horizon, str) and horizon == "limit":
            if isinstance(self.env, FiniteMDP):
                raise InputError('horizon: a FiniteMDP has no step limit, so "limit" means nothing; pass a number')
            limit = self.spec.facts.limit if self.spec is not None else step_limit(self.env)
            if limit is None:
                raise InputError(f"horizon: {self.name} states no step limit; pass a number of steps, or None")
            return limit
        if isinstance(horizon, str):
            raise InputError(f'horizon: {horizon!r} is none of a positive number of steps, "limit" and None')
        return whole("horizon", horizon)

    def _discount(self, discount: float | None) -> float:
        if discount is None:
            return 1.0 if self.model is not None or self.horizon is not None else USUAL_DISCOUNT
        number = isinstance(discount, int | float | np.integer | np.floating) and not isinstance(discount, bool)
        one_step = number and discount == 0 and self.model is not None
        if not (one_step or (number and 0 < discount <= 1)):
            one = "; horizon=1 counts the first reward alone" if number and discount == 0 else ""
            raise InputError(f"discount: {discount} is not in (0, 1]; 1 is no discounting{one}")
        return float(discount)

    def _log_prior(self, model: Model) -> np.ndarray:
        states, actions = model.states, model.actions
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
        return f"Optimal({self.name})"
