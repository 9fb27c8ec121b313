"""The command line: what it prints, and errors of one line with a non-zero exit."""

import os
import subprocess
import sys

import pytest

from kullback import __version__
from kullback.cli import main
from kullback.cli.cache import cache_folder, keep_compilations
from kullback.cli.expression import side
from kullback.errors import InputError


def one_line(capsys) -> str:
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("kullback: ")
    assert printed.err.count("\n") == 1
    return printed.err


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"kullback {__version__}\n"


@pytest.mark.parametrize("args", [[], ["--help"], ["explain", "--help"], ["estimate", "--help"], ["demo", "--help"]])
def test_help(capsys, args):
    assert main(args) == 0
    assert "usage: kullback" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["dance"], 2, "dance"),
        (["explain", "Normal(0, 1)"], 2, "Missing"),
        (["estimate", "a.csv", "b.csv", "--seed", "x"], 2, "--seed"),
        (["demo", "--bogus"], 2, "--bogus"),
        (["demo", "--only", "sleep"], 1, "two_peaks"),
        (["explain", "Normal(0, 1)", "Norml(0, 1)"], 1, "did you mean Normal?"),
        (["explain", "Normal(0, -1)", "Normal(0, 1)"], 1, "scale"),
        (["explain", "Normal(0, 1", "Normal(0, 1)"], 1, "cannot be read"),
        (["explain", "Family(Normal)", "Family(Normal)"], 1, "both sides are learnable"),
        (["explain", "no-such.csv", "Normal(0, 1)"], 1, "no such file"),
        (["estimate", "no-such.csv", "other.csv"], 1, "no-such.csv"),
    ],
)
def test_errors_are_one_line(capsys, monkeypatch, tmp_path, args, status, words):
    monkeypatch.chdir(tmp_path)
    assert main(args) == status
    assert words in one_line(capsys)


def test_explain_prints_the_plan_within_80_columns(capsys):
    assert main(["explain", "Normal(0, 1)", "Laplace(0, 1)"]) == 0
    printed = capsys.readouterr().out
    assert "rule      closed form" in printed
    assert "Rules not taken" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_explain_reads_learnable_sides_and_tables(capsys, tmp_path):
    (tmp_path / "heights.csv").write_text("height\n1.5\n1.7\n1.6\n")
    assert main(["explain", str(tmp_path / "heights.csv"), "Family(Normal)"]) == 0
    assert "moment matching" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "Normal(0, open('x'))",
        "Normal(0, 1).sample",
        "dist.Normal(0, 1)",
        "Normal(0, 1) or 1",
        "[1, 2]",
        "Normal(*[0, 1])",
        "Distribution()",
        "Normal(loc=x)",
    ],
)
def test_text_is_read_and_not_evaluated(text):
    with pytest.raises(InputError):
        side(text, "P")


def test_nested_calls_and_lists():
    mixture = side("MixtureSameFamily(Categorical(probs=[0.5, 0.5]), Normal([-2, 2], [1.0, 1.0]))", "P")
    assert mixture.mixture_size == 2
    assert f"{side('Mixture(Family(Normal), 3)', 'Q')}".count("Normal")


def test_rules_lists_every_rule_within_80_columns(capsys, monkeypatch):
    from kullback.catalogue import DEFAULT_RULES

    monkeypatch.setenv("COLUMNS", "80")
    assert main(["rules"]) == 0
    printed = capsys.readouterr().out
    assert all(rule.name in printed for rule in DEFAULT_RULES)
    assert max(map(len, printed.splitlines())) <= 80


def test_compilations_are_kept_in_the_folder_of_the_environment(monkeypatch, tmp_path):
    import jax

    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    keep_compilations()
    assert jax.config.jax_compilation_cache_dir == before


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the folder of XDG")
def test_the_cache_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "kullback" / "jax"


@pytest.mark.parametrize("args", [["--version"], ["--help"]])
def test_version_and_help_do_not_load_jax(args):
    program = f"import sys; from kullback.cli import main; main({args!r}); sys.exit('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_module_runs_as_the_command():
    command = [sys.executable, "-m", "kullback", "dance"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("kullback: ")
    assert done.stderr.count("\n") == 1
