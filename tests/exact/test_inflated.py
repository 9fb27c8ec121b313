"""Zero-inflated and hurdle laws, against sums in 50 digits, and at the ends of their gates."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest
from tests.exact.test_closed_forms import VALUE
from tests.exact.test_counts import binomial, divergence_of, entropy_of, negative, poisson

import kullback as kl

LOG2, INF = np.log(2.0), np.inf


def inflated(gate, mass):
    return lambda k: (gate if k == 0 else 0) + (1 - gate) * mass(k)


def hurdle(gate, mass):
    return lambda k: mp.mpf(gate) if k == 0 else (1 - gate) * mass(k) / (1 - mass(0))


def counts(rate):
    return lambda k: poisson(k, mp.mpf(rate))


def gammas(mean, shape):
    return lambda k: negative(k, mp.mpf(shape), mp.mpf(mean) / (mean + shape))


def trials(n, p):
    return lambda k: binomial(k, n, mp.mpf(p))


ODDS = 1 / (1 + mp.exp(mp.mpf(-0.5)))
LAWS = {
    "poisson": (lambda f: dist.Poisson(f(1.5)), counts(1.5)),
    "inflated": (lambda f: dist.ZeroInflatedPoisson(f(0.25), f(2.0)), inflated(mp.mpf(0.25), counts(2.0))),
    "rare": (lambda f: dist.ZeroInflatedPoisson(f(0.25), f(2.0**-10)), inflated(mp.mpf(0.25), counts(2.0**-10))),
    "by logits": (
        lambda f: dist.ZeroInflatedDistribution(dist.Poisson(f(2.0)), gate_logits=f(0.5)),
        inflated(ODDS, counts(2.0)),
    ),
    "hurdle": (lambda f: dist.HurdlePoisson(f(0.25), f(2.0)), hurdle(0.25, counts(2.0))),
    "rare hurdle": (lambda f: dist.HurdlePoisson(f(0.25), f(2.0**-10)), hurdle(0.25, counts(2.0**-10))),
    "hurdle by logits": (
        lambda f: dist.HurdleDistribution(dist.Poisson(f(3.0)), gate_logits=f(0.5)),
        hurdle(ODDS, counts(3.0)),
    ),
}
WIDE = {
    "inflated": (
        lambda f: dist.ZeroInflatedNegativeBinomial2(f(2.0), f(0.5), gate=f(0.25)),
        inflated(mp.mpf(0.25), gammas(2.0, 0.5)),
    ),
    "hurdle": (lambda f: dist.HurdleNegativeBinomial2(f(0.25), f(2.0), f(4.0)), hurdle(0.25, gammas(2.0, 4.0))),
    "geometric": (lambda f: dist.GeometricProbs(f(0.5)), gammas(1.0, 1.0)),
}
NARROW = {
    "inflated": (
        lambda f: dist.ZeroInflatedDistribution(dist.BinomialProbs(f(0.25), 5), gate=f(0.25)),
        inflated(mp.mpf(0.25), trials(5, 0.25)),
    ),
    "binomial": (lambda f: dist.BinomialProbs(f(0.5), 6), trials(6, 0.5)),
}


@pytest.mark.parametrize(("laws", "terms"), [(LAWS, 60), (WIDE, 500), (NARROW, 7)], ids=["poisson", "wide", "narrow"])
def test_pairs_and_entropies(laws, terms, precision):
    """Every law against every other of its family, plain ones among them; against two in single precision."""
    others = list(laws.values()) if precision is np.float64 else list(laws.values())[:2]
    for make_p, mass_p in laws.values():
        p = make_p(precision)
        own = entropy_of(mass_p, terms)
        assert abs(float(kl.entropy(p)) - own) <= VALUE[precision] * max(1, own)
        for make_q, mass_q in others:
            q = make_q(precision)
            truth = divergence_of(mass_p, mass_q, terms) if mass_q(6) or not mass_p(6) else INF
            if mass_p is mass_q:
                assert kl.kl_divergence(p, q) == 0
            else:
                assert float(kl.kl_divergence(p, q)) == pytest.approx(float(truth), rel=VALUE[precision])


@pytest.mark.parametrize("step", [1e-2, 1e-6])
def test_near(step, precision):
    """Relative accuracy where only the gate, or only the rate, has moved."""
    for build, law in ((dist.ZeroInflatedPoisson, inflated), (dist.HurdlePoisson, hurdle)):
        for gate, rate in ((0.25, 2.0), (0.25, 2.0**-10)):
            for other in ((gate * (1 + step), rate), (gate, rate * (1 + step))):
                g, r = (float(precision(x)) for x in other)
                truth = divergence_of(law(mp.mpf(gate), counts(rate)), law(mp.mpf(g), counts(r)), 60)
                found = kl.kl_divergence(build(precision(gate), precision(rate)), build(precision(g), precision(r)))
                assert float(found) == pytest.approx(float(truth), rel=VALUE[precision])


def test_densities():
    """A hurdle before a density: the gates' divergence, and the densities' for what passes."""
    gates = kl.kl_divergence(dist.Bernoulli(0.25), dist.Bernoulli(0.5))
    for build, base, first, second in (
        (dist.HurdleGamma, dist.Gamma, (2.0, 1.5), (3.0, 1.0)),
        (dist.HurdleLogNormal, dist.LogNormal, (0.0, 1.0), (1.0, 2.0)),
    ):
        passing = kl.kl_divergence(base(*first), base(*second))
        found = kl.kl_divergence(build(0.25, *first), build(0.5, *second))
        np.testing.assert_allclose(found, gates + 0.75 * passing, rtol=1e-6)
        own = kl.entropy(dist.Bernoulli(0.25)) + 0.75 * kl.entropy(base(*first))
        np.testing.assert_allclose(kl.entropy(build(0.25, *first)), own, rtol=1e-6)


def zero(gate, rate):
    return dist.ZeroInflatedPoisson(gate, rate, validate_args=False)


EDGES = (
    ("a gate of 0", lambda: (zero(0.0, 1.0), zero(0.0, 2.0)), 1.0 - LOG2),
    ("a gate of 1", lambda: (zero(1.0, 1.0), zero(0.5, 80.0)), LOG2),
    ("to a gate of 1", lambda: (zero(0.5, 1.0), zero(1.0, 1.0)), INF),
    ("a rate of 0", lambda: (zero(0.5, 0.0), zero(0.0, 2.0)), 2.0),
    ("both all at 0", lambda: (zero(1.0, 1.0), zero(0.5, 0.0)), 0.0),
    ("to a rate of 0", lambda: (zero(0.5, 1.0), zero(0.5, 0.0)), INF),
    ("a hurdle of 1", lambda: (dist.HurdlePoisson(1.0, 1.0), dist.HurdlePoisson(0.5, 2.0)), LOG2),
    ("to a hurdle of 0", lambda: (dist.HurdlePoisson(0.5, 1.0), dist.HurdlePoisson(0.0, 2.0)), INF),
    ("a hurdle of 0 for one trial", lambda: tuple(dist.HurdleProbs(dist.Bernoulli(p), 0.0) for p in (0.25, 0.5)), 0.0),
)


@pytest.mark.parametrize(("sides", "value"), [e[1:] for e in EDGES], ids=[e[0] for e in EDGES])
def test_edge(sides, value):
    """The limit, and no derivative is NaN."""
    leaves, structure = jax.tree.flatten(sides())
    np.testing.assert_allclose(kl.kl_divergence(*sides()), value, rtol=1e-5, atol=1e-7)

    def divergence(leaves):
        return kl.kl_divergence(*jax.tree.unflatten(structure, leaves)).sum()

    for slope in jax.jit(jax.grad(divergence))([jnp.asarray(x, float) for x in leaves]):
        assert not np.isnan(slope).any()


RARE_ZERO = {
    "poisson": (lambda: dist.Poisson(1e4), 1e4),
    "beyond the range of doubles": (lambda: dist.Poisson(2.0**22), 2.0**22),
    "negative binomial": (lambda: dist.GammaPoisson(1e4, 1 / 64), 1e4 * np.log1p(64)),
    "binomial": (lambda: dist.Binomial(10_000, 0.5), 1e4 * LOG2),
}


@pytest.mark.parametrize("name", RARE_ZERO)
def test_a_chance_of_0_that_underflows_is_not_0(name, precision):
    """g (log g + a) + (1 − g) log(1 − g), with e⁻ᵃ the chance of 0 under the base, below the least double."""
    law, a = RARE_ZERO[name]
    truth = 0.25 * (np.log(0.25) + a) + 0.75 * np.log(0.75)
    p = dist.ZeroInflatedDistribution(law(), gate=0.25)
    for q in (law(), dist.ZeroInflatedDistribution(law(), gate=0.0)):
        assert float(kl.kl_divergence(p, q)) == pytest.approx(truth, rel=VALUE[precision])
        assert kl.KL(p, q).estimate().value == pytest.approx(truth, rel=VALUE[precision])


def test_gradients_where_the_chance_of_0_underflows():
    def value(gate, rate):
        return kl.kl_divergence(dist.ZeroInflatedPoisson(gate, 1000.0), dist.Poisson(rate))

    by_gate, by_rate = jax.grad(value, (0, 1))(0.25, 1000.0)
    assert float(by_gate) == pytest.approx(np.log(0.25 / 0.75) + 1000.0, rel=1e-5)
    assert float(by_rate) == pytest.approx(0.25, rel=1e-5)
    assert kl.kl_divergence(dist.ZeroInflatedPoisson(0.25, 1e4), dist.HurdlePoisson(0.0, 1e4)) == INF
