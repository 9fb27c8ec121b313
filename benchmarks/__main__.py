"""`make bench`: every case, or those named in ARGS, as Markdown tables of ratios."""

import importlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # a first call includes compilation

from benchmarks.runner import measure, table

CASES = (
    "exact_forms",
    "mixture_em",
    "supervised_nll",
    "supervised_time",
    "supervised_compilations",
    "supervised_linear",
    "first_fit",
    "control_tables",
    "control_time",
)
PACKAGES = (
    "jax",
    "numpyro",
    "scikit-learn",
    "torch",
    "skorch",
    "lightgbm",
    "ngboost",
    "statsmodels",
    "gymnasium",
    "stable-baselines3",
    "sbx-rl",
)


def machine() -> str:
    """Cores, processor and versions."""
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        models = [line for line in information.read_text().splitlines() if line.startswith("model name")]
        processor = models[0].split(":", 1)[1].strip() if models else processor
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return f"{cores} cores of {processor}; Python {platform.python_version()}, {versions}"


def tables(module: Any) -> Iterator[str]:
    """A module gives its tables, or cases that are timed here."""
    if hasattr(module, "tables"):
        yield from module.tables()
        return
    for case in module.cases():
        yield table(case, measure(case))


def main(names: list[str]) -> int:
    unknown = set(names) - set(CASES)
    if unknown:
        print(f"unknown case {sorted(unknown)[0]!r}; the cases are {', '.join(CASES)}", file=sys.stderr)
        return 2
    print(machine(), flush=True)
    for name in names or CASES:
        for text in tables(importlib.import_module(f"benchmarks.{name}")):
            print(f"\n{text}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
