"""Joint laws, products and Markov chains: by enumeration, and as sides of an expression."""

from itertools import pairwise, product

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from tests.exact.truths.family import mp

import kullback as kl
from kullback.errors import InputError, NotExactError
from kullback.result import Guarantee

START, OTHER_START = (0.2, 0.3, 0.5), (0.6, 0.3, 0.1)
ROWS = ((0.5, 0.25, 0.25), (0.1, 0.0, 0.9), (0.3, 0.6, 0.1))
OTHER_ROWS = ((0.2, 0.5, 0.3), (0.25, 0.25, 0.5), (0.1, 0.1, 0.8))


def chain(start, rows, length=5):
    return kl.MarkovChain(np.asarray(start, np.result_type(float)), np.asarray(rows), length, validate_args=False)


def paths(start, rows, length=5):
    """The probability of every path in 50 digits, at the weights as they are in the law, over their sums."""
    start, rows = ([mp.mpf(float(x)) for x in np.ravel(a)] for a in (start, rows))
    size = len(start)
    start = [x / mp.fsum(start) for x in start]
    rows = [
        [x / mp.fsum(rows[i * size : i * size + size]) for x in rows[i * size : i * size + size]] for i in range(size)
    ]
    found = {}
    for path in product(range(size), repeat=length):
        steps = [rows[a][b] for a, b in pairwise(path)]
        found[path] = start[path[0]] * mp.fprod(steps)
    return found


def enumerated(p, q):
    return mp.fsum(x * mp.log(x / q[path]) if q[path] else mp.inf for path, x in p.items() if x)


@pytest.mark.parametrize("step", [1.0, 1e-2, 1e-4, 1e-6])
def test_paths(step, precision):
    """The divergence of 3⁵ paths, from far to near, and its derivative in each probability."""
    start, rows = (np.asarray(a, precision) for a in (START, ROWS))
    other = (start + step * (np.asarray(OTHER_START) - start)).astype(precision)
    other_rows = (rows + step * (np.asarray(OTHER_ROWS) - rows)).astype(precision)

    def divergence(a, b, c, d):
        sides = (kl.MarkovChain(x, y, 5, validate_args=False) for x, y in ((a, b), (c, d)))
        return kl.kl_divergence(*sides)

    given = start, rows, other, other_rows
    value, slopes = jax.jit(jax.value_and_grad(divergence, argnums=(2, 3)))(*given)
    truth = enumerated(paths(start, rows), paths(other, other_rows))
    tolerance = 1e-5 if precision is np.float32 else 1e-12
    assert value.dtype == precision
    assert abs(float(value) - truth) <= tolerance * truth
    # Along a probability, by a central difference in 50 digits.
    tiny = mp.mpf(10) ** -20
    shifted = []
    for side in (1, -1):
        moved = [[mp.mpf(float(x)) for x in row] for row in other_rows]
        moved[2][1] += side * tiny
        shifted.append(enumerated_moved(start, rows, other, moved))
    expected = (shifted[0] - shifted[1]) / (2 * tiny)
    assert abs(float(slopes[1][2, 1]) - expected) <= 10 * tolerance * np.abs(slopes[1]).max()


def enumerated_moved(start, rows, other, moved):
    """As `enumerated`, with rows of 50-digit numbers."""
    p = paths(start, rows)
    total = mp.fsum(map(mp.mpf, map(float, other)))
    sums = [mp.fsum(row) for row in moved]
    value = mp.mpf(0)
    for path, x in p.items():
        if x:
            q = mp.mpf(float(other[path[0]])) / total
            for a, b in pairwise(path):
                q *= moved[a][b] / sums[a]
            value += x * mp.log(x / q)
    return value


def test_entropy_of_paths(precision):
    p = paths(*(np.asarray(a, precision) for a in (START, ROWS)))
    truth = -mp.fsum(x * mp.log(x) for x in p.values() if x)
    found = kl.entropy(kl.MarkovChain(*(np.asarray(a, precision) for a in (START, ROWS)), 5, validate_args=False))
    assert float(found) == pytest.approx(float(truth), rel=1e-6 if precision is np.float32 else 1e-14)


