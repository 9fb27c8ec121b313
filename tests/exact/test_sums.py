"""The rules: closed forms, finite sums and countable sums, and how they speak in a plan."""

import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.catalogue import ClosedForm, CountableSum, FiniteSum
from kullback.errors import EstimateError
from kullback.known import describe
from kullback.result import Guarantee
from kullback.rule import Applies, Missing, Request


def poisson(k, rate):
    return mp.exp(-rate) * rate**k / mp.factorial(k)


def negative_binomial(k, mean, shape):
    return (
        mp.gamma(k + shape)
        / mp.gamma(shape)
        / mp.factorial(k)
        * (mean / (mean + shape)) ** k
        * (shape / (mean + shape)) ** shape
    )


def geometric(k, p):
    return p * (1 - p) ** k


def total(p, q, terms):
    return float(mp.fsum(x * mp.log(x / q(k)) for k in range(terms) if (x := p(k))))


COUNTS = (
    (
        dist.Poisson(2.5),
        dist.NegativeBinomial2(3.0, 1.5),
        total(lambda k: poisson(k, mp.mpf(2.5)), lambda k: negative_binomial(k, mp.mpf(3), mp.mpf(1.5)), 120),
    ),
    (
        dist.NegativeBinomial2(4.0, 0.5),
        dist.Poisson(2.0),
        total(lambda k: negative_binomial(k, mp.mpf(4), mp.mpf(0.5)), lambda k: poisson(k, mp.mpf(2)), 900),
    ),
    (
        dist.Geometric(0.125),
        dist.Poisson(6.0),
        total(lambda k: geometric(k, mp.mpf(0.125)), lambda k: poisson(k, mp.mpf(6)), 900),
    ),
)


@pytest.mark.parametrize(("p", "q", "truth"), COUNTS, ids=["poisson", "negative binomial", "geometric"])
def test_countable_sum(p, q, truth):
    """Within its stated error of the sum in 50 digits, at single-precision parameters too."""
    found = kl.KL(p, q).estimate(rule=CountableSum())
    assert found.guarantee is Guarantee.EXACT
    assert found.value == pytest.approx(truth, rel=1e-12)
    assert abs(found.value - truth) <= found.numerical_error <= 1e-11


def test_countable_sum_of_a_batch():
    """Each element as if it were alone; ∞ where Q lacks a count."""
    q = dist.BetaNegativeBinomial(3.0, 4.0, 1.5)
    found = kl.KL(dist.Poisson(jnp.asarray([1.0, 20.0])), q).estimate()
    assert found.plan.rule == CountableSum()
    alone = [kl.KL(dist.Poisson(rate), q).estimate().value for rate in (1.0, 20.0)]
    np.testing.assert_allclose(found.value, alone, rtol=1e-12)


def test_a_heavy_tail_is_not_summed():
    """A tail like a power of k is refused after the most terms, not cut."""
    heavy = dist.BetaNegativeBinomial(2.5, 4.0, 5.0)
    rule = CountableSum(max_terms=1024)
    with pytest.raises(EstimateError, match="tail is too heavy"):
        kl.KL(heavy, dist.NegativeBinomial2(3.0, 1.5)).estimate(rule=rule)


def test_finite_sum_of_unlike_kinds():
    """Binomial against Poisson, with mass of Q beyond the atoms of P; and two names of one law."""
    truth = total(
        lambda k: mp.binomial(1000, k) * mp.mpf(0.25) ** k * mp.mpf(0.75) ** (1000 - k),
        lambda k: poisson(k, mp.mpf(250)),
        1001,
    )
    found = kl.KL(dist.Binomial(1000, 0.25), dist.Poisson(250.0)).estimate(rule=FiniteSum())
    assert found.value == pytest.approx(truth, rel=1e-9)
    same = kl.KL(dist.CategoricalProbs(jnp.asarray([0.75, 0.25])), dist.BernoulliProbs(0.25)).estimate()
    assert same.value == pytest.approx(0.0, abs=1e-12)


def test_finite_sum_decides_what_is_infinite():
    """Atoms that Q lacks, and labels of probability 0."""
    assert np.isinf(kl.KL(dist.Binomial(5, 0.5), dist.Binomial(4, 0.5)).estimate().value)
    some = kl.KL(dist.DiscreteUniform(0, 1), dist.CategoricalProbs(jnp.asarray([0.25, 0.25, 0.5]))).estimate()
    assert some.value == pytest.approx(np.log(2.0), rel=1e-6)


def test_a_tilted_side_with_atoms():
    """P ∝ base · exp reward is normalised over its atoms."""
    base = dist.CategoricalProbs(jnp.asarray([0.25, 0.25, 0.5]))
    found = kl.KL(kl.Tilted(base, lambda x: 0.5 * x), base).estimate()
    weights = np.asarray([0.25, 0.25, 0.5]) * np.exp([0.0, 0.5, 1.0])
    p = weights / weights.sum()
    assert isinstance(found.plan.rule, FiniteSum)
    assert found.value == pytest.approx((p * np.log(p / [0.25, 0.25, 0.5])).sum(), rel=1e-5)


def _conditional(loc, inputs, weights=None):
    known = describe(dist.Normal(jnp.asarray(loc), 1.0))
    return known.holding(inputs=np.asarray(inputs), input_weights=weights)


def test_a_conditional_is_averaged_over_its_inputs():
    """KL(N(a, 1) ‖ N(b, 1)) = (a − b)²/2, averaged by the weights."""
    rule, x = ClosedForm(), [0.0, 1.0]
    p, q = _conditional([1.0, 3.0], x), _conditional([0.0, 0.0], x)
    assert isinstance(rule.check(p, q), Applies)
    assert rule.run(p, q, Request()).value == pytest.approx(2.5)
    assert rule.run(p, describe(dist.Normal(0.0, 1.0)), Request()).value == pytest.approx(2.5)
    weighted = _conditional([1.0, 3.0], x, np.asarray([3.0, 1.0]))
    assert rule.run(weighted, q, Request()).value == pytest.approx(1.5)


def test_conditionals_at_other_inputs_do_not_compare():
    """Neither rule answers for two different sets of inputs."""
    p, q = _conditional([1.0, 3.0], [0.0, 1.0]), _conditional([0.0, 0.0], [0.0, 2.0])
    verdict = ClosedForm().check(p, q)
    assert isinstance(verdict, Missing)
    assert "different inputs" in verdict.reason


def test_what_a_plan_says():
    """The closed form is taken before all else, and says why it is not where it is not."""
    plan = kl.KL(dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0)).plan()
    assert plan.rule == ClosedForm()
    text = kl.KL(dist.Poisson(2.0), dist.BetaNegativeBinomial(3.0, 4.0, 1.5)).explain()
    assert "no entry for Poisson against\n    BetaNegativeBinomial" in text
    assert "finite sum: P has no finite list of atoms" in text
    assert max(map(len, text.splitlines())) <= 80
