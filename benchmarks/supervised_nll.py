"""Test log-likelihoods of supervised learners over many splits, ours beside peers, and the CPU seconds of a fit.

The difference to the best peer that is a network or linear is taken split by split. Its standard error is that of
independent splits; splits share rows, so it is somewhat small, and a difference within it is no difference. The median
over splits stands beside the mean, which one row far from all others can decide.

    make bench ARGS=supervised_nll
    .venv-bench/bin/python -m benchmarks.supervised_nll --sets digits --contenders kullback --splits 5

KULLBACK_BENCH_CACHE names a JSON file in which the peers' results are kept; ours are always computed anew. Remove the
file when a peer, its version or a set changes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks import one_thread
from benchmarks.runner import OURS

Kind = Literal["ours", "network", "linear", "trees"]
Results = dict[str, dict[str, float]]  # split to nll and seconds
SPLITS = 20


@dataclass(frozen=True)
class Learner:
    """A function of `benchmarks.supervised_peers` or `_ours`, with its settings; `splits` fewer where it is slow."""

    name: str
    kind: Kind
    function: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    splits: int = SPLITS

    @property
    def path(self) -> str:
        return f"benchmarks.supervised_{'ours' if self.kind == 'ours' else 'peers'}:{self.function}"


def ours(function: str, splits: int = SPLITS, **settings: Any) -> tuple[Learner, ...]:
    variants = {"": {}, ", 5 members": {"ensemble": 5}, ", linear": {"network": "linear"}}
    return tuple(
        Learner(f"{OURS}{name}", "ours", function, {**settings, **variant}, splits)
        for name, variant in variants.items()
    )


CLASSES = (
    *ours("classifier"),
    Learner("LogisticRegression", "linear", "logistic_regression"),
    Learner("LogisticRegressionCV", "linear", "logistic_regression_cv"),
    Learner("MLPClassifier", "network", "mlp_classifier"),
    Learner("MLPClassifier, penalty by 3 folds", "network", "mlp_classifier_cv"),
    Learner("skorch", "network", "skorch_classifier"),
    Learner("LightGBM", "trees", "lightgbm_classifier"),
)


def numbers(splits: int, ngboost: int) -> tuple[Learner, ...]:
    """Regressors; NGBoost, which is slow, on its own number of splits."""
    return (
        *ours("regressor", splits, distribution="normal"),
        Learner(f"{OURS}, Student t", "ours", "regressor", {"distribution": "student_t"}, splits),
        Learner("BayesianRidge", "linear", "bayesian_ridge", splits=splits),
        Learner("MLPRegressor, constant scale", "network", "mlp_regressor", splits=splits),
        Learner("skorch, normal", "network", "skorch_normal", splits=splits),
        Learner("NGBoost", "trees", "ngboost", splits=ngboost),
        Learner("LightGBM, constant scale", "trees", "lightgbm_normal", splits=splits),
        Learner("HistGradientBoosting, constant scale", "trees", "histogram_boosting", splits=splits),
    )


COUNTS = (
    *ours("regressor", distribution="negative_binomial"),
    Learner("statsmodels, Poisson", "linear", "poisson_glm"),
    Learner("statsmodels, negative binomial", "linear", "negative_binomial_glm"),
    Learner("skorch, negative binomial", "network", "skorch_negative_binomial", splits=10),
    Learner("HistGradientBoosting, Poisson", "trees", "boosted_poisson"),
    Learner("HistGradientBoosting, constant dispersion", "trees", "boosted_dispersed"),
    Learner("LightGBM, constant dispersion", "trees", "lightgbm_dispersed"),
)
CASES: dict[str, tuple[Learner, ...]] = {
    "digits": CLASSES,
    "breast cancer": CLASSES,
    "diabetes": numbers(SPLITS, SPLITS),
    "doctor visits": COUNTS,
    "doctor visits, inputs kept apart": COUNTS,
    "diamonds": numbers(SPLITS, 2),
    "diamonds, possible sizes": numbers(5, 2),
}


def fit_and_score(table: str, learner: str, settings: dict[str, Any], splits: list[int]) -> Results:
    """In the pinned process: mean test NLL in nats and CPU seconds of `fit`, of each split."""
    from benchmarks.data import load

    fit = partial(one_thread.named(learner), **settings)
    results = {}
    for split in splits:
        train, test, y_train, y_test = load(table).split(split)
        start = time.process_time()
        nll = fit(train, y_train, split)
        seconds = time.process_time() - start
        results[str(split)] = {"nll": float(np.mean(nll(test, y_test))), "seconds": seconds}
    return results


class Kept:
    """Peers' results in the file that KULLBACK_BENCH_CACHE names, if it names one."""

    def __init__(self) -> None:
        self.path = Path(name) if (name := os.environ.get("KULLBACK_BENCH_CACHE")) else None
        self.all = json.loads(self.path.read_text()) if self.path and self.path.exists() else {}

    def results(self, table: str, learner: Learner, splits: int) -> Results:
        wanted = [str(split) for split in range(min(splits, learner.splits))]
        known: Results = {} if learner.kind == "ours" else self.all.setdefault(table, {}).setdefault(learner.name, {})
        if missing := [int(split) for split in wanted if split not in known]:
            call = {"table": table, "learner": learner.path, "settings": dict(learner.settings), "splits": missing}
            known |= one_thread.call("benchmarks.supervised_nll:fit_and_score", **call)
            if self.path and learner.kind != "ours":
                self.path.write_text(json.dumps(self.all, indent=1))
        return {split: known[split] for split in wanted}


