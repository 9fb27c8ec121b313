"""Numbers that double precision rounds: whole numbers near 2⁶³, Decimals, times in nanoseconds."""

import datetime
from decimal import Decimal

import jax
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest

import kullback as kl
from kullback.errors import EstimateError, InputError
from kullback.estimate.columns import from_least
from kullback.estimate.cross_entropy import _moved
from kullback.families.closure import MOVED
from kullback.known.record import Column

RNG = np.random.default_rng(0)
A, B = (RNG.normal(mean, 100, 600).round().astype(np.int64) for mean in (0, 30))


def _objects(values, of):
    return np.array([of(int(value)) for value in values], object)


KINDS = {
    "int64": lambda v: v + 2**62,
    "least int64": lambda v: v + (1000 - 2**63),
    "uint64": lambda v: (v + 1000).astype(np.uint64) + np.uint64(2**63),
    "Python's beyond 64 bits": lambda v: _objects(v, lambda k: k + 2**70),
    "Decimal": lambda v: _objects(v, lambda k: Decimal(k) / 1000 + 10**18),
    "times in ns": lambda v: (v + 1_700_000_000 * 10**9).astype("M8[ns]"),
    "durations in ns": lambda v: (v + 10**17).astype("m8[ns]"),
    "times of pandas": lambda v: pd.Series((v + 1_700_000_000 * 10**9).astype("M8[ns]")).dt.tz_localize("UTC"),
    "long doubles": lambda v: v.astype(np.longdouble) + 2**62,
    "times of Python": lambda v: _objects(
        v, lambda k: datetime.datetime(2300, 1, 1) + datetime.timedelta(microseconds=k)
    ),
}


@pytest.fixture(scope="module")
def small():
    return kl.KL(A, B).estimate(rule=kl.rules.TwoSamples(scores=False))


@pytest.mark.parametrize("kind", KINDS)
def test_two_samples_far_from_0_have_the_divergence_of_their_differences(kind, small):
    found = kl.KL(KINDS[kind](A), KINDS[kind](B)).estimate(rule=kl.rules.TwoSamples(scores=False))
    assert found.value == pytest.approx(small.value, rel=1e-6)
    assert found.standard_error == pytest.approx(small.standard_error, rel=1e-6)


def test_of_a_table_every_column_keeps_its_differences():
    tables = [pd.DataFrame({"id": side + 2**62, "other": side[::-1] * 1.0}) for side in (A, B)]
    near = [pd.DataFrame({"id": side, "other": side[::-1] * 1.0}) for side in (A, B)]
    rule = kl.rules.TwoSamples(scores=False)
    want = kl.KL(*near).estimate(rule=rule)
    assert kl.KL(*tables).estimate(rule=rule).value == pytest.approx(want.value, rel=1e-9)
    assert kl.KL(A + 2**62, A + 2**62 + 10**6).estimate().guarantee is kl.Guarantee.LOWER_BOUND


def test_differences_are_exact_whatever_the_types():
    whole = Column("x", np.array([2**63 + 5, 2**63 + 1], np.uint64))
    signed = Column("x", np.array([2**63 - 1, 2**62], np.int64))
    p, q = from_least(whole, signed)
    least = 2**62
    assert [int(v) + least for v in p.values] == [2**63 + 5, 2**63 + 1]
    assert [int(v) + least for v in q.values] == [2**63 - 1, 2**62]
    beside = Column("x", np.array([2.0**63]))
    p, q = from_least(whole, beside)
    np.testing.assert_array_equal(p.values - q.values[0], [5.0, 1.0])
    kept = Column("x", np.array([2**53, 1], np.int64))
    assert from_least(kept)[0] is kept


