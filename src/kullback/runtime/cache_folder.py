"""Compiled programs in files: a folder of the user's own, found by what a program is made from.

A file is a line of JSON and an executable as JAX serialises it. Loading it runs machine code. So a file is
read only if it belongs to the user, nobody else may write to it, and its digest is right; otherwise it counts as
missing. The least recently used files are removed when the folder grows too large.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import jax

from kullback.errors import FileError
from kullback.runtime.files import write_atomically
from kullback.runtime.identity import processor

VARIABLE = "KULLBACK_CACHE_DIR"
_OFF = ("", "0", "off", "none", "false", "no")
_FORMAT = 1
_MOST = 2**29  # bytes of all files together; the least recently used go first
_SPARED = 0.8  # share of it that is left then


def root() -> Path | None:
    """The folder of kept programs; None where the user wants none, of this package or of JAX."""
    if not getattr(jax.config, "jax_enable_compilation_cache", True):
        return None
    named = os.environ.get(VARIABLE)
    if named is not None and named.strip().lower() in _OFF:
        return None
    try:
        return Path(named).expanduser() if named else _caches() / "kullback"
    except RuntimeError:  # there is no home
        return None


def _caches() -> Path:
    """Where this platform keeps what a program can make again."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def place(made_from: str, name: str) -> Path | None:
    """Where the program of this name that is made from this text lies; None where none is kept."""
    folder = root()
    return folder and folder / _kind() / f"{name}-{_digest(made_from.encode())}.xla"


@cache
def _kind() -> str:
    """What the files are for, as a folder's name: the versions of JAX and of this package, and the processor."""
    device, *_ = about = processor()
    version = getattr(sys.modules[__name__.partition(".")[0]], "__version__", "")
    return f"{version}-jax-{jax.__version__}-{device}-{_digest(repr(about).encode())[:12]}"


def read(path: Path, made_from: str) -> tuple[Any, bytes] | None:
    """The note and the executable that were written there; None for a file that is missing, broken or not ours."""
    try:
        if not (_is_ours(path.parent) and _is_ours(path)):
            return None
        head, payload = path.read_bytes().split(b"\n", 1)
        about = json.loads(head)
        if about["format"] != _FORMAT or about["made from"] != _digest(made_from.encode()):
            return None
        if about["digest"] != _digest(payload + json.dumps(about["note"]).encode()):
            return None
        with suppress(OSError):
            os.utime(path)
        return about["note"], payload
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def write(path: Path, made_from: str, note: Mapping[str, object], payload: bytes) -> None:
    """Keep an executable with a note in JSON. A folder that cannot be written costs time, not answers."""
    digest = _digest(payload + json.dumps(note).encode())
    about = {"format": _FORMAT, "made from": _digest(made_from.encode()), "digest": digest, "note": note}
    with suppress(OSError, FileError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _is_ours(path.parent):
            write_atomically(path, json.dumps(about).encode() + b"\n" + payload, 0o600)
            _bound(path.parent.parent)


def _bound(folder: Path) -> None:
    """Remove the files that were not used for longest, where all together are too large."""
    found = []
    for path in folder.glob("*/*.xla"):
        with suppress(OSError):  # another process removed it
            state = path.stat()
            found.append((state.st_mtime_ns, state.st_size, path))
    total = sum(size for _, size, _ in found)
    if total <= _MOST:
        return
    for _, size, path in sorted(found):
        if total <= _SPARED * _MOST:
            break
        with suppress(OSError):
            path.unlink()
        total -= size


def _is_ours(path: Path) -> bool:
    """Whether a file or folder belongs to this user and nobody else may write to it."""
    state = path.stat()
    if not hasattr(os, "geteuid"):
        return True
    return state.st_uid == os.geteuid() and not state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
