"""Every same-family form against 50-digit arithmetic: generic, extreme and nearly equal parameters, both precisions."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from tests.exact.truths import FAMILIES, columns, exact, filled, leaves, pairs, rounded

import kullback as kl

VALUE = {np.float32: 1e-5, np.float64: 1e-12}
GRADIENT = {np.float32: 1e-4, np.float64: 1e-10}
STEP = mp.mpf(10) ** -20


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request):
    return request.param


def test_value_and_gradient(family, precision):
    """The relative error of the value, and of the gradient relative to its greatest component."""
    cases = pairs(family, precision)
    p, q = (columns([case[i] for case in cases], precision) for i in (0, 1))
    values, gradients = _value_and_gradient(family, p, q)
    assert values.dtype == precision
    assert (values >= 0).all()
    worst = {"value": (0.0, None), "gradient": (0.0, None)}
    for k, case in enumerate(cases):
        at = exact(case)
        truth = family.kl(*at)
        if case[0] == case[1]:
            assert values[k] == 0, case
        elif truth > np.finfo(precision).max:
            assert values[k] == np.inf, case
        else:
            worst["value"] = _worse(worst["value"], abs(float(values[k]) - truth) / truth, case)
            if k % 7 not in (0, 3):  # differences in 50 digits take longer than all else
                continue
            expected = np.asarray(_slopes(family, at), float)
            found = np.asarray([x for part in gradients for a in part for x in np.ravel(a[k])])
            there = np.isfinite(expected) & (np.abs(expected) < np.finfo(precision).max)
            if np.abs(expected[there]).max(initial=0.0) > 0:
                error = np.abs(found - expected)[there].max() / np.abs(expected[there]).max()
                worst["gradient"] = _worse(worst["gradient"], error, case)
    assert worst["value"][0] <= VALUE[precision], worst
    assert worst["gradient"][0] <= GRADIENT[precision], worst


def _value_and_gradient(family, p, q):
    """Both in one program, since compiling is what takes the time."""

    def total(parameters):
        value = kl.kl_divergence(family.make(*parameters[0]), family.make(*parameters[1]))
        return jnp.where(jnp.isfinite(value), value, 0.0).sum(), value

    (_, value), gradient = jax.jit(jax.value_and_grad(total, has_aux=True))((p, q))
    return np.asarray(value), gradient


def _worse(worst, error, case):
    return (float(error), case) if error > worst[0] else worst


def _slopes(family, at):
    """Central differences, ∞ where a step leaves the domain or the support."""
    numbers, slopes = leaves(at), []
    for i in range(len(numbers)):
        if i % (len(numbers) // 2) in family.without_slope:
            slopes.append(mp.inf)
            continue
        up, down = (filled(at, [x + (side * STEP if j == i else 0) for j, x in enumerate(numbers)]) for side in (1, -1))
        slopes.append((family.kl(*up) - family.kl(*down)) / (2 * STEP))
    return [mp.inf if mp.isnan(s) or mp.im(s) else s for s in slopes]


MAPPED = ("normal", "gamma", "beta", "categorical", "bernoulli logits", "poisson", "uniform", "multivariate normal")


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.name in MAPPED], ids=lambda family: family.name)
def test_mapped_and_broadcast_agree(family):
    """One pair at a time under vmap and jit, and a broadcast table of all pairs, are the same numbers."""
    rows = columns(list(family.rows), np.float32)
    table = kl.kl_divergence(family.make(*(x[:, None] for x in rows)), family.make(*rows))
    assert table.shape == (len(family.rows),) * 2

    def one(p, q):
        return kl.kl_divergence(family.make(*p), family.make(*q))

    mapped = jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))(rows, rows)
    np.testing.assert_allclose(mapped, table, rtol=1e-4, atol=1e-7)


def test_truth_of_equal_parameters_is_zero(family):
    """The 50-digit forms themselves vanish at P = Q and are positive off it."""
    rows = [exact(row) for row in family.rows]
    assert all(abs(family.kl(row, row)) < mp.mpf(10) ** -40 for row in rows)
    assert all(family.kl(p, q) > 0 for p in rows for q in rows if p is not q)


ENTROPIES = [family for family in FAMILIES if family.entropy is not None]


@pytest.mark.parametrize("family", ENTROPIES, ids=lambda family: family.name)
def test_entropy(family, precision):
    """The error relative to the larger of the entropy and 1 nat: it may be 0 at generic parameters."""
    rows = [rounded(row, precision) for row in family.rows]
    values = np.asarray(jax.jit(lambda x: kl.entropy(family.make(*x)))(columns(rows, precision)))
    assert values.dtype == precision
    for row, value in zip(rows, values, strict=True):
        truth = family.entropy(exact(row))
        assert abs(float(value) - truth) <= VALUE[precision] * max(1, abs(truth)), (row, value, truth)
