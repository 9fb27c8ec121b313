"""A drift report as one HTML file with pictures: ranks, both sides of each column, and where they differ."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from html import escape

import numpy as np
from matplotlib.axes import Axes

from kullback import __version__
from kullback.drifting import ColumnDrift, DriftReport
from kullback.drifting.profile import Region
from kullback.drifting.text import heading, in_units, legend, nats, p_text
from kullback.drifting.words import percent
from kullback.report.page import Picture, Section, Table, document
from kullback.report.style import EDGE, FORWARD, INK, REVERSE, SOFT, as_svg, bare_y, drawing, label
from kullback.runtime.files import write_atomically

MOST_RANKED = 40
MOST_PICTURED = 20
MOST_BARS = 12


def write_drift_page(path: str | os.PathLike[str], report: DriftReport) -> None:
    """Write the report to an HTML file that needs no network and no other file, whole or not at all.

    Raises `FileError` where the file cannot be written.
    """
    write_atomically(path, drift_page(report).encode(), argument="report")


def drift_page(report: DriftReport) -> str:
    """The report as the text of a page: all columns ranked, then a section for each of the first 20."""
    sections = [_overview(report)]
    sections += [_over_time(report)] if report.series else []
    sections += [_column(at, each, report) for at, each in enumerate(report.columns[:MOST_PICTURED])]
    sections.append(_remarks(report))
    footer = (
        f"<footer><p>Made by <code>kullback drift</code> {escape(__version__)}. {escape(legend(report))}</p></footer>"
    )
    return document("kullback: drift", _verdict(report), heading(report), sections, footer)


def _verdict(report: DriftReport) -> str:
    moved = len(report.moved)
    if not moved:
        together = report.joint.p_value <= report.level and len(report.columns) > 1
        return "No column moved, but their relations did." if together else "Nothing moved."
    return f"{moved} of {len(report.columns)} column{'s' if len(report.columns) > 1 else ''} moved."


def _overview(report: DriftReport) -> Section:
    rows = []
    if len(report.columns) > 1:
        joint = report.joint
        rows.append(("all together", nats(joint.kl), nats(joint.reverse_kl), "", "", "", p_text(joint.p_value), ""))
    rows += [_cells(column) for column in report.columns]
    said = "; ".join(str(relation) for relation in report.relations[:10])
    return Section(
        key="columns",
        title="The columns, ranked",
        lead=said or "Columns that moved come first, by their divergence, and then the others by their p-value.",
        code="",
        pictures=(_ranks(report),),
        tables=(
            Table(
                ("column", "KL(P‖Q)", "KL(Q‖P)", "JS", "PSI", "W₁", "p", "missing"),
                tuple(rows),
                ours=frozenset(i for i, row in enumerate(rows) if row[0] in report.moved),
            ),
        ),
    )


def _cells(column: ColumnDrift) -> tuple[str, ...]:
    distances = column.distances
    return (
        column.name,
        nats(column.kl),
        nats(column.reverse_kl),
        f"{distances.jensen_shannon:.3f}",
        f"{distances.psi:.3f}",
        "–" if distances.wasserstein is None else in_units(distances.wasserstein, column.read_as),
        p_text(column.adjusted_p),
        " → ".join(percent(share) for share in dict.fromkeys(column.missing)),
    )


def _ranks(report: DriftReport) -> Picture:
    """KL(P‖Q) of each column with two standard errors; those that moved in colour."""
    columns = report.columns[:MOST_RANKED]
    values = np.array([column.kl.value for column in columns])
    errors = np.array([column.kl.standard_error for column in columns])
    at = np.arange(len(columns))[::-1]
    with drawing(8.2, 0.9 + 0.26 * len(columns)) as figure:
        axes = figure.subplots()
        axes.axvline(0.0, color=EDGE, linewidth=0.8)
        for column, y, value, error in zip(columns, at, values, errors, strict=True):
            colour = FORWARD if column.name in report.moved else EDGE
            width = 2 * error if math.isfinite(error) else 0.0
            axes.errorbar(value, y, xerr=width, fmt="o", color=colour, markersize=5, elinewidth=1.2, capsize=0)
        axes.set_yticks(at, [f"{column.name:.28}" for column in columns], color=INK)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(-0.7, len(columns) - 0.3)
        axes.set_title("KL(P‖Q) by column, nats")
        svg = as_svg(figure, "ranks")
    return Picture(
        svg,
        alt="The divergence of each column with two standard errors; columns that moved are coloured.",
        caption="Bars are two standard errors; the divergence of a bound may be larger. In colour: columns that moved.",
    )


def _over_time(report: DriftReport) -> Section:
    rows = tuple(
        (p.name, f"{p.rows:,}", f"{p.statistic:.3f}", f"{p.limit:.3f}", p_text(p.p_value), p.column if p.alarm else "")
        for p in report.series
    )
    alarms = sum(period.alarm for period in report.series)
    return Section(
        key="over-time",
        title="Over time",
        lead=f"{alarms or 'None'} of {len(rows):,} periods {'is' if alarms == 1 else 'are'} beyond the control limit.",
        code="",
        pictures=(_control_chart(report),),
        tables=(Table(("period", "rows", "statistic", "limit", "p", "most"), rows, pictured=True),),
    )


def _control_chart(report: DriftReport) -> Picture:
    statistic = np.array([period.statistic for period in report.series])
    limit = np.array([period.limit for period in report.series])
    alarm = np.array([period.alarm for period in report.series])
    at = np.arange(len(statistic))
    with drawing(8.2, 2.6) as figure:
        axes = figure.subplots()
        axes.step(at, limit, where="mid", color=SOFT, linewidth=1.0)
        axes.plot(at, statistic, color=FORWARD, linewidth=1.2)
        axes.plot(at[~alarm], statistic[~alarm], "o", color=FORWARD, markersize=4)
        axes.plot(at[alarm], statistic[alarm], "o", color=REVERSE, markersize=6)
        shown = np.unique(np.linspace(0, len(at) - 1, min(len(at), 7)).round().astype(int))
        axes.set_xticks(shown, [report.series[i].name for i in shown])
        axes.set_ylim(0, None)
        label(axes, at[-1], float(limit[-1]), " limit", SOFT, va="bottom", ha="right")
        axes.set_title("The distance of each period from the reference")
        svg = as_svg(figure, "control-chart")
    return Picture(svg, alt="The statistic of each period with its control limit; alarms are marked.")


def _column(at: int, column: ColumnDrift, report: DriftReport) -> Section:
    moved = column.name in report.moved
    words = column.words if moved else f"No change was found (adjusted p = {p_text(column.adjusted_p)})."
    largest = [region for region in column.profile.largest() if region.part > 0]
    rows = tuple(
        (region.label, percent(region.reference), percent(region.current), f"{region.part:.4f}") for region in largest
    )
    notes = [f"Read as {column.read_as}."]
    if column.of_sample:
        notes.append(f"Of random rows: {', '.join(column.of_sample)}; the rest is of all rows.")
    for unseen, where in ((column.profile.new, "current"), (column.profile.gone, "reference")):
        if unseen is not None and unseen.count:
            values = f"{unseen.count:,} value{'s' if unseen.count > 1 else ''}"
            notes.append(f"{values} in the {where} table alone, {percent(unseen.share)} of its rows.")
    return Section(
        key=f"column-{at + 1}",
        title=column.name or "(no name)",
        lead=f"{words[0].upper()}{words[1:]}".rstrip(".") + ".",
        code="",
        pictures=(_sides(column, f"column-{at + 1}"),),
        tables=(Table(("where they differ most", "reference", "current", "part of KL, nats"), rows, pictured=True),)
        if rows
        else (),
        note=" ".join(notes),
    )


def _sides(column: ColumnDrift, name: str) -> Picture:
    """Densities of a measured column or bars of a table, both sides, over the log ratio."""
    measured = column.read_as in ("measured", "times", "durations")
    regions = (
        [region for region in column.profile.regions if math.isfinite(region.high + region.low)] if measured else []
    )
    if len(regions) >= 3:
        return _densities(column, regions, name)
    return _bars(sorted(column.profile.regions[:MOST_BARS], key=lambda region: -region.part), name)


def _densities(column: ColumnDrift, regions: Sequence[Region], name: str) -> Picture:
    edges = np.array([regions[0].low, *(region.high for region in regions)])
    unit = float(np.abs(edges).max())
    drawable = 1e-200 < unit < 1e200  # axes beyond overflow
    edges = edges if drawable else edges / unit
    widths = np.diff(edges)
    p, q = (np.array([getattr(r, side) for r in regions]) for side in ("reference", "current"))
    with drawing(8.2, 3.1) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        for share, colour, text, line in ((p, SOFT, "reference", 1.2), (q, FORWARD, "current", 1.08)):
            upper.stairs(share / widths * widths.max(), edges, color=colour, linewidth=1.6, fill=False)
            label(upper, 1.0, line, text, colour, va="top", ha="right", transform=upper.transAxes)
        bare_y(upper)
        _log_ratios(lower, edges[:-1] + widths / 2, p, q, widths)
        if column.read_as == "times":
            ticks = np.linspace(edges[0], edges[-1], 6)
            lower.set_xticks(ticks, [str(np.datetime64(int(t), "s").astype("datetime64[D]")) for t in ticks])
        if not drawable:
            lower.set_xlabel(f"in units of {unit:.5g}")
        lower.set_title("log P/Q, nats")
        svg = as_svg(figure, name)
    return Picture(
        svg,
        alt=f"The densities of {column.name} in both tables, and the log of their ratio.",
        caption="Without the outer twentieths, which have no ends; log P/Q is left out where a side has no rows.",
    )


def _log_ratios(axes: Axes, at: np.ndarray, p: np.ndarray, q: np.ndarray, widths: np.ndarray | float) -> None:
    both = (p > 0) & (q > 0)
    ratio = np.zeros(len(p))
    ratio[both] = np.log(p[both] / q[both])
    axes.bar(at, ratio, width=widths, color=np.where(ratio > 0, SOFT, FORWARD).tolist(), alpha=0.55)
    axes.axhline(0.0, color=EDGE, linewidth=0.8)
    if not both.any():
        axes.set_yticks([])
        label(axes, 0.5, 0.6, "no region has rows of both", SOFT, ha="center", transform=axes.transAxes)


def _bars(regions: Sequence[Region], name: str) -> Picture:
    """Shares of values on both sides, those with the largest part of the divergence first."""
    at = np.arange(len(regions))[::-1]
    with drawing(8.2, 0.8 + 0.36 * len(regions)) as figure:
        axes = figure.subplots()
        for offset, side, colour in ((0.18, "reference", SOFT), (-0.18, "current", FORWARD)):
            shares = [getattr(region, side) for region in regions]
            axes.barh(at + offset, shares, height=0.34, color=colour)
            label(axes, shares[0], at[0] + offset, f" {side}", colour, va="center")
        axes.set_yticks(at, [f"{region.label:.28}" for region in regions], color=INK)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_formatter(lambda value, _: percent(value))
        svg = as_svg(figure, name)
    return Picture(svg, alt="The shares of each value in the reference and in the current table.")


def _remarks(report: DriftReport) -> Section:
    estimates = [report.joint.kl, report.joint.reverse_kl]
    reasons = dict.fromkeys(reason for each in estimates for reason in each.reason.split("; ") if reason)
    lines = [*report.notes, *(f"all together: {reason}" for reason in reasons)]
    left = len(report.columns) - MOST_PICTURED
    lines += [f"{left:,} more columns are in the table and have no picture"] if left > 0 else []
    text = "\n\n".join(f"{line[0].upper()}{line[1:]}".rstrip(".") + "." for line in lines)
    return Section(key="remarks", title="How it was read, and remarks", lead=text, code="")
