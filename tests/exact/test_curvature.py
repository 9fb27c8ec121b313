"""Second derivatives of the same-family forms, forward over reverse, against second differences in 50 digits."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from tests.exact.truths import FAMILIES, exact, filled, leaves, rounded

import kullback as kl

STEP = mp.mpf(10) ** -12
SMOOTH = [family for family in FAMILIES if not family.without_slope]


@pytest.mark.parametrize(
    "family",
    [pytest.param(f, marks=[pytest.mark.long] if i % 2 else []) for i, f in enumerate(SMOOTH)],
    ids=[f.name for f in SMOOTH],
)
def test_curvature_along_a_line(family, rng):
    """vᵀ H v for one v, in single precision: a form that is double inside must give it as well."""
    case = tuple(rounded(row, np.float32) for row in family.rows[:2])
    size = len(leaves(case[0]))
    numbers = exact(case)
    values = leaves(numbers)
    free = [i % size not in family.fixed for i in range(2 * size)]
    step = [float(f * np.float32(0.05 * rng.uniform(-1, 1) * abs(float(x)))) for x, f in zip(values, free, strict=True)]
    at, along = (_arrays(filled(case, list(xs))) for xs in (values, step))

    def divergence(rows):
        return kl.kl_divergence(*(family.make(*row) for row in rows))

    _, change = jax.jit(lambda x, v: jax.jvp(jax.grad(divergence), (x,), (v,)))(at, along)
    parts = zip(*map(jax.tree.leaves, (change, along)), strict=True)
    terms = np.concatenate([np.ravel(np.asarray(c, float) * v) for c, v in parts])
    up, middle, down = (
        family.kl(*filled(numbers, [x + side * s * STEP for x, s in zip(values, step, strict=True)]))
        for side in (1, 0, -1)
    )
    truth = float((up - 2 * middle + down) / STEP**2)
    assert np.isfinite(terms).all()
    if np.isfinite(truth):
        assert abs(terms.sum() - truth) <= 2e-3 * np.abs(terms).sum(), (terms, truth)


def _arrays(rows):
    return tuple(tuple(jnp.asarray(np.asarray(part, np.float32)) for part in row) for row in rows)
