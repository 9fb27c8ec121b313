"""Unlike families with bounds that are parameters: ∞ where one of P's bounds lies beyond one of Q's, and only there."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.integrate import quad

import kullback as kl

a = jnp.asarray
# P, Q and which elements are infinite: below, above, by a bound of Q, and by a law that has no end.
CASES = {
    "below": (dist.Uniform(a([-1.0, 1.0]), a([2.0, 2.0])), dist.Exponential(1.0), [True, False]),
    "above": (dist.Uniform(a([0.1, 0.2]), a([2.0, 0.9])), dist.Beta(1.0, 1.0), [True, False]),
    "a bound of Q": (dist.Uniform(a([1.0, 3.0]), 5.0), dist.Pareto(a([2.0, 2.0]), 1.0), [True, False]),
    "without an end": (dist.Exponential(1.0), dist.Uniform(a([-1.0, 0.0]), a([2.0, 3.0])), [True, True]),
    "a truncated Q": (
        dist.Uniform(0.0, a([0.5, 2.0])),
        dist.TruncatedNormal(0.0, 1.0, low=-1.0, high=1.0),
        [False, True],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_only_what_escapes_is_infinite(case):
    p, q, escapes = case
    for found in (kl.kl_divergence(p, q), jax.jit(kl.kl_divergence)(p, q)):
        np.testing.assert_array_equal(np.isinf(found), escapes)
        for i in np.flatnonzero(~np.asarray(escapes)):
            np.testing.assert_allclose(found[i], _by_quadrature(p, q, i), rtol=1e-4)


def _by_quadrature(p, q, i):
    """∫ P log P/Q over the support of P's i-th element."""
    ends = (getattr(p.support, end, limit) for end, limit in (("lower_bound", -np.inf), ("upper_bound", np.inf)))
    low, high = (float(np.broadcast_to(end, p.batch_shape)[i]) for end in ends)

    def gain(x):
        log_p, log_q = (float(np.broadcast_to(d.log_prob(x), (2,))[i]) for d in (p, q))
        return np.exp(log_p) * (log_p - log_q)

    return quad(gain, low, high)[0]
