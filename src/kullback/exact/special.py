"""The functions that stable forms are made of: each keeps its relative accuracy where plain differences lose it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from kullback.exact.log_gamma import HALF_LOG_2PI as HALF_LOG_2PI
from kullback.exact.log_gamma import binet as binet
from kullback.exact.log_gamma import binet_curvature as binet_curvature
from kullback.exact.log_gamma import binet_slope as binet_slope
from kullback.exact.log_gamma import gamma_entropy as gamma_entropy
from kullback.exact.log_gamma import gamma_gap as gamma_gap
from kullback.exact.log_gamma import log_beta as log_beta
from kullback.exact.ratios import gap as gap
from kullback.exact.ratios import log_ratio as log_ratio
from kullback.exact.ratios import phi as phi
from kullback.exact.ratios import psi as psi
from kullback.exact.ratios import scale_gap as scale_gap

EULER_GAMMA = 0.57721566490153286061


def floats(*xs: Any) -> tuple[Array, ...]:
    """The arguments as JAX arrays of one floating type."""
    arrays = [jnp.asarray(x) for x in xs]
    dtype = jnp.result_type(*arrays)
    if not jnp.issubdtype(dtype, jnp.floating):
        dtype = jnp.result_type(float)
    return tuple(a.astype(dtype) for a in arrays)


def in_double(form: Callable[..., Array]) -> Callable[..., Array]:
    """The form evaluated in double precision and rounded to that of its arguments, also inside compiled programs.

    For what single precision cannot give: differences of special functions. It costs the width of the numbers, so it
    is used only where there is no form that keeps its digits. The global setting is untouched. A derivative is formed
    after this has returned, by rules that must hold outside it: those of elementwise functions and sums do, but not
    those of powers, maxima, indexing, matrix products and solutions; nor those of `jax.nn` and the Bessel functions.
    """

    @wraps(form)
    def run(*args: Any) -> Array:
        dtype = floats(*jax.tree.leaves(args))[0].dtype
        with jax.enable_x64(True):
            value = form(*jax.tree.map(_widened, args))
        return value.astype(dtype)

    return run


def _widened(leaf: Any) -> Any:
    return jnp.asarray(leaf, jnp.float64) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating) else leaf
