"""What every rule for estimates must keep, over one table of pairs.

Random rules are held to 5 standard errors: over the 60 or so comparisons the false-alarm rate is below 1e-4, and the
seeds are fixed.
"""

import numpy as np
import numpyro.distributions as dist
import pytest
from tests.contracts.constructors import BIJECTIONS, ESCAPES, PAIRS

import kullback as kl
from kullback.known import describe
from kullback.rule import Applies

CONTINUOUS = [pair for pair in PAIRS if not hasattr(pair.peer_p, "pmf")]


def applicable(p, q):
    """The rules that give the whole divergence of this pair, by name."""
    verdicts = [(r, r.check(describe(p), describe(q))) for r in kl.DEFAULT_RULES if r.question == "estimate"]
    return [r.name for r, verdict in verdicts if isinstance(verdict, Applies) and not verdict.dropped]


def allowed(estimate, truth, relative=2e-5):
    return 5 * estimate.standard_error + estimate.numerical_error + 1e-6 + relative * abs(truth)


def error(estimate, truth):
    """How far an estimate is from the truth, on the side that its guarantee excludes."""
    if estimate.guarantee is kl.Guarantee.LOWER_BOUND:
        return max(estimate.value - truth, 0.0)
    if estimate.guarantee is kl.Guarantee.UPPER_BOUND:
        return max(truth - estimate.value, 0.0)
    return abs(estimate.value - truth)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_every_applicable_rule_agrees_with_the_truth(pair):
    names = applicable(pair.p, pair.q)
    assert len(names) >= 2
    for name in names:
        estimate = kl.KL(pair.p, pair.q).estimate(rule=name)
        assert error(estimate, pair.truth) <= allowed(estimate, pair.truth), name
        assert estimate.plan.rule.name == name


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_the_divergence_of_a_law_from_itself_is_zero(pair):
    for side in (pair.p, pair.q):
        for name in applicable(side, side):
            estimate = kl.KL(side, side).estimate(rule=name)
            assert error(estimate, 0.0) <= allowed(estimate, 0.0), name


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_the_chosen_divergence_is_not_negative_and_not_symmetric(pair):
    there = kl.KL(pair.p, pair.q).estimate()
    assert there.value + allowed(there, 0.0) >= 0
    back = kl.KL(pair.q, pair.p).estimate()
    assert back.value + allowed(back, 0.0) >= 0
    assert np.isinf(back.value) or there.value != back.value


@pytest.mark.parametrize(("p", "q"), ESCAPES, ids=lambda d: type(d).__name__)
def test_escaping_mass_is_infinite_by_every_rule(p, q):
    estimate = kl.KL(p, q).estimate()
    assert estimate.value == np.inf
    assert estimate.reason
    for name in applicable(p, q):
        assert kl.KL(p, q).estimate(rule=name).value == np.inf, name


@pytest.mark.parametrize("name", BIJECTIONS)
@pytest.mark.parametrize("pair", CONTINUOUS[:4] + CONTINUOUS[7:9], ids=lambda pair: pair.name)
def test_a_shared_bijection_changes_nothing(pair, name):
    bijection = BIJECTIONS[name]
    p, q = (dist.TransformedDistribution(side, bijection) for side in (pair.p, pair.q))
    estimate = kl.KL(p, q).estimate()
    assert abs(estimate.value - pair.truth) <= allowed(estimate, pair.truth, 1e-3)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_independent_coordinates_add(pair):
    p, q = (side.expand((3,)).to_event(1) for side in (pair.p, pair.q))
    estimate = kl.KL(p, q).estimate()
    assert abs(estimate.value - 3 * pair.truth) <= allowed(estimate, 3 * pair.truth, 1e-4)


def test_the_chain_rule_holds_for_dependent_coordinates():
    """KL of joint normals is KL of the first coordinates plus the mean KL of the second given the first."""
    a, b = np.array([[2.0, 0.8], [0.8, 1.0]]), np.array([[1.0, -0.3], [-0.3, 1.5]])
    p, q = (dist.MultivariateNormal(np.zeros(2), covariance_matrix=c) for c in (a, b))
    joint = kl.KL(p, q).estimate().value
    first = kl.KL(dist.Normal(0.0, np.sqrt(a[0, 0])), dist.Normal(0.0, np.sqrt(b[0, 0]))).estimate().value
    x, w = np.polynomial.hermite_e.hermegauss(40)
    x = x * np.sqrt(a[0, 0])
    given = [dist.Normal(c[0, 1] / c[0, 0] * x, np.sqrt(c[1, 1] - c[0, 1] ** 2 / c[0, 0])) for c in (a, b)]
    second = np.sum(w / w.sum() * kl.KL(*given).estimate().value)
    assert joint == pytest.approx(first + second, rel=1e-4)


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.name)
def test_both_precisions(pair, precision):
    estimate = kl.KL(pair.p, pair.q).estimate()
    assert abs(estimate.value - pair.truth) <= allowed(estimate, pair.truth)


def test_every_rule_states_what_it_is():
    names = [rule.name for rule in kl.DEFAULT_RULES]
    assert len(set(names)) == len(names)
    for rule in kl.DEFAULT_RULES:
        for word in (rule.name, rule.identity, rule.needs_p, rule.needs_q, rule.source):
            assert word
            assert "\n" not in word
        assert rule.question in ("estimate", "forward", "reverse")
        assert type(rule).__doc__
        assert any(character.isdigit() for character in rule.source), f"{rule.name}: the source names no year"
