"""Gymnasium environments stepped on the host, one after the other, each reset as soon as its episode ends."""

from __future__ import annotations

import weakref
from contextlib import suppress
from typing import Any

import gymnasium as gym
import numpy as np
from jaxtyping import Shaped

from kullback.control.envs.clone import can_be_remade, copies
from kullback.control.envs.lane import Lane, Memory, check_seed, seed_of
from kullback.control.envs.observations import Mismatch, all_allowed, check_actions, empty_rows, not_finite, writer_of
from kullback.control.envs.simulator import Stepper, Transition
from kullback.control.envs.spec import blame, facts_of, fault, hung
from kullback.control.envs.vector import GivenVector
from kullback.control.envs.watchdog import PATIENCE, Hung, Watchdog
from kullback.errors import InputError
from kullback.training.ravel import on_host

__all__ = ["SingleEnvironments", "facts_of", "stepper_for"]

# Who plays an environment that was given: two steppers may share one.
_players: weakref.WeakValueDictionary[int, SingleEnvironments] = weakref.WeakValueDictionary()


def stepper_for(env: Any, lanes: int = 1, patience: float | None = PATIENCE) -> Stepper:
    """The stepper of a Gymnasium id, spec, environment or vector environment.

    lanes     how many are wanted side by side. A vector environment has its own number, and an environment that cannot
              be made again, having no spec, is played alone: `Stepper.lanes` says how many there are
    patience  seconds after which a call that has not returned is a fault; None waits for ever

    Raises `InputError` for what is no environment, and for spaces that no policy can read.
    """
    if isinstance(env, gym.vector.VectorEnv):
        return GivenVector(env, patience)
    return SingleEnvironments(env, lanes if can_be_remade(env) else 1, patience)


