"""Programs that are kept: what was traced and lowered once is read from a file by every later process.

JAX's own cache keeps what was compiled, but finds it only after tracing and lowering, which take longer than the fits
of small problems. Here a program is found by what it is made from: the function, its static arguments, the shapes of
the others, the settings of JAX, and the versions and sources of all that is traced. It lies beside JAX's cache, as
StableHLO, where one has been set (`JAX_COMPILATION_CACHE_DIR`); what cannot be spelled out (a user's own function) is
compiled as ever.
"""

from __future__ import annotations

import hashlib
import inspect
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, partial, update_wrapper
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from kullback.errors import FileError
from kullback.files import put

# Whose classes and functions a program may be made from: their versions are part of what it is found by.
_KNOWN = ("kullback", "numpyro", "jax", "numpy", "optax", "builtins")
_SETTINGS = (
    "jax_enable_x64", "jax_default_matmul_precision", "jax_numpy_dtype_promotion", "jax_numpy_rank_promotion",
    "jax_threefry_partitionable", "jax_default_prng_impl", "jax_random_seed_offset", "jax_softmax_custom_jvp",
)  # fmt: skip
_APART = ("jax_disable_jit", "jax_debug_nans", "jax_debug_infs", "jax_check_tracer_leaks", "jax_default_device")
_loaded: dict[Any, Any] = {}


def _sources(folder: str) -> Iterator[str]:
    """Each source below a folder with its size and the time of its last change."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _sources(entry.path)
        elif entry.name.endswith(".py"):
            found = entry.stat()
            yield f"{entry.name} {found.st_size} {found.st_mtime_ns}"


# At import: sources that change while a process runs are not what it traces.
_SOURCES = tuple(_sources(os.path.dirname(__file__)))


class _Unspelled(Exception):
    """Something that no text says all of."""


def program(function: Callable[..., Any] | None = None, *, static: tuple[int, ...] = (0,)) -> Any:
    """`jax.jit` with static positions, for a function of NumPy and JAX arrays in tuples, named tuples, lists and dicts.

    It must be determined by its arguments and by the sources of this package alone.
    """
    if function is None:
        return partial(program, static=static)
    return Program(function, static)


class Program:
    """A compiled function that is read from a file where an earlier process has left it."""

    def __init__(self, function: Callable[..., Any], static: tuple[int, ...]):
        self._function, self._static = function, static
        self._jitted = jax.jit(function, static_argnums=static)
        update_wrapper(self, function)

    def __call__(self, *args: Any) -> Any:
        folder = _folder()
        if folder is None:
            return self._jitted(*args)
        statics = tuple(args[i] for i in self._static)
        leaves, tree = jax.tree.flatten(self._traced(args))
        if not all(map(_is_plain, leaves)):
            return self._jitted(*args)
        key = (self, statics, tree, _context(), *map(_kind, leaves))
        if key not in _loaded:
            _loaded[key] = self._found(folder, args, leaves)
        found = _loaded[key]
        if found is None:
            return self._jitted(*args)
        result, call = found
        return jax.tree.unflatten(result, call(*leaves))

    def _traced(self, args: tuple[Any, ...]) -> list[Any]:
        return [arg for i, arg in enumerate(args) if i not in self._static]

    def _found(self, folder: Path, args: tuple[Any, ...], leaves: list[Any]) -> tuple[Any, Any] | None:
        """The tree of the results, and what computes their leaves; None where no text says what it is made from."""
        try:
            statics = (_spelled(args[i]) for i in self._static)
            parts = [_spelled(self._function), *statics, json.dumps(_skeleton(self._traced(args)))]
        except _Unspelled:
            return None
        made_from = "\n".join([_versions(), repr(_context()), *parts, *(repr(_kind(leaf)) for leaf in leaves)])
        path = folder / f"{self._function.__name__}-{hashlib.sha256(made_from.encode()).hexdigest()}.stablehlo"
        found = _read(path) or self._made(path, args)
        if found is None:
            return None
        skeleton, exported = found
        result = jax.tree.structure(_restored(skeleton, itertools.count()))
        return result, jax.jit(exported.call).lower(*leaves).compile()

    def _made(self, path: Path, args: tuple[Any, ...]) -> tuple[Any, Any] | None:
        """The program as it is kept, written to the file; None where it cannot be."""
        from jax import export

        leaves, tree = jax.tree.flatten(self._traced(args))
        skeletons = []

        def flat(*leaves: Any) -> Any:
            dynamic = iter(jax.tree.unflatten(tree, leaves))
            result = self._function(*(arg if i in self._static else next(dynamic) for i, arg in enumerate(args)))
            skeletons.append(_skeleton(result))
            return jax.tree.leaves(result)

        try:
            exported = export.export(jax.jit(flat))(*leaves)
            payload = exported.serialize()
        except (_Unspelled, NotImplementedError, ValueError):
            return None
        header = json.dumps(skeletons[0]).encode()
        # A folder that cannot be written costs time, not answers.
        with suppress(OSError, FileError):
            path.parent.mkdir(parents=True, exist_ok=True)
            put(path, len(header).to_bytes(8, "little") + header + bytes(payload))
        return skeletons[0], exported


def forget() -> None:
    """Let go of the programs in memory; those in files stay."""
    _loaded.clear()


def _folder() -> Path | None:
    """Where programs are kept; None where nothing is, or where JAX is to watch or to place what it computes."""
    set_to = partial(getattr, jax.config)
    place = set_to("jax_compilation_cache_dir")
    if not place or "://" in place or not set_to("jax_enable_compilation_cache"):
        return None
    if any(map(set_to, _APART)) or not jax.sharding.get_abstract_mesh().empty:
        return None
    return None if jax.process_count() > 1 else Path(place) / "kullback"


def _is_plain(leaf: Any) -> bool:
    """Whether a leaf is a number, or an array on the first device that is there and not being traced."""
    if isinstance(leaf, Tracer):
        return False
    if isinstance(leaf, jax.Array):
        return leaf.sharding.device_set == {jax.local_devices()[0]}
    return isinstance(leaf, np.ndarray | np.generic | bool | int | float)


def _kind(leaf: Any) -> tuple[Any, ...]:
    """What JAX tells apart of an array, or of a number of Python's."""
    if isinstance(leaf, bool | int | float):
        return (type(leaf).__name__,)
    return leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False)


