"""Programs kept in files: found by later processes, never taken for one another, and no different from JAX's own."""

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from tests.control.simulators.test_functional import Walk

import kullback as kl
from kullback import control, programs
from kullback.control.learning import episodes, on_policy_program
from kullback.minimize import epoch_program


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty place for programs, and none in memory."""
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    programs.forget()
    yield tmp_path / "kullback"
    jax.config.update("jax_compilation_cache_dir", before)
    programs.forget()


@pytest.fixture
def as_ever() -> Iterator[None]:
    """Nothing is kept."""
    jax.config.update("jax_enable_compilation_cache", False)
    yield
    jax.config.update("jax_enable_compilation_cache", True)


def trace_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in memory is gone, and whatever is not in a file cannot be had."""
    programs.forget()
    for module in (epoch_program, episodes, on_policy_program):
        for found in vars(module).values():
            if isinstance(found, programs.Program):
                monkeypatch.setattr(found, "_function", _fails(found._function))
                monkeypatch.setattr(found, "_jitted", _fails(found._function))


def _fails(function: Any) -> Any:
    """A function of the same name that cannot be traced."""

    @functools.wraps(function)
    def fail(*args: Any) -> Any:
        pytest.fail("traced anew")

    return fail


def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    return x, (x[:, 0] + rng.normal(size=200) > 0).astype(int)


def fitted(network: Any = None, **settings: Any) -> np.ndarray:
    x, y = data()
    q = kl.Conditional(network or kl.MLP((8,)), dist.Categorical)
    rule = kl.minimize.Minibatches(**settings)
    fit = kl.KL(kl.Pairs(x, y), q).minimize(rule=rule, steps=30, seed=0, quiet=True)
    return np.asarray(fit.q(x).probs)


def test_a_later_process_reads_what_an_earlier_one_left(folder, monkeypatch):
    first = fitted()
    kept = sorted(folder.iterdir())
    assert len(kept) == 1
    assert kept[0].name.startswith("advance-")
    trace_no_more(monkeypatch)
    np.testing.assert_array_equal(fitted(), first)
    assert sorted(folder.iterdir()) == kept


@pytest.mark.usefixtures("as_ever")
def test_what_is_kept_computes_what_jax_computes(folder, precision):
    plain = fitted()
    assert not folder.exists()
    jax.config.update("jax_enable_compilation_cache", True)
    np.testing.assert_array_equal(fitted(), plain)
    assert folder.exists()


def test_whatever_changes_a_program_is_part_of_what_it_is_found_by(folder, monkeypatch):
    def kept() -> int:
        return len(list(folder.iterdir()))

    fitted()
    fitted(batch=16)
    assert kept() == 2
    fitted(kl.MLP((9,)))
    assert kept() == 3
    fitted(kl.MLP((8,), activation="tanh"))
    assert kept() == 4
    with jax.enable_x64(not jax.config.jax_enable_x64):
        fitted()
    assert kept() == 5
    with jax.default_matmul_precision("highest"):
        fitted()
    assert kept() == 6
    programs.forget()
    fitted()
    assert kept() == 6
    programs.forget()
    monkeypatch.setattr(programs, "_versions", lambda: "another version")
    fitted()
    assert kept() == 7


def test_another_rate_or_another_split_is_the_same_program(folder):
    fitted()
    fitted(rate=1e-4)
    fitted(held_out=0.15)
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"\x05\x00\x00\x00\x00\x00\x00\x00hello", b"\xff" * 100])
def test_a_broken_file_is_replaced(folder, content):
    first = fitted()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    path.write_bytes(content)
    programs.forget()
    np.testing.assert_array_equal(fitted(), first)
    assert len(path.read_bytes()) == len(whole)


def test_a_file_cut_short_is_replaced(folder):
    first = fitted()
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-1000])
    programs.forget()
    np.testing.assert_array_equal(fitted(), first)


def test_a_folder_that_cannot_be_written_costs_time_and_no_answers(folder):
    folder.write_text("a file is in the way")
    assert np.isfinite(fitted()).all()


class Own(eqx.Module):
    """A network of the user's own, of which no text says all."""

    layer: eqx.nn.Linear

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.layer(jnp.sin(x))


def test_what_is_made_from_a_users_own_code_is_not_kept(folder):
    assert np.isfinite(fitted(Own(eqx.nn.Linear(3, 2, key=jax.random.key(0))))).all()
    assert not folder.exists()


def test_programs_of_control_are_kept(folder, monkeypatch):
    def learned() -> Any:
        optimal = kl.Optimal("CartPole-v1", temperature=0.1, discount=0.98)
        rule = control.TrajectoryGradient(steps=2048)
        q = kl.Conditional(kl.MLP((8,)), dist.Categorical)
        return kl.KL(q, optimal).minimize(rule=rule, seed=0, quiet=True).diagnostics["soft_value"].value

    first = learned()
    assert {path.name.split("-")[0] for path in folder.iterdir()} == {"begin", "improve", "_compiled"}
    trace_no_more(monkeypatch)
    assert learned() == first


class Stroll(Walk):
    """An environment of the user's own, compiled."""


def test_what_is_played_in_a_users_own_environment_is_not_kept(folder):
    optimal = kl.Optimal(Stroll(), temperature=0.5, discount=0.9)
    rule = control.TrajectoryGradient(steps=512)
    q = kl.Conditional(kl.MLP((8,)), dist.Categorical)
    fit = kl.KL(q, optimal).minimize(rule=rule, seed=0, quiet=True)
    assert np.isfinite(fit.diagnostics["soft_value"].value)
    assert not folder.exists()


FIT = """
import jax, numpy as np, numpyro.distributions as dist, kullback as kl
x = np.linspace(-1, 1, 90).reshape(30, 3)
kl.KL(kl.Pairs(x, x[:, 0] > 0), kl.Conditional(kl.MLP((4,)), dist.Categorical)).minimize(
    rule=kl.minimize.Minibatches(), steps=5, quiet=True)
"""


def test_a_process_with_other_hashes_finds_the_same_program(folder):
    def files(hashes: str) -> dict[str, int]:
        environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder.parent), "PYTHONHASHSEED": hashes}
        subprocess.run([sys.executable, "-c", FIT], env=environment, check=True)
        return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}

    first = files("1")
    assert len(first) == 1
    assert files("2") == first


def test_a_program_inside_another_is_traced_with_it():
    def double(x: jax.Array) -> jax.Array:
        return 2 * x

    doubled = programs.program(double, static=())
    assert jax.jit(lambda x: doubled(x) + 1)(jnp.asarray(2.0)) == 5.0
    np.testing.assert_array_equal(jax.vmap(doubled)(jnp.arange(3.0)), [0.0, 2.0, 4.0])
    assert jax.grad(doubled)(jnp.asarray(1.0)) == 2.0
