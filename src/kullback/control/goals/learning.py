"""The iteration: play towards commanded goals, relabel, learn from all of it, again."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from kullback.control.envs.simulator import Stepper
from kullback.control.goals.episodes import Actor, Block, Reached, attempts, practice
from kullback.control.goals.goals import GoalInputs
from kullback.control.goals.program import Learner, Program, at_start, learn, relabelled_losses
from kullback.control.goals.task import GoalTask
from kullback.control.learning import running_moments as running
from kullback.families.learnable import Learnable
from kullback.result import Status
from kullback.training.driver import Iterative, Progress, fingerprint
from kullback.training.optimiser import settings_in_words

NEAR = 0.25  # how far below `until` the share reached in practice may be when the greedy policy is looked at
LOOKS = 4  # rounds from one look to the next
PRACTICE, LEARN, LOOK, FRESH = range(4)  # streams of random numbers
LINE = ("step", "train_nll", "heldout_nll", "reached")


class State(NamedTuple):
    """Everything that changes: environments are reset at the start of each round, and so are not part of it.

    line    the numbers of the last round, as `LINE` names them
    solved  whether the greedy policy has reached the share that was asked for
    """

    learner: Learner
    seen: running.Running
    memory: Block
    rounds: Any
    line: Any
    solved: Any


class RelabelledLearning(Iterative):
    """Rounds of practice and learning, from the learnable's start."""

    def __init__(
        self, title: str, task: GoalTask, stepper: Stepper, learnable: Learnable, program: Program, rate: float,
        blocks: int, explore: float, until: float | None, seed: int, start: Any, fresh: int,
    ) -> None:  # fmt: skip
        self.title, self.task, self.stepper, self.learnable = title, task, stepper, learnable
        self.program, self.rate, self.blocks, self.until = program, rate, blocks, until
        self.explore, self.seed, self.start, self.fresh = explore, seed, start, fresh

    def init(self) -> State:
        facts, goals = self.task.facts, self.task.goals
        shape = (self.blocks, self.task.horizon, self.stepper.lanes)
        width = () if self.task.inputs.joined else (self.task.inputs.width,)
        memory = Block(
            np.zeros((*shape, *goals.observation.shape), np.float32 if goals.observation.labels is None else np.int32),
            np.zeros((*shape, *facts.actions.shape), np.int32 if facts.actions.is_discrete else np.float32),
            np.zeros((*shape, *goals.goal.shape), np.float32 if goals.goal.labels is None else np.int32),
            np.zeros(shape, np.int32),
        )
        fixed = self.learnable.fixed
        mean, scale = (np.broadcast_to(fixed[name], width) for name in ("x_mean", "x_scale"))
        line = np.array([0.0, np.inf, np.inf, 0.0])
        return State(
            at_start(self.start, self.program.descent),
            running.at_start(mean, scale),
            memory,
            np.int32(0),
            line,
            np.bool_(False),
        )

    def step(self, state: State) -> State:
        n = int(state.rounds)
        fixed = self.fixed(state)
        actor = self._actor(state, self._number(n, PRACTICE), self.explore)
        played = practice(self.task, self.stepper, actor, self.pool(state), (self.seed, n, PRACTICE))
        new = _block(played.block)
        key = jax.random.key(self._number(n, LEARN))
        if not self.task.inputs.joined:
            state = state._replace(seen=_merged(self.task.inputs, state.seen, new))
            fixed = self.fixed(state)
        heldout = self._loss(fixed, state.learner.average, new, jax.random.fold_in(key, 0))
        memory = _stored(state.memory, new, np.int32(n % self.blocks))
        filled = np.int32(min(n + 1, self.blocks))
        learner, loss = learn(self.program, fixed, memory, filled, state.learner, np.asarray(self.rate, np.float32),
                              jax.random.fold_in(key, 1))  # fmt: skip
        steps = state.line[0] + (played.block.left > 0).sum()
        share = played.reached / max(played.commanded, 1)
        line = np.array([steps, loss, heldout, share])
        state = State(learner, state.seen, memory, np.int32(n + 1), line, state.solved)
        return state._replace(solved=np.bool_(self._is_solved(state)))

    def progress(self, state: State) -> Progress:
        steps, loss, heldout, share = (float(x) for x in state.line)
        words = f"{heldout:.4g} nats · {share:.0%} reached · {int(steps):,} steps"
        if not np.isfinite(loss) and state.rounds > 0:
            return Progress(heldout, int(steps), Status.DIVERGED, words=words)
        if state.solved:
            message = f"the greedy policy reached at least {self.until:.0%} of {self.fresh} commanded goals"
            return Progress(heldout, int(steps), Status.CONVERGED, message, words)
        return Progress(heldout, int(steps), words=words)

    def history(self, state: State) -> tuple[dict[str, float], ...]:
        return ({name: float(x) for name, x in zip(LINE, state.line, strict=True)},)

    def fingerprint(self) -> str:
        return self._fingerprint

    def fixed(self, state: State) -> Any:
        """The policy's fixed parameters, with inputs standardised by what was seen so far."""
        if self.task.inputs.joined:
            return self.learnable.fixed
        measured = self.task.inputs.measured
        mean, scale = np.asarray(state.seen.mean, np.float64), np.asarray(state.seen.scale, np.float64)
        return {
            **self.learnable.fixed,
            "x_mean": np.where(measured, mean, 0.0),
            "x_scale": np.where(measured, scale, 1.0),
        }

    def pool(self, state: State) -> np.ndarray | None:
        """The goals achieved so far: each once where they can be told apart, else all that the memory holds."""
        if self.task.law.kind not in ("achieved", "wanted"):
            return None
        filled = min(int(state.rounds), self.blocks)
        there = np.asarray(state.memory.left[:filled]) > 0
        achieved = np.asarray(state.memory.achieved[:filled])[there]
        return achieved if self.task.goals.within > 0 else np.unique(achieved, axis=0)

    def attempts(self, state: State, greedy: bool, stream: int) -> Reached:
        """Fresh episodes of the policy as it stands."""
        seed = (self.seed, int(state.rounds), stream, int(greedy))
        return attempts(self.task, self.program.structure, state.learner.average, self.fixed(state), greedy, seed,
                        self.fresh, pool=self.pool(state))  # fmt: skip

    def fresh_losses(self, state: State, episodes: int) -> tuple[np.ndarray, np.ndarray]:
        """Of lanes of fresh practice, at least so many: the sums of weighted losses at the policy, and of weights."""
        fixed, parts = self.fixed(state), []
        for k in range(-(-episodes // self.stepper.lanes)):
            seed = (self.seed, int(state.rounds), FRESH, k)
            number = int(np.random.SeedSequence(seed).generate_state(1)[0])
            actor = self._actor(state, number, self.explore)
            block = practice(self.task, self.stepper, actor, self.pool(state), seed).block
            parts.append(self._sums(fixed, state.learner.average, _block(block), jax.random.key(number)))
        losses, weights = (np.concatenate(column) for column in zip(*parts, strict=True))
        return losses, weights

    def _actor(self, state: State, seed: int, explore: float) -> Actor:
        free, fixed = state.learner.average, self.fixed(state)
        return Actor(self.task, self.program.structure, free, fixed, seed, explore=explore)

    def _is_solved(self, state: State) -> bool:
        if self.until is None or int(state.rounds) % LOOKS or state.line[3] < self.until - NEAR:
            return False
        return bool(self.attempts(state, True, LOOK).reached.mean() >= self.until)

    def _loss(self, fixed: Any, free: Any, block: Block, key: jax.Array) -> float:
        losses, weights = self._sums(fixed, free, block, key)
        return float(losses.sum() / weights.sum())

    def _sums(self, fixed: Any, free: Any, block: Block, key: jax.Array) -> tuple[np.ndarray, np.ndarray]:
        losses, weights = relabelled_losses(self.program, fixed, free, block, key)
        return np.asarray(losses, np.float64), np.asarray(weights, np.float64)

    def _number(self, *stream: int) -> int:
        return int(np.random.SeedSequence((self.seed, *stream)).generate_state(1)[0])

    @cached_property
    def _fingerprint(self) -> str:
        task = self.task
        program = settings_in_words(replace(self.program, structure=None))
        about = (self.title, program, repr(self.program.structure), repr(task.facts), str(task), repr(task.inputs))
        listed = () if task.law.listed is None else (task.law.listed,)
        numbers = (self.rate, self.blocks, self.explore, self.until or -1.0, self.seed, self.stepper.lanes)
        return fingerprint(*about, *listed, *numbers, self.learnable.fixed, self.start)


def _block(block: Block) -> Block:
    """A memory of one block."""
    return Block(*(leaf[None] for leaf in block))


@jax.jit
def _stored(memory: Block, block: Block, at: Any) -> Block:
    return jax.tree.map(
        lambda whole, one: jax.lax.dynamic_update_slice_in_dim(whole, one.astype(whole.dtype), at, 0), memory, block
    )


@partial(jax.jit, static_argnums=0)
def _merged(inputs: GoalInputs, seen: running.Running, block: Block) -> running.Running:
    """The moments of inputs, with those of a block: its observations beside the goals achieved after them."""
    flat = lambda leaf, tail: leaf.reshape(-1, *tail)  # noqa: E731
    observation = flat(block.observation, inputs.observation.shape)
    achieved = flat(block.achieved, inputs.goal.shape)
    left = block.left.reshape(-1)
    rows = inputs.join(observation, achieved, left, jnp)
    return running.merged(seen, rows, (left > 0).astype(jnp.result_type(float)))