@pytest.mark.parametrize("kind", ["int64", "uint64"])
def test_against_a_law_the_offset_leaves_both_sides(kind):
    data, offset = KINDS[kind](A), {"int64": 2.0**62, "uint64": 2.0**63}[kind]
    shift = {"int64": 0.0, "uint64": 1000.0}[kind]
    for far, near in (
        (dist.Normal(offset, 100.0), dist.Normal(0.0, 100.0)),
        (dist.StudentT(5.0, offset, 100.0), dist.StudentT(5.0, 0.0, 100.0)),
    ):
        values = A.astype(float) + shift
        want = kl.KL(values, near).estimate(), kl.KL(near, values).estimate()
        found = kl.KL(data, far).estimate(), kl.KL(far, data).estimate()
        for a, b in zip(found, want, strict=True):
            assert a.value == pytest.approx(b.value, abs=0.02 if shift else 1e-3)
    entropy = kl.rules.CrossEntropy()
    found = kl.KL(data, dist.Normal(offset, 100.0)).estimate(rule=entropy).value
    z = (A + shift) / 100.0
    assert found == pytest.approx(0.5 * np.mean(z**2) + 0.5 * np.log(2 * np.pi) + np.log(100.0), rel=1e-9)


def test_a_law_that_cannot_be_moved_is_evaluated_or_refused():
    with pytest.raises(EstimateError, match="take an offset off the sample"):
        kl.KL(A + 2**62, kl.Density(lambda x: dist.Normal(2.0**62, 100.0).log_prob(x), normalized=True)).estimate()
    wide = (2**58 * (1.0 + RNG.exponential(size=300))).astype(np.int64)
    found = kl.KL(wide, dist.Exponential(2.0**-59)).estimate()
    assert np.isfinite(found.value)
    assert found.guarantee is kl.Guarantee.CONSISTENT


@pytest.mark.parametrize("cls", MOVED, ids=lambda cls: cls.__name__)
def test_every_law_that_is_closed_under_moving_moves(cls):
    vector = "scale_tril" in cls.arg_constraints or "cov_factor" in cls.arg_constraints
    loc, offset = (np.array([3.0, 5.0]), np.array([2.0, -1.0])) if vector else (3.0, np.asarray(2.0))
    given = {"loc": loc}
    extra = {
        "scale": 1.5,
        "df": 4.0,
        "scale_tril": np.array([[1.0, 0.0], [0.5, 2.0]]),
        "cov_factor": np.ones((2, 1)),
        "cov_diag": np.array([1.0, 2.0]),
        "asymmetry": 1.3,
        "quantile": 0.3,
        "low": 1.0,
        "high": 9.0,
    }
    given |= {name: value for name, value in extra.items() if name in cls.arg_constraints}
    law = cls(**given)
    x = np.asarray(loc) + np.linspace(0.5, 2.0, 5).reshape(-1, *(1,) * np.ndim(loc))
    with jax.enable_x64(True):
        found = _moved(law, offset).log_prob(x - offset)
    np.testing.assert_allclose(found, law.log_prob(x), rtol=2e-5)


def test_inputs_that_double_precision_rounds_are_refused_and_others_are_not():
    x, y = A[:, None], 0.01 * A + RNG.normal(size=len(A))
    q = kl.Conditional(kl.Linear(), dist.Normal)
    for far in (x + 2**62, x.astype("m8[ns]") + np.timedelta64(2**62, "ns"), _objects(A, lambda k: k + 2**62)[:, None]):
        with pytest.raises(InputError, match="less an offset"):
            kl.KL(kl.Pairs(far, y), q).minimize(quiet=True)
    with pytest.raises(InputError, match="too large for one"):
        kl.KL(kl.Pairs(A + 2**62, y), kl.Conditional(kl.Table(), dist.Normal))
    fits = [kl.KL(kl.Pairs(inputs, y), q).minimize(quiet=True) for inputs in (x, x + 1e9)]
    for fit, inputs in zip(fits, (x, x + 1e9), strict=True):
        assert kl.KL(kl.Pairs(inputs, y), fit.q).estimate().value == pytest.approx(fits[0].objective.value, abs=1e-5)
    with pytest.raises(InputError, match="less an offset"):
        fits[0].q(x + 2**62)
    random = RNG.integers(-(2**62), 2**62, (100, 1))
    kl.KL(kl.Pairs(random, random[:, 0] / 2.0**62), q).minimize(quiet=True)


def test_numbers_beyond_all_are_said_to_be():
    with pytest.raises(InputError, match=r"beyond 1\.8e308"):
        kl.Samples(np.array([10**400, 1], object))
