"""Programs that are compiled once: found by later processes, never taken for one another, and never trusted blindly."""

import functools
import json
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
from jax.experimental.compilation_cache import compilation_cache
from tests.control.envs.test_functional import Walk

import kullback as kl
from kullback import control
from kullback.control.learning import episodes
from kullback.control.trajectory_gradient import rule
from kullback.families import conditional_structure
from kullback.minimize import lbfgs
from kullback.runtime import cache_folder, export_cache, identity
from kullback.runtime.effort import Effort, counted, effort_for
from kullback.training import epochs


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty place for programs, none in memory, and none in a cache of JAX's own."""
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv(cache_folder.VARIABLE, str(tmp_path / "programs"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    for folder in (None, before):
        jax.config.update("jax_compilation_cache_dir", folder)
        compilation_cache.reset_cache()
        export_cache.forget()
        if folder is None:
            yield tmp_path / "programs"


def files(root: Path, name: str = "") -> list[Path]:
    return sorted(root.glob(f"*/{name}*.xla"))


def trace_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in memory is gone, and whatever is not in a file cannot be had."""
    export_cache.forget()
    for module in (epochs, episodes, rule):
        for found in vars(module).values():
            if isinstance(found, export_cache.Program):
                monkeypatch.setattr(found, "_function", _fails(found._function))
                monkeypatch.setattr(found, "_jitted", _fails(found._function))


def _fails(function: Any) -> Any:
    """A function of the same name that cannot be traced."""

    @functools.wraps(function)
    def fail(*args: Any) -> Any:
        pytest.fail("traced anew")

    return fail


def fitted(network: Any = None, **settings: Any) -> np.ndarray:
    """The logits of a short fit, from one program for training and one for these."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = (x[:, 0] + rng.normal(size=200) > 0).astype(int)
    q = kl.Conditional(network or kl.MLP((8,)), dist.Categorical)
    rule = kl.rules.Minibatches(**settings)
    fit = kl.KL(kl.Pairs(x, y), q).minimize(rule=rule, steps=30, seed=0, quiet=True)
    return np.asarray(fit.q(x).logits)


def test_a_later_process_reads_what_an_earlier_one_left(root, monkeypatch):
    first = fitted()
    written = files(root)
    assert {path.name.split("-")[0] for path in written} == {"advance", "_predictive"}
    trace_no_more(monkeypatch)
    np.testing.assert_array_equal(fitted(), first)
    assert files(root) == written


def test_what_is_kept_computes_what_jax_computes(root, precision, monkeypatch):
    kept_so = fitted()
    monkeypatch.setattr(export_cache, "_is_left_to_jax", lambda: True)
    np.testing.assert_allclose(fitted(), kept_so, rtol=1e-4, atol=1e-6)
    assert len(files(root)) == 2


def test_nothing_is_kept_where_nothing_is_wanted(root, monkeypatch):
    monkeypatch.setenv(cache_folder.VARIABLE, "off")
    first = fitted()
    monkeypatch.setenv(cache_folder.VARIABLE, str(root))
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        export_cache.forget()
        np.testing.assert_array_equal(fitted(), first)
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    assert not root.exists()


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the folder of XDG")
def test_the_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv(cache_folder.VARIABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder.root() == tmp_path / "kullback"
    monkeypatch.setenv(cache_folder.VARIABLE, "~/elsewhere")
    assert cache_folder.root() == Path.home() / "elsewhere"


def test_whatever_changes_a_program_is_part_of_what_it_is_found_by(root, monkeypatch):
    def trained() -> int:
        return len(files(root, "advance"))

    fitted()
    fitted(batch=16)
    assert trained() == 2
    fitted(kl.MLP((9,)))
    assert trained() == 3
    fitted(kl.MLP((8,), activation="tanh"))
    assert trained() == 4
    with jax.enable_x64(not jax.config.jax_enable_x64):
        fitted()
    assert trained() == 5
    with jax.default_matmul_precision("highest"):
        fitted()
    assert trained() == 6
    export_cache.forget()
    fitted()
    assert trained() == 6
    export_cache.forget()
    monkeypatch.setattr(export_cache, "versions", lambda: "another version")
    fitted()
    assert trained() == 7


@pytest.mark.parametrize("setting", ["jax_high_dynamic_range_gumbel", "jax_numpy_rank_promotion", "jax_unheard_of"])
def test_every_setting_of_jax_counts(setting, monkeypatch):
    """Also one that this package has never heard of."""
    before = identity.settings()
    held = {**jax.config.values, setting: "another"}
    monkeypatch.setattr(type(jax.config), "values", held)
    if hasattr(jax.config, setting):
        monkeypatch.setattr(type(jax.config), setting, "another")
    assert identity.settings() != before


def test_where_files_and_messages_go_does_not_count():
    before = identity.settings()
    with jax.log_compiles(True):
        assert identity.settings() == before


def test_another_rate_or_another_split_is_the_same_program(root):
    fitted()
    fitted(rate=1e-4)
    fitted(held_out=0.15)
    assert len(files(root, "advance")) == 1


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"\n",
        lambda content: b"\xff" * 100,
        lambda content: b"[" * 10_000 + b"\n",
        lambda content: content[:-1000],
        lambda content: _flipped(content, len(content) // 2),
        lambda content: _flipped(content, 30),
        lambda content: content.replace(b'"format": 1', b'"format": 9'),
    ],
    ids=["empty", "blank", "noise", "nested", "cut short", "a bit of the code", "a bit of the head", "another format"],
)
def test_a_broken_file_is_replaced(root, damage):
    first = fitted()
    (path,) = files(root, "advance")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    export_cache.forget()
    np.testing.assert_array_equal(fitted(), first)
    assert cache_folder.read(path, "what it is not made from") is None
    assert json.loads(path.read_bytes().split(b"\n")[0])["format"] == 1
    assert abs(len(path.read_bytes()) - len(whole)) < 1000


def test_another_programs_file_is_not_taken(root):
    rectified = fitted(kl.MLP((8,), activation="relu"))
    (path,) = files(root, "advance")
    other = path.read_bytes()
    fitted(kl.MLP((8,), activation="tanh"))
    (named,) = set(files(root, "advance")) - {path}
    bent = named.read_bytes()
    named.write_bytes(other)
    path.write_bytes(bent)
    export_cache.forget()
    np.testing.assert_array_equal(fitted(kl.MLP((8,), activation="relu")), rectified)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no such permissions")
def test_what_others_may_write_is_not_read(root):
    fitted()
    (path,) = files(root, "advance")
    about, payload = path.read_bytes(), lambda: _read(path)
    assert payload() is not None
    for bits, place in ((0o620, path), (0o602, path), (0o770, path.parent), (0o707, path.parent)):
        usual = place.stat().st_mode
        place.chmod(bits)
        assert payload() is None
        place.chmod(usual)
    assert payload() is not None
    assert path.read_bytes() == about


def _read(path: Path) -> Any:
    """What is there, by the digest that the file itself names."""
    made_from = json.loads(path.read_bytes().split(b"\n")[0])["made from"]
    original, cache_folder._digest = (
        cache_folder._digest,
        lambda content: made_from if content == b"it" else original(content),
    )
    try:
        return cache_folder.read(path, "it")
    finally:
        cache_folder._digest = original


@pytest.mark.parametrize("name", ["os:system", "kullback.errors:FileError", "subprocess:Popen", "no.such:thing", "x"])
def test_a_file_names_no_class_but_our_named_tuples(name):
    assert export_cache._tree_of([name, [0, 0]], None, []) is None


def test_trees_of_results_are_written_and_read():
    state = epochs.State(*(0,) * 8)
    for tree in (0, (0, [0, {"a": 0, "b": (0,)}]), (state, None), None):
        skeleton = json.loads(json.dumps(export_cache._skeleton(tree)))
        assert export_cache._tree_of(skeleton, None, []) == jax.tree.structure(tree)


def test_a_folder_that_cannot_be_written_costs_time_and_no_answers(root):
    root.write_text("a file is in the way")
    assert np.isfinite(fitted()).all()


def test_a_full_disk_costs_time_and_no_answers(root, monkeypatch):
    def full(path: Any, content: bytes, mode: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache_folder, "write_atomically", full)
    assert np.isfinite(fitted()).all()
    assert files(root) == []


def test_the_folder_is_bounded_and_the_least_recently_used_go_first(root, monkeypatch):
    monkeypatch.setattr(cache_folder, "_MOST", 3000)
    for k in range(6):
        path = cache_folder.place(f"made from {k}", "one")
        cache_folder.write(path, f"made from {k}", None, b"x" * 700)
        os.utime(path, (k, k))
        if k == 2:
            os.utime(cache_folder.place("made from 0", "one"), (1000, 1000))
    sizes = [path.stat().st_size for path in files(root)]
    assert sum(sizes) <= 3000
    assert cache_folder.read(cache_folder.place("made from 0", "one"), "made from 0") is not None
    assert cache_folder.read(cache_folder.place("made from 1", "one"), "made from 1") is None


class Own(eqx.Module):
    """A network of the user's own, of which no text says all."""

    layer: eqx.nn.Linear

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.layer(jnp.sin(x))


def test_a_users_own_network_is_found_by_what_it_lowers_to(root):
    first = fitted(Own(eqx.nn.Linear(3, 2, key=jax.random.key(0))))
    written = files(root)
    assert written
    export_cache.forget()
    np.testing.assert_array_equal(fitted(Own(eqx.nn.Linear(3, 2, key=jax.random.key(0)))), first)
    assert files(root) == written


def bayes(shift: float, slope: float = 1.0) -> Any:
    """A reverse fit to a density that is a new function with data of its own."""
    y = np.linspace(-1.0, 1.0, 7) + shift

    def log_density(b: jax.Array) -> jax.Array:
        return dist.Normal(slope * b, 1.0).log_prob(y).sum()

    return kl.KL(kl.Family(dist.Normal), kl.Density(log_density)).minimize(quiet=True).q


def test_a_new_function_of_the_same_trace_compiles_nothing(monkeypatch):
    first = bayes(0.5)
    compiled = []
    monkeypatch.setattr(export_cache, "_compile", lambda *args: compiled.append(args))
    monkeypatch.setattr(cache_folder, "read", lambda *args: pytest.fail("read a file"))
    assert bayes(0.5).loc == first.loc
    # Nor do other data: the mean of the seven observations is then 1.5.
    assert float(bayes(1.5).loc) == pytest.approx(1.5, abs=2e-3)
    assert not compiled


@pytest.mark.parametrize(("shift", "slope", "loc"), [(0.5, 1.0, 0.5), (1.5, 1.0, 1.5), (0.5, 2.0, 0.25)])
def test_functions_that_differ_in_a_constant_alone_are_told_apart(shift, slope, loc):
    """The posterior mean of seven normal observations under a flat prior, in closed form."""
    bayes(0.5)
    assert float(bayes(shift, slope).loc) == pytest.approx(loc, abs=2e-3)


def test_functions_that_differ_in_which_argument_they_use_are_told_apart():
    doubles = [export_cache.program(lambda a, b: 2 * a, static=()), export_cache.program(lambda a, b: 2 * b, static=())]
    for _ in range(2):
        assert [float(double(np.float32(1.0), np.float32(5.0))) for double in doubles] == [2.0, 10.0]
        export_cache.forget()
    # Python's numbers and NumPy's are told apart as well: what JAX makes of sums with them differs.
    assert [str(doubles[0](x, x).dtype) for x in (1.0, np.float32(1.0), np.float16(1.0))] == ["float32"] * 2 + [
        "float16"
    ]


BAYES = """
import jax, numpy as np, numpyro.distributions as dist, kullback as kl
family = kl.Family(dist.MultivariateNormal)
target = dist.MultivariateNormal(np.arange(2.0), np.array([[2.0, 0.5], [0.5, 1.0]]))
fit = kl.KL(family, kl.Density(lambda x: target.log_prob(x), (2,))).minimize(quiet=True)
print(np.asarray(fit.q.mean).tolist())
"""


def test_a_later_process_can_call_lapack(root):
    """An executable that solves triangular systems is loaded where nothing has looked for LAPACK before."""

    def run(hashes: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hashes}
        found = subprocess.run([sys.executable, "-c", BAYES], capture_output=True, text=True, env=environment)
        assert not found.returncode, found.stderr
        return found.stdout

    # Under other hashes NumPyro orders the leaves of a distribution in another way.
    printed = {run("1")}
    kept = files(root)
    printed |= {run(hashes) for hashes in ("1", "2", "3", "4")}
    assert len(printed) == 1
    assert files(root) == kept
    assert any(json.loads(path.read_bytes().split(b"\n")[0])["note"]["lapack"] for path in files(root))


def test_what_jax_had_in_its_own_cache_is_not_kept(root, tmp_path):
    """JAX would write it without its code."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "jax"))
    compilation_cache.reset_cache()
    first = fitted()
    for path in files(root):
        path.unlink()
    export_cache.forget()
    jax.clear_caches()
    np.testing.assert_array_equal(fitted(), first)
    for _ in files(root):
        export_cache.forget()
        np.testing.assert_array_equal(fitted(), first)


def test_what_calls_back_is_not_kept(root):
    """Nor taken for another that calls back: what they lower to says nothing of what they call."""

    def called(factor: float) -> Any:
        def shown(x: jax.Array) -> jax.Array:
            return jax.pure_callback(lambda v: factor * np.asarray(v), jax.ShapeDtypeStruct((), jnp.float32), x)

        return export_cache.program(shown, static=())

    assert [float(called(factor)(jnp.float32(2.0))) for factor in (2.0, 3.0)] == [4.0, 6.0]
    assert files(root) == []


def test_programs_of_control_are_kept(root, monkeypatch):
    def learned() -> Any:
        optimal = kl.Optimal("CartPole-v1", temperature=0.1, discount=0.98)
        rule = control.TrajectoryGradient(steps=2048)
        q = kl.Conditional(kl.MLP((8,)), dist.Categorical)
        return kl.KL(q, optimal).minimize(rule=rule, seed=0, quiet=True).diagnostics["soft_value"].value

    first = learned()
    assert {path.name.split("-")[0] for path in files(root)} >= {"start_playing", "improve", "_compiled"}
    trace_no_more(monkeypatch)
    assert learned() == first


class Stroll(Walk):
    """An environment of the user's own, compiled."""


def test_what_is_played_in_a_users_own_environment_is_found_by_its_trace(root):
    def learned() -> float:
        optimal = kl.Optimal(Stroll(), temperature=0.5, discount=0.9)
        rule = control.TrajectoryGradient(steps=512)
        q = kl.Conditional(kl.MLP((8,)), dist.Categorical)
        return kl.KL(q, optimal).minimize(rule=rule, seed=0, quiet=True).diagnostics["soft_value"].value

    first = learned()
    export_cache.forget()
    assert learned() == first


FIT = """
import jax, numpy as np, numpyro.distributions as dist, kullback as kl
x = np.linspace(-1, 1, 90).reshape(30, 3)
kl.KL(kl.Pairs(x, x[:, 0] > 0), kl.Conditional(kl.MLP((4,)), dist.Categorical)).minimize(
    rule=kl.rules.Minibatches(), steps=5, quiet=True)
"""


def test_processes_with_other_hashes_find_the_same_program(root):
    """Two at a time, which write the same file."""

    def run(hashes: str) -> Any:
        return subprocess.Popen([sys.executable, "-c", FIT], env={**os.environ, "PYTHONHASHSEED": hashes})

    assert [process.wait() for process in [run("1"), run("2")]] == [0, 0]
    first = [path.name for path in files(root)]
    assert len(first) == 1
    assert run("3").wait() == 0
    assert [path.name for path in files(root)] == first


def test_a_program_inside_another_is_traced_with_it():
    def double(x: jax.Array) -> jax.Array:
        return 2 * x

    doubled = export_cache.program(double, static=())
    assert jax.jit(lambda x: doubled(x) + 1)(jnp.asarray(2.0)) == 5.0
    np.testing.assert_array_equal(jax.vmap(doubled)(jnp.arange(3.0)), [0.0, 2.0, 4.0])
    assert jax.grad(doubled)(jnp.asarray(1.0)) == 2.0


def test_an_option_that_the_compiler_does_not_have_is_left_out(monkeypatch):
    monkeypatch.setattr(export_cache, "_unknown", set())
    lowered = jax.jit(lambda x: x + 1).lower(np.float32(1.0))

    class Odd:
        value = (("xla_no_such_option", 1), ("xla_backend_optimization_level", 0))

    assert export_cache._compile(lowered, Odd)(np.float32(1.0)) == 2.0
    assert export_cache._unknown == {"xla_no_such_option"}


def test_programs_in_memory_are_bounded(monkeypatch):
    monkeypatch.setattr(export_cache, "_IN_MEMORY", 3)
    tripled = export_cache.program(lambda x: 3 * x, static=())
    for n in range(1, 6):
        np.testing.assert_array_equal(tripled(np.ones(n)), np.full(n, 3.0))
    assert len(export_cache._loaded) == 3


def test_what_is_large_is_optimised_and_what_runs_once_is_not():
    def descend(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, 9, lambda i, x: x @ x / 2.0, x)

    def effort(function: Any, n: int) -> Effort:
        return effort_for(jax.jit(function).trace(jax.ShapeDtypeStruct((n, n), np.float32)))

    assert effort(descend, 8) is Effort.LITTLE
    assert effort(descend, 150) is Effort.SOME
    assert effort(descend, 400) is Effort.FULL
    assert effort(lambda x: x @ x / 2.0, 150) is Effort.LITTLE


def small_and_large(x: jax.Array) -> jax.Array:
    solved = jax.lax.cond(x[0, 0] > 0, lambda x: jnp.tanh(x @ x), lambda x: x, x)
    return jax.lax.fori_loop(0, 5, lambda i, x: jax.jit(jnp.exp)(x) @ x + jnp.max(x), solved)


COUNTED = {
    "products, a branch and a loop": small_and_large,
    "a gradient": jax.grad(lambda x: jnp.sum(jax.nn.softmax(x @ x) ** 2)),
    "special functions": lambda x: jax.scipy.special.gammaln(jnp.abs(x)) + jax.scipy.special.erf(x),
    "reductions": lambda x: x - jnp.mean(x, 0) / jnp.std(x, 0),
}


@pytest.mark.parametrize("name", COUNTED)
def test_operations_are_those_that_xla_counts(name):
    """Within a factor of 2: XLA counts after its own rewriting, and two efforts are a factor of 10 apart."""
    traced = jax.jit(COUNTED[name]).trace(jax.ShapeDtypeStruct((60, 60), np.float32))
    cost = traced.lower().cost_analysis()
    xla = cost["flops"] + 10.0 * cost.get("transcendentals", 0.0)
    assert xla / 2.0 <= counted(traced.jaxpr.jaxpr, {})[0] <= 2.0 * xla


def test_the_largest_programs_hold_these():
    assert isinstance(lbfgs.advance, export_cache.Program)
    assert isinstance(conditional_structure._predictive, export_cache.Program)
