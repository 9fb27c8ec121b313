"""Drift detectors side by side: false alarms and power at a size of 0.05, and CPU seconds for 100,000 x 20.

python -m benchmarks.drift_peers [runs]

A run is an alarm where any column is said to have drifted (for ours: where the adjusted p-value of a column, or the
p-value of all together, is at most 0.025, so that the size of both is 0.05; for SciPy: where the smallest p-value times
the number of columns is at most 0.05; for evidently: by its own thresholds). 1,000 rows of each table.
"""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import pandas as pd
from scipy import stats

ROWS = 1000
Tables = tuple[pd.DataFrame, pd.DataFrame]
Case = Callable[[np.random.Generator], Tables]


def normals(rng: np.random.Generator, columns: int = 1) -> pd.DataFrame:
    return pd.DataFrame(rng.normal(size=(ROWS, columns)), columns=[f"x{i}" for i in range(columns)])


def labels(rng: np.random.Generator, count: int, new: float = 0.0) -> pd.DataFrame:
    values = rng.integers(count, size=ROWS)
    return pd.DataFrame({"label": np.where(rng.random(ROWS) < new, "new", values.astype(str))})


def outliers(rng: np.random.Generator) -> pd.DataFrame:
    x = normals(rng)
    return x.mask(rng.random((ROWS, 1)) < 0.02, 8.0 + x)


def correlated(rng: np.random.Generator) -> pd.DataFrame:
    x = normals(rng, 5)
    return x.assign(x1=0.2 * x["x0"] + np.sqrt(1 - 0.04) * x["x1"])


CASES: dict[str, Case] = {
    "no drift": lambda rng: (normals(rng), normals(rng)),
    "no drift, 100 categories": lambda rng: (labels(rng, 100), labels(rng, 100)),
    "a shift of 0.15": lambda rng: (normals(rng), normals(rng) + 0.15),
    "a scale of 1.15": lambda rng: (normals(rng), normals(rng) * 1.15),
    "2% outliers at 8": lambda rng: (normals(rng), outliers(rng)),
    "a new category, 1%": lambda rng: (labels(rng, 5), labels(rng, 5, 0.01)),
    "a correlation of 0.2 in 5": lambda rng: (normals(rng, 5), correlated(rng)),
}


def ours(p: pd.DataFrame, q: pd.DataFrame) -> bool:
    import kullback as kl

    report = kl.drift(p, q, rows=50, permutations=199, quiet=True)
    smallest = min(column.adjusted_p for column in report.columns)
    return min(smallest, report.joint.p_value) <= (0.025 if len(report.columns) > 1 else 0.05)


def scipy(p: pd.DataFrame, q: pd.DataFrame) -> bool:
    found = []
    for name in p:
        if pd.api.types.is_numeric_dtype(p[name]):
            found.append(stats.ks_2samp(p[name], q[name]).pvalue)
        else:
            table = pd.concat([p[name].value_counts(), q[name].value_counts()], axis=1).fillna(0)
            found.append(stats.chi2_contingency(table.to_numpy()).pvalue)
    return min(found) * len(found) <= 0.05


def evidently(p: pd.DataFrame, q: pd.DataFrame) -> bool:
    from evidently import Report  # pyright: ignore[reportMissingImports]
    from evidently.presets import DataDriftPreset  # pyright: ignore[reportMissingImports]

    found = Report([DataDriftPreset()]).run(q, p).dict()["metrics"]
    return found[0]["value"]["count"] > 0


DETECTORS = {"kullback": ours, "scipy": scipy, "evidently": evidently}


def large(seed: int) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(seed).normal(size=(100_000, 20))).rename(columns=str)


def main(runs: int) -> None:
    detectors = {}
    for name, detector in DETECTORS.items():
        try:
            detector(*CASES["no drift"](np.random.default_rng(0)))
            detectors[name] = detector
            print(f"{name} {version(name)}")
        except (ImportError, PackageNotFoundError) as error:
            print(f"{name} is left out: {error}")
    for what, case in CASES.items():
        alarms = {
            name: np.mean([detector(*case(np.random.default_rng([1, run]))) for run in range(runs)])
            for name, detector in detectors.items()
        }
        print(f"| {what} | " + " | ".join(f"{share:.2f}" for share in alarms.values()) + " |", flush=True)
    tables = large(0), large(1)
    for name, detector in detectors.items():
        start = time.process_time()
        detector(*tables)
        print(f"{name}: {time.process_time() - start:.1f} CPU s for 100,000 x 20", flush=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
