"""Training by epochs: its values are those of NumPy, it stops where it should, and whatever happens nothing is lost."""

import signal
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.special import logsumexp
from scipy.stats import norm

import kullback as kl
from kullback.errors import FitError, InputError
from kullback.result import Status
from kullback.runtime.files import read

ROWS = 2800  # trained on are 2520: more than one block of evaluation, and not a whole number of them
HELD = 2  # the stream of random numbers that says which rows are held out


@pytest.fixture
def data(rng):
    x = rng.normal(size=(ROWS, 3))
    return x, 10 + 3 * x[:, 0] ** 2 + rng.normal(size=ROWS), rng.uniform(0.5, 2.0, ROWS)


def regression(data, ensemble=1, dropout=0.0, prior_scale=None, weighted=True):
    x, y, weights = data
    q = kl.Conditional(kl.MLP(hidden=(8,), dropout=dropout), dist.Normal, ensemble=ensemble, prior_scale=prior_scale)
    return kl.KL(kl.Pairs(x, y, weights if weighted else None), q)


def losses(fit, x, y):
    """−log of the average density of the members, from the numbers that a file holds, in double."""
    fixed = {name: np.asarray(value, np.float64) for name, value in fit.q.fixed.items() if name != "given"}
    layers = [{k: np.asarray(v, np.float64) for k, v in layer.items()} for layer in fit.q.free]
    if fit.q.members == 1:
        layers = [{k: v[None] for k, v in layer.items()} for layer in layers]
    logs = []
    for m in range(fit.q.members):
        scaled = (x - fixed["x_mean"]) / fixed["x_scale"]
        hidden = scaled @ layers[0]["weight"][m] + layers[0]["bias"][m]
        hidden = hidden / (1 + np.exp(-hidden))
        outputs = fixed["gain"] * (hidden @ layers[1]["weight"][m] + layers[1]["bias"][m])
        outputs = np.clip(outputs, fixed["least"], fixed["reach"]) + np.clip(scaled, -10.0, 10.0) @ fixed["slope"]
        loc, log_scale = (fixed["offset"] + outputs).T
        logs.append(norm.logpdf(y, loc, np.exp(log_scale)))
    return np.log(fit.q.members) - logsumexp(logs, axis=0)


