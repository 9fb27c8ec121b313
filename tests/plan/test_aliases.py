"""What a searcher would type finds its rule, and hides the name of none."""

from dataclasses import dataclass

import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.control.catalogue import GOAL_RULES, RULES
from kullback.errors import InputError, PlanError
from kullback.rule import rules_called

P, Q = dist.Normal(0.0, 1.0), dist.Normal(1.0, 2.0)
EVERY = (*kl.DEFAULT_RULES, *RULES, *GOAL_RULES)
ALIASES = [(rule, alias) for rule in EVERY for alias in rule.aliases]


@dataclass(frozen=True)
class Answer(kl.rules.Rule):
    """A rule of the user's own, which answers 42."""

    question = "estimate"
    identity = "42"
    needs_p = needs_q = "nothing"
    guarantee = kl.Guarantee.EXACT
    cost = 9.0
    source = "Adams (1979)"

    def check(self, p, q):
        return kl.rules.Applies()

    def run(self, p, q, request):
        return kl.Estimate(42.0)


@dataclass(frozen=True)
class Marvin(Answer):
    """One with an alias that another one has too."""

    name = "marvin"
    aliases = ("robot", "closed form")


@dataclass(frozen=True)
class Eddie(Answer):
    """The other one."""

    name = "eddie"
    aliases = ("Robot", "ship-board computer")


MINE = kl.KL(P, Q, rules=(*kl.DEFAULT_RULES, Marvin(), Eddie()))


def test_every_rule_has_an_alias():
    assert not [rule.name for rule in EVERY if not rule.aliases]


@pytest.mark.parametrize(("rule", "alias"), ALIASES, ids=[alias for _, alias in ALIASES])
def test_an_alias_finds_its_rule_and_hides_no_name(rule, alias):
    same_question = [other for other in EVERY if other.question == rule.question]
    for typed in (alias, alias.upper(), alias.replace("-", " "), alias.replace(" ", "-")):
        assert rules_called(typed, same_question) == [rule]
    assert all(rules_called(alias, [rule, other]) == [rule] for other in EVERY if other is not rule)


@pytest.mark.parametrize("rule", EVERY, ids=lambda rule: rule.name)
def test_a_name_finds_its_rule(rule):
    for typed in (rule.name, rule.name.title(), rule.name.replace(" ", "-"), rule.name.replace("–", "-")):
        assert rules_called(typed, EVERY) == [rule]


@pytest.mark.parametrize("typed", ["monte carlo", "Monte-Carlo", "MONTECARLO", "mc", "k1-estimator"])
def test_rule_takes_names_and_aliases(typed):
    assert kl.KL(P, Q).plan(rule=typed).rule == kl.rules.MonteCarlo()


def test_fits_are_asked_for_by_alias():
    assert kl.KL(kl.Family(dist.Normal), P).plan(rule="DADVI").rule == kl.rules.FixedDraws()
    assert kl.KL(P, kl.Family(dist.Normal)).plan(rule="method of moments").rule == kl.rules.MomentMatching()


def test_an_alias_of_two_rules_is_refused():
    with pytest.raises(InputError, match=r"^rule: 'robot' is an alias of 'marvin' and of 'eddie'; pass one of these"):
        MINE.plan(rule="robot")
    assert MINE.plan(rule="shipboard computer").rule == Eddie()


def test_a_name_goes_before_an_alias():
    assert MINE.plan(rule="Closed Form").rule == kl.rules.ClosedForm()


def test_an_alias_of_a_rule_for_another_question():
    with pytest.raises(PlanError, match="rule: 'fixed draws' answers the question 'reverse', and this is 'estimate'"):
        kl.KL(P, Q).plan(rule="DADVI")


def test_explain_says_what_else_rule_and_direction_are_called():
    told = " ".join(kl.KL(kl.Family(dist.Normal), dist.Laplace(0.0, 1.0)).explain(rule="fixed draws").split())
    assert "fixed draws: also known as sample average approximation, SAA, DADVI" in told
    assert "reverse KL: also known as exclusive KL, mode-seeking KL" in told
    told = " ".join(kl.KL(P, kl.Family(dist.Normal)).explain(rule="moment matching").split())
    assert "forward KL: also known as inclusive KL, mass-covering KL" in told
