"""Linear systems x = Kx + b of a chain K that ends: factorised while small, by Krylov iteration when large."""

from __future__ import annotations

import warnings

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from kullback.control.tabular.reachability import Sparse

SMALL = 4_000  # states up to which a factorisation is cheap whatever the graph
RELATIVE = 1e-10  # residual asked of one Krylov solve; Newton's method corrects what it leaves
BACKWARD = 1e-12  # residual over the solution that is as good as rounding allows on a chain that hardly ends
RESTART, CYCLES = 40, 10


class SingularChain(ArithmeticError):
    """The chain does not end, so the system has no finite solution."""


def solve_chain(chain: Sparse, b: np.ndarray) -> np.ndarray:
    """x = (I − chain)⁻¹ b for a non-negative chain [S, S] with spectral radius below 1, and b [S].

    Krylov iteration is tried first on large chains, because a factorisation of a random sparse graph fills in;
    where it stalls (long thin graphs, such as mazes) the factorisation is cheap and takes over.
    Raises `SingularChain` where the solution is not finite.
    """
    system = sp.csc_array(sp.eye_array(chain.shape[0]) - chain)
    x = None if chain.shape[0] <= SMALL else _krylov(system, b)
    if x is None:
        x = _factorised(system, b)
    if not np.isfinite(x).all():
        raise SingularChain
    return x


def _krylov(system: sp.csc_array, b: np.ndarray) -> np.ndarray | None:
    x, failed = spla.gmres(sp.csr_array(system), b, rtol=RELATIVE, atol=0.0, restart=RESTART, maxiter=CYCLES)
    stalled = failed and np.abs(b - system @ x).max() > BACKWARD * np.abs(x).max()
    return None if stalled else x


def _factorised(system: sp.csc_array, b: np.ndarray) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", spla.MatrixRankWarning)
            return spla.splu(system).solve(b)
    except (RuntimeError, spla.MatrixRankWarning) as error:
        raise SingularChain from error
