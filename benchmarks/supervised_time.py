"""How long supervised learners take to fit, on one core and one thread, in CPU seconds around `fit` alone.

Three questions. How long is the first fit of a process, with an empty cache of compilations and with one that an
earlier process filled? How long are the later fits, on other splits? And how many rows a second go through training
when the table is large and network, batch and passes are equal?
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks import one_thread
from benchmarks.runner import OURS, Case, Contender, Row, measure, timed

HIDDEN = (64, 64)
REPEATS = 3  # processes for a first fit
ROUNDS = 7  # later fits of each
CACHED = {
    "JAX_ENABLE_COMPILATION_CACHE": "true",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


@dataclass
class Fits:
    """Fits of one learner to one split after another, and how good they are on average."""

    table: str
    make: Callable[[int], Any]
    fitted: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from benchmarks.data import load

        self.parts = [load(self.table).split(seed) for seed in range(ROUNDS + 2)]
        self.turn = itertools.cycle(range(ROUNDS + 2))

    def __call__(self) -> None:
        seed = next(self.turn)
        train, _, y, _ = self.parts[seed]
        self.fitted[seed] = self.make(seed).fit(train, y)

    def quality(self, _: None) -> str:
        """Test accuracy and −log q in nats, over all fits."""
        accuracies, nlls = [], []
        for seed, fitted in self.fitted.items():
            _, test, _, y = self.parts[seed]
            chosen = fitted.predict_proba(test)[np.arange(len(y)), y]
            accuracies.append(fitted.score(test, y))
            nlls.append(-np.mean(np.log(np.maximum(chosen, 1e-300))))
        return f"{np.mean(accuracies):.4f}, {np.mean(nlls):.4f}"


def ours(seed: int) -> Any:
    import kullback as kl

    return kl.KLClassifier(kl.MLP(HIDDEN), random_state=seed)


def perceptron(seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), MLPClassifier(HIDDEN, random_state=seed))


LEARNERS = {OURS: ours, "MLPClassifier": perceptron}


def first_fit(table: str, learner: str) -> float:
    """In the pinned process: seconds of the first fit; imports and data come before."""
    fits = Fits(table, LEARNERS[learner])
    LEARNERS[learner](0)
    return timed(fits, time.process_time)[0]


def later_fits(table: str) -> list[list[Any]]:
    """In the pinned process: for each learner its name, seconds, the ratio to ours, and its quality."""
    contenders = [Contender(name, fits := Fits(table, make), fits.quality) for name, make in LEARNERS.items()]
    rows = measure(Case(table, "", contenders, ROUNDS), time.process_time)
    return [[row.name, row.median, row.ratio, row.quality] for row in rows]


def fit_times(table: str) -> str:
    firsts: dict[str, list[float]] = {f"{OURS}, cold": [], f"{OURS}, warm": [], "MLPClassifier": []}
    for _ in range(REPEATS):
        with tempfile.TemporaryDirectory() as folder:
            environment = {**CACHED, "JAX_COMPILATION_CACHE_DIR": folder}
            for name in firsts:
                learner = name.split(",")[0]
                firsts[name].append(
                    one_thread.call("benchmarks.supervised_time:first_fit", environment, table=table, learner=learner)
                )
    cold, warm, other = (statistics.median(times) for times in firsts.values())
    first = {OURS: f"{cold:.3g} | {warm:.3g}", "MLPClassifier": f"{other:.3g} | {other:.3g}"}
    head = (
        f"| {table} | first fit, nothing cached, s | first fit, compilations cached, s | later fits, s | time ÷ ours "
    )
    lines = [head + "| test accuracy, nats |", "|---|---|---|---|---|---|"]
    for name, seconds, ratio, quality in one_thread.call("benchmarks.supervised_time:later_fits", table=table):
        lines.append(f"| {name} | {first[name]} | {seconds:.3g} | {ratio:.2f} | {quality} |")
    return "\n".join(lines)


def throughput(table: str, batch: int, epochs: int, rounds: int) -> list[list[Any]]:
    """In the pinned process: for each learner its name, first and median seconds, rows seen, and test accuracy."""
    from benchmarks.data import load
    from benchmarks.large_fits import CONTENDERS

    train, test, y, y_test = load(table).split(0)
    seen: dict[str, int] = {}

    def run(name: str, fit: Callable[..., Any]) -> Any:
        seen[name], predict = fit(train, y, batch, epochs)
        return predict

    def accuracy(predict: Callable[[np.ndarray], np.ndarray]) -> str:
        return f"{np.mean(predict(test) == y_test):.3f}"

    contenders = [
        Contender(name, lambda name=name, fit=fit: run(name, fit), accuracy) for name, fit in CONTENDERS.items()
    ]
    rows: list[Row] = measure(Case(table, "", contenders, rounds), time.process_time)
    return [[row.name, row.first, row.median, seen[row.name], row.quality] for row in rows]


def throughput_table(table: str, batch: int, epochs: int, rounds: int) -> str:
    call = {"table": table, "batch": batch, "epochs": epochs, "rounds": rounds}
    rows = one_thread.call("benchmarks.supervised_time:throughput", **call)
    lines = [
        f"| {table}, batch {batch} | first fit, s | rows a second | ours ÷ theirs | test accuracy |",
        "|---|---|---|---|---|",
    ]
    speeds = [seen / seconds for _, _, seconds, seen, _ in rows]
    for (name, first, _, _, accuracy), speed in zip(rows, speeds, strict=True):
        lines.append(f"| {name} | {first:.3g} | {speed:,.0f} | {speeds[0] / speed:.2f} | {accuracy} |")
    return "\n".join(lines)


def tables() -> Iterator[str]:
    for table in ("digits", "breast cancer"):
        yield fit_times(table)
    for batch in (200, 512):
        yield throughput_table("100,000 × 50, classes", batch, epochs=10, rounds=3)
        yield throughput_table("500,000 × 54, 7 classes", batch, epochs=5, rounds=3)
