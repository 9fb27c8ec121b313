"""Arguments looked at before any work: each function gives the value as it is used, or raises `InputError`."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpyro.distributions as dist

from kullback.errors import InputError

LARGEST = 2**53  # whole numbers up to here are numbers in double precision too


def number(argument: str, value: object, what: str = "a finite number") -> float:
    """A finite real number; True and False are none."""
    value = _single(value)
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_) or not _is_finite(value):
        raise InputError(f"{argument}: {_shown(value)} is not {what}")
    return float(value)


def positive(argument: str, value: object) -> float:
    """A finite number above 0."""
    found = number(argument, value, "a positive number")
    if found <= 0:
        raise InputError(f"{argument}: {_shown(value)} is not a positive number")
    return found


def share(argument: str, value: object) -> float:
    """A number from 0 to below 1."""
    found = number(argument, value, "a share from 0 to below 1")
    if not 0 <= found < 1:
        raise InputError(f"{argument}: {_shown(value)} is not a share from 0 to below 1")
    return found


def inside(argument: str, value: object, usual: float) -> float:
    """A probability strictly between 0 and 1."""
    found = number(argument, value, f"a number between 0 and 1; {usual:g} is usual")
    if not 0 < found < 1:
        raise InputError(f"{argument}: {_shown(value)} is not between 0 and 1; {usual:g} is usual")
    return found


def whole(argument: str, value: object, least: int = 1, most: int = LARGEST) -> int:
    """A whole number in a range; 1e6 is one."""
    value, kind = _single(value), "a positive whole number" if least == 1 else f"a whole number of at least {least}"
    exact = value if type(value) is int else number(argument, value, kind)
    if exact < least or int(exact) != exact:
        raise InputError(f"{argument}: {_shown(value)} is not {kind}")
    if exact > most:
        raise InputError(f"{argument}: {_shown(value)} is more than {most:,}, the most that can be asked for")
    return int(exact)


def flag(argument: str, value: object) -> bool:
    """True or False, and nothing that only counts as one."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{argument}: {_shown(value)} is neither True nor False")
    return bool(value)


def path(argument: str, value: object) -> Path:
    """The name of a file or a folder."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value) or not isinstance(os.fspath(value), str):
        raise InputError(f"{argument}: {_shown(value)} is not the name of a file")
    if "\0" in os.fspath(value):
        raise InputError(f"{argument}: {_shown(value)} holds a null character, which no name of a file may")
    return Path(value)


def distribution(argument: str, value: object) -> dist.Distribution:
    """A NumPyro distribution."""
    if not isinstance(value, dist.Distribution):
        raise InputError(f"{argument}: {_shown(value)} is not a NumPyro distribution, such as dist.Normal(0.0, 1.0)")
    return value


def numeric(argument: str, value: object) -> Any:
    """A number, an array of numbers (traced ones too) or nested lists of them, as an array where it is a list."""
    array: Any = None
    try:
        array = np.asarray(value) if isinstance(value, list | tuple) else value
        kind = np.dtype(getattr(array, "dtype", type(array))).kind
    except (TypeError, ValueError):
        kind = "O"
    if kind in "biufV" and not isinstance(value, bool) and getattr(array, "size", 1):  # V: types that JAX adds
        return array
    raise InputError(f"{argument}: {_shown(value)} is neither a number nor an array of numbers")


def row(argument: str, value: object) -> Mapping[str, Any]:
    """A mapping from names to values."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise InputError(f"{argument}: {_shown(value)} is not a mapping from names to numbers")
    return value


class Dataclass(Protocol):
    """An instance of a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


def checked_fields(record: Dataclass, signed: frozenset[str] = frozenset()) -> None:
    """Fields of a frozen dataclass by their annotations: int, float and bool, or None where that is allowed.

    Whole numbers are at least 1, or 0 where that is a count; other numbers are at least 0 unless they are `signed`.
    What is narrower is for the record to say. Raises `InputError`.
    """
    for field in dataclasses.fields(record):
        kind, _, optional = str(field.type).partition(" | ")
        value = getattr(record, field.name)
        if kind not in ("int", "float", "bool") or optional not in ("", "None") or (optional and value is None):
            continue
        if kind == "int":
            found: Any = whole(field.name, value, 0 if field.default == 0 or field.name in _FROM_0 else 1)
        elif kind == "bool":
            found = flag(field.name, value)
        else:
            found = number(field.name, value)
            if found < 0 and field.name not in signed:
                raise InputError(f"{field.name}: {_shown(value)} is below 0")
        object.__setattr__(record, field.name, found)


_FROM_0 = ("memory",)  # counts of which 0 is one


def _single(value: object) -> object:
    """A NumPy or JAX scalar as Python's number."""
    if isinstance(value, np.generic | np.ndarray) and np.ndim(value) == 0:
        return value.item()
    return value


def _is_finite(value: Real) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond double precision
        return False


def _shown(value: object) -> str:
    return f"{value!r:.60}".replace("\n", " ")
