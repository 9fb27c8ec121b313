"""`Reaching`: a policy's own trajectories, each an example of how to reach what it reached."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
from jaxtyping import Shaped
from numpy.typing import ArrayLike

from kullback.control.envs.adaptors import on_the_host
from kullback.control.envs.spec import make
from kullback.control.goals.episodes import Reached, attempts
from kullback.control.goals.goals import GoalInputs, GoalTask, Law, goals_of, law_of
from kullback.control.goals.rule import RelabelledImitation
from kullback.control.task import policy_for
from kullback.errors import InputError
from kullback.families.conditional import FittedConditional
from kullback.known import ConditionalFacts, Known, OwnRules
from kullback.known.support import from_constraint


class Reaching:
    """P(a∣s, g): what a policy did at s on the way to g, in hindsight; relabelled trajectories of the policy itself.

    Whatever trajectory a policy makes, it shows how to get from each s_t to each later s_{t+h}. Taken as examples of
    P(a∣s_t, g) with g the goal achieved at t + h, they are imitated by forward KL, and the policy so learned makes the
    next trajectories: `kl.KL(kl.control.Reaching(env), q).minimize()`. By Bayes' rule P(a∣s, g) ∝ π(a∣s) · P(g is
    achieved h steps later∣s, a): a policy tilted by the log-likelihood of arriving. It averages over the dynamics, and
    does not condition them on luck.

    What that is worth: let T be the horizon, J(π) the probability of standing at the commanded goal at T, and J′(π) the
    log-likelihood of the relabelled actions of trajectories that an earlier policy made. Then J(π) ≥ J′(π) −
    4 T (T − 1) α² + C, where C does not depend on π and α is the largest total variation distance between the two
    policies, over all inputs (theorem 3.1 of the source): learning from one's own latest trajectories raises a lower
    bound of J, as long as the policy moves little at a time. In deterministic dynamics, and with data that try every
    action everywhere, the best imitator is the best policy, and one within ε of it in total variation loses less than
    ε T (theorem 3.2). In general a round need not improve the policy, as it mixes what was done on the way to different
    goals (Eysenbach, Udatha, Salakhutdinov and Levine 2022, arXiv:2206.03378).

    env       an id or an environment of any kind that `kl.Optimal` takes. Observations with the keys observation,
              achieved_goal and desired_goal (those of Gymnasium-Robotics) say themselves what the goal is
    achieved  the goal that an observation achieves, a function of one observation; None is the observation itself
    horizon   steps of an episode, in which a goal is to be reached; None for the environment's own time limit
    goals     what is commanded: None for the goals that the environment wants, or else for those achieved so far, as
              often each; an array [m, ...] of goals; or a function (rng, n) -> goals [n, ...]
    within    the distance at which a goal counts as reached; needed for goals that are real numbers
    discount  γ in (0, 1]: an example that took h steps counts γʰ, as if each step were the last with probability
              1 − γ, so that the shorter way is preferred. The source has 1, where greedy policies wander. None is 1 for
              a timed policy, and 1 − 10/horizon, at least 0.8, for others
    timed     whether the policy is told how many steps are left; it then arrives when they are used up, not before
    labels    whether its input is one label s · G + g, as a `kl.Table` needs, where observations and goals are labels

    Otherwise the input of the policy is the observation beside the goal, labels as one among their number; `inputs`
    makes it. Raises `InputError` for what is no environment, and for goals that cannot be told.
    Source: Ghosh, Gupta, Reddy, Fu, Devin, Eysenbach and Levine (2021), arXiv:1912.06088, algorithm 1; Yang, Lu, Li et
    al. (2022), arXiv:2202.04478, for the discount.
    """

    def __init__(
        self,
        env: object,
        achieved: Callable[[Any], Any] | None = None,
        horizon: int | None = None,
        goals: object = None,
        within: float | None = None,
        discount: float | None = None,
        timed: bool = False,
        labels: bool = False,
    ) -> None:
        if horizon is not None and (isinstance(horizon, bool | str) or int(horizon) != horizon or horizon < 1):
            raise InputError(f"horizon: {horizon!r} is no positive number of steps, and not None")
        if discount is not None and (isinstance(discount, bool) or not 0 < discount <= 1):
            raise InputError(f"discount: {discount} is not in (0, 1]; 1 is no discounting")
        env = make(env) if isinstance(env, str) else env
        self.spec = on_the_host(env, horizon)
        facts = self.spec.facts
        if facts.limit is None:
            raise InputError(f"horizon: {facts.name} has no time limit; pass the steps that an episode may take")
        self.env, self.horizon = env, facts.limit
        usual = 1.0 if timed else max(0.8, 1.0 - 10.0 / self.horizon)
        self.discount = usual if discount is None else float(discount)
        self.goals = goals_of(_space(env), facts, achieved, within)
        self.law: Law = law_of(goals, self.goals)
        self._inputs = GoalInputs(self.goals.observation, self.goals.goal, self.horizon if timed else 0, bool(labels))

    @cached_property
    def task(self) -> GoalTask:
        """What the rule is asked to solve."""
        return GoalTask(
            env=self.spec,
            goals=self.goals,
            law=self.law,
            inputs=self._inputs,
            horizon=self.horizon,
            discount=self.discount,
        )

    def known(self) -> Known:
        """What is known of it: an environment to play, and the rule that imitates what was played."""
        actions = self.spec.facts.actions
        return Known(
            name=repr(self),
            event_shape=actions.shape,
            support=from_constraint(actions.support),
            atoms=np.arange(actions.categories) if actions.kind == "choice" else None,
            conditioning=ConditionalFacts(self._inputs.example),
            own=OwnRules((RelabelledImitation(),), self.task, policy_for(actions)),
        )

    def inputs(
        self, observation: Shaped[np.ndarray, "n ..."], goal: Shaped[np.ndarray, "n ..."], left: ArrayLike | None = None
    ) -> Shaped[np.ndarray, "n ..."]:
        """The inputs of the policy at observations on the way to goals: `fit.q(reaching.inputs(s, g))`.

        left  steps left [n] or one number, of a timed policy; None is the horizon

        Raises `InputError` for observations or goals of other shapes.
        """
        s, g = self.goals.as_observations(observation), self.goals.as_goals(goal, "goal")
        if len(s) != len(g):
            raise InputError(f"goal: {len(g)} of them beside {len(s)} observations; pass one for each")
        steps = np.broadcast_to(np.asarray(self.horizon if left is None else left), len(s))
        if not ((steps >= 1) & (steps <= self.horizon)).all():
            raise InputError(f"left: it is not between 1 and the horizon of {self.horizon} steps")
        return self._inputs.join(s, g, steps)

    def attempts(
        self,
        q: FittedConditional,
        goals: ArrayLike | None = None,
        episodes: int = 100,
        greedy: bool = True,
        seed: int = 0,
    ) -> Reached:
        """Fresh episodes of a fitted policy: where each began, its goal, whether it was reached, and in how many steps.

        goals  one for each episode [n, ...]; None draws them by the law of this side, which is not known of goals
               that were achieved while learning

        Raises `InputError` where there are no goals.
        """
        commanded = None if goals is None else self.goals.as_goals(goals)
        if commanded is None and self.law.kind == "achieved":
            raise InputError("goals: those achieved while learning are not known here; pass one for each episode")
        count = episodes if commanded is None else len(commanded)
        return attempts(self.task, q.structure, q.free, q.fixed, greedy, (seed,), count, commanded)

    def __repr__(self) -> str:
        return f"Reaching({self.spec.facts.name})"


def _space(env: object) -> Any:
    if isinstance(env, gym.vector.VectorEnv):
        return env.single_observation_space
    return getattr(env, "observation_space", None) if isinstance(env, gym.Env) else None
