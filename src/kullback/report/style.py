"""One look for every picture: thin lines, few marks, direct labels, and colours that follow the page's theme."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Roles, and their colours on a light page. The hues are those of Okabe and Ito (2008), distinct for every kind of
# colour vision; in a page they become variables, so that a dark theme can brighten them.
COLOURS = {
    "ink": "#1d2229",
    "soft": "#69717c",
    "line": "#d3d8de",
    "fill": "#e1e5ea",
    "edge": "#99a2ad",
    "paper": "#fefefd",
    "forward": "#0072b2",
    "reverse": "#d55e01",
    "third": "#009e74",
}
INK, SOFT, LINE, FILL, EDGE, PAPER, FORWARD, REVERSE, THIRD = COLOURS.values()

FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with Matplotlib: widths are measured with it, and the page's font drawn
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 9.0,
    "axes.labelsize": 9.5,
    "axes.labelcolor": SOFT,
    "axes.titlecolor": INK,
    "axes.edgecolor": EDGE,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "text.color": INK,
    "xtick.color": EDGE,
    "ytick.color": EDGE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "svg.fonttype": "none",
}


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """A figure of `width` × `height` inches in the house style, drawn without a display or any global state."""
    with mpl.rc_context(_RC):  # type: ignore[arg-type]
        figure = Figure(figsize=(width, height), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.06, wspace=0.04)  # type: ignore[union-attr, call-arg]
        yield figure


def as_svg(figure: Figure, name: str) -> str:
    """The figure as one <svg> element, the same in every run; call it inside `drawing`.

    Identifiers are salted by `name`, so that several figures share a page; colours of a role become
    `var(--role, colour)`.
    """
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="halo[^"]*"', '<g class="halo"', text)
    used = set(re.findall(r"#([\w.]+)[\")]", text))
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    text = re.sub(r'(<svg[^>]*?) width="[\d.]+pt"', r"\1", re.sub(r'(<svg[^>]*?) height="[\d.]+pt"', r"\1", text))
    text = text.replace("'DejaVu Sans', sans-serif", FONTS)
    text = re.sub(r' d="[^"]+"', lambda path: re.sub(r"(\.\d\d)\d+", r"\1", path[0]), text)
    for role, colour in COLOURS.items():
        text = text.replace(f": {colour}", f": var(--{role}, {colour})")
    return text.strip()


def alone(svg: str, alt: str) -> str:
    """An <svg> of `as_svg` to be used without a page: with a size, a background, colours, halos and a text instead."""
    width, height = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)[0]
    svg = re.sub(r"var\(--\w+, (#[0-9a-f]{6})\)", r"\1", svg)
    head, _, rest = svg.partition(">")
    halo = f".halo text {{ paint-order: stroke; stroke: {PAPER}; stroke-width: 2.5px; stroke-linejoin: round; }}"
    halo = f"text {{ white-space: pre; }} {halo}"
    return (
        f'{head} width="{width}pt" height="{height}pt" role="img">\n <title>{escape(alt)}</title>\n'
        f' <style>{halo}</style>\n <rect width="100%" height="100%" fill="{PAPER}"/>{rest}\n'
    )


def apart(heights: list[float], gap: float) -> list[float]:
    """Heights of labels, increasing, moved until neighbours are at least `gap` apart; their mean does not change."""
    moved = list(heights)
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    shift = sum(a - b for a, b in zip(moved, heights, strict=True)) / len(heights)
    return [height - shift for height in moved]


def bare_y(axes: Axes) -> None:
    """Remove a vertical axis whose numbers are not needed (a density's height)."""
    axes.spines["left"].set_visible(False)
    axes.set_yticks([])


def label(axes: Axes, x: float, y: float, text: str, colour: str, **settings: object) -> None:
    """A direct label beside what it names, instead of a legend."""
    axes.text(x, y, text, color=colour, fontsize=9.0, gid="halo", **settings)  # type: ignore[arg-type]
