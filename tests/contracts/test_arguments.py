"""Every public callable under twenty kinds of wrong value: refused in our own sentence, before any work.

What is taken is listed by argument below: nothing that is not listed may be, and nothing may end in a foreign message.
"""

import dataclasses
import datetime
import inspect

import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints

import kullback as kl
from kullback.errors import KullbackError

VALUES = {
    "None": None, "True": True, "-1": -1, "0": 0, "3": 3, "1.5": 1.5, "nan": float("nan"), "inf": float("inf"),
    "text": "a",
    "no text": "", "bytes": b"x", "no list": [], "mixed list": [1, "a"], "dict": {}, "set": {1, 2}, "object": object(),
    "class": int, "array with NaN": np.array([1.0, np.nan]), "empty array": np.zeros(0), "complex": 1j,
    "date": datetime.date(2020, 1, 1), "huge": 10**30, "beyond double": 10**400,
    "uneven lists": [[1.0, 2.0], [3.0]], "function": lambda: 0,
}  # fmt: skip
POSITIVE = {"3", "1.5", "huge"}
ANY_NUMBER = {"-1", "0", "3", "1.5", "huge"}
COUNT, FLAG, NOTHING = {"3"}, {"True"}, {"None"}

NORMAL, OTHER = dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0)
_RNG = np.random.default_rng(0)
X = _RNG.normal(size=(40, 2))
Y, Z = (X[:, 0] > 0).astype(int), X[:, 0] + 0.1 * _RNG.normal(size=40)
PAIRS, LABELS = kl.Pairs(X, Z), kl.Pairs(X, Y)


def planned(p, q):
    return kl.KL(p, q).plan()


def closed(**request):
    return kl.KL(NORMAL, OTHER).estimate(**request)


def trained(**request):
    conditional = kl.Conditional(kl.Linear(), dist.Categorical)
    return kl.KL(LABELS, conditional).minimize(**{"steps": 20, "rule": "minibatches", **request})


