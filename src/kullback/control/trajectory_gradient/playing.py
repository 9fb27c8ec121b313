"""On-policy learning under the driver: blocks on the device, or steps on the host and updates on the device."""

from __future__ import annotations

import abc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kullback.control.envs.simulator import Stepper
from kullback.control.learning.episode_statistics import COLUMNS, CURVE, nothing_played
from kullback.control.learning.running_moments import at_start
from kullback.control.learning.training import Goal, Playing
from kullback.control.trajectory_gradient import program
from kullback.control.trajectory_gradient.state import Block, State
from kullback.training.optimiser import begin


class OnPolicy(Playing):
    """The state at the start, and the policy in it; the work of a call is blocks."""

    most = CURVE
    screened = 10

    @abc.abstractmethod
    def lanes(self) -> Any:
        """Where the lanes stand at the start."""

    def init(self) -> State:
        x, dtype, whole, no = self.goal.start, jnp.result_type(float), np.zeros((), np.int32), np.zeros((), bool)
        policy, log_alpha = self.goal.fixed.policy, self.goal.numbers.temperature[0]
        descent = begin(x, self.goal.problem.descent)
        return State(
            descent, at_start(policy["x_mean"], policy["x_scale"]), at_start(0.0, 1.0), np.zeros((), dtype),
            np.asarray(log_alpha, dtype), whole, whole, whole, no, np.full((), -np.inf, dtype), whole,
            nothing_played(2, self.goal.problem.lanes, dtype), self.lanes(), np.zeros((CURVE, len(COLUMNS)), dtype),
            whole,
        )  # fmt: skip

    def free(self, state: State) -> Any:
        return self.goal.problem.layout.tree(np.asarray(state.descent.x))[0]


class CompiledPlaying(OnPolicy):
    """Everything on the device: several blocks a call."""

    cheap = 50

    def __init__(self, goal: Goal) -> None:
        super().__init__(goal, 4)

    def lanes(self) -> Any:
        compiled = self.goal.task.compiled
        assert compiled is not None
        return program.begin(self.goal.problem, compiled.parameters, self.goal.numbers.seed)

    def played(self, state: State) -> State:
        goal = self.goal
        assert goal.task.compiled is not None
        numbers = goal.numbers._replace(budget=np.asarray(self.budget, np.int32))
        return program.improve(goal.problem, goal.fixed, goal.task.compiled.parameters, state, numbers)


class SteppedPlaying(OnPolicy):
    """The environments on the host, the policy's actions and its learning on the device."""

    cheap = 1

    def __init__(self, goal: Goal, stepper: Stepper) -> None:
        super().__init__(goal, 1)
        self.stepper = stepper
        self._stands: Any = None  # the lanes as the last state has them; another state's are to be restored

    def lanes(self) -> Any:
        self.stepper.reset(int(self.goal.numbers.seed[0]))
        self._stands = self._now(np.zeros(self.stepper.lanes, np.int32))
        return self._stands

    def _now(self, elapsed: np.ndarray) -> dict[str, Any]:
        return {"elapsed": elapsed, "environment": self.stepper.state()}

    def played(self, state: State) -> State:
        if state.lanes is not self._stands:
            self.note = self.stepper.restore(state.lanes["environment"]) or self.note
        elapsed = np.asarray(state.lanes["elapsed"])
        device = state._replace(lanes=())
        for _ in range(self.budget):
            block, elapsed = self._block(device, elapsed)
            device = program.learn(self.goal.problem, self.goal.fixed, device, block, self.goal.numbers)
            if bool(device.look) or int(device.failed) or int(device.steps) >= int(self.goal.numbers.total):
                break
        self._stands = self._now(elapsed)
        return device._replace(lanes=self._stands)

    def _block(self, state: State, elapsed: np.ndarray) -> tuple[Block, np.ndarray]:
        """A block of steps of every lane, and how long their episodes then are."""
        goal, stepper, steps = self.goal, self.stepper, []
        for t in range(goal.problem.block):
            action = program.act(
                goal.problem,
                goal.fixed,
                state.descent.x,
                state.inputs,
                stepper.observation,
                stepper.mask,
                goal.numbers,
                state.blocks,
                np.int32(t),
            )
            action = np.asarray(action)
            seen = stepper.step(action)
            steps.append(Block(seen.observation, seen.mask, action, seen.reward, seen.terminated, seen.truncated,
                               seen.following, seen.valid, elapsed))  # fmt: skip
            over = seen.terminated | seen.truncated
            elapsed = np.where(over, 0, elapsed + seen.valid).astype(np.int32)
        block = jax.tree.map(lambda *leaves: np.stack(leaves), *steps)
        reward = np.where(block.valid, block.reward, 0.0)
        return block._replace(reward=reward.astype(jnp.result_type(float))), elapsed

    def close(self) -> None:
        self.stepper.close()
