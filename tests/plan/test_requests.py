"""What is asked of an answer is looked at before anything is computed."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.errors import FitError, InputError
from kullback.result import Estimate, Fit, Status
from kullback.rule import Request
from kullback.training.driver import Iterative, Progress, drive

MEANINGLESS = {
    "steps": [60 * 10 / 64, float("nan"), np.inf, 0, -3, "10", True, [5]],
    "tolerance": [0.0, -1e-3, float("nan"), np.inf, "1e-3", True, [1e-3]],
    "seed": [-1, 1.5, True, "0", float("nan"), np.zeros(2), None],
    "checkpoint": [3, b"file", ["file"]],
    "quiet": ["yes", 1, None],
    "logger": ["a", 3, dict, kl.loggers.CSVLogger],
    "rule": [3, kl.rules.Quadrature, int, ["quadrature"]],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in MEANINGLESS.items() for value in values])
def test_what_means_nothing_is_refused_by_name(name, value):
    with pytest.raises(InputError, match=rf"^{name}: "):
        kl.KL(np.arange(8.0), kl.Family(dist.Normal)).minimize(**{name: value})


@pytest.mark.parametrize("seed", [3, np.int64(3), jax.random.key(3), jax.random.PRNGKey(3)])
def test_seeds_of_every_kind(seed):
    assert Request(seed=seed, steps=1e3, tolerance=np.float32(1e-3)).steps == 1000


class Stuck(Iterative):
    """An algorithm whose chunks take no step."""

    title = "stuck"

    def init(self):
        return np.zeros(())

    def step(self, state):
        return state

    def progress(self, state):
        return Progress(0.0, 0)

    def fingerprint(self):
        return ""


def test_chunks_without_a_step_end():
    with pytest.raises(FitError, match="stuck"):
        drive(Stuck(), Request(quiet=True), 10)


@pytest.mark.parametrize("status", [Status.CLOSED_FORM, Status.CONVERGED, Status.EARLY_STOPPED])
def test_no_status_vouches_for_what_is_not_a_number(status):
    assert not Fit(None, Estimate(float("nan")), status).status.ok
    assert Fit(None, Estimate(1.0), status).status.ok
