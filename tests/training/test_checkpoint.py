"""A full disk, a second process, a missing folder: what a training keeps in files, and that none costs the fit."""

import os
import resource
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import numpyro.distributions as dist
import pytest

import kullback as kl
from kullback.errors import FileError, InputError
from kullback.runtime.files import read, write_atomically
from kullback.training import driver


@contextmanager
def no_file_larger_than(size):
    """What a full disk or a quota does: a write beyond `size` bytes of a file fails."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def problem(rng):
    x = rng.normal(size=(200, 3))
    return kl.KL(kl.Pairs(x, (x[:, 0] > 0).astype(int)), kl.Conditional(kl.MLP(hidden=(4,)), dist.Categorical))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_training_goes_on_without_its_checkpoint_and_returns_its_fit(problem, tmp_path, monkeypatch):
    monkeypatch.setattr(driver, "_SAVE_EVERY", 0.0)
    want = problem.minimize(steps=60)
    problem.minimize(steps=30, checkpoint=tmp_path / "checkpoint")
    before = (tmp_path / "checkpoint").read_bytes()
    with no_file_larger_than(1000), pytest.warns(UserWarning, match=r"^checkpoint: .*(full|large).*goes on") as said:
        fit = problem.minimize(steps=60, checkpoint=tmp_path / "checkpoint")
    assert len(said) == 1
    assert fit.objective.value == want.objective.value
    assert (tmp_path / "checkpoint").read_bytes() == before  # the older one stays
    assert names(tmp_path) == ["checkpoint"]


@pytest.mark.parametrize("sink", [kl.loggers.CSVLogger, kl.loggers.JSONLLogger])
def test_a_logger_on_a_full_disk_costs_lines_and_no_fit(problem, tmp_path, sink):
    with no_file_larger_than(150), pytest.warns(UserWarning, match=r"^logger: .*goes on"):
        fit = problem.minimize(steps=60, logger=sink(tmp_path / "log"))
    assert np.isfinite(fit.objective.value)
    assert (tmp_path / "log").read_bytes().endswith(b"\n")  # whole lines only
    rows = [{"step": step, "another": 0.1234567890123456} for step in range(20)]
    with no_file_larger_than(150), pytest.raises(FileError, match=r"^path: .*cannot be written"):
        list(map(sink(tmp_path / "log").log, rows))
    assert (tmp_path / "log").read_bytes().endswith(b"\n")


def test_a_fit_that_cannot_be_saved_is_not_lost(problem, tmp_path):
    fit = problem.minimize(steps=20)
    fit.save(tmp_path / "fit")
    before = (tmp_path / "fit").read_bytes()
    with no_file_larger_than(100), pytest.raises(FileError, match=r"^path: .*full"):
        fit.save(tmp_path / "fit")
    assert (tmp_path / "fit").read_bytes() == before
    assert names(tmp_path) == ["fit"]
    fit.save(tmp_path / "fit")


def test_a_checkpoint_that_cannot_be_written_is_refused_before_the_training(problem, tmp_path):
    with pytest.raises(FileError, match=r"^checkpoint: .*a folder that does not exist"):
        problem.minimize(checkpoint=tmp_path / "none" / "checkpoint")
    with pytest.raises(FileError, match=r"^checkpoint: .*is a folder"):
        problem.minimize(checkpoint=tmp_path)


def test_a_checkpoint_is_of_one_training_at_a_time(problem, tmp_path):
    path = tmp_path / "checkpoint"
    with driver.locked(path):
        with pytest.raises(FileError, match=r"^checkpoint: .* is in use by another training; wait"):
            problem.minimize(steps=20, checkpoint=path)
        with pytest.raises(FileError, match="in use"), driver.locked(path):
            pass
    assert names(tmp_path) == []
    problem.minimize(steps=20, checkpoint=path)
    assert names(tmp_path) == ["checkpoint"]


def test_the_lock_of_a_process_that_was_killed_holds_nobody_up(tmp_path):
    script = """
import os, signal, sys
from kullback.training.driver import locked
with locked(sys.argv[1]):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    path = tmp_path / "checkpoint"
    assert subprocess.run([sys.executable, "-c", script, str(path)]).returncode < 0
    assert names(tmp_path) == ["checkpoint.lock"]
    with driver.locked(path):
        pass
    assert names(tmp_path) == []


def test_files_have_the_modes_that_the_umask_leaves_and_keep_their_own(tmp_path):
    mask = os.umask(0o022)
    try:
        write_atomically(tmp_path / "new", b"a")
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o644
        (tmp_path / "new").chmod(0o600)
        write_atomically(tmp_path / "new", b"b")
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(mask)


def test_a_link_stays_a_link(tmp_path, problem):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere" / "fit")
    problem.minimize(steps=20).save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert read(tmp_path / "elsewhere" / "fit")[0]["format"] == "fit"


def test_a_logger_that_is_none_is_refused_before_the_training(problem):
    with pytest.raises(InputError, match=r"^logger: "):
        problem.minimize(logger="a")


def test_a_process_that_was_forked_after_a_computation_is_told(tmp_path):
    script = """
import os, warnings
import numpy as np, numpyro.distributions as dist
import kullback as kl
from kullback.errors import KullbackError

warnings.simplefilter("ignore")
questions = [
    lambda: kl.KL(dist.Normal(0.0, 1.0), dist.StudentT(3.0)).estimate(),
    lambda: kl.kl_divergence(dist.Normal(0.0, 1.0), dist.Normal(1.0, 1.0)),
    lambda: kl.KL(np.arange(5.0), kl.Family(dist.Normal)).minimize(),
]
for ask in questions:
    ask()
for ask in questions:
    child = os.fork()
    if not child:
        try:
            ask()
        except KullbackError as error:
            os._exit(7 if f"{error}".startswith("process: it was forked") else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
