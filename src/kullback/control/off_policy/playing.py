"""Off-policy learning under the driver: rounds on the device, or steps on the host and updates on the device."""

from __future__ import annotations

import abc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kullback.control.envs.simulator import Stepper, Transition
from kullback.control.learning.episode_statistics import COLUMNS, CURVE, nothing_played
from kullback.control.learning.running_moments import at_start
from kullback.control.learning.training import Goal, Playing
from kullback.control.off_policy import program
from kullback.control.off_policy.replay import capacity_for, empty, grown
from kullback.control.off_policy.state import State
from kullback.control.off_policy.update import Learner, nothing_seen
from kullback.training.optimiser import begin


class OffPolicy(Playing):
    """The state at the start, the buffer's growth, and the policy in it; the work of a call is rounds.

    The parameters to start from are the policy's [n] and both critics' [2, m].
    """

    most = 2**20
    screened = 20

    @abc.abstractmethod
    def begun(self) -> tuple[Any, Any]:
        """Where the lanes and the noise stand at the start."""

    def init(self) -> State:
        goal, dtype = self.goal, jnp.result_type(float)
        whole, zero, no = np.zeros((), np.int32), np.zeros((), dtype), np.zeros((), bool)
        policy, critics = (x.astype(dtype) for x in goal.start)
        fixed = goal.fixed.policy
        moments, units = nothing_seen(dtype)
        learner = Learner(
            policy=begin(policy, goal.problem.descent),
            critics=begin(critics, goal.problem.descent),
            targets=critics,
            log_alpha=np.asarray(goal.numbers.temperature[0], dtype),
            moments=moments,
            units=units,
            extra=goal.problem.improvement.start(policy),
        )
        lanes, noise = self.begun()
        return State(
            learner, empty(self._capacity(0), goal.problem.columns.width), at_start(fixed["x_mean"], fixed["x_scale"]),
            noise, whole, whole, zero, whole, no, np.full((), -np.inf, dtype), whole,
            nothing_played(3, goal.problem.lanes, dtype), lanes, np.zeros((CURVE, len(COLUMNS)), dtype), whole,
        )  # fmt: skip

    def _capacity(self, count: int) -> int:
        problem = self.goal.problem
        return capacity_for(count, int(self.goal.numbers.capacity), problem.lanes * problem.block)

    @abc.abstractmethod
    def rounds(self, state: State) -> State:
        """The state after as many rounds as the budget says."""

    def played(self, state: State) -> State:
        if self.must_grow(state):
            state = state._replace(replay=grown(state.replay, self._capacity(int(state.replay.count))))
        return self.rounds(state)

    def must_grow(self, state: State) -> bool:
        """Whether the buffer is full, and not yet as large as it is to be."""
        rows = len(state.replay.rows)
        return int(state.replay.count) >= rows and rows < int(self.goal.numbers.capacity)

    def free(self, state: State) -> Any:
        return self.goal.problem.policy.tree(np.asarray(state.learner.policy.x))


class CompiledPlaying(OffPolicy):
    """Everything on the device: several rounds a call."""

    cheap = 200

    def __init__(self, goal: Goal) -> None:
        super().__init__(goal, 16)

    def begun(self) -> tuple[Any, Any]:
        goal = self.goal
        assert goal.task.compiled is not None
        return program.begin(goal.problem, goal.task.compiled.parameters, goal.numbers.seed)

    def rounds(self, state: State) -> State:
        goal = self.goal
        assert goal.task.compiled is not None
        numbers = goal.numbers._replace(budget=np.asarray(self.budget, np.int32))
        return program.improve(goal.problem, goal.fixed, goal.task.compiled.parameters, state, numbers)


class SteppedPlaying(OffPolicy):
    """The environments on the host, the policy's actions and its learning on the device."""

    cheap = 20

    def __init__(self, goal: Goal, stepper: Stepper) -> None:
        super().__init__(goal, 1)
        self.stepper = stepper
        self.numbers, self.fixed = jax.tree.map(jnp.asarray, (goal.numbers, goal.fixed))
        self._stands: Any = None  # the lanes as the last state has them; another state's are to be restored

    def begun(self) -> tuple[Any, Any]:
        goal = self.goal
        self.stepper.reset(int(goal.numbers.seed[0]))
        self._stands = self.stepper.state()
        return self._stands, program.begin(goal.problem, None, goal.numbers.seed)[1]

    def rounds(self, state: State) -> State:
        if state.lanes is not self._stands:
            self.note = self.stepper.restore(state.lanes) or self.note
        # The buffer is written in place within a call, and the state that the call was given stays whole.
        device = jax.tree.map(jnp.array, state._replace(lanes=()))
        for _ in range(self.budget):
            block, noise = self._round(device)
            rest = device._replace(replay=None, noise=noise)
            device = program.learn(self.goal.problem, self.fixed, device.replay, rest, block, self.numbers)
            stops = bool(device.look) or int(device.failed) or int(device.recorded) == CURVE
            if stops or int(device.steps) >= int(self.goal.numbers.total) or self.must_grow(device):
                break
        self._stands = self.stepper.state()
        return device._replace(lanes=self._stands)

    def _round(self, state: State) -> tuple[Transition, Any]:
        """A round of steps of every lane, and the noise after it."""
        stepper, noise, steps = self.stepper, state.noise, []
        warm = np.asarray(int(state.replay.count) < int(self.goal.numbers.warmup))
        for t in range(self.goal.problem.block):
            action, noise = program.act(
                self.goal.problem, self.fixed, state.learner.policy.x, state.inputs, noise, warm, stepper.observation,
                stepper.mask, self.numbers, state.rounds, np.int32(t),
            )  # fmt: skip
            steps.append(stepper.step(np.asarray(action)))
        return jax.tree.map(lambda *leaves: np.stack(leaves), *steps), noise

    def close(self) -> None:
        self.stepper.close()
