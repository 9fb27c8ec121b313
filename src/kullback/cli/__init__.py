"""The command line: `kullback demo | explain | estimate | drift | control | rules`. Errors are one line."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import warnings
from collections.abc import Iterator, Sequence

PROG = "kullback"
DESCRIPTION = "KL divergence, estimated and minimised. All values are in nats."


def main(args: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status.

    It is 0, 1 for a failure, 2 for a command that cannot be read, and 3 where a condition of `drift` holds.
    """
    given = list(sys.argv[1:] if args is None else args)
    if given in (["--version"], ["-V"]):
        from kullback import __version__

        print(f"{PROG} {__version__}")
        return 0
    from kullback.errors import KullbackError

    try:
        command = _parse(given or ["--help"])
        with _warnings_in_one_line():
            return 0 if command is None else command.run()
    except _Usage as error:
        return _fail(str(error), 2)
    except KullbackError as error:
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # the reader left, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


@contextlib.contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Show warnings in one line, as errors are, without the line of source."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: _say(f"{message}")
        yield


def _say(message: str) -> None:
    print(f"{PROG}: {' '.join(message.split())}", file=sys.stderr)


class _Usage(Exception):
    """A command line that cannot be read."""


def _parse(args: list[str]):
    """The command that the arguments name; None where help was asked for, which is then printed."""
    import tyro

    from kullback.cli.commands import Command

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(Command, prog=PROG, description=DESCRIPTION, args=args)
    except SystemExit as stop:
        if not stop.code:
            return None
        raise _Usage(_one_line(said.getvalue())) from None


def _one_line(box: str) -> str:
    """The text of one of tyro's boxes in one line, up to its first horizontal rule."""
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line).strip("│╭╮╰╯ ") for line in box.splitlines()]
    body = lines[1:] if lines and "─" in lines[0] else lines
    text = " ".join(_until_rule(body)) or "the arguments cannot be read"
    return f"{' '.join(text.split()).rstrip('.')}; see {PROG} --help"


def _until_rule(lines: list[str]) -> list[str]:
    for i, line in enumerate(lines):
        if line.startswith("──"):
            return lines[:i]
    return lines


def _fail(message: str, status: int) -> int:
    _say(message)
    return status
