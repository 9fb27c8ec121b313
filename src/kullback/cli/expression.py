"""Sides of a divergence from text: calls of known names with literal arguments, read with `ast` and never evaluated."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpyro.distributions as dist

import kullback as kl
from kullback.errors import InputError

_DEEPEST = 40  # levels of calls, lists and signs
LEARNABLE = {name: getattr(kl, name) for name in ("Conditional", "Family", "Linear", "MLP", "Mixture", "Table")}


def side(text: str, argument: str) -> Any:
    """The side that `text` names: a file of samples, a distribution, or a learnable side.

    Raises `InputError` for anything but a call of a known name with literal arguments.
    """
    if text.lower().endswith((".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet", ".feather")):
        from kullback.cli.tables import read_table

        return kl.Samples(read_table(Path(text)))
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InputError(f'{argument}: {text!r:.60} cannot be read; write a call such as "Normal(0, 1)"') from None
    if _is_deep(tree):
        raise InputError(f"{argument}: {text!r:.60} is nested more than {_DEEPEST} deep; write it with fewer brackets")
    if not isinstance(tree, ast.Call):
        raise InputError(f'{argument}: {text!r} is not a call; write "Normal(0, 1)", "Family(Normal)" or a .csv file')
    return _read(tree, argument)


def _is_deep(tree: ast.AST) -> bool:
    """Whether its nodes are nested too deep to be read by calls within calls."""
    level: list[ast.AST] = [tree]
    for _ in range(_DEEPEST):
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        if not level:
            return False
    return True


def _read(node: ast.expr, argument: str) -> Any:
    match node:
        case ast.Call(func=ast.Name(id=name)):
            return _call(name, node, argument)
        case ast.Name(id=name):
            return _distribution(name, argument)
        case ast.List() | ast.Tuple():
            return [_read(element, argument) for element in node.elts]
    try:
        return ast.literal_eval(node)
    except ValueError:
        text = ast.unparse(node)
        raise InputError(f"{argument}: {text!r} is neither a number, a list, nor a call of a known name") from None


def _call(name: str, node: ast.Call, argument: str) -> Any:
    positional = [_read(value, argument) for value in node.args]
    named = {str(keyword.arg): _read(keyword.value, argument) for keyword in node.keywords}
    if name in LEARNABLE:
        return _made(LEARNABLE[name], positional, named, name, argument)
    family = _distribution(name, argument)
    positional = [_array(x, name, argument) for x in positional]
    named = {key: _array(x, name, argument) for key, x in named.items()}
    if "validate_args" not in named:
        _made(family, positional, {**named, "validate_args": True}, name, argument)
    return _made(family, positional, named, name, argument)


def _made(function: Callable[..., Any], positional: list[Any], named: dict[str, Any], name: str, argument: str) -> Any:
    try:
        return function(*positional, **named)
    except InputError:
        raise
    except (TypeError, ValueError, AssertionError, AttributeError, IndexError, OverflowError) as error:
        raise InputError(
            f"{argument}: {name} cannot be made so: {error or 'its arguments do not fit together'}"
        ) from None


def _array(x: object, name: str, argument: str) -> Any:
    """Numbers in lists as an array. Raises `InputError` for what no distribution has as a parameter."""
    if x is None or isinstance(x, bool | float | dist.Distribution):
        return x
    try:
        array = np.asarray(x)
    except ValueError:
        raise InputError(f"{argument}: {name} is given {x!r:.60}, lists of several lengths; make them equal") from None
    if array.dtype == object and isinstance(x, list) and any(isinstance(part, dist.Distribution) for part in x):
        return x
    if array.dtype.kind not in "biuf":
        raise InputError(f"{argument}: {name} is given {x!r:.60}, which is neither a number nor a list of numbers")
    if not isinstance(x, list):
        return x
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _distribution(name: str, argument: str) -> Any:
    found = getattr(dist, name, None)
    if name not in dist.__all__ or found is dist.Distribution or not _makes_distributions(found):
        from difflib import get_close_matches

        names = [n for n in dist.__all__ if _makes_distributions(getattr(dist, n))] + list(LEARNABLE)
        near = get_close_matches(name, names, 1, 0.5)
        hint = f"; did you mean {near[0]}?" if near else "; the names are those of numpyro.distributions"
        raise InputError(f"{argument}: there is no distribution named {name!r}{hint}")
    return found


def _makes_distributions(x: object) -> bool:
    return (inspect.isclass(x) and issubclass(x, dist.Distribution)) or inspect.isfunction(x)
