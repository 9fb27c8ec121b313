"""The record of what is known of a side: its groups of facts, and facts given without their group."""

from dataclasses import fields

import numpy as np
import numpyro.distributions as dist
import pytest

from kullback.known import ConditionalFacts, Functions, Known, LearnableHooks, OwnRules, describe

NORMAL = describe(dist.Normal(0.0, 1.0))


def test_a_fact_of_a_group_is_read_from_the_record():
    side = Known("a side", functions=Functions(log_prob=np.sin), own=OwnRules(takes="kl.MLP()"))
    assert (side.log_prob, side.log_density, side.takes) == (np.sin, np.sin, "kl.MLP()")
    for group in (Functions, ConditionalFacts, LearnableHooks, OwnRules):
        empty, defaults = Known("a side"), group()
        assert all(getattr(empty, field.name) == getattr(defaults, field.name) for field in fields(group))


def test_holding_replaces_facts_whatever_group_holds_them():
    inputs = np.arange(3)
    side = NORMAL.holding(name="mine", inputs=inputs, sampler=None, takes="kl.MLP()")
    assert (side.name, side.sampler, side.takes) == ("mine", None, "kl.MLP()")
    assert side.inputs is inputs
    assert side.log_prob is NORMAL.log_prob
    assert side.support is NORMAL.support
    with pytest.raises(TypeError, match="unknown"):
        NORMAL.holding(unknown=1)


def test_a_new_log_prob_is_the_log_density():
    assert NORMAL.holding(log_prob=np.sin).log_density is np.sin


def test_facts_without_their_group_are_taken_until_the_next_version():
    with pytest.warns(DeprecationWarning, match=r"Known\(sampler=\.\.\.\) is Known\(functions=Functions\(sampler"):
        side = Known(name="mine", event_shape=(2,), sampler=np.sin)
    assert (side.sampler, side.event_shape) == (np.sin, (2,))
    with pytest.warns(DeprecationWarning, match="of kullback.known") as warned:
        side = Known("mine", inputs=np.arange(3), takes="kl.MLP()")
    assert len(warned) == 2
    assert side.takes == "kl.MLP()"
    assert warned[0].filename == __file__
