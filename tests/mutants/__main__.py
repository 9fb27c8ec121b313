"""Plants one small fault at a time in a copy of the package and sees whether the tests notice.

`python -m tests.mutants [names ...] [--all]`, which `make mutants` runs; a name is a part of the words, the file or the
tests of a fault. Before anything else each text must stand exactly once in its file, and the recorded tests must pass
where no fault is planted. A fault is caught when a test fails or the time runs out. A test that fails because a module
or a name is not there says that the fault is badly written, and catches nothing. Each run has a copy, caches and a
process of its own, so that no earlier run can hide a fault.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.faults import FAULTS, Fault

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "_build", "_generated", "mutants")
CACHES = ("JAX_COMPILATION_CACHE_DIR", "KULLBACK_CACHE_DIR", "XDG_CACHE_HOME", "TMPDIR")
OPTIONS = ("-q", "-x", "-n", "0", "-p", "no:cacheprovider", "-m", "not long")
# What is tested is the copy, and not an editable installation of the package.
START = """
import importlib.util, sys, pytest
found = importlib.util.find_spec("kullback").origin
assert found == sys.argv[1], found
sys.exit(pytest.main(sys.argv[2:]))
"""
BADLY_WRITTEN = re.compile(r"^E +(Import|ModuleNotFound|Syntax|Indentation|Name|UnboundLocal)Error", re.MULTILINE)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("names", nargs="*", help="parts of the words, files or tests of the faults to plant")
    parser.add_argument("--all", action="store_true", help="try all tests, and not only those recorded for the fault")
    parser.add_argument("--timeout", type=float, help="seconds for one fault; 120, or 3600 with --all")
    options = parser.parse_args()
    faults = [fault for fault in FAULTS if _is_chosen(fault, options.names)]
    if stale := [f for f in faults if (ROOT / "src/kullback" / f.file).read_text("utf-8").count(f.text) != 1]:
        print("\n".join(f"{f.file}: {f.words}: its text must stand there exactly once" for f in stale))
        return 1
    code, said = _tested(None, sorted({test for fault in faults for test in fault.tests}), 3600)
    if code:
        print(f"{said}\nWithout a fault the recorded tests must pass.")
        return 1
    seconds, missed = options.timeout or (3600 if options.all else 120), 0
    width = max(len(fault.words) for fault in faults)
    for fault in faults:
        start = time.monotonic()
        verdict, by = _verdict(*_tested(fault, () if options.all else fault.tests, seconds))
        missed += verdict != "caught"
        print(f"{fault.words:{width}}  {verdict:13}  {time.monotonic() - start:5.1f} s  {by}", flush=True)
    print(f"{len(faults) - missed} of {len(faults)} faults are caught.")
    return int(missed > 0)


def _is_chosen(fault: Fault, names: Sequence[str]) -> bool:
    return not names or any(name in text for name in names for text in (fault.words, fault.file, *fault.tests))


def _verdict(code: int | None, said: str) -> tuple[str, str]:
    """What became of a fault, and by which test."""
    if code is None:
        return "caught", "by the time limit"
    if code == 0:
        return "MISSED", ""
    failed = re.findall(r"^(?:FAILED|ERROR) (?:tests/)?(.+?)(?: - .*)?$", said, re.MULTILINE)
    if code != 1 or not failed or BADLY_WRITTEN.search(said):
        return "BADLY WRITTEN", (failed or said.strip().splitlines() or ["no output"])[-1]
    return "caught", failed[-1]


def _tested(fault: Fault | None, tests: Sequence[str], seconds: float) -> tuple[int | None, str]:
    """Pytest's exit status on a copy with the fault (None where the time ran out), and what it printed."""
    with tempfile.TemporaryDirectory(prefix="kullback-mutant-") as folder:
        copy, caches = Path(folder) / "copy", {name: Path(folder) / name.lower() for name in CACHES}
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        for cache in caches.values():
            cache.mkdir()
        if fault is not None:
            path = copy / "src/kullback" / fault.file
            path.write_text(path.read_text("utf-8").replace(fault.text, fault.replacement), "utf-8")
        command = [sys.executable, "-c", START, str(copy / "src/kullback/__init__.py"), *OPTIONS]
        # Without files of bytecode, of which an older one might be taken for that of a changed source.
        own = {"PYTHONPATH": str(copy / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            [*command, *(f"tests/{test}" for test in tests)],
            cwd=copy,
            env={**os.environ, **{name: str(cache) for name, cache in caches.items()}, **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return None, ""
        return process.returncode, said


if __name__ == "__main__":
    sys.exit(main())
