"""Equinox modules as bytes, from which pickle, joblib and copies of what holds them rebuild the module.

The flattened form of a module marks missing fields by the identity of an object, which pickle does not keep, and an
activation is often a function that pickle does not find by its name: those of JAX carry their rule of differentiation,
and the defaults of Equinox's layers are lambdas. A module is therefore pickled as a whole; functions by name where the
name leads back to them, else by their code, which only the same version of Python reads.
"""

from __future__ import annotations

import importlib
import io
import marshal
import pickle
import types
from functools import reduce
from typing import Any, NoReturn

from kullback.errors import InputError


class _Pickler(pickle.Pickler):
    """Pickle, with functions that it does not find."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, type) or not callable(obj):
            return NotImplemented
        module, name = getattr(obj, "__module__", None), getattr(obj, "__qualname__", None)
        if not isinstance(module, str) or not isinstance(name, str):
            return NotImplemented
        if _is_at(module, name, obj):
            # Plain functions are found by pickle itself.
            plain = isinstance(obj, types.FunctionType | types.BuiltinFunctionType)
            return NotImplemented if plain else (named, (module, name))
        if isinstance(obj, types.FunctionType):
            cells = None if obj.__closure__ is None else tuple(cell.cell_contents for cell in obj.__closure__)
            return rebuilt, (marshal.dumps(obj.__code__), module, obj.__defaults__, obj.__kwdefaults__, cells)
        return NotImplemented


def dumped(module: Any) -> bytes:
    """The bytes of an Equinox module."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(module)
    return buffer.getvalue()


def loaded(data: bytes) -> Any:
    """The module of `dumped`; like any pickle, only for bytes that are trusted."""
    return pickle.loads(data)


def named(module: str, name: str) -> Any:
    """What stands under a qualified name in a module."""
    return reduce(getattr, name.split("."), importlib.import_module(module))


def rebuilt(code: bytes, module: str, defaults: Any, kwdefaults: Any, cells: Any) -> Any:
    """A function from its code, with the global names of its module."""
    closure = None if cells is None else tuple(map(types.CellType, cells))
    function = types.FunctionType(marshal.loads(code), vars(importlib.import_module(module)), None, defaults, closure)
    function.__kwdefaults__ = kwdefaults
    return function


def _is_at(module: str, name: str, obj: Any) -> bool:
    try:
        return named(module, name) is obj
    except (ImportError, AttributeError):
        return False


def refuse_state() -> NoReturn:
    """For savers that hold data and no code, as skops is."""
    raise InputError(
        "network: an Equinox module is code, which a file of data alone cannot hold; use pickle or joblib, or "
        "fit_.save(path), and kl.load(path, network=) with the module"
    )


class Kept:
    """A module that a pickle of something else holds as bytes; a copy of it is itself, since nothing in it changes."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __copy__(self) -> Kept:
        return self

    def __deepcopy__(self, memo: Any) -> Kept:
        return self

    def __reduce__(self) -> Any:
        return _kept, (dumped(self.module),)

    def __getstate__(self) -> Any:
        refuse_state()


def _kept(data: bytes) -> Kept:
    return Kept(loaded(data))
