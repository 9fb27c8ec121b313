"""Times contenders for one task in one run: first calls apart, then interleaved repeats, and ratios of each round."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

OURS = "kullback"
Clock = Callable[[], float]


@dataclass(frozen=True)
class Contender:
    """`call` does the whole task and returns only when its answer is there; `quality` says how good the answer is."""

    name: str
    call: Callable[[], Any]
    quality: Callable[[Any], str]


@dataclass(frozen=True)
class Case:
    """A task, in words, and who does it; the first contender is ours. `rounds` are the timed repeats of each."""

    title: str
    quality: str
    contenders: Sequence[Contender]
    rounds: int


@dataclass(frozen=True)
class Row:
    name: str
    first: float
    median: float
    ratio: float
    quality: str


def timed(call: Callable[[], Any], clock: Clock = time.perf_counter) -> tuple[float, Any]:
    start = clock()
    answer = call()
    return clock() - start, answer


def measure(case: Case, clock: Clock = time.perf_counter) -> list[Row]:
    """Ratios are peer over ours within a round, so a machine that slows down slows both; above 1, ours is faster.

    With `time.process_time` as the clock, times are CPU seconds of all threads of this process.
    """
    firsts, answers = {}, {}
    for contender in case.contenders:
        firsts[contender.name], answers[contender.name] = timed(contender.call, clock)
        timed(contender.call, clock)
    times: dict[str, list[float]] = {contender.name: [] for contender in case.contenders}
    for turn in range(case.rounds):
        shift = turn % len(case.contenders)
        for contender in (*case.contenders[shift:], *case.contenders[:shift]):
            times[contender.name].append(timed(contender.call, clock)[0])
    ours = times[case.contenders[0].name]
    return [
        Row(
            name=contender.name,
            first=firsts[contender.name],
            median=statistics.median(times[contender.name]),
            ratio=statistics.median(peer / own for peer, own in zip(times[contender.name], ours, strict=True)),
            quality=contender.quality(answers[contender.name]),
        )
        for contender in case.contenders
    ]


def table(case: Case, rows: Sequence[Row]) -> str:
    head = f"| {case.title} | first call, ms | median, ms | time ÷ ours | {case.quality} |"
    lines = [
        f"| {row.name} | {row.first * 1e3:.4g} | {row.median * 1e3:.4g} | {row.ratio:.2f} | {row.quality} |"
        for row in rows
    ]
    return "\n".join([head, "|---|---|---|---|---|", *lines])
