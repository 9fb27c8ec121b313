"""On-policy learning under the driver: blocks on the device, or steps on the host and updates on the device.

A state is one pytree of arrays. Hyperparameters that are no sizes are arguments, so that another rate compiles nothing.
"""

from __future__ import annotations

import abc
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Key, Shaped, UInt32

from kullback.control.envs.simulator import Lanes, Stepper, Transition, fresh_lanes, moved_lanes, start_lanes
from kullback.control.learning.policy import Fixed, scaled
from kullback.control.learning.running_moments import RunningMoments, at_start
from kullback.control.learning.training import CURVE, Playing, Training, nothing_counted, nothing_played
from kullback.control.trajectory_gradient.update import (
    Block,
    Keys,
    OnPolicyConfig,
    OnPolicyHyperparameters,
    OnPolicyState,
    keys_of,
    learned,
)
from kullback.runtime.export_cache import Effort, program
from kullback.runtime.random import key_of
from kullback.training.optimiser import begin
from kullback.training.ravel import on_host


@program
def start_playing(config: OnPolicyConfig, parameters: Any, seed: UInt32[Array, " 2"]) -> Lanes:
    """Fresh episodes in every lane of a compiled simulator."""
    assert config.simulator is not None
    key = key_of(seed)
    return start_lanes(config.simulator, parameters, key, config.sizes.lanes)


@partial(jax.jit, static_argnums=0)
def act(
    config: OnPolicyConfig,
    fixed: Fixed,
    x: Float[Array, " p"],
    inputs: RunningMoments,
    observation: Shaped[Array, "n ..."],
    mask: Bool[Array, "n k"] | None,
    hyper: OnPolicyHyperparameters,
    updates: Int[Array, ""],
    t: Int[Array, ""],
) -> Shaped[Array, "n ..."]:
    """What every lane does at step t of a block, for simulators that only step."""
    key = keys_of(config, hyper, updates).actions[t]
    return config.acting.at(config.layout.tree(x)[0], scaled(fixed, inputs), observation, mask).draw(key)[0]


@program(effort=Effort.FULL)
def learn(
    config: OnPolicyConfig, fixed: Fixed, state: OnPolicyState, block: Block, hyper: OnPolicyHyperparameters
) -> OnPolicyState:
    """The state after learning from a block that was played on the host."""
    return learned(config, fixed, state, block, hyper, keys_of(config, hyper, state.counters.updates))


@program(effort=Effort.FULL)
def improve(
    config: OnPolicyConfig, fixed: Fixed, parameters: Any, state: OnPolicyState, hyper: OnPolicyHyperparameters
) -> OnPolicyState:
    """As many blocks as the budget says; fewer where the total is reached, an update fails, or an evaluation is due."""
    stopping = hyper.stopping

    def going(s: OnPolicyState) -> Bool[Array, ""]:
        more = (s.recording.count < jnp.minimum(stopping.budget, CURVE)) & (s.counters.steps < stopping.total)
        return more & (s.counters.failed == 0) & ~s.counters.evaluate

    def one(s: OnPolicyState) -> OnPolicyState:
        keys = keys_of(config, hyper, s.counters.updates)
        lanes, block = collected(config, fixed, parameters, s, keys)
        return learned(config, fixed, s._replace(lanes=lanes), block, hyper, keys)

    recording = state.recording._replace(count=jnp.zeros_like(state.recording.count))
    return lax.while_loop(going, one, state._replace(recording=recording))


def collected(
    config: OnPolicyConfig, fixed: Fixed, parameters: Any, state: OnPolicyState, keys: Keys
) -> tuple[Lanes, Block]:
    """The lanes after a block of steps, and the block."""
    assert config.simulator is not None
    simulator, now = config.simulator, scaled(fixed, state.inputs)
    free = config.layout.tree(state.descent.x)[0]

    def step(lanes: Lanes, given: tuple[Key[Array, ""], Key[Array, " n"], Lanes]) -> tuple[Lanes, Block]:
        key, keys, instead = given
        here = config.acting.at(free, now, lanes.observation, lanes.mask)
        action, _ = here.draw(key)
        after, seen = moved_lanes(simulator, parameters, lanes, action, keys, instead)
        return after, block_of(seen, lanes.elapsed)

    fresh = jax.vmap(partial(fresh_lanes, simulator, parameters))(keys.lanes[1])
    return lax.scan(step, state.lanes, (keys.actions, keys.lanes[0], fresh))


