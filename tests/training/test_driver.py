"""Interrupt, kill, resume: nothing is lost, and a resumed fit equals an uninterrupted one bit for bit."""

import signal
import subprocess
import sys

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.errors import FileError
from kullback.result import Status
from kullback.runtime.files import read
from kullback.training import driver

SCRIPT = """
import os, signal, sys
import numpy as np, numpyro.distributions as dist
import kullback as kl
from kullback.training import driver
from kullback.training import driver

rng = np.random.default_rng(0)
x = rng.normal(size=(400, 3))
y = (x[:, 0] * x[:, 1] > 0).astype(int)
problems = {
    "minibatches": lambda: kl.KL(kl.Pairs(x, y), kl.Conditional(kl.MLP(hidden=(8,)), dist.Categorical)),
    "fixed draws": lambda: kl.KL(kl.Family(dist.MultivariateNormal), kl.Density(density, event_shape=(6,))),
    "expectation maximisation": lambda: kl.KL(x, kl.Mixture(kl.Family(dist.MultivariateNormal), 4)),
}
density = lambda z: -((z[1:] - z[:-1] ** 2) ** 2).sum() - 0.5 * (z**2).sum()
problem, path, out, kill_after = *sys.argv[1:4], int(sys.argv[4])
driver._SAVE_EVERY = 0.0
if kill_after:
    save, count = driver.save, [0]
    def killing(*arguments):
        save(*arguments)
        count[0] += 1
        if count[0] == kill_after:
            os.kill(os.getpid(), signal.SIGKILL)
    driver.save = killing
fit = problems[problem]().minimize(checkpoint=path or None, rule=problem)
fit.save(out)
"""


def start(*arguments):
    return subprocess.run([sys.executable, "-c", SCRIPT, *map(str, arguments)], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("problem", "kill_after"),
    [
        pytest.param("minibatches", 5, marks=pytest.mark.long),  # in test_epochs.py as well, with a log
        ("fixed draws", 1),
        ("expectation maximisation", 2),
    ],
)
def test_killed_and_resumed_is_bit_identical(problem, kill_after, tmp_path):
    whole = start(problem, "", tmp_path / "whole", 0)
    assert whole.returncode == 0, whole.stderr
    killed = start(problem, tmp_path / "checkpoint", tmp_path / "never", kill_after)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "never").exists()
    resumed = start(problem, tmp_path / "checkpoint", tmp_path / "resumed", 0)
    assert resumed.returncode == 0, resumed.stderr
    want, got = read(tmp_path / "whole"), read(tmp_path / "resumed")
    assert want[1].keys() == got[1].keys()
    for name in want[1]:
        np.testing.assert_array_equal(got[1][name], want[1][name])
    assert got[0]["trace"] == want[0]["trace"]


@pytest.fixture
def problem(rng):
    x = rng.normal(size=(200, 3))
    pairs = kl.Pairs(x, (x[:, 0] > 0).astype(int))
    return kl.KL(pairs, kl.Conditional(kl.MLP(hidden=(4,)), dist.Categorical))


def test_an_interrupt_returns_the_best_so_far_and_can_be_continued(problem, tmp_path, monkeypatch):
    whole = problem.minimize()
    from kullback.training import epochs

    step, calls = epochs.EpochDescent.step, [0]

    def interrupted(self, state):
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return step(self, state)

    monkeypatch.setattr(epochs.EpochDescent, "step", interrupted)
    part = problem.minimize(checkpoint=tmp_path / "c")
    assert part.status is Status.INTERRUPTED
    assert np.isfinite(part.objective.value)
    monkeypatch.undo()
    rest = problem.minimize(checkpoint=tmp_path / "c")
    assert rest.status is whole.status
    for a, b in zip(jax.tree.leaves(rest.q.free), jax.tree.leaves(whole.q.free), strict=True):
        np.testing.assert_array_equal(a, b)


def test_more_steps_continue_a_checkpoint(problem, tmp_path):
    first = problem.minimize(checkpoint=tmp_path / "c", steps=128)
    assert first.status is Status.STEP_LIMIT
    assert "steps=" in first.status.value
    again = problem.minimize(checkpoint=tmp_path / "c", steps=256)
    straight = problem.minimize(steps=256)
    np.testing.assert_array_equal(again.trace, straight.trace)


def test_a_checkpoint_of_another_problem_is_refused_and_kept(problem, tmp_path):
    path = tmp_path / "c"
    problem.minimize(checkpoint=path, steps=64)
    before = path.read_bytes()
    with pytest.raises(FileError, match="another problem"):
        problem.minimize(checkpoint=path, steps=64, seed=1)
    assert path.read_bytes() == before


def test_a_broken_checkpoint_is_refused_and_kept(problem, tmp_path):
    path = tmp_path / "c"
    problem.minimize(checkpoint=path, steps=64)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(FileError, match="cut short"):
        problem.minimize(checkpoint=path, steps=64)
    assert len(path.read_bytes()) == 100


def test_a_saved_fit_is_no_checkpoint(problem, tmp_path):
    problem.minimize(steps=64).save(tmp_path / "fit")
    with pytest.raises(FileError, match="not a checkpoint"):
        problem.minimize(checkpoint=tmp_path / "fit")


def test_fingerprints_tell_data_and_settings_apart():
    x = np.arange(3.0)
    assert driver.fingerprint("a", x) == driver.fingerprint("a", x.copy())
    assert driver.fingerprint("a", x) != driver.fingerprint("b", x)
    assert driver.fingerprint("a", x) != driver.fingerprint("a", x + 1)
    assert driver.fingerprint("a", x) != driver.fingerprint("a", x[None])


def test_no_progress_bar_when_piped(problem, capfd):
    problem.minimize(steps=64)
    assert capfd.readouterr() == ("", "")