def test_a_chain_as_a_distribution():
    """Draws and log-probabilities agree, and outcomes outside the states have none."""
    p = chain(START, ROWS)
    draws = np.asarray(p.sample(jax.random.key(0), (20000,)))
    assert draws.shape == (20000, 5)
    np.testing.assert_allclose(np.bincount(draws[:, 0]) / 20000, START, atol=0.02)
    every = p.enumerate_support()
    np.testing.assert_allclose(np.exp(p.log_prob(every)).sum(), 1.0, rtol=1e-5)
    frequent = (draws == np.asarray([2, 1, 2, 1, 2])).all(-1).mean()
    assert frequent == pytest.approx(float(np.exp(p.log_prob(jnp.asarray([2, 1, 2, 1, 2])))), abs=0.02)
    assert p.log_prob(jnp.asarray([3, 0, 0, 0, 0])) == -np.inf
    table = kl.MarkovChain(jnp.full((4, 1, 2), 0.5), jnp.full((3, 2, 2), 0.5), 7)
    assert table.sample(jax.random.key(0), (5,)).shape == (5, 4, 3, 7)
    assert kl.kl_divergence(table, table).shape == (4, 3)
    with pytest.raises(InputError, match="does not end in"):
        kl.MarkovChain(jnp.full(2, 0.5), jnp.full((3, 3), 1 / 3), 4)


def test_chains_as_sides():
    """`kl.KL` takes the closed form, or the sum over paths against another law of paths."""
    p, q = chain(START, ROWS, 4), chain(OTHER_START, OTHER_ROWS, 4)
    found = kl.KL(p, q).estimate()
    assert found.guarantee is Guarantee.EXACT
    assert found.plan.rule.name == "closed form"
    by_sum = kl.KL(p, q).estimate(rule="finite sum")
    assert by_sum.value == pytest.approx(found.value, rel=1e-6)
    independent = dist.Categorical(probs=jnp.full((4, 3), 1 / 3)).to_event(1)
    flat = kl.KL(p, independent).estimate()
    assert flat.value == pytest.approx(4 * np.log(3.0) - float(kl.entropy(p)), rel=1e-5)


def test_what_is_never_reached_costs_nothing():
    """0 · ∞ = 0: Q lacks a transition from a state in which P never is; and ∞ where it may be."""
    p = chain((1.0, 0.0), ((1.0, 0.0), (0.5, 0.5)), 3)
    q = chain((0.5, 0.5), ((0.5, 0.5), (1.0, 0.0)), 3)
    assert float(kl.kl_divergence(p, q)) == pytest.approx(3 * np.log(2.0), rel=1e-6)
    assert kl.kl_rate(p, q) == pytest.approx(np.log(2.0), rel=1e-6)
    elsewhere = chain((0.5, 0.5), ((1.0, 0.0), (0.5, 0.5)), 3)
    assert np.isinf(kl.kl_divergence(elsewhere, q))
    assert np.isinf(kl.kl_rate(elsewhere, q))

    def total(start):
        return kl.kl_divergence(kl.MarkovChain(start, p.transition, 3, validate_args=False), q)

    assert np.isfinite(jax.grad(total)(jnp.asarray([1.0, 0.0]))).all()


def test_rate_of_an_irreducible_chain(precision):
    """Against the stationary law in 50 digits, and against a long chain; for one that mixes slowly too."""
    for eps in (0.25, 1e-3, 1e-6):
        rows = np.asarray([[1 - eps, eps, 0.0], [2 * eps, 0.5, 0.5 - 2 * eps], [0.0, eps, 1 - eps]], precision)
        exact = mp.matrix([[mp.mpf(float(x)) for x in row] for row in rows])
        for i in range(3):
            total = mp.fsum(exact[i, j] for j in range(3))
            for j in range(3):
                exact[i, j] /= total
        system = exact.T - mp.eye(3)
        for j in range(3):
            system[2, j] = mp.mpf(1)
        pi = mp.lu_solve(system, mp.matrix([0, 0, 1]))
        other = np.asarray(OTHER_ROWS, precision)
        weights = [[mp.mpf(float(x)) for x in row] for row in other]
        truth = mp.fsum(
            pi[i] * exact[i, j] * mp.log(exact[i, j] * mp.fsum(weights[i]) / weights[i][j])
            for i in range(3)
            for j in range(3)
            if exact[i, j]
        )
        start = np.full(3, 1 / 3, precision)
        p, q = (kl.MarkovChain(start, r, 2, validate_args=False) for r in (rows, other))
        assert float(kl.kl_rate(p, q)) == pytest.approx(float(truth), rel=1e-5 if precision is np.float32 else 1e-12)
        entropy = -mp.fsum(pi[i] * exact[i, j] * mp.log(exact[i, j]) for i in range(3) for j in range(3) if exact[i, j])
        # A probability near 1 has its distance from 1 to the precision of 1.
        tolerance = 1e-6 if precision is np.float32 else 1e-14
        assert float(kl.entropy_rate(p)) == pytest.approx(float(entropy), abs=tolerance)