def _context() -> tuple[Any, ...]:
    return (jax.default_backend(), *(getattr(jax.config, name, None) for name in _SETTINGS))


@cache
def _versions() -> str:
    """The versions of what is traced, and the state of this package's sources."""
    import jaxlib
    import numpyro
    import optax

    packages = [f"{package.__name__} {package.__version__}" for package in (jax, jaxlib, np, numpyro, optax)]
    return " ".join([*packages, sys.version, jax.devices()[0].device_kind, *_SOURCES])


def _skeleton(tree: Any) -> Any:
    """Tuples, named tuples of known packages, lists and dicts as JSON, with 0 for an array. Raises `_Unspelled`."""
    if tree is None:
        return None
    if isinstance(tree, dict) and all(isinstance(key, str) for key in tree):
        return ["dict", {key: _skeleton(tree[key]) for key in sorted(tree)}]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return [_name(type(tree)), [_skeleton(part) for part in tree]]
    if type(tree) in (tuple, list):
        return [type(tree).__name__, [_skeleton(part) for part in tree]]
    if isinstance(tree, jax.Array | np.ndarray | np.generic | bool | int | float):
        return 0
    raise _Unspelled


def _restored(skeleton: Any, leaves: Iterator[Any]) -> Any:
    """The tree that `_skeleton` describes, with its leaves in order."""
    if skeleton is None:
        return None
    if skeleton == 0:
        return next(leaves)
    kind, parts = skeleton
    if kind == "dict":
        return {key: _restored(part, leaves) for key, part in parts.items()}
    whole = [_restored(part, leaves) for part in parts]
    return whole if kind == "list" else tuple(whole) if kind == "tuple" else _named(kind)(*whole)


def _spelled(thing: Any) -> str:
    """A text that is the same in every process, and different for what JAX would trace anew.

    Of a dataclass it is the class and the fields by which two are equal. Raises `_Unspelled` for whatever may hide code
    or identity: objects of classes that are not known, functions that are not at the top of a known module.
    """
    if thing is None or isinstance(thing, bool | int | float | complex | str | bytes):
        return repr(thing)
    if isinstance(thing, Enum):
        return f"{_name(type(thing))}.{thing.name}"
    if isinstance(thing, np.ndarray | np.generic | jax.Array):
        array = np.asarray(thing)
        return f"array {array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    if isinstance(thing, np.dtype):
        return repr(thing)
    if isinstance(thing, jax.tree_util.PyTreeDef):
        return json.dumps(_skeleton(jax.tree.unflatten(thing, [0] * thing.num_leaves)))
    if isinstance(thing, tuple | list):
        kind = type(thing).__name__ if type(thing) in (tuple, list) else _name(type(thing))
        return f"{kind}({', '.join(map(_spelled, thing))})"
    if type(thing) is dict:
        return f"dict({', '.join(f'{_spelled(key)}: {_spelled(value)}' for key, value in thing.items())})"
    if isinstance(thing, partial):
        return f"partial({_spelled(thing.func)}, {_spelled(thing.args)}, {_spelled(thing.keywords)})"
    if isinstance(thing, type) or inspect.isroutine(thing):
        return _name(thing)
    if is_dataclass(thing):
        parts = (f"{f.name}={_spelled(getattr(thing, f.name))}" for f in fields(thing) if f.compare)
        return f"{_name(type(thing))}({', '.join(parts)})"
    raise _Unspelled


def _name(thing: Any) -> str:
    """The module and name of a class or function that can be found again by them. Raises `_Unspelled`."""
    module, name = getattr(thing, "__module__", None) or "", getattr(thing, "__qualname__", "")
    if module.split(".")[0] not in _KNOWN or "<" in name:
        raise _Unspelled
    found = _named(f"{module}:{name}")
    if getattr(found, "__wrapped__", found) is not getattr(thing, "__wrapped__", thing):
        raise _Unspelled
    return f"{module}:{name}"


@cache
def _named(text: str) -> Any:
    module, name = text.split(":")
    found = sys.modules.get(module) or __import__(module, fromlist=["_"])
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


def _read(path: Path) -> tuple[Any, Any] | None:
    """The skeleton of the results and the program; None for a file that is missing or broken."""
    from jax import export

    try:
        content = path.read_bytes()
        size = int.from_bytes(content[:8], "little")
        return json.loads(content[8 : 8 + size]), export.deserialize(bytearray(content[8 + size :]))
    except Exception:
        return None
