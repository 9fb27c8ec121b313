"""The command line: what it prints, and errors of one line with a non-zero exit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.cli.printed import one_line

from kullback import __version__
from kullback.cli import main
from kullback.cli.commands import keep_compilations
from kullback.cli.expression import side
from kullback.drifting.text import Footnotes
from kullback.errors import InputError


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"kullback {__version__}\n"


@pytest.mark.parametrize("command", [[], ["explain"], ["estimate"], ["drift"], ["demo"]])
def test_help(capsys, command):
    assert main([*command, "--help"]) == 0
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
        (["explain", f"Normal({'[' * 60}0{']' * 60}, 1)", "Normal(0, 1)"], 1, "nested more than 40 deep"),
        (["explain", f"Normal({'-' * 5000}1, 1)", "Normal(0, 1)"], 1, "P: "),
        (["explain", "Normal([0, 1], [[1, 2], [3]])", "Normal(0, 1)"], 1, "lists of several lengths"),
        (["explain", 'Normal("a", 1)', "Normal(0, 1)"], 1, "neither a number nor a list of numbers"),
        (["explain", f"Normal(1{'0' * 400}, 1)", "Normal(0, 1)"], 1, "neither a number nor a list"),
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


@pytest.fixture
def tables(tmp_path, rng):
    """Two CSV files that share a measurement, which differs, and a label; the first has a column more."""
    for name, mean, more in (("a.csv", 0.0, ",extra"), ("b.csv", 1.5, "")):
        rows = [
            f"{x:.6f},{city}"
            for x, city in zip(rng.normal(mean, 1.0, 200), rng.choice(["Lima", "Oslo"], 200), strict=True)
        ]
        lines = ["x,city" + more, *(row + (",1" if more else "") for row in rows)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    return [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]


def test_estimate_prints_a_table_within_80_columns(capsys, monkeypatch, tables):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(Path(tables[0]).parent)
    assert main(["estimate", "a.csv", "b.csv"]) == 0
    printed = capsys.readouterr().out
    for words in ("all together", "continuous", "discrete", "200 rows", "'extra' (only in a.csv)", "never clipped"):
        assert words in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_estimate_as_json_says_the_same(capsys, tables):
    assert main(["estimate", *tables, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [row["column"] for row in said["estimates"]] == [None, "x", "city"]
    joint, x, city = said["estimates"]
    assert abs(x["value"] - 1.125) < 6 * x["standard_error"]
    assert abs(city["value"]) < 6 * city["standard_error"]
    assert {row["guarantee"] for row in said["estimates"]} <= {"consistent", "lower bound"}
    assert city["guarantee"] == "consistent"
    assert said["p"]["rows"] == 200
    assert "extra" in said["note"]
    assert joint["read_as"] == "mixed"


def test_remarks_that_differ_in_figures_share_a_footnote(capsys, monkeypatch, tmp_path, rng):
    monkeypatch.setenv("COLUMNS", "80")
    for name, first in (("a.csv", 0), ("b.csv", 1)):
        columns = [np.round(rng.normal(size=200), digits) for digits in (1, 2, 2)]
        letters = [rng.choice(list("abcdef")[first * more :], 200) for more in (1, 2)]
        days = np.datetime64("2026-01-01") + rng.integers(0, 90, 200)
        rows = zip(*columns, *letters, days, strict=True)
        (tmp_path / name).write_text("u,v,w,f,g,day\n" + "\n".join(",".join(map(str, row)) for row in rows) + "\n")
    assert main(["estimate", str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("spread evenly over the step of the rounding") == 1
    assert printed.count("is not in Q's sample") + printed.count("are not in Q's sample") <= 2
    assert "day continuous" in printed
    assert "f discrete ≥ " in printed


def test_dates_in_one_file_alone_are_text(capsys, tmp_path):
    days = [f"2026-01-{day:02d}" for day in range(1, 31)]
    (tmp_path / "a.csv").write_text("\n".join(["day", *days]) + "\n")
    (tmp_path / "b.csv").write_text("\n".join(["day", *days[1:], "unknown"]) + "\n")
    for second, kind in (("a.csv", "continuous"), ("b.csv", "discrete")):
        assert main(["estimate", str(tmp_path / "a.csv"), str(tmp_path / second), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["estimates"][0]["read_as"] == kind


def test_figures_of_a_footnote_are_merged():
    notes = Footnotes()
    said = ["3 rows of 'x1' repeat; 2% of P lies beyond", "1,200 rows of 'x1' repeat", "0.5% of P lies beyond"]
    assert [notes.marks(reason) for reason in said] == ["1 2", "1", "2"]
    assert notes.lines() == [
        "3 to 1,200 rows of 'x1' repeat",
        "0.5% to 2% of P lies beyond",
    ]


def test_estimate_of_one_column_says_it_once(capsys, tables):
    assert main(["estimate", *tables, "--columns", "x", "--json"]) == 0
    assert [row["column"] for row in json.loads(capsys.readouterr().out)["estimates"]] == ["x"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"x\n", "no rows"),
        (b"\xff\xfe\x00", "not text"),
        (b"x\n1,2\n", "more fields"),
        (b"x\n1\n2,3\n", "cannot be read as CSV"),
        (b"x,y\n,1\n,2\n", "every row has a missing value"),
        (b"x\nOslo\n", "is text in one"),
        (b"z\n1.5\n", "no column in common"),
    ],
)
def test_tables_that_cannot_be_compared_are_one_line(capsys, tmp_path, tables, content, words):
    (tmp_path / "bad.csv").write_bytes(content)
    assert main(["estimate", str(tmp_path / "bad.csv"), tables[1]]) == 1
    assert words in one_line(capsys)


def test_columns_that_are_not_there_are_named(capsys, tables):
    assert main(["estimate", *tables, "--columns", "height"]) == 1
    assert "has no column 'height'; it has x, city" in one_line(capsys)


def test_a_folder_that_cannot_be_written_is_said_before_anything_runs(capsys, tmp_path):
    (tmp_path / "report").write_text("a file")
    assert main(["demo", "--out", str(tmp_path / "report")]) == 1
    assert "cannot be written" in one_line(capsys)


def test_demo_writes_its_page(capsys, tmp_path):
    assert main(["demo", "--out", str(tmp_path / "here"), "--only", "drift"]) == 0
    printed = capsys.readouterr().out
    assert "1  Two tables, and what changed" in printed
    assert "rule      two samples" in printed
    assert str(tmp_path / "here" / "index.html") in printed
    assert '<section id="drift">' in (tmp_path / "here" / "index.html").read_text(encoding="utf-8")


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
    assert "also known as sample average approximation" in " ".join(printed.split())
    assert max(map(len, printed.splitlines())) <= 80


def test_compilations_are_kept_in_the_folder_of_the_environment(monkeypatch, tmp_path):
    import jax

    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    keep_compilations()
    assert jax.config.jax_compilation_cache_dir == before


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
