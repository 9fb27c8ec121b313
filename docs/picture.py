"""Draws the README's picture, docs/two-directions.svg: `python docs/picture.py`."""

import re
from pathlib import Path

from kullback.report.sections.two_peaks import two_peaks
from kullback.report.style import PAPER

HALO = ".halo text { paint-order: stroke; stroke: %s; stroke-width: 2.5px; stroke-linejoin: round; }" % PAPER  # noqa: UP031


def standalone(svg: str, margin: float = 14.0) -> str:
    """A page's figure as a file of its own: colours instead of the page's variables, a light ground, and a margin."""
    svg = re.sub(r"var\(--\w+, (#\w+)\)", r"\1", svg)
    width, height = (float(size) for size in re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups())
    box = f"{-margin} {-margin} {width + 2 * margin} {height + 2 * margin}"
    ground = f'<rect x="{-margin}" y="{-margin}" width="100%" height="100%" rx="6" fill="{PAPER}"/>'
    svg = re.sub(r'viewBox="[^"]+"', f'viewBox="{box}"', svg, count=1)
    return re.sub(r"(<svg[^>]*>)", rf"\1<style>{HALO}</style>{ground}", svg, count=1) + "\n"


if __name__ == "__main__":
    target = Path(__file__).with_name("two-directions.svg")
    target.write_text(standalone(two_peaks(grid=5).pictures[0].svg), encoding="utf-8")
    print(target)
