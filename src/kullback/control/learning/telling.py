"""A line on a terminal that says how far fresh episodes are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from kullback.control.learning.episodes import Tell, silent


@contextmanager
def telling(quiet: bool) -> Iterator[Tell]:
    """What shows a line while the block runs: on a terminal, and nothing when piped."""
    if quiet or not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console

    with Console(stderr=True).status("fresh episodes") as status:
        yield status.update
