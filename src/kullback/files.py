"""One file format for fits and checkpoints: safetensors with a JSON header, written aside and then renamed."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from kullback.errors import FileError

_KEY = "kullback"


def write(path: str | PathLike[str], spec: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write `spec` (JSON) and `arrays` to `path` atomically: a crash leaves the old file or the new one, whole."""
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    put(path, save(contiguous, metadata={_KEY: json.dumps(spec)}))


def put(path: str | PathLike[str], content: bytes) -> None:
    """Write `content` to `path`, aside and then renamed. Raises `FileError` for a folder that cannot be written."""
    target = Path(path)
    try:
        handle, aside = tempfile.mkstemp(dir=target.parent or Path(), prefix=target.name, suffix=".part")
    except OSError as error:
        raise FileError(f"path: {target} cannot be written ({error.strerror}); choose a folder that exists") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, target)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def read(path: str | PathLike[str]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what `write` wrote. Raises `FileError` for a file that is missing, cut short or of another kind."""
    return _read(Path(path), True)


def read_spec(path: str | PathLike[str]) -> dict[str, Any]:
    """The JSON alone of what `write` wrote, however large the arrays are. Raises `FileError` as `read` does."""
    return _read(Path(path), False)[0]


def _read(target: Path, whole: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not target.is_file():
        raise FileError(f"path: there is no file {target}; pass the path that save() or checkpoint= was given")
    try:
        with safe_open(target, framework="numpy") as file:
            header = (file.metadata() or {}).get(_KEY)
            arrays = {name: file.get_tensor(name) for name in file.keys() if whole}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise FileError(f"path: {target} is not a safetensors file, or it is cut short ({error})") from error
    if header is None:
        raise FileError(f"path: {target} is a safetensors file, but not one that kullback wrote")
    return json.loads(header), arrays


def pack(tree: Any, prefix: str) -> tuple[Any, dict[str, np.ndarray]]:
    """A pytree of arrays as a JSON skeleton and named arrays; the skeleton is None for other containers."""
    leaves, treedef = jax.tree.flatten(tree)
    arrays = {f"{prefix}.{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
    skeleton = jax.tree.unflatten(treedef, range(len(leaves)))
    return (skeleton if _is_json(skeleton) else None), arrays


def unpack(skeleton: Any, prefix: str, arrays: Mapping[str, np.ndarray]) -> Any:
    """The pytree that `pack` took apart."""
    return jax.tree.map(lambda i: arrays[f"{prefix}.{i}"], skeleton)


def _is_json(skeleton: Any) -> bool:
    if isinstance(skeleton, dict):
        return all(isinstance(key, str) and _is_json(value) for key, value in skeleton.items())
    return isinstance(skeleton, int) or (isinstance(skeleton, list) and all(map(_is_json, skeleton)))
