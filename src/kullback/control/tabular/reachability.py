"""Which states of a chain are reached, and which of them are never left: facts about the graph, free of rounding."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import breadth_first_order, connected_components

Sparse = Any  # a SciPy sparse array: their stubs do not say that it has a shape


def reached(graph: Sparse, start: np.ndarray) -> np.ndarray:
    """The states that can be reached from where `start` [S] is True along the edges of graph [S, S]."""
    size = graph.shape[0]
    first = sp.csr_array(start[None, :].astype(np.float64))
    rooted = sp.block_array([[graph, None], [first, sp.csr_array((1, 1))]], format="csr")
    order = breadth_first_order(rooted, size, directed=True, return_predecessors=False)
    found = np.zeros(size + 1, bool)
    found[order] = True
    return found[:size]


def never_left(graph: Sparse, may_end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The states of the closed classes that neither end nor are left, as a mask [S], and each state's class [S]."""
    count, label = connected_components(graph, directed=True, connection="strong")
    edges = graph.tocoo()
    is_open = np.zeros(count, bool)
    is_open[label[edges.row[label[edges.row] != label[edges.col]]]] = True
    is_open[label[may_end]] = True
    return ~is_open[label], label
