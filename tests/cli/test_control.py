"""`kullback control`: what it prints, what it writes, how it goes on, and errors of one line."""

import csv
import dataclasses
import json
import re

import gymnasium as gym
import numpy as np
import pytest
from tests.cli.printed import one_line

import kullback as kl
from kullback.cli import control as command
from kullback.cli import main
from kullback.cli.control import figures
from kullback.cli.folder import Folder, name_for
from kullback.cli.options import EvaluationOptions, OptimalOptions, OutputOptions, TrainingOptions
from kullback.control.agent import Agent
from kullback.errors import FileError, InputError
from kullback.result import Estimate, Status
from kullback.runtime.files import write

TABLE = "FrozenLake-v1"
PLAYED = ["CartPole-v1", "--hidden", "8", "--seed", "3", "--film"]


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *args, status=0) -> str:
    """What a command prints, within 80 columns."""
    assert main(["control", *map(str, args)]) == status
    printed = capsys.readouterr()
    assert printed.err == ""
    # A long path cannot be broken, and temporary folders have one.
    assert max(len(line) for line in printed.out.splitlines() if "/pytest-" not in line) <= 80
    return " ".join(printed.out.split())


def test_help_fits_and_names_every_option(capsys):
    assert main(["control", "--help"]) == 0
    printed = capsys.readouterr().out
    for record in (OptimalOptions, TrainingOptions, OutputOptions, EvaluationOptions):
        for field in dataclasses.fields(record):
            assert f" --{field.name}" in printed or field.name == "env"


def test_a_table_is_solved_and_shown(capsys, here):
    printed = run(capsys, TABLE, "--film")
    for words in ("rule soft value iteration", "greedy return", "KL(π‖P_opt)", "nats, exact", "temperature 0.01",
                  "counts as solved at 0.7, which is reached", "In frozenlake-v1: policy.safetensors."):  # fmt: skip
        assert words in printed
    fit = kl.load(here / "frozenlake-v1" / "policy.safetensors")
    assert f"greedy return {float(fit.diagnostics['greedy_return']):.6g}" in printed


def test_a_saved_policy_is_evaluated_as_it_was_trained(capsys):
    run(capsys, TABLE, "--film", "--temperature", "0.02", "--discount", "0.9")
    printed = run(capsys, TABLE, "--evaluate", "frozenlake-v1/policy.safetensors")
    for words in ("temperature 0.02", "discount 0.9", "100 fresh episodes as it draws", "nats, exact"):
        assert words in printed
    assert "temperature 0.5" in run(
        capsys, TABLE, "--evaluate", "frozenlake-v1/policy.safetensors", "--temperature", "0.5"
    )
    assert main(["control", "Taxi-v4", "--evaluate", "frozenlake-v1/policy.safetensors"]) == 1
    assert "integers below 16" in one_line(capsys)


SHORT = "kullback-test/ShortLake-v0"
gym.register(SHORT, "gymnasium.envs.toy_text.frozen_lake:FrozenLakeEnv", max_episode_steps=20, reward_threshold=0.7)


def test_solved_is_what_the_environment_returns(capsys):
    """Without its limit of 20 steps the policy returns 0.78 and with it 0.20, in the environment itself as well."""
    printed = run(capsys, SHORT, "--film", "--out", "short")
    assert "greedy return 0.197" in printed
    assert "counts as solved at 0.7, which is not reached." in printed
    assert "0.780488" not in printed
    printed = run(capsys, SHORT, "--film", "--out", "itself", "--no-compiled", "--seed", "2")
    # 100 episodes: within 4.5 standard errors of 0.04, false alarms 7 in a million.
    assert abs(float(re.search(r"greedy return ([\d.]+)", printed)[1]) - 0.197) < 0.18
    assert re.search(r"greedy return [\d.]+ 0\.0\d+ reward", printed)  # with a standard error
    assert "which is not reached" in printed
    assert "are of 100 fresh episodes of the environment itself" in printed


