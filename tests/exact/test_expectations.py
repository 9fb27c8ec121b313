"""The two tables of unlike families: what each P gives and what each Q is made of, against integrals of densities."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
from tests.exact.truths.densities import LAWS

import kullback as kl
from kullback.exact.cross_family.cross import STATISTICS
from kullback.exact.cross_family.expectations import EXPECTATIONS
from kullback.exact.type_keys import type_key

# The statistics as functions of x and their parameters, and parameters to try.
FUNCTIONS = {
    "x": lambda x: x,
    "(x−m)²": lambda x, m: (x - m) ** 2,
    "log x": lambda x: mp.log(x),
    "(log x−m)²": lambda x, m: (mp.log(x) - m) ** 2,
    "1/x": lambda x: 1 / x,
    "(x/s)ᵏ": lambda x, k, s: (x / s) ** k,
    "log(1−x)": lambda x: mp.log1p(-x),
    "|x−m|": lambda x, m: abs(x - m),
    "(x−m)₊": lambda x, m: max(x - m, 0),
    "(m−x)₊": lambda x, m: max(m - x, 0),
    "e^t(x−m)": lambda x, t, m: mp.exp(t * (x - m)),
    "cos(x−m)": lambda x, m: mp.cos(x - m),
    "log(1+(x−m)²/s²)": lambda x, m, s: mp.log1p(((x - m) / s) ** 2),
}
PARAMETERS = {
    "(x−m)²": ((-0.75,),),
    "(log x−m)²": ((0.5,),),
    "(x/s)ᵏ": ((0.5, 2.0), (1.5, 0.5)),
    "|x−m|": ((-0.25,), (1.75,)),
    "(x−m)₊": ((-0.25,), (0.625,)),
    "(m−x)₊": ((-0.25,), (0.625,)),
    "e^t(x−m)": ((-0.5, 0.25), (0.25, 1.0)),
    "cos(x−m)": ((0.25,),),
    "log(1+(x−m)²/s²)": ((0.25, 0.75),),
}


def _given(law):
    return EXPECTATIONS.get(type_key(law.make(*law.parameters)), {})


def _value(law, name, parameters):
    with jax.enable_x64(True):
        p = law.make(*(jnp.float64(x) for x in law.parameters))
        return float(_given(law)[name](p, *(jnp.float64(x) for x in parameters)))


CASES = [(name, statistic) for name, law in LAWS.items() for statistic in _given(law)]


@pytest.mark.parametrize(("name", "statistic"), CASES, ids=[f"{a}-{b}" for a, b in CASES])
def test_expectation(name, statistic):
    """Against ∫ statistic · p/∫ p, in 22 digits; ∞ where the integral does not exist."""
    law = LAWS[name]
    for parameters in PARAMETERS.get(statistic, ((),)):
        found = _value(law, statistic, parameters)
        if found == np.inf:
            assert _diverges(law, statistic, parameters)
            continue
        truth = _expectation(law, statistic, parameters)
        assert abs(found - truth) <= 1e-12 * max(abs(truth), mp.mpf(1) / 8), (parameters, found, truth)


def _expectation(law, statistic, parameters):
    at = [mp.mpf(x) for x in parameters]
    with mp.workdps(22):
        return law.integral(lambda x: FUNCTIONS[statistic](x, *at) * mp.exp(law.log(x) - law.log_mass), *parameters)


def _diverges(law, statistic, parameters):
    """The integrand times the distance to an end of the support does not fall off there."""
    at = [mp.mpf(x) for x in parameters]
    ends = [(mp.mpf(10) ** k, mp.mpf(10) ** (k + 4)) for k in (8,) if law.points[-1] == mp.inf]
    ends += [(-b, -c) for b, c in ends if law.points[0] == -mp.inf]
    ends += [(mp.mpf(10) ** -8, mp.mpf(10) ** -12)] if law.points[0] == 0 else []

    def weight(x):
        return abs(x * FUNCTIONS[statistic](x, *at)) * mp.exp(law.log(x))

    return any(weight(far) >= weight(near) * (1 - mp.mpf(10) ** -6) for near, far in ends)


def test_infinite_expectations():
    """Where the moment does not exist, whatever the parameters."""
    with jax.enable_x64(True):
        for p, statistic, at in (
            (dist.Pareto(1.0, 0.75), "x", ()),
            (dist.Pareto(1.0, 1.75), "(x−m)²", (0.5,)),
            (dist.InverseGamma(1.0, 2.0), "x", ()),
            (dist.InverseGamma(2.0, 2.0), "(x−m)²", (0.5,)),
            (dist.InverseGamma(0.5, 2.0), "|x−m|", (0.5,)),
            (dist.Gamma(0.75, 2.0), "1/x", ()),
            (dist.Gamma(0.75, 2.0), "e^t(x−m)", (2.0, 0.0)),
            (dist.Beta(0.75, 2.0), "1/x", ()),
            (dist.Kumaraswamy(0.75, 2.0), "1/x", ()),
            (dist.Uniform(0.0, 2.0), "1/x", ()),
            (dist.HalfNormal(2.0), "1/x", ()),
            (dist.StudentT(2.0), "(x−m)²", (0.5,)),
            (dist.Dagum(1.0, 1.0, 1.0), "x", ()),
            (dist.Laplace(0.0, 2.0), "e^t(x−m)", (0.5, 0.0)),
            (dist.Logistic(0.0, 2.0), "e^t(x−m)", (-0.5, 0.0)),
            (dist.Gumbel(0.0, 2.0), "e^t(x−m)", (0.5, 0.0)),
        ):
            assert EXPECTATIONS[type_key(p)][statistic](p, *map(jnp.float64, at)) == np.inf, (p, statistic)


MADE = [name for name, law in LAWS.items() if type_key(law.make(*law.parameters)) in STATISTICS]


@pytest.mark.parametrize("name", MADE)
def test_statistics(name):
    """Constant and terms add up to the log-density, whose constant is that of its integral."""
    law = LAWS[name]
    with jax.enable_x64(True):
        q = law.make(*(jnp.float64(x) for x in law.parameters))
        names, parts = STATISTICS[type_key(q)]
        constant, terms = parts(q)
    assert tuple(name for _, name, _ in terms) == names
    x = mp.mpf(11) / 16 if law.points[-1] < 2 else mp.mpf(7) / 4
    x = -x if law.points[-1] < x else x
    found = float(constant) + sum(float(c) * FUNCTIONS[name](x, *map(float, at)) for c, name, at in terms)
    assert abs(found - (law.log(x) - law.log_mass)) < 1e-13 * max(1, abs(found))


@pytest.mark.parametrize("name", [name for name in LAWS if name != "gompertz"])
def test_entropy(name):
    """−∫ p log p, in 22 digits."""
    law = LAWS[name]
    with jax.enable_x64(True), jax.disable_jit():
        found = float(kl.entropy(law.make(*map(jnp.float64, law.parameters))))

    def term(x):
        log = law.log(x) - law.log_mass
        return -log * mp.exp(log)

    with mp.workdps(22):
        truth = law.integral(term)
    assert abs(found - truth) <= 1e-12 * max(abs(truth), mp.mpf(1) / 8)
