"""How much of the compiler's time a program is worth.

It follows from the operations of one pass over the program, which are counted where it was traced. JAX counts those of
a lowered program too (`cost_analysis`), in which every function is written out again and again, and takes as long for
that as for a quarter of the compilation.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr


class Effort(enum.Enum):
    """How much of the compiler's time a program is worth, as options of XLA for a processor."""

    # In one part: what is small takes longer to divide among processors than to compile.
    LITTLE = (
        ("xla_backend_optimization_level", 0),
        ("xla_cpu_use_fusion_emitters", False),
        ("xla_cpu_parallel_codegen_split_count", 1),
    )
    SOME = ("xla_backend_optimization_level", 1), ("xla_cpu_use_fusion_emitters", False)
    FULL = ()


# Operations in one pass over a program, bodies of loops counted once, up to which less effort is made; and how many
# times as many where nothing is repeated.
_LITTLE, _SOME, _ONCE = 4e6, 4e7, 10.0
_LOOPS = ("while", "scan")
# Operations for each number that comes out. Of what is not named it is one, and none of what moves numbers.
_WEIGHTS = {
    0.0: "broadcast_in_dim reshape squeeze transpose slice dynamic_slice dynamic_update_slice gather concatenate pad "
    "rev split iota copy convert_element_type device_put optimization_barrier",
    11.0: "exp exp2 log log1p expm1 tanh logistic sin cos tan pow sqrt rsqrt cbrt erf erfc erf_inv atan2",
    100.0: "threefry2x32 random_bits",
    150.0: "lgamma digamma polygamma zeta igamma igammac random_gamma_grad",
    500.0: "regularized_incomplete_beta igamma_grad_a bessel_i0e bessel_i1e",
}
_WEIGHT = {name: weight for weight, names in _WEIGHTS.items() for name in names.split()}
_REDUCING = ("reduce", "argm", "scatter", "select_and_scatter")  # what goes in counts, and not what comes out
_ORDERING = ("sort", "cum", "top_k")
_FACTORING = ("cholesky", "triangular_solve", "lu", "eigh", "svd", "geqrf", "householder_product")


def effort_for(traced: Any) -> Effort:
    """By the operations of one pass over a traced program. What the count leaves out is how often loops turn."""
    if jax.default_backend() != "cpu":
        return Effort.FULL
    operations, loops = counted(traced.jaxpr.jaxpr, {})
    if not loops:
        operations /= _ONCE
    return Effort.LITTLE if operations <= _LITTLE else Effort.SOME if operations <= _SOME else Effort.FULL


def counted(jaxpr: Any, known: dict[int, tuple[float, bool]]) -> tuple[float, bool]:
    """The operations of one pass, and whether there are loops; `known` has those of functions met before."""
    if (found := known.get(id(jaxpr))) is not None:
        return found
    operations, loops = 0.0, False
    for equation in jaxpr.eqns:
        name = equation.primitive.name
        inner = [counted(part, known) for part in _within(equation.params.values())]
        if inner and not name.startswith(_REDUCING):
            costs, looped = zip(*inner, strict=True)
            operations += max(costs) if name == "cond" else sum(costs)  # of several branches one is taken
            loops |= name in _LOOPS or any(looped)
        else:
            operations += _cost(equation)
    known[id(jaxpr)] = operations, loops
    return operations, loops


def _within(params: Any) -> Iterator[Any]:
    """The functions among the parameters of an equation."""
    for param in params:
        if isinstance(param, ClosedJaxpr):
            yield param.jaxpr
        elif isinstance(param, Jaxpr):
            yield param
        elif isinstance(param, tuple | list):
            yield from _within(param)


def _cost(equation: Any) -> float:
    name, first = equation.primitive.name, equation.invars[0] if equation.invars else None
    into, out = (max(map(_size, some), default=0) for some in (equation.invars, equation.outvars))
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return 2.0 * out * math.prod(_shape(first)[axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1]
        return 2.0 * out * _size(kernel) / _shape(kernel)[equation.params["dimension_numbers"].rhs_spec[0]]
    if name.startswith(_ORDERING):
        return into * math.log2(max(into, 2))
    if name in _FACTORING:
        return float(into * max(_shape(first)[-2:], default=1))
    return _WEIGHT.get(name, 1.0) * (max(into, out) if name.startswith(_REDUCING) else out)


def _size(variable: Any) -> int:
    return math.prod(_shape(variable))


def _shape(variable: Any) -> tuple[int, ...]:
    return getattr(variable.aval, "shape", ())