class SingleEnvironments(Stepper):
    """Copies of one environment, stepped in turn.

    Each episode is reset with a seed made of (seed, lane, number of the episode), so that its actions determine it. An
    episode in progress is therefore known by its number and the actions so far; `restore` plays them again, and an
    episode that does not lead to the same observation bit for bit is given up for a fresh one. Nothing is pickled.

    A single environment that was given is played itself. If another stepper plays it in between, or if a step is cut
    short by an error or an interrupt, its episode is taken up again in the same way at the next step.

    Raises `InputError` for more lanes than one of an environment that cannot be made again.
    """

    def __init__(self, env: Any, lanes: int = 1, patience: float | None = PATIENCE) -> None:
        if lanes < 1:
            raise InputError(f"lanes: {lanes} is no positive number of environments")
        self._given = env if isinstance(env, gym.Env) and lanes == 1 else None
        envs = copies(env, lanes) if self._given is None else [self._given]
        self.lanes, self.facts = lanes, facts_of(envs[0])
        self._lanes = [Lane(one, self.facts.actions) for one in envs]
        self._write = writer_of(envs[0].action_space)
        self._seed: int | None = None
        self._memory = Memory(lanes, self.facts.actions)
        self._settled = False  # whether the environments stand where the memory says
        self._valid, self._unmasked = np.ones(lanes, bool), all_allowed(self.facts.actions, lanes)
        self.observation, self.mask = empty_rows(self.facts.observations, lanes), None
        self._watchdog = Watchdog(patience)

    def reset(self, seed: int) -> None:
        self._seed, self._settled = check_seed(seed), False
        self._memory = Memory(self.lanes, self.facts.actions)
        rows, mask = self._tables()
        for at in range(self.lanes):
            self._begin(at, 0, rows, mask)
        self._settle(rows, mask)

    def step(self, action: Shaped[np.ndarray, "lanes ..."]) -> Transition:
        act = check_actions(self.facts.actions, self.lanes, action)
        self._take_up()
        acts = self._write(act)
        following, mask = self._tables()
        reward, terminated, truncated = np.empty(self.lanes), np.zeros(self.lanes, bool), np.zeros(self.lanes, bool)
        at, over, watchdog, self._settled = 0, [], self._watchdog, False
        try:
            with watchdog:
                for at, (lane, one) in enumerate(zip(self._lanes, acts, strict=True)):
                    watchdog.calls += 1
                    reward[at], ended, cut = lane.step(one, following, mask, at)
                    if ended or cut:
                        terminated[at], truncated[at] = bool(ended), bool(cut)
                        over.append(at)
            if (wrong := not_finite(following)) is not None:
                at, text = wrong
                raise Mismatch(text)
        except Exception as error:
            raise blame(self.facts.name, error, self._place(at)) from error
        except Hung:
            raise hung(self.facts.name, "step", watchdog.patience, self._place(at)) from None
        seen = on_host(
            Transition,
            observation=self.observation,
            action=np.asarray(action),
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            following=following,
            valid=self._valid,
            mask=self.mask,
            following_mask=None if mask is self._unmasked else mask,
        )
        self._go_on(act, over, following, mask)
        return seen

    def state(self) -> dict[str, np.ndarray]:
        """The seed, and of each lane the number of its episode, its length so far and its actions so far.

        After an error or an interrupt it is where the last whole step led.
        """
        if self._seed is None:
            raise InputError("state: there is none before the first reset(seed)")
        return {
            "seed": np.asarray(self._seed, np.int64),
            **self._memory.arrays(),
            "observation": self.observation.copy(),
        }

    def restore(self, state: dict[str, np.ndarray]) -> str:
        saved, name = state["observation"], self.facts.name
        if saved.shape != self.observation.shape or state["actions"].shape[2:] != self.facts.actions.shape:
            self.reset(int(state["seed"]))
            return (
                f"all {self.lanes} environments of {name} start fresh episodes: the {len(saved)} saved ones are others"
            )
        self._seed = int(state["seed"])
        self._memory = Memory.of(self.facts.actions, state)
        rows, mask, lost = self._play_again(saved)
        for at in lost:
            self._begin(at, int(self._memory.episodes[at]) + 1, rows, mask)
            self._memory.begin(at)
        self._settle(rows, mask)
        if not lost:
            return ""
        return (
            f"{len(lost)} of {self.lanes} environments of {name} start fresh episodes: their seeds and actions did "
            "not lead to where they stood, and their state can be saved in no other way"
        )

    def close(self) -> None:
        """Let go of the environments that were made here; one that was given stays open."""
        self._watchdog.stop()
        for lane in self._lanes if self._given is None else ():
            with suppress(Exception):
                lane.env.close()

    def _begin(self, at: int, episode: int, rows: np.ndarray, mask: np.ndarray) -> None:
        """Reset a lane; what it shows goes to row `at`."""
        assert self._seed is not None
        seed = seed_of(self._seed, at, episode)
        where = f"in the reset of lane {at} (seed {seed})"
        try:
            with self._watchdog:
                self._watchdog.calls += 1
                self._lanes[at].reset(seed, rows, mask, at)
            if (wrong := not_finite(rows[at : at + 1])) is not None:
                raise Mismatch(wrong[1])
        except Exception as error:
            raise blame(self.facts.name, error, where) from error
        except Hung:
            raise hung(self.facts.name, "reset", self._watchdog.patience, where) from None

    def _go_on(self, act: np.ndarray, over: list[int], rows: np.ndarray, mask: np.ndarray) -> None:
        """After a step: reset the lanes that are over. Where that raises, the step has not been taken."""
        if over:
            rows, mask = rows.copy(), mask.copy()
            for at in over:
                self._begin(at, int(self._memory.episodes[at]) + 1, rows, mask)
        self._memory.add(act)
        for at in over:
            self._memory.begin(at)
        self._settle(rows, mask)

    def _settle(self, rows: np.ndarray, mask: np.ndarray) -> None:
        """Every lane stands at its row."""
        self.observation, self.mask, self._settled = rows, mask if self._lanes[0].masked else None, True
        if self._given is not None:
            _players[id(self._given)] = self

    def _take_up(self) -> None:
        """Bring the lanes to where the memory says, if they are not there."""
        if self._settled and (self._given is None or _players.get(id(self._given)) is self):
            return
        if self._seed is None:
            raise InputError("step: there is nothing to step before the first reset(seed)")
        rows, mask, lost = self._play_again(self.observation)
        if lost:
            remedy = "call reset(seed), or pass an environment that has a spec, of which others can be made"
            raise fault(self.facts.name, "did not come back to where it stood", self._place(lost[0]), remedy)
        self._settle(rows, mask)

    def _play_again(self, saved: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[int]]:
        """Rows and masks after the actions so far of every episode, and the lanes that did not lead to `saved`.

        Raises `EnvironmentFault` only where a call does not return.
        """
        self._settled = False
        rows, mask = self._tables()
        lost = []
        for at, actions in enumerate(self._memory.actions()):
            try:
                self._begin(at, int(self._memory.episodes[at]), rows, mask)
                with self._watchdog:
                    same = self._lanes[at].play(actions, self._watchdog, rows, mask, at)
            except Hung:
                raise hung(self.facts.name, "step", self._watchdog.patience, f"as lane {at} was played again") from None
            except Exception:
                same = False
            if not same or rows[at].tobytes() != saved[at].tobytes():
                lost.append(at)
        return rows, mask, lost

    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of observations and of masks, to be written."""
        rows = empty_rows(self.facts.observations, self.lanes)
        return rows, self._unmasked if self._lanes[0].masked is False else self._unmasked.copy()

    def _place(self, at: int) -> str:
        assert self._seed is not None
        seed = seed_of(self._seed, at, self._memory.episodes[at])
        return f"in step {self._memory.lengths[at] + 1} of an episode of lane {at} (seed {seed})"
