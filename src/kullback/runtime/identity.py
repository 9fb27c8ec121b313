"""What a compiled program is made from, as a text.

The text is the same in every process, and different wherever JAX would trace the function again.
"""

from __future__ import annotations

import hashlib
import inspect
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache, partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist
from jaxtyping import PyTree

# Packages whose classes and functions are told by their name, since their versions are part of the text.
_KNOWN = ("kullback", "numpyro", "jax", "numpy", "optax", "builtins")
# Settings of JAX that change neither what is traced nor how it is compiled. All others count, whatever their names.
_BESIDE = (
    "jax_captured_constants",
    "jax_compilation_cache",
    "jax_debug_log_modules",
    "jax_enable_compilation_cache",
    "jax_explain_cache_misses",
    "jax_log",
    "jax_persistent_cache",
    "jax_pprint",
    "jax_raise_persistent_cache",
    "jax_send_traceback",
    "jax_thread_guard",
    "jax_traceback_filtering",
    "jax_tracer_error",
    "jax_transfer_guard",
)
_SIMPLE = {str, int, float, bool, type(None)}
_ENVIRONMENT = ("XLA_FLAGS", "LIBTPU_INIT_ARGS")


class Unspelled(Exception):
    """Something that no text describes completely."""


def spelled(thing: Any) -> str:
    """A value that JAX takes as static.

    Of a dataclass it is the class and the fields by which two are equal. Raises `Unspelled` for whatever may hide code
    or identity: objects of classes that are not known, functions that are not at the top of a known module.
    """
    if thing is None or isinstance(thing, bool | int | float | complex | str | bytes):
        return repr(thing)
    if isinstance(thing, Enum):
        return f"{name_of(type(thing))}.{thing.name}"
    if isinstance(thing, np.ndarray | np.generic | jax.Array):
        array = np.asarray(thing)
        return f"array {array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
    if isinstance(thing, np.dtype):
        return repr(thing)
    if isinstance(thing, jax.tree_util.PyTreeDef):
        return spelled_tree(jax.tree.unflatten(thing, [0] * thing.num_leaves), as_it_lies=True)
    if isinstance(thing, tuple | list):
        kind = type(thing).__name__ if type(thing) in (tuple, list) else name_of(type(thing))
        return f"{kind}({', '.join(map(spelled, thing))})"
    if type(thing) is dict:
        return f"dict({', '.join(f'{spelled(key)}: {spelled(value)}' for key, value in thing.items())})"
    if isinstance(thing, partial):
        return f"partial({spelled(thing.func)}, {spelled(thing.args)}, {spelled(thing.keywords)})"
    if isinstance(thing, type) or inspect.isroutine(thing):
        return name_of(thing)
    if is_dataclass(thing):
        parts = (f"{f.name}={spelled(getattr(thing, f.name))}" for f in fields(thing) if f.compare)
        return f"{name_of(type(thing))}({', '.join(parts)})"
    raise Unspelled


def spelled_tree(tree: PyTree, as_it_lies: bool = False) -> str:
    """A tree of arrays, with a star for each: its containers and what they hold that is static. Raises `Unspelled`.

    as_it_lies  whether what a distribution holds comes in the order of its leaves, which in NumPyro differs between
                processes, and not in that of their names
    """
    if tree is None or isinstance(tree, jax.Array | np.ndarray | np.generic | bool | int | float):
        return "None" if tree is None else "*"
    if type(tree) is dict:
        return f"dict({', '.join(f'{key!r}: {spelled_tree(tree[key], as_it_lies)}' for key in sorted(tree))})"
    node = jax.tree_util.default_registry.flatten_one_level(tree)
    if node is None:
        raise Unspelled
    children, held = node
    kind, names = type(tree).__name__ if type(tree) in (tuple, list) else name_of(type(tree)), ""
    if isinstance(tree, dist.Distribution):
        data, aux = type(tree).gather_pytree_data_fields(), type(tree).gather_pytree_aux_fields()
        if not as_it_lies:
            children, data = _by_name(children, data)
            held, aux = _by_name(held, aux)
        names = " ".join([*data, "|", *aux, ""])
    static = "" if isinstance(tree, tuple | list) else spelled(held)
    return f"{kind}[{names}{static}]({', '.join(spelled_tree(child, as_it_lies) for child in children)})"


