"""Environment steps and seconds until a policy has solved its environment, ours beside peers.

Every run is a process of its own with two cores, or as many as are asked for; contenders alternate, seed after seed.
Solved is a mean return of at least the threshold over 100 fresh greedy episodes, whose playing counts for nobody.
Compilations are on disk: JAX learners have run once before, with another seed. "Programs in memory" is a second
training of one process; PyTorch has no programs, and SBX makes its own anew for each model, so theirs is the first
training. A run that never solves counts as infinitely long.

    make bench ARGS=control_time
    .venv-bench/bin/python -m benchmarks.control_time --envs CartPole-v1 --contenders kullback --clock cpu --cores 1

KULLBACK_BENCH_CACHE names a JSON file in which the peers' runs are kept; ours are always run anew. Remove the file when
a peer or its version changes.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks import one_thread
from benchmarks.control_judge import THRESHOLDS
from benchmarks.runner import OURS
from benchmarks.supervised_nll import Kept
from benchmarks.supervised_time import CACHED

Run = dict[str, Any]
Clock = Literal["wall", "cpu"]
SEEDS, REHEARSAL = 5, 100  # seeds that are measured, and the one that fills the cache of compilations


@dataclass(frozen=True)
class Task:
    """An environment, its peers, and over how many seeds: fewer where they are slow."""

    env: str
    peers: tuple[str, ...]
    seeds: int = SEEDS


TASKS = {
    task.env: task
    for task in (
        Task("CartPole-v1", ("SB3 PPO", "SBX PPO")),
        Task("Pendulum-v1", ("SB3 SAC", "SBX SAC")),
        Task("Acrobot-v1", ("SB3 PPO",)),
        Task("MountainCarContinuous-v0", ("SB3 SAC",)),
        Task("LunarLander-v3", ("SB3 PPO",), seeds=1),
    )
}


@dataclass
class Runner:
    """Runs a contender in a process, and keeps what peers did."""

    folder: str
    kept: Kept
    cores: int

    def __post_init__(self) -> None:
        self.rehearsed: set[tuple[str, str]] = set()

    def run(self, env: str, name: str, seed: int) -> Run:
        known = self.known(env, name)
        if str(seed) not in known:
            if not name.startswith("SB3") and (env, name) not in self.rehearsed:
                self.call(env, name, REHEARSAL)
                self.rehearsed.add((env, name))
            known[str(seed)] = self.call(env, name, seed)
            if self.kept.path and name != OURS:
                self.kept.path.write_text(json.dumps(self.kept.all, indent=1))
        return known[str(seed)]

    def known(self, env: str, name: str) -> dict[str, Run]:
        """The peers' runs that were kept, by seed; none of ours ever is."""
        where = f"control, {env}, {self.cores} cores"
        return {} if name == OURS else self.kept.all.setdefault(where, {}).setdefault(name, {})

    def call(self, env: str, name: str, seed: int) -> Run:
        function = f"benchmarks.control_{'ours' if name == OURS else 'peers'}:train"
        settings = {**CACHED, "JAX_COMPILATION_CACHE_DIR": self.folder}
        return one_thread.call(function, settings, self.cores, peer=name, env=env, seed=seed, started=time.monotonic())


def columns(clock: Clock) -> dict[str, tuple[str, str]]:
    """The fields of a run that are shown, each with its title and format."""
    prefix, unit = ("cpu_", "CPU s") if clock == "cpu" else ("", "s")
    return {
        "steps": ("steps", ",.0f"),
        f"{prefix}seconds_from_process_start": (f"from process start, {unit}", ".3g"),
        f"training_{prefix}seconds": (f"training, {unit}", ".3g"),
        f"again_{prefix}seconds": (f"programs in memory, {unit}", ".3g"),
    }


def median(runs: Sequence[Run], field: str) -> float:
    """Over seeds; what a run does not tell of a second training is that of its first."""
    first = field.replace("again", "training")
    return statistics.median(run.get(field, run[first]) if run["solved"] else math.inf for run in runs)


def cells(value: float, ours: float | None, form: str) -> str:
    """A median and its ratio to ours."""
    ratio = f"{value / ours:.2f}" if ours is not None and math.isfinite(ours) else ""
    return f"{value:{form}} | {ratio}"


def table(task: Task, runs: Mapping[str, Sequence[Run]], clock: Clock) -> str:
    shown = columns(clock)
    titles = " | ".join(f"{title} | ÷ ours" for title, _ in shown.values())
    lines = [
        f"| {task.env}, to {THRESHOLDS[task.env]:g} | solved | {titles} | mean return |",
        "|---" * (3 + 2 * len(shown)) + "|",
    ]
    for name, own in runs.items():
        ours = {field: median(runs[OURS], field) for field in shown} if OURS in runs else {}
        values = " | ".join(cells(median(own, field), ours.get(field), form) for field, (_, form) in shown.items())
        solved = f"{sum(run['solved'] for run in own)} of {len(own)}"
        mean = statistics.mean(run["mean_return"] for run in own)
        lines.append(f"| {name} | {solved} | {values} | {mean:.1f} |")
    return "\n".join(lines)


def tables(
    envs: Sequence[str] = tuple(TASKS), contenders: str = "", seeds: int = SEEDS, clock: Clock = "wall", cores: int = 2
) -> Iterator[str]:
    """A table of each environment; only contenders whose name begins with `contenders`, and peers that are kept."""
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(folder, Kept(), cores)
        for task in (TASKS[env] for env in envs):
            names = [
                name for name in (OURS, *task.peers) if name.startswith(contenders) or runner.known(task.env, name)
            ]
            runs: dict[str, list[Run]] = {name: [] for name in names}
            for seed in range(min(seeds, task.seeds)):
                for name in names:
                    runs[name].append(runner.run(task.env, name, seed))
            yield table(task, runs, clock)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Steps and seconds until an environment is solved")
    parser.add_argument("--envs", nargs="+", choices=TASKS, default=tuple(TASKS), help="the environments")
    parser.add_argument("--contenders", default="", help="the beginning of the names of those to run")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="at most so many seeds")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="which seconds to show")
    parser.add_argument("--cores", type=int, default=2, help="cores, and threads, of each run")
    for text in tables(**vars(parser.parse_args())):
        print(f"\n{text}", flush=True)
