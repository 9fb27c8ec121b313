"""The driver with an algorithm that counts: what is logged, saved and resumed, by hand."""

import os
import subprocess
import sys

import numpy as np
import numpyro.distributions as dist
import pytest

from kullback.errors import FitError
from kullback.result import Status
from kullback.rule import Request
from kullback.training.driver import Iterative, Progress, drive, fingerprint


class Counting(Iterative):
    """Two steps at a time, each with a line; it fails or is interrupted after some of them."""

    title = "counting"

    def __init__(self, raises=None, after=np.inf, done=np.inf):
        self.raises, self.after, self.end = raises, after, done

    def init(self):
        return np.int32(0)

    def step(self, state):
        if state >= self.after:
            raise self.raises
        return np.int32(state + 2)

    def progress(self, state):
        status = Status.CONVERGED if state >= self.end else None
        return Progress(-float(state), int(state), status, "counted to the end")

    def history(self, state):
        return tuple({"step": float(k), "train_nll": -float(k)} for k in (state - 1, state))

    def fingerprint(self):
        return "counting"


class Rows(list):
    """A logger."""

    def log(self, row):
        self.append(row["step"])

    def close(self):
        self.append("closed")


def run(algorithm, tmp_path, steps):
    rows = Rows()
    request = Request(steps=steps, checkpoint=tmp_path / "checkpoint", logger=rows, quiet=True)
    try:
        return drive(algorithm, request, 100), rows
    except FitError:
        return None, rows


def test_a_resumed_run_logs_what_is_new(tmp_path):
    first, rows = run(Counting(), tmp_path, 4)
    assert (int(first.state), first.status, rows) == (4, Status.STEP_LIMIT, [1, 2, 3, 4, "closed"])
    again, rows = run(Counting(), tmp_path, 4)
    assert (int(again.state), rows) == (4, ["closed"])
    longer, rows = run(Counting(done=8), tmp_path, 12)
    assert (longer.status, longer.message) == (Status.CONVERGED, "counted to the end")
    assert rows == [5, 6, 7, 8, "closed"]
    np.testing.assert_array_equal(longer.trace, -np.arange(1.0, 9.0))
    assert [line["step"] for line in longer.history] == list(range(1, 9))


@pytest.mark.parametrize("raises", [FitError("a fault"), KeyboardInterrupt()])
def test_a_fault_and_an_interrupt_keep_what_was_done(raises, tmp_path):
    found, rows = run(Counting(raises, 6), tmp_path, 12)
    assert rows[:6] == [1, 2, 3, 4, 5, 6]
    if found is not None:
        assert (int(found.state), found.status, found.message) == (6, Status.INTERRUPTED, "")
    longer, rows = run(Counting(), tmp_path, 8)
    assert (int(longer.state), rows) == (8, [7, 8, "closed"])
    np.testing.assert_array_equal(longer.trace, -np.arange(1.0, 9.0))


FINGERPRINT = """
import jax.numpy as jnp, numpyro.distributions as dist
from kullback.training.driver import fingerprint

normals = dist.Normal(jnp.array([-2.5, 2.5]), jnp.array([0.5, 0.8]))
print(fingerprint([
    dist.Gamma(2.0, 3.0).expand([2]),
    dist.MixtureSameFamily(dist.Categorical(probs=jnp.array([0.6, 0.4])), normals),
    dist.TransformedDistribution(dist.Normal(0.0, 1.0), [dist.transforms.AffineTransform(1.0, 2.0)]),
    dist.TruncatedNormal(0.0, 1.0, low=-1.0, high=2.0),
]))
"""


def test_a_problem_with_distributions_has_the_same_fingerprint_in_another_process():
    """The order of a distribution's leaves depends on the hashes of names: a resumed run must not."""

    def printed(hashes):
        environment = {**os.environ, "PYTHONHASHSEED": hashes}
        return subprocess.run(
            [sys.executable, "-c", FINGERPRINT], env=environment, capture_output=True, check=True
        ).stdout

    assert len({printed(hashes) for hashes in "1234"}) == 1


def test_other_numbers_or_names_have_other_fingerprints():
    laws = [dist.Gamma(2.0, 3.0), dist.Gamma(3.0, 2.0), dist.InverseGamma(2.0, 3.0), dist.Gamma(2.0, 3.0).expand([2])]
    assert len({fingerprint(law) for law in laws}) == len(laws)