def _by_name(values: Any, names: tuple[str, ...]) -> tuple[tuple[Any, ...], tuple[str, ...]]:
    order = sorted(range(len(names)), key=names.__getitem__)
    return tuple(values[i] for i in order), tuple(names[i] for i in order)


def order_of(structure: Any) -> tuple[int, ...]:
    """The positions of the leaves of a tree in an order that is the same in every process: by name in distributions."""

    def leaves(node: Any) -> Iterator[int]:
        if type(node) is int:
            yield node
        elif type(node) is dict:
            for key in sorted(node):
                yield from leaves(node[key])
        elif node is not None:
            children, _ = jax.tree_util.default_registry.flatten_one_level(node)
            if isinstance(node, dist.Distribution):
                children, _ = _by_name(children, type(node).gather_pytree_data_fields())
            for child in children:
                yield from leaves(child)

    as_they_lie = tuple(range(structure.num_leaves))
    try:
        order = tuple(leaves(jax.tree.unflatten(structure, as_they_lie)))
    except Exception:  # a container that holds nothing but arrays
        return as_they_lie
    return order if sorted(order) == list(as_they_lie) else as_they_lie


def is_spelled(tree: PyTree) -> bool:
    """Whether a text describes a tree completely. It does not where the tree holds a function of the user's own."""
    try:
        spelled_tree(tree)
    except Unspelled:
        return False
    return True


def name_of(thing: object) -> str:
    """The module and name of a class or function that can be found again by them. Raises `Unspelled`."""
    module, name = getattr(thing, "__module__", None) or "", getattr(thing, "__qualname__", "")
    if module.split(".")[0] not in _KNOWN or "<" in name:
        raise Unspelled
    found = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if getattr(found, "__wrapped__", found) is not getattr(thing, "__wrapped__", thing):
        raise Unspelled
    return f"{module}:{name}"


def settings() -> tuple[Any, ...]:
    """JAX's backend and all its settings that a program may depend on, as they are in this place of the code."""
    held = jax.config.values
    local, global_ = _counted(tuple(held))
    values = (*local(jax.config), *map(held.__getitem__, global_))
    return (jax.default_backend(), *(v if type(v) in _SIMPLE else str(v) for v in values))


@cache
def _counted(names: tuple[str, ...]) -> tuple[Callable[[Any], tuple[Any, ...]], tuple[str, ...]]:
    """What reads the settings that may differ from place to place in a program, and the names of the others."""
    counted = sorted(name for name in names if not name.startswith(_BESIDE))
    here = [name for name in counted if hasattr(jax.config, name)]
    return attrgetter(*here), tuple(name for name in counted if name not in here)


@cache
def versions() -> str:
    """A digest of the versions of what is traced, the state of the sources, the compiler's settings, the processor."""
    import equinox
    import jaxlib
    import numpyro
    import optax

    packages = (jax, jaxlib, np, numpyro, optax, equinox)
    named = [f"{package.__name__} {package.__version__}" for package in packages]
    flags = [f"{name}={os.environ.get(name, '')}" for name in _ENVIRONMENT]
    text = "\n".join([*named, sys.version, *flags, *processor(), *_SOURCES])
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def processor() -> tuple[str, ...]:
    """What code is compiled for: the device, and of a processor the instructions that it has."""
    devices = jax.local_devices()
    return (devices[0].platform, devices[0].device_kind, str(len(devices)), platform.machine(), *_instructions())


def _instructions() -> tuple[str, ...]:
    """The model and the instruction sets of this processor, where the system tells them."""
    about = Path("/proc/cpuinfo")
    if not about.exists():
        return (platform.processor(), platform.platform())
    wanted = ("vendor_id", "model name", "model", "flags", "Features", "CPU implementer", "CPU part")
    lines = about.read_text(errors="replace").split("\n\n")[0].splitlines()
    return tuple(line for line in lines if line.split(":")[0].strip() in wanted)


def _sources(folder: str) -> Iterator[str]:
    """Each source below a folder with its size and the time of its last change."""
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _sources(entry.path)
        elif entry.name.endswith(".py"):
            found = entry.stat()
            yield f"{entry.name} {found.st_size} {found.st_mtime_ns}"


# Of the whole package, at import: sources that change while a process runs are not what it traces.
_SOURCES = tuple(_sources(os.path.dirname(os.path.dirname(__file__))))
