"""The environment of a test run, and the examples of README.md and docs/, which are run as tests.

It is set up here, before anything imports JAX: workers of pytest-xdist and subprocesses inherit it.
"""

import atexit
import contextlib
import doctest
import faulthandler
import importlib.metadata
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
from sybil import Document, Example, Region, Sybil
from sybil.integration.pytest import SybilItem
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

os.environ.setdefault("MPLBACKEND", "Agg")

# Most programs here run once, on little data: half the time of a run went into compilation, and a third of that is left
# when XLA compiles without optimisation. KULLBACK_TEST_OPTIMISED=1 leaves XLA as users have it (`make test-all`).
if os.environ.get("KULLBACK_TEST_OPTIMISED", "0") == "0":
    _quick = ["--xla_backend_optimization_level=0"]
    if tuple(map(int, importlib.metadata.version("jaxlib").split(".")[:2])) < (0, 11):
        # A flag that XLA does not know ends the process. The second leaves a worker's compilations to one thread.
        _quick += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
    _given = os.environ.get("XLA_FLAGS", "").split()
    os.environ["XLA_FLAGS"] = " ".join([*_given, *(flag for flag in _quick if flag not in _given)])

# Programs are not kept in the user's folder, nor read from it; the tests of that choose a folder of their own.
os.environ["KULLBACK_CACHE_DIR"] = "off"
# One compilation cache of JAX's for the run, so that each program is compiled once and not once a worker. Name a folder
# in JAX_COMPILATION_CACHE_DIR to keep it from one run to the next.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _cache = tempfile.mkdtemp(prefix="kullback-jax-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache
    atexit.register(shutil.rmtree, _cache, ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

LONGEST = 300  # seconds for a test; the slowest takes a minute

# The same examples in every run; compilation makes the first of them slow, so no deadline.
hypothesis.settings.register_profile("kullback", deadline=None, derandomize=True, database=None, max_examples=50)
hypothesis.settings.load_profile("kullback")


def claims(document: Document) -> Iterator[Region]:
    """The runnable lines of a table: code in the last cell of a row that begins with `kl.`"""

    def run(example: Example) -> None:
        exec(compile(example.parsed, str(example.path), "exec"), example.namespace)

    for line in re.finditer(r"^\|.*\| *`(kl\.[^`]+)` *\|$", document.text, re.MULTILINE):
        yield Region(line.start(1), line.end(1), line[1], run)


def enter_empty_folder(namespace: dict[str, Any]) -> None:
    namespace["__left__"] = os.getcwd(), tempfile.mkdtemp(prefix="kullback-docs-")
    os.chdir(namespace["__left__"][1])


def leave_folder(namespace: dict[str, Any]) -> None:
    home, folder = namespace["__left__"]
    os.chdir(home)
    shutil.rmtree(folder)


pytest_collect_file = Sybil(
    patterns=["README.md", "docs/*.md"],
    parsers=[
        PythonCodeBlockParser(doctest_optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE),
        SkipParser(),
        claims,
    ],
    setup=enter_empty_folder,
    teardown=leave_folder,
).pytest()


def traceback_filter(item: SybilItem, excinfo: pytest.ExceptionInfo[BaseException]) -> Any:
    """Sybil's own, which fails and stops the run when the error did not come out of the example (a leaked file)."""
    try:
        return sybil_traceback_filter(item, excinfo)
    except IndexError:
        return excinfo.traceback


sybil_traceback_filter = SybilItem._traceback_filter
SybilItem._traceback_filter = traceback_filter


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Examples of one page share their names, so one worker runs them, in order."""
    for item in items:
        if isinstance(item, SybilItem):
            item.add_marker(pytest.mark.xdist_group(item.path.name))


def pytest_configure(config: pytest.Config) -> None:
    """Keep the true standard error, into which a worker that hangs writes where it does."""
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
        config.stash[STDERR] = os.dup(2)


STDERR = pytest.StashKey[int]()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """A test that hangs ends its process, so that the run fails and does not hang: by a timer of the interpreter, which
    also goes off where compiled code never returns."""
    faulthandler.dump_traceback_later(LONGEST, exit=True, file=item.config.stash[STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
