"""The descent against SciPy's on functions where the least value is known."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from jax.tree_util import Partial

from kullback.minimize import lbfgs
from kullback.minimize.fitting import descend
from kullback.rule import Request


def rosenbrock(x):
    return jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def quadratic(scale, x):
    return 0.5 * jnp.sum(scale * (x - 1) ** 2)


def walled(x):
    """Infinite beyond a wall, as a log-density outside its support."""
    return jnp.where(x[0] > 0, x[0] - jnp.log(jnp.where(x[0] > 0, x[0], 1.0)), jnp.inf)


def run(objective, start, tolerance=1e-10, **settings):
    return descend("test", Partial(objective) if callable(objective) else objective, np.atleast_2d(start),
                   Request(tolerance=tolerance, quiet=True), **settings)  # fmt: skip


def test_rosenbrock(precision):
    found = run(rosenbrock, np.array([-1.2, 1.0, -0.5, 0.8]))
    np.testing.assert_allclose(found.vectors[0], 1.0, atol=2e-2 if precision is np.float32 else 1e-4)


def test_as_few_evaluations_as_scipys(precision):
    start = np.full(20, -1.0)
    found = run(rosenbrock, start, 1e-6)
    peer = scipy.optimize.minimize(
        scipy.optimize.rosen, start, jac=scipy.optimize.rosen_der, method="L-BFGS-B", options={"maxcor": 20}
    )
    assert found.values[0] < 1e-4
    assert int(np.max(found.outcome.state.evaluations)) < 2.5 * peer.nfev


def test_ill_conditioned_quadratics_in_both_precisions(precision):
    scale = np.logspace(0, 6, 12)
    found = run(Partial(quadratic, scale), np.zeros(12))
    assert found.values[0] < 1e-4


def test_a_wall_of_infinity_is_stepped_back_from(precision):
    found = run(walled, np.array([30.0]))
    assert found.vectors[0] == pytest.approx(1.0, abs=1e-2)


def test_a_start_that_is_not_finite_does_not_spoil_the_others():
    found = run(walled, np.array([[-1.0], [4.0]]))
    assert found.vectors[0] == pytest.approx(1.0, abs=1e-2)
    assert np.asarray(found.outcome.state.status).tolist() == [lbfgs.DIVERGED, lbfgs.CONVERGED]


def test_large_offsets_do_not_stop_it_early(precision):
    """A relative tolerance would stop nats short; the absolute one goes on to the rounding of the value."""
    found = run(Partial(lambda x: 1e4 + jnp.sum(jnp.cosh(x - 2) - 1)), np.zeros(5), 1e-6)
    assert found.values[0] - 1e4 < (0.02 if precision is np.float32 else 1e-5)
