"""One file format for fits and checkpoints: safetensors with a JSON header, written aside and then renamed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree
from safetensors import safe_open
from safetensors.numpy import save

from kullback.arguments import path as as_path
from kullback.errors import FileError

_KEY, _DIGEST = "kullback", "sha256"
_VERSION = 2  # files of version 1 have no digest, and are read without one
# Reading walks through nested lists and dicts; what save() and checkpoint= write is a few levels deep.
_DEEPEST = 40


def write(path: str | PathLike[str], spec: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write `spec` (JSON) and `arrays` to `path` atomically: a crash leaves the old file or the new one, whole."""
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    told = {**spec, "version": _VERSION}
    # In one entry: the format's writer puts several in no order of their own.
    write_atomically(path, save(contiguous, metadata={_KEY: json.dumps({**told, _DIGEST: _digest(told, contiguous)})}))


def write_atomically(path: str | PathLike[str], content: bytes, mode: int = 0o666, argument: str = "path") -> None:
    """Write `content` to `path`, aside and then renamed. A link stays one, and a file that is there keeps its mode.

    mode      of a new file, less the umask
    argument  what an error calls the path

    Raises `FileError` where the folder or the disk does not take it.
    """
    target = Path(os.path.realpath(as_path(argument, path)))
    aside = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                os.chmod(aside, stat.S_IMODE(target.stat().st_mode))
            os.replace(aside, target)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise unwritable(target, error, argument) from error


def unwritable(target: Path, error: OSError, argument: str = "path") -> FileError:
    """What to say of a file that could not be written."""
    said = error.strerror or error
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return FileError(
            f"{argument}: {target} cannot be written, the disk or the quota is full ({said}); make room, or choose "
            "another folder"
        )
    return FileError(
        f"{argument}: {target} cannot be written ({said}); choose a folder that exists and can be written to"
    )


def check_writable(path: str | PathLike[str], argument: str) -> None:
    """Raise `FileError` where no file can be written at `path`, before a computation whose result goes there."""
    target = Path(os.path.realpath(as_path(argument, path)))
    if target.is_dir():
        raise FileError(f"{argument}: {target} is a folder; pass the name of a file")
    if not target.parent.is_dir():
        raise FileError(
            f"{argument}: {target} cannot be written, it lies in a folder that does not exist; make it first"
        )
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise FileError(f"{argument}: {target} cannot be written, its folder may not be written to; choose another one")


def read(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what `write` wrote, or an earlier version.

    Raises `FileError` for a file that is missing, cut short, of another kind, changed since it was written, or of a
    version that is not known here.
    """
    target = as_path("path", path)
    metadata, arrays = _read(target, True)
    spec = _spec(target, metadata)
    if spec.pop(_DIGEST, None) != _digest(spec, arrays) and spec["version"] > 1:
        raise FileError(f"path: {target} is damaged, its content is not what was written; use a copy of it")
    return spec, arrays


def read_spec(path: str | PathLike[str]) -> dict[str, Any]:
    """The JSON alone of what `write` wrote, however large the arrays are. Raises `FileError` as `read` does."""
    target = as_path("path", path)
    return _spec(target, _read(target, False)[0])


def _read(target: Path, whole: bool) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    if not target.is_file():
        raise FileError(f"path: there is no file {target}; pass the path that save() or checkpoint= was given")
    try:
        with safe_open(target, framework="numpy") as file:
            metadata = file.metadata() or {}
            return metadata, {name: file.get_tensor(name) for name in file.keys() if whole}  # noqa: SIM118
    # What the reader makes of a header that is damaged has no one class.
    except Exception as error:
        raise FileError(f"path: {target} is not a safetensors file, or it is cut short ({error})") from error


def _spec(target: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    if _KEY not in metadata:
        raise FileError(f"path: {target} is a safetensors file, but not one that kullback wrote")
    try:
        spec = json.loads(metadata[_KEY])
    except (ValueError, RecursionError) as error:
        raise FileError(
            f"path: {target} is damaged, its description is not JSON ({error}); use a copy of it"
        ) from error
    if not isinstance(spec, dict) or _depth(spec) > _DEEPEST:
        raise FileError(f"path: {target} is damaged, its description is not one that kullback writes; use a copy of it")
    version = spec.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version not in range(1, _VERSION + 1):
        raise FileError(f"path: {target} is of version {version!r}, and this kullback reads 1 to {_VERSION}; update it")
    return spec


def _depth(value: object) -> int:
    """How deep lists and dicts are nested, level by level."""
    depth, level = 0, [value]
    while level:
        depth += 1
        inside = [part.values() if isinstance(part, dict) else part for part in level if isinstance(part, dict | list)]
        level = [one for parts in inside for one in parts]
    return depth


def _digest(spec: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(spec).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()


def pack(tree: PyTree, prefix: str) -> tuple[Any, dict[str, np.ndarray]]:
    """A pytree of arrays as a JSON skeleton and named arrays; the skeleton is None for other containers."""
    leaves, treedef = jax.tree.flatten(tree)
    arrays = {f"{prefix}.{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    skeleton = jax.tree.unflatten(treedef, range(len(leaves)))
    return (skeleton if _is_json(skeleton) else None), arrays


def unpack(skeleton: object, prefix: str, arrays: Mapping[str, np.ndarray]) -> Any:
    """The pytree from which `pack` made the skeleton and the arrays."""
    return jax.tree.map(lambda i: arrays[f"{prefix}.{i}"], skeleton)


def _is_json(skeleton: object) -> bool:
    if isinstance(skeleton, dict):
        return all(isinstance(key, str) and _is_json(value) for key, value in skeleton.items())
    return isinstance(skeleton, int) or (isinstance(skeleton, list) and all(map(_is_json, skeleton)))
