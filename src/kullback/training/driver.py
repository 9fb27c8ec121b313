"""The one driver of every iterative rule: compiled chunks of steps, and between them progress, stopping, saving."""

from __future__ import annotations

import abc
import hashlib
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from kullback.errors import FitError, KullbackError
from kullback.result import Status
from kullback.rule import Request
from kullback.training.checkpoint import Idle, Keeper, locked

_BLOCK = 2**20  # bytes of an array that are read at once
_IDLE = 100  # chunks in a row without a step: the loop would not end
_SAVE_EVERY = 1.0  # seconds between checkpoints; what is saved does not depend on it


@dataclass(frozen=True)
class Progress:
    """Where a minimisation stands: its objective in nats, the steps done, how it ended if it did, and more of that.

    `words` is what the progress bar shows, where there is more to show than the objective.
    """

    value: float
    steps: int
    status: Status | None = None
    message: str = ""
    words: str = ""


class Iterative(abc.ABC):
    """An iterative rule at work: `init`, `step`, `done`. The state is one pytree of arrays, and nothing else changes.

    A resumed run equals an uninterrupted one bit for bit because everything that changes is in the state. Where
    several processes work on one problem (`shared`), the first of them saves and logs.
    """

    title: str
    shared: bool = False

    @abc.abstractmethod
    def init(self) -> Any:
        """The first state."""

    @abc.abstractmethod
    def step(self, state: Any) -> Any:
        """The state after one compiled chunk of steps."""

    @abc.abstractmethod
    def progress(self, state: Any) -> Progress:
        """Where the state stands."""

    def history(self, state: Any) -> tuple[Mapping[str, float], ...] | None:
        """The lines that the last chunk of steps wrote (one an epoch), or None for an algorithm that writes none."""
        return None

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """What problem this is: a checkpoint of another problem is refused."""


@dataclass(frozen=True)
class Outcome:
    """The last state, how it ended, the objective in nats after each chunk (or epoch), and the lines written."""

    state: Any
    status: Status
    trace: np.ndarray
    message: str = ""
    history: tuple[Mapping[str, float], ...] = ()


def drive(algorithm: Iterative, request: Request, max_steps: int) -> Outcome:
    """Run an algorithm to its end, to `max_steps`, or to an interrupt (which returns the best state so far)."""
    if algorithm.shared and jax.process_index() > 0:
        return _driven(algorithm, request, max_steps, Idle(request, algorithm.fingerprint))
    with locked(request.checkpoint):
        return _driven(algorithm, request, max_steps, Keeper(request, algorithm.fingerprint))


def _driven(algorithm: Iterative, request: Request, max_steps: int, keeper: Keeper) -> Outcome:
    state, trace, history = keeper.resume(algorithm.init())
    limit = request.steps or max_steps
    saved = time.monotonic()
    progress = algorithm.progress(state)
    status = progress.status
    try:
        with _bar(algorithm.title, limit, request.quiet) as show:
            idle = 0
            while status is None and progress.steps < limit:
                before = progress.steps
                state = jax.block_until_ready(algorithm.step(state))
                progress = algorithm.progress(state)
                idle = 0 if progress.steps > before else idle + 1
                if idle > _IDLE and progress.status is None:
                    raise FitError(f"{algorithm.title}: {_IDLE} chunks of steps in a row took none; this is a bug")
                lines = algorithm.history(state)
                history.extend(lines or ())
                trace.extend([progress.value] if lines is None else map(_monitored, lines))
                status = progress.status
                show(progress)
                if request.checkpoint is None or time.monotonic() - saved >= _SAVE_EVERY:
                    keeper.keep(state, trace, history)
                    saved = time.monotonic()
    except KeyboardInterrupt:
        status = Status.INTERRUPTED
    except KullbackError:
        # What was learned before the fault is kept: the same checkpoint goes on from there.
        keeper.keep(state, trace, history, last=True)
        raise
    keeper.keep(state, trace, history, last=True)
    keeper.close()
    message = progress.message if status is progress.status else ""
    return Outcome(state, status or Status.STEP_LIMIT, np.asarray(trace), message, tuple(history))


def _monitored(line: Mapping[str, float]) -> float:
    """The value of a line that decides: the held-out one where there is one."""
    return next(line[name] for name in ("heldout_nll", "train_nll", "objective") if name in line)


def fingerprint(*parts: Any) -> str:
    """A digest of strings, numbers and pytrees of arrays, the same in another process."""
    digest = hashlib.sha256(f"{jax.dtypes.canonicalize_dtype(np.float64)}".encode())
    for part in parts:
        _digest(digest, part)
    return digest.hexdigest()


def _digest(digest: Any, part: Any) -> None:
    leaves, treedef = jax.tree.flatten(part, is_leaf=lambda node: isinstance(node, dist.Distribution))
    digest.update(_nameless(f"{treedef}").encode())
    for leaf in leaves:
        if isinstance(leaf, str):
            digest.update(leaf.encode())
        elif isinstance(leaf, dist.Distribution):
            # By name: the order of a distribution's leaves differs between processes.
            kind = type(leaf)
            digest.update(f"{kind.__module__}.{kind.__qualname__}".encode())
            for name in sorted({*kind.gather_pytree_data_fields(), *kind.gather_pytree_aux_fields()}):
                digest.update(name.encode())
                _digest(digest, leaf.__dict__.get(name))
        elif jnp.issubdtype(getattr(leaf, "dtype", np.float64), jax.dtypes.prng_key):
            digest.update(np.asarray(jax.random.key_data(leaf)).tobytes())
        else:
            array = np.asarray(leaf)
            if array.dtype == object:
                array = np.asarray(_nameless(repr(leaf)))
            digest.update(f"{array.dtype}{array.shape}".encode())
            # By blocks: an array in a file may be larger than memory.
            flat = array[None] if array.ndim == 0 else array
            step = max(1, _BLOCK * max(1, len(flat)) // max(1, flat.nbytes))
            for start in range(0, len(flat), step):
                digest.update(np.ascontiguousarray(flat[start : start + step]).tobytes())


def _nameless(text: str) -> str:
    """A text without the addresses of objects."""
    return re.sub(r" at 0x[0-9a-f]+", "", text)


@contextmanager
def _bar(title: str, limit: int, quiet: bool) -> Iterator[Any]:
    """A progress bar on a terminal, and nothing when piped."""
    if quiet or not sys.stderr.isatty():
        yield lambda progress: None
        return
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar
    from rich.text import Text

    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(20),
        TextColumn("{task.fields[nats]}"),
        TimeElapsedColumn(),
    )
    task, words = bar.add_task(title, total=limit, nats="compiling"), Text()

    def show(progress: Progress) -> None:
        words.plain = progress.words
        bar.update(task, completed=progress.steps, nats="" if progress.words else f"{progress.value:.5g} nats")

    # Words have a line of their own: beside the bar they would leave it no room.
    shown = lambda: Group(bar, words) if words.plain else bar  # noqa: E731
    with Live(get_renderable=shown, console=Console(stderr=True), transient=True, refresh_per_second=10):
        yield show
