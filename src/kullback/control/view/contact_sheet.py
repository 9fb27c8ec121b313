"""Frames of an episode side by side, in a picture or in text; and one after the other, in an animation."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

Frame = UInt8[np.ndarray, "height width 3"]
FRAMES = 8
CELL = 300  # pixels: the width of a frame in a strip
GAP, MARGIN, LINE = 18, 24, 30
TALLEST = 450  # pixels: the height of a frame in a strip
WIDEST = 480  # pixels: of an animation
LAST = 1000  # milliseconds for which an animation shows its last frame
INK, SOFT, EDGE, PAPER = "#1d2229", "#69717c", "#d3d8de", "#fefefd"
COLUMNS = 80  # characters
_ACTION = re.compile(r"\s*\(\w+\)\s*$")  # the last action's name, which some frames have and others lack


def picture_strip(name: str, shots: Sequence[tuple[int, Frame]], total: float) -> bytes:
    """A PNG of eight frames evenly spaced over an episode, in two rows, with the step below each.

    name   of the environment, for the line above, which has the return `total` too
    shots  steps and frames, the first and the last among them
    """
    chosen = _spread(shots)
    height, width = chosen[0][1].shape[:2]
    scale = min(CELL / width, TALLEST / height)
    cell = round(scale * width), round(scale * height)
    columns = len(chosen) if len(chosen) <= FRAMES // 2 else -(-len(chosen) // 2)
    rows = -(-len(chosen) // columns)
    size = (
        2 * MARGIN + columns * cell[0] + (columns - 1) * GAP,
        2 * MARGIN + LINE + rows * (cell[1] + LINE) + (rows - 1) * GAP // 2,
    )
    page = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, MARGIN - 6), name, INK, _font(19, bold=True))
    beside = MARGIN + draw.textlength(f"{name}   ", _font(19, bold=True))
    draw.text((beside, MARGIN - 4), f"return {total:.6g} in {_steps(shots[-1][0])}", SOFT, _font(17))
    for i, (step, frame) in enumerate(chosen):
        x = MARGIN + i % columns * (cell[0] + GAP)
        y = MARGIN + LINE + i // columns * (cell[1] + LINE + GAP // 2)
        page.paste(_resized(frame, cell), (x, y))
        draw.rectangle((x - 1, y - 1, x + cell[0], y + cell[1]), outline=EDGE)
        draw.text((x + cell[0] / 2, y + cell[1] + LINE / 2), f"step {step:,}", SOFT, _font(16), anchor="mm")
    return _saved(page, "PNG", optimize=True)


def text_strip(name: str, shots: Sequence[tuple[int, str]], total: float) -> bytes:
    """Eight frames of text evenly spaced over an episode, side by side as far as 80 columns go, in UTF-8.

    What a frame sets off by a coloured background is an @: where the agent is. Names of actions are left out.
    """
    blocks = []
    for step, text in _spread(shots):
        lines = [line.rstrip() for line in _plain(text).splitlines() if line.strip() and not _ACTION.match(line)]
        width = max(map(len, [*lines, f"step {step:,}"]))
        blocks.append([line.ljust(width) for line in [*lines, f"step {step:,}"]])
    tall = max(map(len, blocks))
    blocks = [[*block[:-1], *[" " * len(block[0])] * (tall - len(block)), block[-1]] for block in blocks]
    rows: list[list[list[str]]] = [[]]
    for block in blocks:
        if rows[-1] and sum(len(other[0]) + 3 for other in rows[-1]) + len(block[0]) > COLUMNS:
            rows.append([])
        rows[-1].append(block)
    parts = ["\n".join("   ".join(lines).rstrip() for lines in zip(*row, strict=True)) for row in rows]
    return ("\n\n".join([f"{name}: return {total:.6g} in {_steps(shots[-1][0])}", *parts]) + "\n").encode()


def animation(pictures: Iterable[Frame], rate: float) -> bytes:
    """A GIF of frames at `rate` a second, which goes on for ever; the last frame stays for a second."""
    images = []
    for picture in pictures:
        height, width = picture.shape[:2]
        scale = min(1.0, WIDEST / width)
        images.append(_resized(picture, (round(scale * width), round(scale * height))))
    palette = _palette(images)
    indexed = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    each = max(2, round(100.0 / rate)) * 10  # GIFs count in hundredths of a second
    durations = [each] * (len(indexed) - 1) + [LAST]
    return _saved(
        indexed[0], "GIF", save_all=True, append_images=indexed[1:], duration=durations, loop=0, optimize=False
    )


def _spread(shots: Sequence[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Of all shots those nearest to eight evenly spaced steps, the first and the last among them."""
    steps = np.array([step for step, _ in shots])
    wanted = np.linspace(steps[0], steps[-1], FRAMES)
    index = np.unique(np.abs(steps[None, :] - wanted[:, None]).argmin(1))
    return [shots[i] for i in index]


def _palette(images: Sequence[Image.Image]) -> Image.Image:
    """One palette for all frames, so that nothing flickers: that of a few of them side by side."""
    few = [images[i] for i in np.unique(np.linspace(0, len(images) - 1, FRAMES).round().astype(int))]
    sheet = Image.new("RGB", (few[0].width * len(few), few[0].height))
    for i, image in enumerate(few):
        sheet.paste(image, (i * image.width, 0))
    return sheet.quantize(255, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)


def _resized(frame: Frame, size: tuple[int, int]) -> Image.Image:
    image = Image.fromarray(np.ascontiguousarray(frame, np.uint8))
    larger = size[0] > image.width
    return (
        image
        if size == image.size
        else image.resize(size, Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS)
    )


def _font(size: int, bold: bool = False) -> Any:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"  # they ship with Matplotlib
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name, size)


def _steps(n: int) -> str:
    return f"{n:,} step{'' if n == 1 else 's'}"


def _plain(text: str) -> str:
    text = re.sub(r"\x1b\[(?:\d+;)*4[0-7](?:;\d+)*m.\x1b\[0m", "@", text)
    return re.sub(r"\x1b\[[\d;]*m", "", text)


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()
