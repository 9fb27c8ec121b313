"""Gymnasium environments stepped on the host: one after the other, or as the vector environment that a user made.

Each is reset as soon as its episode ends, in whatever way a vector environment resets.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from jaxtyping import Bool, Shaped

from kullback.control.envs.lane import MASK, PATIENCE, Hung, Lane, Memory, Watchdog, check_seed, seed_of
from kullback.control.envs.observations import (
    Mismatch,
    all_allowed,
    check_actions,
    empty_rows,
    not_finite,
    read_batch,
    read_ends,
    read_mask,
    read_rewards,
    reader_of,
    write_batch,
    writer_of,
)
from kullback.control.envs.simulator import Stepper, Transition
from kullback.control.envs.spec import blame, can_be_remade, copies, facts_of, fault, hung
from kullback.errors import InputError
from kullback.training.ravel import on_host

FINAL, FINAL_INFO = "final_obs", "final_info"  # where SAME_STEP puts what an episode ended with


class GivenVector(Stepper):
    """A `gymnasium.vector.VectorEnv`; the number of lanes is its own, and `close` leaves it open.

    How it resets is what `metadata["autoreset_mode"]` says. NEXT_STEP: the step after an end ignores its action and
    shows the new episode's first observation; that transition is not valid. SAME_STEP: the step that ends an episode
    shows the next one's first observation, and has put its own into `info["final_obs"]`. DISABLED: the lanes that ended
    are reset here, by `options={"reset_mask": ...}`. Masks are what `info["action_mask"]` says.

    It offers no way to save where it stands: `restore` starts fresh episodes and says so.
    Raises `InputError` for another way of resetting.
    """

    def __init__(self, env: gym.vector.VectorEnv, patience: float | None = PATIENCE) -> None:
        self._mode = _mode_of(env)
        self._env, self.lanes, self.facts = env, int(env.num_envs), facts_of(env)
        self._read = reader_of(env.single_observation_space)
        self._seed, self._steps, self._began = 0, 0, 0
        self._masked = self._settled = False
        self._over = np.zeros(self.lanes, bool)  # lanes that the next step resets
        self.observation, self.mask = empty_rows(self.facts.observations, self.lanes), None
        self._watchdog = Watchdog(patience)

    def reset(self, seed: int) -> None:
        self._seed, self._steps = check_seed(seed), 0
        self._start()

    def step(self, action: Shaped[np.ndarray, "lanes ..."]) -> Transition:
        act = check_actions(self.facts.actions, self.lanes, action)
        if not self._settled:
            raise fault(self.facts.name, "has not been reset", "since it was made or cut short", "call reset(seed)")
        acts = write_batch(self._env.single_action_space, act)
        before, mask_before, valid = self.observation, self.mask, ~self._over
        with self._blamed("step"):
            batch, rewards, *ends, info = self._env.step(acts)
            rows, reward = self._rows(batch), read_rewards(rewards, self.lanes)
            terminated, truncated = (read_ends(end, self.lanes) & valid for end in ends)
            reward[~valid] = 0.0
            following, over = rows, terminated | truncated
            shown = self._mode is AutoresetMode.SAME_STEP  # the next episode's mask, and not that of an end
            following_mask = mask = self._masks(info, terminated & (not shown))
            if self._mode is not AutoresetMode.NEXT_STEP and over.any():
                following, following_mask, rows, mask = self._ended(info, over, terminated, rows, mask)
        self._over = over if self._mode is AutoresetMode.NEXT_STEP else np.zeros_like(over)
        self.observation, self.mask = rows, mask
        self._steps += 1
        return on_host(
            Transition,
            observation=before,
            action=np.asarray(action),
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            following=following,
            valid=valid,
            mask=mask_before,
            following_mask=following_mask,
        )

    def state(self) -> dict[str, np.ndarray]:
        return {"seed": np.asarray(self._seed, np.int64), "steps": np.asarray(self._steps, np.int64)}

    def restore(self, state: dict[str, np.ndarray]) -> str:
        self._seed, self._steps = int(state["seed"]), int(state["steps"])
        self._start()
        return (
            f"all {self.lanes} environments of {self.facts.name} start fresh episodes: "
            "the state of a vector environment cannot be saved"
        )

    def close(self) -> None:
        self._watchdog.stop()

    def _start(self) -> None:
        """Fresh episodes, of seeds that no earlier start had."""
        self._began = seed_of(self._seed, 0, self._steps)
        with self._blamed("reset"):
            batch, info = self._env.reset(seed=self._began)
            self._masked = self.facts.actions.is_discrete and MASK in info
            self.observation = self._rows(batch)
            self.mask = self._masks(info, np.zeros(self.lanes, bool))
        self._over = np.zeros(self.lanes, bool)

    def _ended(
        self, info: Any, over: np.ndarray, terminated: np.ndarray, rows: np.ndarray, mask: Any
    ) -> tuple[Any, ...]:
        """What episodes that are over ended with, and what the next ones begin with: rows and masks of either."""
        if self._mode is AutoresetMode.SAME_STEP:
            following, last = rows.copy(), info.get(FINAL_INFO, {})
            self._read_final(info, over, following)
            ended = None if mask is None else np.where(_column(over, mask), self._masks(last, terminated), mask)
            return following, ended, rows, mask
        batch, info = self._env.reset(options={"reset_mask": over.copy()})
        fresh, allowed = self._rows(batch), self._masks(info, np.zeros_like(over))
        return (
            rows,
            mask,
            np.where(_column(over, rows), fresh, rows),
            None if mask is None else np.where(_column(over, mask), allowed, mask),
        )

    def _read_final(self, info: Mapping[str, Any], over: np.ndarray, rows: np.ndarray) -> None:
        """The last observations of the lanes that are over: an array of objects, or a batch like any other."""
        if FINAL not in info:
            raise Mismatch(f'no info["{FINAL}"] in the step that ended an episode, as SAME_STEP has it')
        final = info[FINAL]
        if isinstance(final, np.ndarray) and final.dtype == object:
            for at in np.flatnonzero(over):
                self._read(rows, int(at), final[at])
        else:
            batch = self._read_all(final)
            rows[over] = batch[over]
        self._check_finite(rows)

    def _rows(self, batch: object) -> Shaped[np.ndarray, "lanes ..."]:
        return self._check_finite(self._read_all(batch))

    def _read_all(self, batch: object) -> Shaped[np.ndarray, "lanes ..."]:
        rows = empty_rows(self.facts.observations, self.lanes)
        return read_batch(self._env.single_observation_space, self._env.observation_space, self._read, rows, batch)

    def _check_finite(self, rows: Shaped[np.ndarray, "lanes ..."]) -> Shaped[np.ndarray, "lanes ..."]:
        if (wrong := not_finite(rows)) is not None:
            raise Mismatch(f"in lane {wrong[0]} {wrong[1]}")
        return rows

    def _masks(self, info: Mapping[str, Any], terminated: np.ndarray) -> Bool[np.ndarray, "lanes ..."] | None:
        """The masks that lanes gave; where one gave none or has terminated, everything is allowed."""
        if not self._masked:
            return None
        masks = all_allowed(self.facts.actions, self.lanes)
        gave = np.asarray(info.get(f"_{MASK}", np.full(self.lanes, MASK in info)))
        for at in np.flatnonzero(gave & ~terminated):
            masks[at] = read_mask(self._env.single_action_space, self.facts.actions, info[MASK][at])
        return masks

    @contextmanager
    def _blamed(self, call: str) -> Iterator[None]:
        """Watch a call, and say what it did wrong."""
        self._settled = False
        try:
            with self._watchdog:
                self._watchdog.calls += 1
                yield
        except Exception as error:
            raise blame(self.facts.name, error, self._place(call)) from error
        except Hung:
            raise hung(self.facts.name, call, self._watchdog.patience, self._place(call)) from None
        self._settled = True

    def _place(self, call: str) -> str:
        return f"in reset(seed={self._began})" if call == "reset" else f"in step {self._steps + 1} (seed {self._began})"


def _mode_of(env: gym.vector.VectorEnv) -> AutoresetMode:
    stated = env.metadata.get("autoreset_mode")
    try:
        return AutoresetMode(stated)
    except ValueError:
        raise InputError(
            f"env: {type(env.unwrapped).__name__} states no way of resetting that is known (its metadata have "
            f"autoreset_mode={stated!r}); set env.metadata['autoreset_mode'] to a gymnasium.vector.AutoresetMode"
        ) from None


def _column(lanes: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Flags of lanes, to be broadcast against a table [lanes, ...]."""
    return lanes.reshape(-1, *[1] * (table.ndim - 1))


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

    def __init__(self, env: gym.vector.VectorEnv, lanes: int = 1, patience: float | None = PATIENCE) -> None:
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