def test_rate_is_the_limit():
    """Of the divergence of n states per state, for periodic chains and for several closed classes as well."""
    cycle = ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
    classes = ((0.5, 0.5, 0.0, 0.0), (0.25, 0.75, 0.0, 0.0), (0.2, 0.0, 0.3, 0.5), (0.0, 0.0, 0.0, 1.0))
    even = np.full((4, 4), 0.25)
    cases = (
        (START, cycle, OTHER_START, OTHER_ROWS),
        ((0.0, 0.0, 1.0, 0.0), classes, (0.25,) * 4, even),
        ((0.3, 0.0, 0.1, 0.6), classes, (0.25,) * 4, even),
    )
    with jax.enable_x64(True):
        for start, rows, other, other_rows in cases:
            short, long = ([chain(a, b, n) for a, b in ((start, rows), (other, other_rows))] for n in (300, 600))
            slope = (float(kl.kl_divergence(*long)) - float(kl.kl_divergence(*short))) / 300
            assert float(kl.kl_rate(*short)) == pytest.approx(slope, rel=1e-10)
            slope = (float(kl.entropy(long[0])) - float(kl.entropy(short[0]))) / 300
            assert float(kl.entropy_rate(short[0])) == pytest.approx(slope, rel=1e-10, abs=1e-12)


def test_rates_compile_and_differentiate():
    """A derivative along the rows of P, against a difference."""
    p = jnp.asarray((ROWS[0], (0.2, 0.3, 0.5), ROWS[2]))
    q = chain(OTHER_START, OTHER_ROWS)

    def rate(t):
        rows = p.at[0].add(t * jnp.asarray([0.1, -0.2, 0.1]))
        return kl.kl_rate(kl.MarkovChain(jnp.asarray(START), rows, 2, validate_args=False), q)

    with jax.enable_x64(True):
        p = jnp.asarray(p, jnp.float64)
        slope = jax.jit(jax.grad(rate))(0.1)
        np.testing.assert_allclose(slope, (rate(0.1 + 1e-6) - rate(0.1 - 1e-6)) / 2e-6, rtol=1e-6)
        np.testing.assert_allclose(jax.vmap(rate)(jnp.asarray([0.0, 0.1])), [rate(0.0), rate(0.1)], rtol=1e-12)
    with pytest.raises(InputError, match="has no rate"):
        kl.kl_rate(dist.Normal(0.0, 1.0), q)


# Joint laws.

LABEL = (0.2, 0.3, 0.5)


def test_a_joint_law_of_counts():
    """Two dependent labels, against the sum over both; the mutual information; and a label of probability 0."""
    table = np.asarray([[0.1, 0.1], [0.25, 0.05], [0.2, 0.3]])
    other = np.asarray([[0.2, 0.1], [0.1, 0.3], [0.2, 0.1]])

    def joint(t):
        rows = jnp.asarray(t / t.sum(1, keepdims=True))
        return kl.Joint(dist.Categorical(probs=jnp.asarray(t.sum(1))), dist.Categorical(probs=rows))

    p, q = joint(table), joint(other)
    assert float(kl.kl_divergence(p, q)) == pytest.approx((table * np.log(table / other)).sum(), rel=1e-5)
    assert float(kl.entropy(p)) == pytest.approx(-(table * np.log(table)).sum(), rel=1e-5)
    assert float(kl.cross_entropy(p, q)) == pytest.approx(-(table * np.log(other)).sum(), rel=1e-5)
    apart = kl.Product(*(dist.Categorical(probs=jnp.asarray(table.sum(axis))) for axis in (1, 0)))
    outer = np.outer(table.sum(1), table.sum(0))
    assert float(kl.kl_divergence(p, apart)) == pytest.approx((table * np.log(table / outer)).sum(), rel=1e-5)
    assert float(kl.kl_divergence(apart, p)) == pytest.approx((outer * np.log(outer / table)).sum(), rel=1e-5)
    assert kl.kl_divergence(p, p) == 0
    never = kl.Joint(dist.Categorical(probs=jnp.asarray([1.0, 0.0])), dist.Bernoulli(jnp.asarray([0.5, 0.5])))
    lacks = kl.Joint(dist.Categorical(probs=jnp.asarray([0.5, 0.5])), dist.Bernoulli(jnp.asarray([0.5, 0.0])))
    assert float(kl.kl_divergence(never, lacks)) == pytest.approx(np.log(2.0), rel=1e-6)
    assert np.isinf(kl.kl_divergence(lacks, kl.Joint(lacks.first, dist.Bernoulli(jnp.asarray([0.0, 0.0])))))


