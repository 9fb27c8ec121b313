"""Off-policy learning under the driver: rounds on the device, or steps on the host and updates on the device."""

from __future__ import annotations

import abc
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from kullback.control.learning import off_policy_program as program
from kullback.control.learning.acting import Fixed
from kullback.control.learning.episodes import EPISODES, play
from kullback.control.learning.off_policy_state import COLUMNS, CURVE, State, nothing_played
from kullback.control.learning.off_policy_update import Learner, Numbers, Problem, nothing_seen
from kullback.control.learning.on_policy_update import Adam
from kullback.control.learning.replay import capacity_for, empty, grown
from kullback.control.learning.running import at_start, scale_of
from kullback.control.simulators.simulator import Stepper, Transition
from kullback.control.task import Task
from kullback.errors import EnvironmentFault
from kullback.minimize.driver import Iterative, Progress, fingerprint
from kullback.result import Status

_SECONDS = 0.3  # that one call should take
_SCREENED = 20  # greedy episodes that say whether a hundred are worth stepping through
# How many steps of greedy episodes cost as much as one of training, roughly; they should take a small part of it.
_CHEAP_COMPILED, _CHEAP_STEPPED = 200, 20
_WAIT = 0.1  # of the steps so far, before greedy episodes are played again
_MOST = 2**20  # rounds in one call


@dataclass(frozen=True)
class Goal:
    """What is played, and until when: the task, what decides on its state, arrays, numbers, and where to start.

    policy, critics  parameters at the start [n], [2, m]
    """

    title: str
    task: Task
    problem: Problem
    numbers: Numbers
    fixed: Fixed
    policy: np.ndarray
    critics: np.ndarray
    settings: str


