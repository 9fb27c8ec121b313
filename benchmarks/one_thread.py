"""Runs a function in a process of its own that has one core and one thread, so that libraries are compared alike.

More cores, and as many threads, where a benchmark says so.

Both limits must hold before NumPy, JAX or PyTorch are imported, hence the process.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
MARK = "answer: "


def call(function: str, environment: Mapping[str, str] | None = None, cores: int = 1, **arguments: Any) -> Any:
    """`function` is "module:name"; arguments and answer pass as JSON. Raises where the process failed."""
    settings = {**os.environ, **dict.fromkeys(THREADS, str(cores)), "PYTHONWARNINGS": "ignore", **(environment or {})}
    command = [sys.executable, "-m", "benchmarks.one_thread", function, json.dumps(arguments), str(cores)]
    done = subprocess.run(command, env=settings, stdout=subprocess.PIPE, text=True, check=False)
    answers = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not answers:
        raise RuntimeError(f"{function}({arguments}) ended with {done.returncode}: {done.stdout[-2000:]}")
    return json.loads(answers[-1][len(MARK) :])


def named(function: str) -> Callable[..., Any]:
    """The function that "module:name" names."""
    module, name = function.split(":")
    return getattr(importlib.import_module(module), name)


def pin(cores: int) -> None:
    """Keep to the last of the cores that this process may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-cores:])


def main(function: str, arguments: str, cores: str) -> None:
    pin(int(cores))
    print(MARK + json.dumps(named(function)(**json.loads(arguments))))


if __name__ == "__main__":
    main(*sys.argv[1:])
