"""Runs a function in a process of its own that has one core and one thread, so that libraries are compared alike.

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


def call(function: str, environment: Mapping[str, str] | None = None, **arguments: Any) -> Any:
    """`function` is "module:name"; arguments and answer pass as JSON. Raises where the process failed."""
    settings = {**os.environ, **dict.fromkeys(THREADS, "1"), "PYTHONWARNINGS": "ignore", **(environment or {})}
    command = [sys.executable, "-m", "benchmarks.one_thread", function, json.dumps(arguments)]
    done = subprocess.run(command, env=settings, stdout=subprocess.PIPE, text=True, check=False)
    answers = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode or not answers:
        raise RuntimeError(f"{function}({arguments}) ended with {done.returncode}: {done.stdout[-2000:]}")
    return json.loads(answers[-1][len(MARK) :])


def named(function: str) -> Callable[..., Any]:
    """The function that "module:name" names."""
    module, name = function.split(":")
    return getattr(importlib.import_module(module), name)


def pin() -> None:
    """Keep to the last of the cores that this process may use."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def main(function: str, arguments: str) -> None:
    pin()
    print(MARK + json.dumps(named(function)(**json.loads(arguments))))


if __name__ == "__main__":
    main(*sys.argv[1:])