def test_fresh_episodes_are_as_many_as_asked_for(capsys):
    run(capsys, SHORT, "--film", "--out", "short")
    policy = "short/policy.safetensors"
    assert "7 fresh episodes as it draws" in run(capsys, SHORT, "--evaluate", policy, "--episodes", "7")
    itself = run(capsys, SHORT, "--evaluate", policy, "--no-compiled", "--budget", "80")
    assert int(re.search(r"(\d+) fresh episodes", itself)[1]) in (2, 3, 4)
    played = run(capsys, *PLAYED, "--steps", "600", "--episodes", "3", "--budget", "5000")
    assert "length" in played


def test_a_verdict_within_the_error_says_so():
    lake = kl.Optimal(TABLE)
    assert command._verdict(Estimate(0.72, 0.05), lake) == (
        "It counts as solved at 0.7, which is reached, within two standard errors."
    )
    assert command._verdict(Estimate(0.9, 0.05), lake).endswith("which is reached.")
    assert command._verdict(0.5, lake).endswith("which is not reached.")
    assert command._verdict(None, lake) == ""


def test_a_policy_that_depends_on_time_is_evaluated_and_filmed(capsys, here):
    run(capsys, TABLE, "--horizon", "limit", "--film", "strip.txt")
    assert (here / "frozenlake-v1" / "strip.txt").read_text().startswith("FrozenLake-v1: return ")
    assert "horizon 100" in run(capsys, TABLE, "--evaluate", "frozenlake-v1/policy.safetensors")


def test_a_network_for_a_table_if_asked_for(capsys):
    printed = run(capsys, TABLE, "--hidden", "16", "--out", "projected", "--film", "--steps", "20")
    assert "rule soft value iteration, projected" in printed
    assert "MLP(16,)" in printed


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A training of a few thousand steps, of which each test gets a copy."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main(["control", *PLAYED, "--steps", "3000", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def copy(trained, here):
    import shutil

    return shutil.copytree(trained, here / "run")