# Of each callable: how it is called, and of each argument a good value and the names of the values that it takes.
CALLS = {
    "KL": (
        lambda **k: kl.KL(**k).plan(),
        {"p": (NORMAL, set()), "q": (OTHER, set()), "rules": (kl.DEFAULT_RULES, set())},
    ),
    "KL.plan": (kl.KL(NORMAL, OTHER).plan, {"rule": (None, NOTHING)}),
    "KL.estimate": (
        closed,
        {
            "seed": (0, {"0", "3", "huge", "beyond double"}),
            "tolerance": (None, NOTHING | POSITIVE),
            "rule": (None, NOTHING),
        },
    ),
    "KL.minimize": (
        trained,
        {
            "seed": (0, {"0", "3", "huge", "beyond double"}),
            "tolerance": (None, NOTHING | POSITIVE),
            "rule": ("minibatches", NOTHING),
            "steps": (20, NOTHING | COUNT),
            "checkpoint": (None, NOTHING | {"text"}),
            "quiet": (False, FLAG),
            "logger": (None, NOTHING),
        },
    ),
    "MLP": (
        lambda **k: planned(LABELS, kl.Conditional(kl.MLP(**k), dist.Categorical)),
        {
            "hidden": ((4,), {"no list", "empty array"}),
            "activation": ("relu", set()),
            "residual": (False, FLAG),
            "normalization": (None, NOTHING),
            "dropout": (0.0, {"0"}),
        },
    ),
    "Conditional": (
        lambda **k: planned(PAIRS, kl.Conditional(**k)),
        {
            "network": (kl.Linear(), set()),
            "distribution": (dist.Normal, set()),
            "prior_scale": (None, NOTHING | POSITIVE),
            "ensemble": (1, COUNT),
            "scale": (1.0, {"3", "1.5"}),
        },
    ),
    "Density": (
        lambda **k: planned(kl.Density(**k), NORMAL),
        {
            "log_density": (lambda x: -(x**2), {"class", "function"}),
            "event_shape": ((), {"no list"}),
            "support": (constraints.real, set()),
            "normalized": (False, FLAG),
        },
    ),
    "Family": (
        lambda **k: planned(Z, kl.Family(**k)),
        {"distribution": (dist.Normal, set()), "scale": (1.0, {"3", "1.5"})},
    ),
    "Joint": (
        kl.Joint,
        {"first": (dist.Categorical(np.array([0.5, 0.5])), set()), "then": (dist.Normal(np.zeros(2), 1.0), set())},
    ),
    "Product": (lambda part: kl.Product(NORMAL, part), {"part": (NORMAL, set())}),
    # Whether probabilities are some is for NumPyro to check, as it does for every distribution.
    "MarkovChain": (lambda **k: kl.MarkovChain(np.array([0.5, 0.5]), np.eye(2), **k), {"length": (3, COUNT)}),
    "Mixture": (
        lambda **k: planned(Z, kl.Mixture(**k)),
        {"family": (kl.Family(dist.Normal), set()), "components": (2, COUNT)},
    ),
    "Optimal": (
        kl.Optimal,
        {
            "env": ("FrozenLake-v1", set()),
            "temperature": (0.1, POSITIVE),
            "discount": (1.0, NOTHING | {"0"}),
            "horizon": (None, NOTHING | COUNT),
            "compiled": (True, FLAG),
            "patience": (None, NOTHING | POSITIVE),
        },
    ),
    "Pairs": (
        lambda **k: planned(kl.Pairs(**k), kl.Conditional(kl.Linear(), dist.Normal)),
        {"x": (X, set()), "y": (Z, set()), "weights": (None, NOTHING)},
    ),
    "Samples": (
        lambda **k: planned(kl.Samples(**k), NORMAL),
        {
            "x": (Z, set()),
            "weights": (None, NOTHING),
            "counts": (None, NOTHING | {"no list", "empty array"}),
            "measured": (None, NOTHING | FLAG | {"0", "no list", "empty array"}),
            "labels": (None, NOTHING | FLAG | {"0", "no list", "empty array"}),
            "ignore": (None, NOTHING | {"no list", "empty array"}),
        },
    ),
    "drift": (
        kl.drift,
        {
            "reference": (X[:30], {"mixed list", "array with NaN"}),
            "current": (X[:30] + 0.1, {"mixed list", "array with NaN"}),
            "columns": (None, NOTHING | {"0"}),
            "measured": (None, NOTHING | {"0", "no list", "empty array"}),
            "labels": (None, NOTHING | {"0", "no list", "empty array"}),
            "counts": (None, NOTHING | {"no list", "empty array"}),
            "ignore": (None, NOTHING | {"0", "no list", "empty array"}),
            "by": (None, NOTHING | {"0"}),
            "every": (None, NOTHING),
            "permutations": (19, NOTHING | COUNT),
            "rows": (None, NOTHING | COUNT),
            "level": (0.05, set()),
            "seed": (0, {"0", "3", "huge", "beyond double"}),
            "quiet": (True, FLAG),
        },
    ),
    "Tempered": (kl.Tempered, {"q": (None, set())}),
    "Tilted": (
        lambda **k: planned(kl.Family(dist.Normal), kl.Tilted(**k)),
        {"base": (NORMAL, set()), "reward": (lambda x: -(x**2), {"class", "function"}), "temperature": (1.0, POSITIVE)},
    ),
    **{
        name: (getattr(kl, name), {"p": (NORMAL, set()), "q": (OTHER, set())})
        for name in ("cross_entropy", "kl_divergence", "kl_rate")
    },
    **{name: (getattr(kl, name), {"p": (NORMAL, set())}) for name in ("entropy", "entropy_rate")},
    "learnable": (lambda q: kl.learnable(q).known(), {"q": (NORMAL, set())}),
    "interval": (closed().interval, {"level": (0.9, set())}),
    "Annealed": (kl.control.Annealed, {"first": (1.0, POSITIVE), "last": (0.1, POSITIVE)}),
    "TargetKL": (
        kl.control.TargetKL,
        {"nats": (0.1, POSITIVE), "start": (1.0, {"3", "1.5"}), "lowest": (0.1, set()), "highest": (10.0, POSITIVE)},
    ),
    "CSVLogger": (kl.loggers.CSVLogger, {"path": ("log.csv", {"text"})}),
    "JSONLLogger": (kl.loggers.JSONLLogger, {"path": ("log", {"text"})}),
    "KLClassifier": (
        lambda **k: kl.KLClassifier(kl.Linear(), **{"steps": 5, **k}).fit(X, Y),
        {
            "prior_scale": (None, NOTHING | POSITIVE),
            "ensemble": (1, COUNT),
            "label_smoothing": (0.0, {"0"}),
            "class_weight": (None, NOTHING | {"dict"}),
            "rule": (None, NOTHING),
            "steps": (5, NOTHING | COUNT),
            "tolerance": (None, NOTHING | POSITIVE),
            "warm_start": (False, FLAG),
            "checkpoint": (None, NOTHING | {"text"}),
            "logger": (None, NOTHING),
            "quiet": (False, FLAG),
        },
    ),
    "KLRegressor": (
        lambda **k: kl.KLRegressor(network=k.pop("network", kl.Linear()), **{"steps": 5, **k}).fit(X, Z),
        {
            "distribution": (dist.Normal, set()),
            "network": (kl.Linear(), set()),
            "components": (1, COUNT),
            "fixed": (None, NOTHING | {"dict"}),
            "tolerance": (None, NOTHING | POSITIVE),
        },
    ),
    "KLRegressor.fit": (
        lambda **k: kl.KLRegressor(network=kl.Linear(), steps=5).fit(**k),
        {"X": (X, set()), "y": (Z, set()), "sample_weight": (None, NOTHING)},
    ),
}


