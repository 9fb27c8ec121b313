"""`make bench`: every case, or those named in ARGS, as Markdown tables of ratios."""

import importlib
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # a first call includes compilation

from benchmarks.runner import measure, table

CASES = ("exact_forms", "mixture_em")
PACKAGES = ("jax", "numpyro", "scikit-learn", "torch")


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


def main(names: list[str]) -> int:
    unknown = set(names) - set(CASES)
    if unknown:
        print(f"unknown case {sorted(unknown)[0]!r}; the cases are {', '.join(CASES)}", file=sys.stderr)
        return 2
    print(machine(), flush=True)
    for name in names or CASES:
        for case in importlib.import_module(f"benchmarks.{name}").cases():
            print(f"\n{table(case, measure(case))}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