def test_a_joint_law_as_a_distribution():
    """Draws, log-probabilities, and an estimate by draws where the form is not asked for."""
    p = kl.Joint(dist.Categorical(probs=jnp.asarray(LABEL)), dist.Normal(jnp.arange(3.0), 1.0))
    q = kl.Joint(dist.Categorical(probs=jnp.full(3, 1 / 3)), dist.Normal(0.0, jnp.asarray([1.0, 2.0, 3.0])))
    x = p.sample(jax.random.key(0), (2**14,))
    assert x.shape == (2**14, 2)
    assert (x[:, 0] == 1).mean() == pytest.approx(0.3, abs=0.02)
    label = x[:, 0].astype(int)
    expected = jnp.log(jnp.asarray(LABEL))[label] + dist.Normal(0.0, 1.0).log_prob(x[:, 1] - label)
    np.testing.assert_allclose(p.log_prob(x), expected, rtol=1e-5)
    assert p.support(x).all()
    assert not p.support(jnp.asarray([[3.0, 0.0], [0.5, 0.0]])).any()
    found = kl.KL(p, q).estimate()
    assert found.guarantee is Guarantee.EXACT
    density = dist.MultivariateNormal(jnp.zeros(2), jnp.eye(2))
    assert np.isinf(kl.KL(p, density).estimate().value)
    assert np.isinf(kl.kl_divergence(density, p))
    drawn = kl.KL(p, q).estimate(rule="monte carlo", seed=0)
    assert abs(found.value - drawn.value) <= 5 * drawn.standard_error


def test_joint_laws_of_more(rng):
    """Batches, vectors given a label, Bernoulli and binomial labels, and what is refused."""
    then = dist.MultivariateNormal(jnp.asarray(rng.normal(size=(4, 2, 3)), jnp.float32), jnp.eye(3))
    p = kl.Joint(dist.Bernoulli(jnp.asarray([0.1, 0.5, 0.9, 1.0])), then)
    q = kl.Joint(dist.Binomial(1, 0.5), dist.MultivariateNormal(jnp.zeros((2, 3)), 2.0 * jnp.eye(3)))
    found = kl.kl_divergence(p, q)
    assert found.shape == (4,)
    each = kl.kl_divergence(then, q.then)
    probs = np.asarray([0.1, 0.5, 0.9, 1.0])
    chance = kl.kl_divergence(p.first, dist.Bernoulli(0.5))
    np.testing.assert_allclose(found, chance + (1 - probs) * each[:, 0] + probs * each[:, 1], rtol=1e-5)
    assert p.sample(jax.random.key(0), (7,)).shape == (7, 4, 4)
    assert p.log_prob(p.sample(jax.random.key(0), (7,))).shape == (7, 4)
    with pytest.raises(InputError, match="is not over labels"):
        kl.Joint(dist.Normal(0.0, 1.0), then)
    with pytest.raises(InputError, match="it has no batch"):
        kl.Joint(dist.Bernoulli(0.5), dist.Normal(0.0, 1.0))
    with pytest.raises(NotExactError):
        kl.kl_divergence(
            p,
            kl.Joint(
                dist.Categorical(probs=jnp.full(3, 1 / 3)), dist.MultivariateNormal(jnp.zeros((3, 3)), jnp.eye(3))
            ),
        )


def test_products():
    """Divergences and entropies add; the blocks must be the same."""
    p = kl.Product(dist.Normal(0.0, 1.0), dist.MultivariateNormal(jnp.zeros(2), jnp.eye(2)), dist.Gamma(2.0, 1.0))
    q = kl.Product(dist.Normal(1.0, 2.0), dist.MultivariateNormal(jnp.ones(2), jnp.eye(2)), dist.Gamma(3.0, 1.0))
    parts = [(a, b) for a, b in zip(p.parts, q.parts, strict=True)]
    expected = sum(float(kl.kl_divergence(a, b)) for a, b in parts)
    assert float(kl.kl_divergence(p, q)) == pytest.approx(expected, rel=1e-6)
    assert float(kl.entropy(p)) == pytest.approx(sum(float(kl.entropy(a)) for a, _ in parts), rel=1e-6)
    x = p.sample(jax.random.key(0), (5,))
    assert x.shape == (5, 4)
    np.testing.assert_allclose(
        p.log_prob(x)[0],
        sum(a.log_prob(y) for (a, _), y in zip(parts, (x[0, 0], x[0, 1:3], x[0, 3]), strict=True)),
        rtol=1e-5,
    )
    assert kl.KL(p, q).estimate().value == pytest.approx(expected, rel=1e-6)
    with pytest.raises(NotExactError):
        kl.kl_divergence(p, kl.Product(q.parts[1], q.parts[0], q.parts[2]))
    assert kl.kl_divergence(
        kl.Product(dist.Normal(jnp.zeros((4, 1)), 1.0), dist.Normal(jnp.zeros(3), 1.0)),
        kl.Product(dist.Normal(0.0, 1.0), dist.Normal(0.0, 2.0)),
    ).shape == (4, 3)
    discrete = kl.Product(dist.Bernoulli(0.5), dist.Poisson(2.0))
    mixed = kl.Product(dist.Bernoulli(0.5), dist.Gamma(2.0, 1.0))
    assert np.isinf(kl.kl_divergence(discrete, mixed))
