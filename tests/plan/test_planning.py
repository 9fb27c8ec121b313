"""The ranking, forcing, ties, rules of the user's own, and the errors."""

from dataclasses import dataclass

import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.errors import InputError, PlanError
from kullback.known import Known, OwnRules
from kullback.plan import make_plan

P, Q = dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0)


@dataclass(frozen=True)
class Stub(kl.rules.Rule):
    """A rule of the user's own, which answers 42."""

    label: str = "stub"
    worth: kl.Guarantee = kl.Guarantee.EXACT
    price: float = 1.0
    dropped: tuple[str, ...] = ()
    missing: str = ""
    unlock: str = ""

    name = "stub"
    question = "estimate"
    identity = "42"
    needs_p = needs_q = "nothing"
    guarantee = kl.Guarantee.EXACT
    cost = 1.0
    source = "Adams (1979)"

    def __post_init__(self):
        object.__setattr__(self, "name", self.label)

    def check(self, p, q):
        if self.missing:
            return kl.rules.Missing(self.missing, self.unlock)
        return kl.rules.Applies(self.worth, self.price, self.dropped)

    def run(self, p, q, request):
        return kl.Estimate(42.0, guarantee=self.worth)


def chosen(*rules):
    return kl.KL(P, Q, rules=rules).plan().rule.name


def test_fewest_terms_dropped_then_guarantee_then_cost():
    exact, dear = Stub("exact"), Stub("dear", price=2.0)
    sampled = Stub("sampled", worth=kl.Guarantee.UNBIASED, price=0.0)
    partial = Stub("partial", dropped=("H(P)",), price=-1.0)
    assert chosen(dear, exact) == "exact"
    assert chosen(sampled, dear) == "dear"
    assert chosen(partial, sampled) == "sampled"
    assert chosen(partial) == "partial"


def test_rejected_rules_stay_with_their_reasons():
    rules = (
        Stub("exact"),
        Stub("dear", price=2.0),
        Stub("sampled", worth=kl.Guarantee.UNBIASED),
        Stub("partial", dropped=("H(P)",)),
        Stub("absent", missing="it is Tuesday"),
    )
    rejected = {rule.name: reason for rule, reason in kl.KL(P, Q, rules=rules).plan().rejected}
    assert rejected == {
        "dear": "applies with the same guarantee at more cost (10^2 against 10^1 evaluations)",
        "sampled": "applies, but is unbiased where the chosen rule is exact",
        "partial": "applies, but drops H(P)",
        "absent": "it is Tuesday",
    }


def test_a_tie_is_an_error():
    with pytest.raises(PlanError, match="rules: 'one' and 'two' both apply with the same guarantee and cost"):
        chosen(Stub("one"), Stub("two"))


def test_default_rules_never_tie():
    sides = [P, dist.Poisson(1.0), dist.Bernoulli(0.5), np.zeros(20), np.arange(20), kl.Density(lambda x: -(x**2))]
    for p in sides:
        for q in sides:
            assert "both apply" not in repr(kl.KL(p, q))


def test_forced_by_name_and_by_object():
    assert kl.KL(P, Q).plan(rule="monte carlo").rule == kl.rules.MonteCarlo()
    rule = kl.rules.MonteCarlo(draws=100_000)
    plan = kl.KL(P, Q).plan(rule=rule)
    assert plan.rule is rule
    assert all(reason == "not asked: 'monte carlo' was forced" for _, reason in plan.rejected)


def test_forcing_errors():
    with pytest.raises(InputError, match=r"rule: there is no rule named 'magic'; the names are .*'monte carlo'"):
        kl.KL(P, Q).plan(rule="magic")
    with pytest.raises(PlanError, match="rule: 'two samples' does not apply: neither side is a sample"):
        kl.KL(P, Q).plan(rule="two samples")
    with pytest.raises(
        PlanError, match="rule: 'moment matching' answers the question 'forward', and this is 'estimate'"
    ):
        kl.KL(P, Q).plan(rule="moment matching")


def test_a_rule_of_the_users_own():
    mine = Stub("mine", price=-1.0)
    answer = kl.KL(dist.Laplace(0.0, 1.0), Q, rules=(*kl.DEFAULT_RULES, mine)).estimate(rule="mine")
    assert answer.value == 42.0
    assert answer.plan.rule is mine


def test_rules_that_a_side_brings():
    mine = Stub("brought", price=-5.0)
    side = Known(name="a side", event_shape=(), own=OwnRules((mine,)))
    assert make_plan(side, side, ()).rule is mine


def test_nothing_applies_names_what_would():
    rules = (Stub("one", missing="no", unlock="a sample of P"), Stub("two", missing="no", unlock="more time"))
    with pytest.raises(PlanError) as error:
        kl.KL(P, Q, rules=rules).plan()
    assert str(error.value) == (
        "KL(P‖Q): no rule answers 'estimate' for P = Normal(loc=0, scale=1) and Q = Normal(loc=1, scale=2); "
        "one would, given a sample of P; two would, given more time"
    )


def test_a_density_without_a_sampler_in_many_dimensions_says_what_would_do():
    density = kl.Density(lambda x: -x @ x, (3,), dist.constraints.real_vector)
    with pytest.raises(PlanError, match="given a sampler of P"):
        kl.KL(density, density).estimate()


def test_questions():
    assert kl.KL(P, Q).plan().question == "estimate"
    assert kl.KL(P, kl.Family(dist.Normal)).plan().question == "forward"
    assert kl.KL(kl.Family(dist.Normal), P).plan().question == "reverse"
    with pytest.raises(PlanError, match="both sides are learnable"):
        kl.KL(kl.Family(dist.Normal), kl.Family(dist.Normal)).plan()
    with pytest.raises(PlanError, match="estimate: a side is learnable"):
        kl.KL(P, kl.Family(dist.Normal)).estimate()
    with pytest.raises(PlanError, match="minimize: neither side is learnable"):
        kl.KL(P, Q).minimize()


def test_an_expression_without_a_plan_still_prints():
    density = kl.Density(lambda x: -x @ x, (3,), dist.constraints.real_vector)
    assert repr(kl.KL(density, density)).startswith("KL(P ‖ Q) without a plan: ")


def test_the_answer_carries_its_plan():
    answer = kl.KL(P, Q).estimate()
    assert answer.plan.rule.name == "closed form"
    assert answer.plan.guarantee is answer.guarantee
