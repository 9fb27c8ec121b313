"""The one driver of every iterative rule: compiled chunks of steps, and between them progress, stopping, saving.

While a training runs it leaves files: a checkpoint, the lines of its log, and a lock on both.
"""

from __future__ import annotations

import abc
import hashlib
import os
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist

from kullback.errors import FileError, FitError, KullbackError
from kullback.result import Status
from kullback.rule import Request
from kullback.runtime.files import check_writable, read, unwritable, write

try:
    import fcntl
except ImportError:  # no such locks on this platform
    fcntl = None


# Checkpoint, log and lock


class Keeper:
    """Saves and logs for one training. What cannot be written costs a warning, never the training."""

    def __init__(self, request: Request, fingerprint: Callable[[], str]) -> None:
        self._request, self._fingerprint, self._told = request, fingerprint, set()
        self.logged = 0  # lines of the history that the logger has

    @cached_property
    def _problem(self) -> str:
        """Found only where it is needed: it is a digest of all data."""
        return self._fingerprint()

    def resume(self, template: Any) -> tuple[Any, list[float], list[Any]]:
        """The state, trace and history of the checkpoint; the template and nothing where there is none."""
        path = self._request.checkpoint
        if path is None or not Path(path).exists():
            return template, [], []
        state, trace, history = resumed(path, self._problem, template)
        self.logged = len(history)
        return state, trace, history

    def keep(self, state: Any, trace: list[float], history: list[Any], last: bool = False) -> None:
        """Save, and only then log: what a resumed run does again was not logged before."""
        path, saved = self._request.checkpoint, True
        if path is not None:
            try:
                save(path, self._problem, state, trace, history)
            except FileError as error:
                saved = False
                self._warn(f"{error}".replace("path:", "checkpoint:", 1), "without saving")
        if self._request.logger is not None and (saved or last):
            self._log(history)

    def _log(self, history: list[Any]) -> None:
        logger = self._request.logger
        assert logger is not None
        try:
            for line in history[self.logged :]:
                logger.log(line)
                self.logged += 1
        except OSError as error:
            self._warn(f"logger: {error}", "and this line is tried again later")

    def close(self) -> None:
        if self._request.logger is not None:
            try:
                self._request.logger.close()
            except OSError as error:
                self._warn(f"logger: {error}", "and its last lines may be missing")

    def _warn(self, what: str, how: str) -> None:
        if what not in self._told:
            self._told.add(what)
            warnings.warn(f"{what}; the training goes on {how}", stacklevel=5)


class Idle(Keeper):
    """Keeps nothing: another process does."""

    def keep(self, state: Any, trace: list[float], history: list[Any], last: bool = False) -> None:
        pass


def save(path: Any, problem: str, state: Any, trace: list[float], history: list[Any]) -> None:
    """Write a checkpoint of the problem with this fingerprint."""
    arrays = {f"state.{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}
    spec = {"format": "checkpoint", "problem": problem, "history": history}
    write(path, spec, {**arrays, "trace": np.asarray(trace, np.float64)})


def resumed(path: Any, problem: str, template: Any) -> tuple[Any, list[float], list[Any]]:
    """State, trace and history from a checkpoint. Raises `FileError` for another problem's, or a damaged one."""
    spec, arrays = read(path)
    if spec.get("format") != "checkpoint":
        raise FileError(
            f"checkpoint: {path} holds a {spec.get('format', 'thing')}, not a checkpoint; choose another name"
        )
    if spec.get("problem") != problem:
        raise FileError(
            f"checkpoint: {path} belongs to another problem (other data, sides, rule, seed, tolerance "
            "or version of kullback); choose another name, or remove the file"
        )
    leaves, treedef = jax.tree.flatten(template)
    state = [arrays.get(f"state.{i}") for i in range(len(leaves))]
    trace, history = arrays.get("trace"), spec.get("history", [])
    whole = trace is not None and trace.ndim == 1 and all(map(_alike, state, leaves))
    if not (whole and isinstance(history, list) and all(isinstance(line, dict) for line in history)):
        raise FileError(f"checkpoint: {path} is damaged, it holds other arrays than this problem has; remove the file")
    assert trace is not None
    return jax.tree.unflatten(treedef, state), list(trace), history


def _alike(array: np.ndarray | None, leaf: Any) -> bool:
    """Of one kind of number and as many axes: a first state may be of another size than later ones."""
    like = np.asarray(leaf)
    return array is not None and array.ndim == like.ndim and array.dtype.kind == like.dtype.kind


@contextmanager
def locked(path: str | os.PathLike[str] | None) -> Iterator[None]:
    """Hold a checkpoint for this training alone. The lock ends with the process, however that ends.

    Raises `FileError` where another training holds it, or where a checkpoint could not be written there.
    """
    if path is None:
        yield
        return
    check_writable(path, "checkpoint")
    if fcntl is None:
        yield
        return
    target = Path(os.path.realpath(path))
    lock = target.with_name(f"{target.name}.lock")
    handle = _opened(lock, target)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(handle)


def _opened(lock: Path, target: Path) -> int:
    assert fcntl is not None
    while True:
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise unwritable(target, error, "checkpoint") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise FileError(
                f"checkpoint: {target} is in use by another training; wait for its end, or choose another name"
            ) from error
        except OSError:  # a file system without locks
            return handle
        try:
            if os.path.samestat(os.fstat(handle), os.stat(lock)):
                return handle
        except FileNotFoundError:  # its holder removed it between our two calls
            pass
        os.close(handle)


# The driver


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
    return Outcome(
        state=state,
        status=status or Status.STEP_LIMIT,
        trace=np.asarray(trace),
        message=message,
        history=tuple(history),
    )


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