def mean_and_error(values: Sequence[float]) -> str:
    error = f" ± {np.std(values, ddof=1) / len(values) ** 0.5:.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{error}"


def best_peer(learners: Iterable[Learner], results: Mapping[str, Results]) -> str | None:
    """The network or linear peer of least mean NLL on the splits that all of them share."""
    peers = [learner.name for learner in learners if learner.kind in ("network", "linear")]
    if not peers:
        return None
    shared = set.intersection(*(set(results[name]) for name in peers))
    return min(peers, key=lambda name: float(np.mean([results[name][split]["nll"] for split in shared])))


def table_of(name: str, learners: Sequence[Learner], results: Mapping[str, Results]) -> str:
    best = best_peer(learners, results)
    to_best = f" to {best}" if best else ""
    lines = [
        f"| {name} | kind | test NLL, nats | median | difference{to_best} | splits | CPU seconds a fit |",
        "|---|---|---|---|---|---|---|",
    ]
    for learner in learners:
        own, reference = results[learner.name], results[best] if best else {}
        pairs = [own[split]["nll"] - reference[split]["nll"] for split in own if split in reference]
        difference = mean_and_error(pairs) if pairs and learner.name != best else ""
        seconds = statistics.median(result["seconds"] for result in own.values())
        nlls = [result["nll"] for result in own.values()]
        nll = f"{mean_and_error(nlls)} | {statistics.median(nlls):.4f}"
        lines.append(f"| {learner.name} | {learner.kind} | {nll} | {difference} | {len(own)} | {seconds:.3g} |")
    return "\n".join(lines)


def tables(sets: Sequence[str] = tuple(CASES), contenders: str = "", splits: int = SPLITS) -> Iterator[str]:
    """A table of each set; only learners whose name begins with `contenders`, and peers that are kept."""
    kept = Kept()
    for name in sets:
        chosen = [
            learner
            for learner in CASES[name]
            if learner.name.startswith(contenders) or learner.name in kept.all.get(name, {})
        ]
        results = {learner.name: kept.results(name, learner, splits) for learner in chosen}
        yield table_of(name, chosen, results)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Test log-likelihoods of supervised learners")
    parser.add_argument("--sets", nargs="+", choices=CASES, default=tuple(CASES), help="the sets")
    parser.add_argument("--contenders", default="", help="the beginning of the names of those to run")
    parser.add_argument("--splits", type=int, default=SPLITS, help="at most so many splits")
    for text in tables(**vars(parser.parse_args())):
        print(f"\n{text}", flush=True)