class Playing(Iterative):
    """What the two ways of playing share: the buffer's growth, looks at the greedy policy, progress, the history."""

    cheap: int
    note = ""  # what is to be said of how it went

    def __init__(self, goal: Goal) -> None:
        self.goal, self.title = goal, goal.title
        self.budget, self.speed = 16, 0.0

    @abc.abstractmethod
    def begun(self) -> tuple[Any, Any]:
        """Where the lanes and the noise stand at the start."""

    @abc.abstractmethod
    def rounds(self, state: State) -> State:
        """The state after as many rounds as the budget says."""

    def close(self) -> None:
        """Let the environments go."""

    def init(self) -> State:
        goal, dtype = self.goal, jnp.result_type(float)
        whole, zero, no = np.zeros((), np.int32), np.zeros((), dtype), np.zeros((), bool)
        policy, critics, fixed = goal.policy.astype(dtype), goal.critics.astype(dtype), goal.fixed.policy
        learner = Learner(
            _adam(policy), _adam(critics), critics, np.asarray(goal.numbers.temperature[0], dtype),
            *nothing_seen(dtype), goal.problem.improvement.start(policy),
        )  # fmt: skip
        lanes, noise = self.begun()
        return State(
            learner, empty(self._capacity(0), goal.problem.columns.width), at_start(fixed["x_mean"], fixed["x_scale"]),
            noise, whole, whole, zero, whole, no, np.full((), -np.inf, dtype), whole,
            nothing_played(goal.problem.lanes, dtype), lanes, np.zeros((CURVE, len(COLUMNS)), dtype), whole,
        )  # fmt: skip

    def _capacity(self, count: int) -> int:
        problem = self.goal.problem
        return capacity_for(count, int(self.goal.numbers.capacity), problem.lanes * problem.block)

    def step(self, state: State) -> State:
        start, before = time.monotonic(), int(state.steps)
        if self.must_grow(state):
            state = state._replace(replay=grown(state.replay, self._capacity(int(state.replay.count))))
        state = jax.block_until_ready(self.rounds(state._replace(recorded=np.zeros((), np.int32))))
        took = max(time.monotonic() - start, 1e-4)
        # How much is done between two looks changes nothing but the time between them.
        self.speed = (int(state.steps) - before) / took
        self.budget = int(np.clip(self.budget * _SECONDS / took, self.budget / 2, self.budget * 4))
        self.budget = min(max(self.budget, 1), _MOST)
        if int(state.failed) < 0:
            raise EnvironmentFault(f"env: {self.goal.task.facts.name} gave a reward or an observation that is NaN or "
                                   f"infinite within {int(state.steps):,} steps; let it give finite ones")  # fmt: skip
        return self._looked(state) if bool(state.look) else state

    def must_grow(self, state: State) -> bool:
        """Whether the buffer is full, and not yet as large as it is to be."""
        rows = len(state.replay.rows)
        return int(state.replay.count) >= rows and rows < int(self.goal.numbers.capacity)

    def _looked(self, state: State) -> State:
        """The state with what greedy episodes returned, and when to play some again."""
        steps, until = int(state.steps), float(self.goal.numbers.until)
        played = self._greedy(state, EPISODES if self.goal.task.compiled is not None else _SCREENED, 0)
        if np.mean(played.returns) >= until:
            # The best of many looks is luck in part: what counts are episodes that did not choose it.
            played = self._greedy(state, EPISODES, 1)
        mean, wait = float(np.mean(played.returns)), _WAIT * steps + float(np.sum(played.length)) / self.cheap
        return state._replace(greedy=np.asarray(mean, jnp.result_type(float)), look=np.zeros((), bool),
                              check=np.asarray(min(steps + wait, 2**31 - 1), np.int32))  # fmt: skip

    def _greedy(self, state: State, episodes: int, stream: int) -> Any:
        words = np.random.default_rng([*self.goal.numbers.seed.tolist(), int(state.steps), stream])
        key = jax.random.wrap_key_data(jnp.asarray(words.integers(2**32, size=2, dtype=np.uint32)), impl="threefry2x32")
        return play(self.goal.task, self.goal.problem.acting, *self.policy(state), True, key, episodes)

    def policy(self, state: State) -> tuple[Any, Fixed]:
        """The policy's parameters, and its arrays with the scales of its inputs, on the host."""
        x, inputs = jax.tree.map(np.asarray, (state.learner.policy.x, state.inputs))
        fixed = {**self.goal.fixed.policy, "x_mean": inputs.mean, "x_scale": scale_of(inputs.variance, np)}
        return self.goal.problem.policy.tree(x), self.goal.fixed._replace(policy=fixed)

    def progress(self, state: State) -> Progress:
        steps, until = int(state.steps), float(self.goal.numbers.until)
        line = self._line(state, max(int(state.recorded) - 1, 0))
        words = (f"return {line['return']:,.1f} · {line['kl']:.2g} nats/step · α {line['temperature']:.3g} · "
                 f"{self.speed:,.0f} steps/s")  # fmt: skip
        if int(state.failed):
            message = (f"the parameters became NaN or infinite after {steps:,} steps, and those before are returned; "
                       "check the rewards, or pass a rule with a smaller rate=")  # fmt: skip
            return Progress(line["objective"], steps, Status.DIVERGED, message, words)
        if float(state.greedy) >= until:
            message = f"the greedy policy returned {float(state.greedy):,.1f} on average over {EPISODES} fresh episodes"
            return Progress(line["objective"], steps, Status.CONVERGED, message, words)
        return Progress(line["objective"], steps, words=words)

    def _line(self, state: State, row: int) -> dict[str, float]:
        return dict(zip(COLUMNS, np.asarray(state.curve, np.float64)[row].tolist(), strict=True))

    def history(self, state: State) -> tuple[dict[str, float], ...]:
        return tuple(self._line(state, row) for row in range(int(state.recorded)))

    def fingerprint(self) -> str:
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> str:
        goal = self.goal
        numbers = goal.numbers._replace(total=0, budget=0)
        simulator = None if goal.task.compiled is None else goal.task.compiled.parameters
        start = goal.policy, goal.critics
        return fingerprint(goal.title, goal.settings, repr(goal.task.facts), start, goal.fixed, numbers, simulator)


class CompiledPlaying(Playing):
    """Everything on the device: several rounds a call."""

    cheap = _CHEAP_COMPILED

    def begun(self) -> tuple[Any, Any]:
        goal = self.goal
        assert goal.task.compiled is not None
        return program.begin(goal.problem, goal.task.compiled.parameters, goal.numbers.seed)

    def rounds(self, state: State) -> State:
        goal = self.goal
        assert goal.task.compiled is not None
        numbers = goal.numbers._replace(budget=np.asarray(self.budget, np.int32))
        return program.improve(goal.problem, goal.fixed, goal.task.compiled.parameters, state, numbers)


class SteppedPlaying(Playing):
    """The environments on the host, the policy's actions and its learning on the device."""

    cheap = _CHEAP_STEPPED

    def __init__(self, goal: Goal, stepper: Stepper) -> None:
        super().__init__(goal)
        self.stepper, self.budget = stepper, 1
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
            block, noise = self._played(device)
            rest = device._replace(replay=None, noise=noise)
            device = program.learn(self.goal.problem, self.fixed, device.replay, rest, block, self.numbers)
            stops = bool(device.look) or int(device.failed) or int(device.recorded) == CURVE
            if stops or int(device.steps) >= int(self.goal.numbers.total) or self.must_grow(device):
                break
        self._stands = self.stepper.state()
        return device._replace(lanes=self._stands)

    def _played(self, state: State) -> tuple[Transition, Any]:
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


def _adam(x: np.ndarray) -> Adam:
    return Adam(x, np.zeros_like(x), np.zeros_like(x), np.zeros((), np.int32))
