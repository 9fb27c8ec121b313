"""A vector environment that a user made, whatever its way of resetting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from jaxtyping import Bool, Shaped

from kullback.control.envs.lane import MASK, check_seed, seed_of
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
)
from kullback.control.envs.simulator import Stepper, Transition
from kullback.control.envs.spec import blame, facts_of, fault, hung
from kullback.control.envs.watchdog import PATIENCE, Hung, Watchdog
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

    def __init__(self, env: Any, patience: float | None = PATIENCE) -> None:
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

    def _read_final(self, info: Any, over: np.ndarray, rows: np.ndarray) -> None:
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

    def _rows(self, batch: Any) -> Shaped[np.ndarray, "lanes ..."]:
        return self._check_finite(self._read_all(batch))

    def _read_all(self, batch: Any) -> Shaped[np.ndarray, "lanes ..."]:
        rows = empty_rows(self.facts.observations, self.lanes)
        return read_batch(self._env.single_observation_space, self._env.observation_space, self._read, rows, batch)

    def _check_finite(self, rows: Shaped[np.ndarray, "lanes ..."]) -> Shaped[np.ndarray, "lanes ..."]:
        if (wrong := not_finite(rows)) is not None:
            raise Mismatch(f"in lane {wrong[0]} {wrong[1]}")
        return rows

    def _masks(self, info: Any, terminated: np.ndarray) -> Bool[np.ndarray, "lanes ..."] | None:
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


def _mode_of(env: Any) -> AutoresetMode:
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