def test_a_training_writes_what_it_did(copy):
    assert sorted(file.name for file in copy.iterdir()) == [
        "checkpoint", "metrics.csv", "metrics.jsonl", "policy.safetensors", "run.json"]  # fmt: skip
    with (copy / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    assert [int(row["step"]) for row in rows] == [line["step"] for line in lines]
    assert lines[-1]["step"] >= 3000
    assert {"step", "objective", "return", "kl", "temperature"} <= set(lines[-1])
    assert json.loads((copy / "run.json").read_text())["temperature"] == "0.1"
    action = Agent(kl.load(copy / "policy.safetensors"), "CartPole-v1")(np.zeros(4, np.float32))
    assert action in (0, 1)


def test_the_same_command_says_that_nothing_is_left_and_more_steps_go_on(capsys, copy):
    args = [*PLAYED, "--out", copy]
    before = (copy / "metrics.jsonl").read_text().splitlines()
    steps = json.loads(before[-1])["step"]
    printed = run(capsys, *args, "--steps", "3000")
    assert f"Resumes at step {steps:,}" in printed
    assert "None were left to make" in printed
    assert "a larger --steps goes on learning" in printed
    assert (copy / "metrics.jsonl").read_text().splitlines() == before
    printed = run(capsys, *args, "--steps", steps + 1000)
    after = (copy / "metrics.jsonl").read_text().splitlines()
    assert after[: len(before)] == before
    assert json.loads(after[-1])["step"] >= steps + 1000
    assert f"{json.loads(after[-1])['step'] - steps:,} steps in" in printed


def test_a_folder_of_other_settings_is_not_gone_on_with(capsys, copy):
    assert main(["control", *PLAYED, "--out", str(copy), "--temperature", "0.5"]) == 1
    assert "holds a training with --temperature 0.1 and not --temperature 0.5; pass another --out" in one_line(capsys)
    assert main(["control", *PLAYED, "--out", str(copy), "--discount", "0.9"]) == 1
    assert "--discount 0.99 and not --discount 0.9" in one_line(capsys)


def test_a_new_training_does_not_add_to_the_metrics_of_another(capsys, copy):
    (copy / "checkpoint").unlink()
    run(capsys, *PLAYED, "--out", copy, "--steps", "1000")
    assert json.loads((copy / "metrics.jsonl").read_text().splitlines()[0])["step"] <= 1024


def test_a_played_policy_is_evaluated(capsys, copy):
    printed = run(capsys, "CartPole-v1", "--evaluate", "run/policy.safetensors", "--seed", "1")
    for words in ("100 fresh episodes", "temperature 0.1, discount 0.99", "reward an episode, discount 0.99",
                  "KL(π‖P_opt) − log Z", "unbiased; log Z dropped"):  # fmt: skip
        assert words in printed
    assert main(["control", "Pendulum-v1", "--evaluate", str(copy / "policy.safetensors")]) == 1
    assert r"shape (4,), and Pendulum-v1 has some of shape (3,)" in one_line(capsys)


def test_until_ends_a_training_and_is_said(capsys):
    printed = run(capsys, *PLAYED, "--until", "5", "--tensorboard")
    assert "on average over 100 fresh episodes" in printed
    assert "tensorboard" in printed
    assert "Resumes at step" in run(capsys, *PLAYED, "--until", "5")


def test_an_interrupted_training_says_how_to_go_on(capsys, monkeypatch):
    minimize = kl.KL.minimize
    interrupted = lambda self, **options: dataclasses.replace(  # noqa: E731
        minimize(self, **options), status=Status.INTERRUPTED
    )
    monkeypatch.setattr(kl.KL, "minimize", interrupted)
    assert "the same command goes on" in run(capsys, TABLE, "--film", status=130)


def test_what_cannot_be_filmed_is_left_out_and_said(capsys, monkeypatch):
    def refuse(path, env):
        raise InputError("env: it has no pictures")

    monkeypatch.setattr(command, "check_film", refuse)
    assert "No strip of frames: env: it has no pictures." in run(capsys, TABLE)


@pytest.mark.parametrize(
    ("args", "status", "words"),
    [
        (["CartPole-v"], 1, "did you mean CartPole-v"),
        ([], 2, "ENV"),
        ([TABLE, "--temperature", "warm"], 1, "target:0.1"),
        ([TABLE, "--temperature", "0"], 1, "not a positive number"),
        ([TABLE, "--temperature", "0:1"], 1, "of '0:1', first"),
        ([TABLE, "--temperature", "target:-1"], 1, "of 'target:-1', nats"),
        ([TABLE, "--discount", "2"], 1, "not in (0, 1]"),
        ([TABLE, "--horizon", "soon"], 1, "neither a number of steps"),
        ([TABLE, "--steps", "0"], 1, "not a positive whole number"),
        ([TABLE, "--seed", "-1"], 1, "non-negative"),
        ([TABLE, "--hidden", "0"], 1, "hidden: 0 is not a positive whole number"),
        ([TABLE, "--rule", "guessing"], 1, "there are soft value iteration, "),
        ([TABLE, "--until", "solved"], 1, "leave --until out"),
        ([TABLE, "--film", "a.avi"], 1, "ends in none of .gif"),
        ([TABLE, "--evaluate", "missing"], 1, "there is no file missing"),
        (["CartPole-v1", "--until", "often"], 1, 'neither a return nor "solved"'),
        (["Pendulum-v1", "--until", "solved"], 1, "state no return"),
        ([TABLE, "--steps", "many"], 2, "--steps"),
        ([TABLE, "--episodes", "1"], 1, "episodes: 1 is not a whole number of at least 2"),
        ([TABLE, "--budget", "0"], 1, "budget: 0 is not a whole number of at least 4"),
    ],
)
def test_errors_are_one_line_and_nothing_is_written(capsys, here, args, status, words):
    assert main(["control", *args]) == status
    assert words in one_line(capsys)
    assert list(here.iterdir()) == []


def test_tensorboard_that_is_not_there_is_said_first(capsys, here, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tensorboardX.event_file_writer", None)
    assert main(["control", TABLE, "--tensorboard", "--film"]) == 1
    assert "pip install 'kullback[tensorboard]'" in one_line(capsys)
    assert list(here.iterdir()) == []


def test_a_folder_that_cannot_be_made(capsys, here):
    (here / "taken").write_text("a file")
    assert main(["control", TABLE, "--film", "--out", "taken"]) == 1
    assert "out: taken cannot be made" in one_line(capsys)


def test_rules_are_named_as_they_can_be_typed():
    for name in ("Soft Value Iteration", "soft actor-critic", "sac", None):
        assert command._known_rule(name) == name
    with pytest.raises(InputError, match=r"no rule 'REINFORCE' for environments; there are .*soft actor-critic"):
        command._known_rule("REINFORCE")


def test_the_name_of_a_folder():
    assert name_for("phys2d/CartPole-v1") == "phys2d-cartpole-v1"
    assert name_for("my_pack.envs:Walk-v0") == "my_pack.envs-walk-v0"
    assert name_for("../..") == "run"


def test_a_checkpoint_is_told_by_its_header(tmp_path):
    folder = Folder(tmp_path / "run")
    assert folder.open({"env": "a"}) == 0
    write(folder.checkpoint, {"format": "checkpoint", "history": [{"step": 12}]}, {"x": np.zeros(3)})
    assert folder.open({"env": "a", "new": 1}) == 12
    folder.checkpoint.write_bytes(b"broken")
    with pytest.raises(FileError, match="not a safetensors file"):
        folder.open({"env": "a"})


@pytest.mark.parametrize(
    ("x", "shown"),
    [
        (Estimate(499.97, 0.031), ("499.970", "0.031")),
        (Estimate(-1567.8, 74.2), ("-1,568", "74")),
        (Estimate(12345.6, 1234.0), ("12,346", "1,234")),
        (Estimate(500.0, 0.0), ("500", "0")),
        (Estimate(float("inf"), 0.0), ("inf", "–")),
        (0.78048780, ("0.780488", "–")),
        (Estimate(1.0, float("nan")), ("1", "–")),
    ],
)
def test_numbers_have_as_many_digits_as_they_are_worth(x, shown):
    assert figures(x) == shown


def strange(path):
    """Files of a user's own, under the names that a training writes."""
    path.mkdir(exist_ok=True)
    mine = {"metrics.csv": "mine", "metrics.jsonl": "mine", "policy.safetensors": "mine", "strip.txt": "mine"}
    for name, content in mine.items():
        (path / name).write_text(content)
    return mine


def test_files_that_no_training_wrote_are_never_replaced(capsys, here):
    for holds in ({}, {"run.json": "{}"}, {"run.json": '{"files": ["metrics.csv"]}'}, {"run.json": "not JSON"}):
        mine = {**strange(here / "own"), **holds}
        for name, content in holds.items():
            (here / "own" / name).write_text(content)
        assert main(["control", TABLE, "--out", "own"]) == 1
        assert "pass another --out" in one_line(capsys)
        assert {file.name: file.read_text() for file in (here / "own").iterdir()} == mine


def test_a_folder_lists_what_was_written_and_replaces_no_more(capsys, here):
    run(capsys, TABLE, "--film", "--out", "run")
    assert json.loads((here / "run/run.json").read_text())["kullback"] == {"files": ["policy.safetensors"]}
    run(capsys, TABLE, "--film", "--out", "run")
    (here / "run/metrics.csv").write_text("mine")
    assert main(["control", TABLE, "--film", "--out", "run"]) == 1
    assert "out: run holds metrics.csv, which no training of this command wrote there" in one_line(capsys)
    assert (here / "run/metrics.csv").read_text() == "mine"


def test_a_folder_of_an_earlier_version_is_gone_on_with(capsys, copy):
    told = json.loads((copy / "run.json").read_text())
    del told["kullback"]
    (copy / "run.json").write_text(json.dumps(told))
    assert "Resumes at step" in run(capsys, *PLAYED, "--out", copy, "--steps", "3000")


def test_a_film_that_cannot_be_written_is_refused_before_the_training(capsys, here):
    assert main(["control", "CartPole-v1", "--film", "nowhere/film.gif"]) == 1
    assert "film: " in (said := one_line(capsys))
    assert "lies in a folder that does not exist" in said
    assert list(here.iterdir()) == []