def block_of(seen: Transition, elapsed: Int[Array, " n"] | Int[np.ndarray, " n"]) -> Block:
    """A step of every lane as a part of a block, on the device or on the host."""
    return on_host(
        Block,
        observation=seen.observation,
        mask=seen.mask,
        action=seen.action,
        reward=seen.reward,
        terminated=seen.terminated,
        truncated=seen.truncated,
        following=seen.following,
        valid=seen.valid,
        elapsed=elapsed,
    )


class OnPolicy(Playing):
    """The state at the start, and the policy in it; the work of a call is blocks."""

    most = CURVE
    screened = 10

    @abc.abstractmethod
    def lanes(self) -> Any:
        """Where the lanes stand at the start."""

    def init(self) -> OnPolicyState:
        training, dtype = self.training, jnp.result_type(float)
        policy = training.fixed.policy
        counters, recording = nothing_counted(dtype)
        return on_host(
            OnPolicyState,
            descent=begin(training.start, training.config.descent),
            inputs=at_start(policy["x_mean"], policy["x_scale"]),
            values=at_start(0.0, 1.0),
            power=np.zeros((), dtype),
            log_alpha=np.asarray(training.hyper.temperature[0], dtype),
            counters=counters,
            statistics=nothing_played(2, training.config.sizes.lanes, dtype),
            lanes=self.lanes(),
            recording=recording,
        )

    def free(self, state: OnPolicyState) -> Any:
        return self.training.config.layout.tree(np.asarray(state.descent.x))[0]


class CompiledPlaying(OnPolicy):
    """Everything on the device: several blocks a call."""

    cheap = 50

    def __init__(self, training: Training) -> None:
        super().__init__(training, 4)

    def lanes(self) -> Any:
        compiled = self.training.task.env.compiled
        assert compiled is not None
        return start_playing(self.training.config, compiled.parameters, self.training.hyper.seed)

    def played(self, state: OnPolicyState) -> OnPolicyState:
        training = self.training
        assert training.task.env.compiled is not None
        return improve(
            training.config, training.fixed, training.task.env.compiled.parameters, state, training.within(self.budget)
        )


class SteppedPlaying(OnPolicy):
    """The environments on the host, the policy's actions and its learning on the device."""

    cheap = 1

    def __init__(self, training: Training, stepper: Stepper) -> None:
        super().__init__(training, 1)
        self.stepper = stepper
        self._stands: Any = None  # the lanes as the last state has them; another state's are to be restored

    def lanes(self) -> Any:
        self.stepper.reset(int(self.training.hyper.seed[0]))
        self._stands = self._now(np.zeros(self.stepper.lanes, np.int32))
        return self._stands

    def _now(self, elapsed: np.ndarray) -> dict[str, Any]:
        return {"elapsed": elapsed, "environment": self.stepper.state()}

    def played(self, state: OnPolicyState) -> OnPolicyState:
        if state.lanes is not self._stands:
            self.note = self.stepper.restore(state.lanes["environment"]) or self.note
        elapsed = np.asarray(state.lanes["elapsed"])
        device, training = state._replace(lanes=()), self.training
        for _ in range(self.budget):
            block, elapsed = self._block(device, elapsed)
            device = learn(training.config, training.fixed, device, block, training.hyper)
            counters = device.counters
            if bool(counters.evaluate) or int(counters.failed) or int(counters.steps) >= training.hyper.stopping.total:
                break
        self._stands = self._now(elapsed)
        return device._replace(lanes=self._stands)

    def _block(self, state: OnPolicyState, elapsed: np.ndarray) -> tuple[Block, np.ndarray]:
        """A block of steps of every lane, and how long their episodes then are."""
        training, stepper, steps = self.training, self.stepper, []
        for t in range(training.config.sizes.block):
            action = np.asarray(
                act(
                    training.config,
                    training.fixed,
                    state.descent.x,
                    state.inputs,
                    stepper.observation,
                    stepper.mask,
                    training.hyper,
                    state.counters.updates,
                    np.int32(t),
                )
            )
            seen = stepper.step(action)
            steps.append(block_of(seen, elapsed))
            over = seen.terminated | seen.truncated
            elapsed = np.where(over, 0, elapsed + seen.valid).astype(np.int32)
        block = jax.tree.map(lambda *leaves: np.stack(leaves), *steps)
        reward = np.where(block.valid, block.reward, 0.0)
        return block._replace(reward=reward.astype(jnp.result_type(float))), elapsed

    def close(self) -> None:
        self.stepper.close()