@pytest.mark.parametrize("ensemble", [1, 2])
def test_the_values_are_those_of_numpy(data, ensemble):
    x, y, weights = data
    fit = regression(data, ensemble).minimize(steps=100, seed=3)
    rows = np.random.default_rng([3, HELD]).permutation(ROWS)
    each = losses(fit, x, y)
    for name, part in (("heldout_nll", rows[: ROWS // 10]), ("train_nll", rows[ROWS // 10 :])):
        want = np.average(each[part], weights=weights[part])
        np.testing.assert_allclose(fit.diagnostics[name], want, rtol=2e-5)
    if ensemble == 2:
        assert not np.allclose(*fit.q.free[0]["weight"])
        assert not np.allclose(*fit.q.free[1]["bias"])


def test_the_history_tells_what_happened(data):
    fit = regression(data).minimize(tolerance=1e-3, rule=kl.rules.Minibatches(rate=3e-3, patience=5))
    assert fit.status is Status.EARLY_STOPPED
    assert [set(line) for line in fit.history] == [{"epoch", "step", "train_nll", "heldout_nll", "rate"}] * len(
        fit.history
    )
    epochs, steps, training, held, rates = (
        np.array([line[name] for line in fit.history]) for name in ("epoch", "step", "train_nll", "heldout_nll", "rate")
    )
    np.testing.assert_array_equal(epochs, np.arange(1, len(fit.history) + 1))
    np.testing.assert_array_equal(steps, epochs * steps[0])
    np.testing.assert_allclose(rates[0], 3e-3, rtol=1e-5)
    falls = (rates[1:] / rates[:-1])[np.diff(rates) != 0]
    assert len(falls) >= 2
    assert 0 < falls[0] < 1
    np.testing.assert_allclose(falls, falls[0], rtol=1e-5)
    # Between two falls lie as many epochs as there is patience, or more.
    assert (np.diff(np.flatnonzero(np.diff(rates))) >= 5).all()
    assert np.isfinite(training).all()
    # The returned fit is assessed again, by another program: float32 rounds a mean of 280 rows in another order there.
    assert fit.diagnostics["heldout_nll"] == pytest.approx(held.min(), rel=1e-6)
    np.testing.assert_array_equal(fit.trace, held)


def test_without_a_held_out_part_the_training_loss_decides(data):
    fit = regression(data).minimize(rule=kl.rules.Minibatches(held_out=0.0), tolerance=1e-2)
    assert fit.status is Status.CONVERGED
    assert "heldout_nll" not in fit.history[0]
    assert "heldout_nll" not in fit.diagnostics
    x, y, weights = data
    want = np.average(losses(fit, x, y), weights=weights)
    np.testing.assert_allclose(fit.diagnostics["train_nll"], want, rtol=2e-5)


def test_a_limit_within_an_epoch_returns_a_usable_fit_and_can_be_continued(data, tmp_path):
    problem = regression(data, ensemble=2, dropout=0.2)
    short = problem.minimize(steps=7, checkpoint=tmp_path / "c")
    assert (short.status, short.history) == (Status.STEP_LIMIT, ())
    start = losses(problem.minimize(steps=1, rule=kl.rules.Minibatches(rate=1e-12)), *data[:2]).mean()
    assert losses(short, *data[:2]).mean() < start
    longer = problem.minimize(steps=50, checkpoint=tmp_path / "c")
    straight = problem.minimize(steps=50)
    same(longer, straight)
    assert longer.history == straight.history
    assert longer.diagnostics == straight.diagnostics


def same(a, b):
    for one, other in zip(jax.tree.leaves(a.q.free), jax.tree.leaves(b.q.free), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_file_keeps_the_history(data, tmp_path):
    fit = regression(data).minimize(steps=100)
    fit.save(tmp_path / "fit")
    again = kl.load(tmp_path / "fit")
    assert len(fit.history) > 3
    assert again.history == fit.history
    assert again.message == fit.message
    same(again, fit)


def test_a_logger_gets_every_line_and_is_closed(data):
    told = []

    class Kept:
        def log(self, row):
            told.append(dict(row))

        def close(self):
            told.append("closed")

    fit = regression(data).minimize(steps=100, logger=Kept())
    assert told == [*fit.history, "closed"]


def test_an_interrupt_before_the_first_step_returns_the_start(data, monkeypatch):
    from kullback.training import epochs

    def interrupted(self, state):
        raise KeyboardInterrupt

    monkeypatch.setattr(epochs.EpochDescent, "step", interrupted)
    fit = regression(data).minimize()
    assert fit.status is Status.INTERRUPTED
    assert np.abs(fit.q.free[0]["weight"]).min() > 0


@pytest.fixture
def compilations():
    """How many programs have been compiled since it was last asked."""
    seen, last = [], [0]

    def heard(event, duration, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append(duration)

    def since():
        count, last[0] = len(seen) - last[0], len(seen)
        return count

    jax.monitoring.register_event_duration_secs_listener(heard)
    yield since
    jax.monitoring.unregister_event_duration_listener(heard)


def test_another_split_and_another_prior_compile_nothing(data, rng, compilations):
    def fit(rows, prior_scale, seed):
        part = tuple(array[rows] for array in data)
        return regression(part, prior_scale=prior_scale).minimize(steps=40, seed=seed, rule="minibatches")

    rows = rng.permutation(ROWS)
    # A shape of its own, so that what other tests compiled does not count.
    first = fit(rows[:1500], 1.0, 0)
    assert compilations() > 0
    second = fit(rows[1300:], 1.0, 1)
    third = fit(rows[5:1500], 0.3, 0)
    assert compilations() == 0
    assert first.diagnostics["train_nll"] != second.diagnostics["train_nll"] != third.diagnostics["train_nll"]


class Root(eqx.Module):
    """1 + √(1 − a): best at a = 1, and not a number as soon as a step goes past it."""

    a: jax.Array

    def __call__(self, x):
        return 1.0 + jnp.sqrt(1.0 - self.a) + 0.0 * x[0]


def test_divergence_keeps_the_best_fit_and_says_where_and_what_to_do(rng):
    x, y = rng.normal(size=(400, 2)), rng.normal(size=400)
    q = kl.Conditional(Root(jnp.zeros(1)), dist.Normal, scale=1.0)
    fit = kl.KL(kl.Pairs(x, y), q).minimize(rule=kl.rules.Minibatches(rate=0.02), tolerance=1e-9)
    assert fit.status is Status.DIVERGED
    assert not fit.status.ok
    a = float(fit.q.free.a[0])
    assert 0 < a <= 1
    finite = [line for line in fit.history if np.isfinite(line["heldout_nll"])]
    assert 0 < len(finite) < len(fit.history)
    assert fit.diagnostics["heldout_nll"] == min(line["heldout_nll"] for line in finite)
    best = min(finite, key=lambda line: line["heldout_nll"])
    broken = min(line["step"] for line in fit.history if not np.isfinite(line["train_nll"]))
    (step, kept) = (int(word.strip(",:")) for word in fit.message.split() if word.strip(",:").isdigit())
    assert broken - 11 <= step <= broken
    assert kept == best["step"]
    assert "smaller rate=" in fit.message
    assert fit.message in repr(fit)


@pytest.mark.parametrize(
    "setting",
    [{"held_out": 1.0}, {"held_out": -0.1}, {"held_out": np.nan}, {"rate": 0.0}, {"rate": np.inf}, {"rate": np.nan},
     {"batch": 0}, {"batch": 1.5}, {"patience": 0}, {"memory": -1}],
    ids=str,
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(setting):
    for rule in (kl.rules.Minibatches, kl.rules.ReverseMinibatches):
        with pytest.raises(InputError, match=f"^{next(iter(setting))}: "):
            rule(**setting)


@pytest.mark.parametrize("what", ["an outlier", "a rate"])
def test_nothing_usable_raises_and_says_what_to_do(data, what):
    x, y, _ = data
    outlier = what == "an outlier"
    y = np.where(np.arange(ROWS) == 5, 1e200, y) if outlier else y
    q = kl.Conditional(kl.MLP(hidden=(8,)), dist.Normal, **({"scale": 1.0} if outlier else {}))
    rule = kl.rules.Minibatches() if outlier else kl.rules.Minibatches(rate=1e6)
    with pytest.raises(
        FitError, match=r"^minibatches: .* at step \d+, .* no step before it was usable; check the data"
    ):
        kl.KL(kl.Pairs(x, y), q).minimize(rule=rule)


def test_one_member_that_fails_does_not_hide(rng):
    """The second member starts elsewhere; the status and the message are those of the one that failed."""
    x = rng.normal(size=(400, 2))
    q = kl.Conditional(Root(jnp.zeros(1)), dist.Normal, scale=1.0, ensemble=2)
    fit = kl.KL(kl.Pairs(x, rng.normal(size=400)), q).minimize(rule=kl.rules.Minibatches(rate=0.02), tolerance=1e-9)
    assert fit.status is Status.DIVERGED
    assert np.isfinite(fit.objective.value)


SCRIPT = """
import os, signal, sys
import numpy as np, numpyro.distributions as dist
import kullback as kl
from kullback.training import epochs
from kullback.training import driver

rng = np.random.default_rng(0)
x = rng.normal(size=(400, 3))
y = (x[:, 0] * x[:, 1] > 0).astype(int)
q = kl.Conditional(kl.MLP(hidden=(8,), dropout=0.2), dist.Categorical, ensemble=2, prior_scale=1.0)
folder, name, kill_at = sys.argv[1], sys.argv[2], int(sys.argv[3])
driver._SAVE_EVERY = 0.0
step, count = epochs.EpochDescent.step, [0]
def counted(self, state):
    self.budget = 64
    count[0] += 1
    state = step(self, state)
    if count[0] == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return state
epochs.EpochDescent.step = counted
checkpoint = f"{folder}/{name}.checkpoint"
logger = kl.loggers.CSVLogger(f"{folder}/{name}.csv")
fit = kl.KL(kl.Pairs(x, y), q).minimize(checkpoint=checkpoint, logger=logger, steps=500, rule="minibatches")
fit.save(f"{folder}/{name}")
"""


def test_killed_and_resumed_is_bit_identical_and_logs_each_epoch_once(tmp_path):
    def run(name, kill_at=0):
        arguments = [sys.executable, "-c", SCRIPT, tmp_path, name, kill_at]
        return subprocess.run(list(map(str, arguments)), capture_output=True, text=True)

    whole = run("whole")
    assert whole.returncode == 0, whole.stderr
    for _ in range(2):
        assert run("killed", 3).returncode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    resumed = run("killed")
    assert resumed.returncode == 0, resumed.stderr
    want, got = read(tmp_path / "whole"), read(tmp_path / "killed")
    assert want[1].keys() == got[1].keys()
    for name in want[1]:
        np.testing.assert_array_equal(got[1][name], want[1][name])
    assert got[0] == want[0]
    assert (tmp_path / "killed.csv").read_text() == (tmp_path / "whole.csv").read_text()
    assert len((tmp_path / "whole.csv").read_text().splitlines()) == len(want[0]["history"]) + 1 > 20