def settings_of(rule):
    """A rule's settings with the names of the values that each takes, by its annotation."""
    found = {}
    for field in dataclasses.fields(rule):
        kind, _, optional = str(field.type).partition(" | ")
        taken = {"int": COUNT, "float": ANY_NUMBER if field.name == "until" else {"0", *POSITIVE}, "bool": FLAG}.get(
            kind
        )
        if taken is not None:
            found[field.name] = field.default, taken | ({"0"} if kind == "int" else set()), bool(optional)
    return found


RULES = sorted(
    {
        rule
        for module in (kl.rules, kl.control)
        for rule in vars(module).values()
        if inspect.isclass(rule) and issubclass(rule, kl.rules.Rule) and dataclasses.is_dataclass(rule)
    },
    key=lambda rule: rule.__name__,
)


def outcome(call, arguments):
    """None where it is taken, else what was said; any exception but ours goes through."""
    try:
        call(**arguments)
    except KullbackError as error:
        return f"{error}"
    return None


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """For what writes the file "a"."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.filterwarnings("ignore")
def test_wrong_values_are_refused_in_our_own_sentence(name):
    call, arguments = CALLS[name]
    good = {argument: value for argument, (value, _) in arguments.items()}
    for argument, (_, taken) in arguments.items():
        found = set()
        for kind, value in VALUES.items():
            said = outcome(call, {**good, argument: value})
            if said is None:
                found.add(kind)
            else:
                assert ": " in said, (argument, kind, said)
                assert "\n" not in said, (argument, kind, said)
        assert found == taken, argument


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_settings_of_rules_are_looked_at_when_they_are_made(rule):
    for name, (_, taken, optional) in settings_of(rule).items():
        for kind, value in VALUES.items():
            said = outcome(rule, {name: value})
            if said is None:
                assert kind in taken or (optional and kind == "None"), (name, kind)
            else:
                assert ": " in said, (name, kind, said)
                assert "\n" not in said, (name, kind, said)
