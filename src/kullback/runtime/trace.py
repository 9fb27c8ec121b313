"""A function of the user's own by its trace: what it computes, apart from the arrays that it closes over.

A compiled program is found by a text of what it is made from (`runtime.identity`), and no text describes a function of
the user's completely. Its trace does: the operations of one call, in JAX's own language. Two function objects with the
same trace then share every program, whatever data they hold, and of the function nothing but its trace is made anew.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, jaxpr_as_fun

from kullback.runtime.identity import Unspelled, spelled

_HIDING = ("custom_", "callback", "ffi")  # in the names of operations that hold code which a trace does not show


@dataclass(frozen=True)
class Trace:
    """What a function of one array computes; by `text` two of them are equal."""

    name: str = field(compare=False)
    text: str = field(repr=False)
    jaxpr: Any = field(compare=False, repr=False)

    def __call__(self, arrays: tuple[Any, ...], x: Any) -> Any:
        """The value at x, of the shape that it was traced for, with the arrays that it closed over."""
        x = jnp.asarray(x, self.jaxpr.invars[0].aval.dtype)
        return jaxpr_as_fun(ClosedJaxpr(self.jaxpr, arrays))(x)[0]


def traced(function: Callable[..., Any], x: Any) -> tuple[Trace, tuple[Any, ...]]:
    """The trace of a function at an array of this type and shape, and the arrays that it closes over.

    Raises `Unspelled` where it has more than one result, or the trace hides some of what it does.
    """
    # A function of this moment: JAX keeps the trace of a lasting one, and with it, as of this precision, the arrays
    # that it closes over, which the user may use in another next.
    closed = jax.make_jaxpr(lambda x: function(x))(jax.ShapeDtypeStruct(x.shape, x.dtype))
    arrays = tuple(a if isinstance(a, jax.Array) else np.asarray(a) for a in closed.consts)
    if len(closed.out_avals) != 1 or any(jnp.issubdtype(a.dtype, jax.dtypes.extended) for a in arrays):
        raise Unspelled
    return Trace(
        getattr(function, "__qualname__", type(function).__name__), text_of(closed.jaxpr), closed.jaxpr
    ), arrays


def text_of(jaxpr: Any) -> str:
    """The operations of a trace, with variables numbered as they come. Raises `Unspelled` for what hides some."""
    numbers: dict[Any, int] = {}

    def named(variables: Iterable[Any]) -> str:
        return " ".join(
            f"{spelled(np.asarray(v.val))}:{v.aval.str_short()}"
            if isinstance(v, Literal)
            else f"{numbers.setdefault(v, len(numbers))}:{v.aval.str_short()}{'~' * bool(v.aval.weak_type)}"
            for v in variables
        )

    lines = [f"given {named(jaxpr.constvars)} of {named(jaxpr.invars)}"]
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if equation.effects or any(part in name for part in _HIDING):
            raise Unspelled
        params = " ".join(f"{key}={_param(value)}" for key, value in sorted(equation.params.items()))
        operands = named(equation.invars)
        lines.append(f"{named(equation.outvars)} = {name}[{params}] {operands}")
    return "\n".join([*lines, f"gives {named(jaxpr.outvars)}"])


def _param(value: Any) -> str:
    if isinstance(value, ClosedJaxpr):  # from JAX 0.11 on, one class with Jaxpr
        return f"{{{text_of(value.jaxpr)} with {', '.join(spelled(np.asarray(a)) for a in value.consts)}}}"
    if isinstance(value, Jaxpr):
        return f"{{{text_of(value)}}}"
    if type(value) in (tuple, list):
        return f"({', '.join(map(_param, value))})"
    try:
        return spelled(value)
    except Unspelled:
        text = repr(value)
        if inspect.isroutine(value) or "0x" in text:
            raise
        return f"{type(value).__name__} {text}"
