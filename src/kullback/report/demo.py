"""`kullback demo`: every section in turn, shown on the terminal and written as a page."""

from __future__ import annotations

import importlib
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.rule import Rule

from kullback.errors import InputError
from kullback.report.page import Colophon, Section, check_folder, page, write_page
from kullback.report.terminal import make_console, show_section

SECTIONS = {  # in the page's order, and the module of each
    "two_peaks": "two_peaks",
    "estimates": "estimation",
    "classifier": "classification",
    "regression": "regression",
    "counts": "regression",
    "policy": "policy",
    "imitation": "classification",
    "inference": "inference",
    "drift": "estimation",
}
LEAD = (
    "P is what you aim at, and Q is what you control. Which side is yours, and what is known of the other, makes it "
    "estimation, supervised learning, Bayesian inference or reinforcement learning. Every number below was computed by "
    "the code above it, on the machine that wrote this page."
)
PACKAGES = ("kullback", "jax", "numpyro", "scikit-learn", "statsmodels", "gymnasium")


def demo(out: Path, only: Sequence[str] = ()) -> Path:
    """Run the sections, all unless `only` names some, and write `out`/index.html; its path is returned.

    Raises `InputError` for a section that does not exist, and `FileError` for a folder that cannot be written, before
    anything runs.
    """
    names = chosen(only)
    check_folder(out)
    console = make_console()
    done: list[tuple[Section, float]] = []
    with _progress(console, len(names)) as starting:
        for i, name in enumerate(names):
            starting(name)
            start = time.perf_counter()
            section = _run(name)
            done.append((section, time.perf_counter() - start))
            console.print()
            console.print(Rule(f"[bold]{i + 1}  {section.title}[/bold]", align="left", style="dim"))
            show_section(console, section)
    text = page(LEAD, [section for section, _ in done], _colophon(done))
    path = write_page(out, text)
    console.print(f"\nThe report: [bold]{path}[/bold]  ({sum(seconds for _, seconds in done):.0f} s)", soft_wrap=True)
    return path


def chosen(only: Sequence[str]) -> tuple[str, ...]:
    """The sections to run, in the page's order."""
    asked = [name.replace("-", "_") for name in only]
    unknown = [name for name in asked if name not in SECTIONS]
    if unknown:
        raise InputError(f"only: there is no section {unknown[0]!r}; the sections are {', '.join(SECTIONS)}")
    return tuple(name for name in SECTIONS if not asked or name in asked)


def _run(name: str) -> Section:
    """Import and run one section: what it needs is loaded when its turn comes."""
    try:
        return getattr(importlib.import_module(f"kullback.report.sections.{SECTIONS[name]}"), name)()
    except ModuleNotFoundError as error:
        if error.name != "statsmodels":
            raise
        raise InputError(
            "statsmodels: it is not installed, and ships the counts; pip install 'kullback[demo]'"
        ) from error


@contextmanager
def _progress(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """A bar below what is printed on a terminal; a line for each section when piped."""
    if not console.is_terminal:
        yield lambda name: None
        return
    columns = TextColumn("[bold]{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=total, completed=-1)
        yield lambda name: bar.update(task, advance=1, description=name.replace("_", " "))


def _colophon(done: Sequence[tuple[Section, float]]) -> Colophon:
    versions = [("Python", platform.python_version()), *((name, version(name)) for name in PACKAGES)]
    return Colophon(tuple(versions), tuple((section.key, seconds) for section, seconds in done))
