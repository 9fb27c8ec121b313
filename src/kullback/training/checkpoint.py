"""What a training leaves in files while it runs: a checkpoint, the lines of its log, and a lock on both."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from kullback.errors import FileError
from kullback.rule import Request
from kullback.runtime.files import check_writable, read, unwritable, write

try:
    import fcntl
except ImportError:  # no such locks on this platform
    fcntl = None


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
            "or version of kullback); "
            "choose another name, or remove the file"
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
