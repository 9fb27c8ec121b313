"""What a policy does, to look at: an animation or a strip of frames of one episode."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from kullback.control.agent import Agent
from kullback.control.envs.spec import make, name_of
from kullback.errors import FileError, InputError
from kullback.runtime.files import write_atomically

STEPS = 1000
SHOTS = 64  # at least half as many are kept of an episode of unknown length, evenly spaced
USUAL_RATE = 30.0  # frames a second, of an environment that states none
GIF_RATE = 25.0  # frames a second: programs that show GIFs slow down what is much faster


@dataclass(frozen=True)
class Shot:
    """What is seen after so many steps (an RGB array [height, width, 3], or text), and the return so far."""

    step: int
    picture: Any
    total: float


def frames(env: Any, agent: Agent, steps: int = STEPS, seed: int = 0, greedy: bool = True) -> list[np.ndarray]:
    """RGB arrays [height, width, 3] of one episode: its first observation, and what follows each step.

    env     an id, or an environment made with `render_mode="rgb_array"`
    steps   the most of them
    seed    of the environment's reset
    greedy  play what is most probable, and not a draw

    Raises `InputError` for an environment that cannot be rendered.
    """
    with _rendering(env, "rgb_array") as rendered:
        return [shot.picture for shot in _episode(rendered, agent, steps, seed, greedy)]


def film(
    path: str | os.PathLike[str], env: Any, agent: Agent, steps: int = STEPS, seed: int = 0, greedy: bool = True
) -> Path:
    """Play one episode and write it to `path`, by its suffix; returns the path.

    .gif  an animation in the environment's own time; .mp4 likewise, where there is ffmpeg or imageio-ffmpeg
    .png  a strip of eight frames, evenly spaced over the episode, with the step below each
    .txt  a strip of text, of environments that render it (`render_mode="ansi"`)

    The other arguments are those of `frames`. The file is written aside and then renamed. Raises `InputError` for
    another suffix and for an environment that cannot be rendered, `FileError` for a place that cannot be written.
    """
    target, kind = Path(path), _kind(path)
    with _rendering(env, kind.mode) as rendered:
        content = kind.write(rendered, _episode(rendered, agent, steps, seed, greedy))
    write_atomically(target, content)
    return target


def check_film(path: str | os.PathLike[str], env: Any) -> None:
    """Raise what `film` would: before a training, and not after it. One frame is rendered."""
    kind = _kind(path)
    with _rendering(env, kind.mode) as rendered:
        rendered.reset(seed=0)
        _render(rendered)


def _episode(env: gym.Env[Any, Any], agent: Agent, steps: int, seed: int, greedy: bool) -> Iterator[Shot]:
    """One shot before each step and one at the end."""
    observation, info = env.reset(seed=seed)
    total, step = 0.0, 0
    yield Shot(0, _render(env), total)
    while step < steps:
        time = {"time": step} if agent.horizon is not None else {}
        mask = info.get("action_mask") if isinstance(info, dict) else None
        action = agent(observation, greedy=greedy, mask=mask, **time)
        observation, reward, terminated, truncated, info = env.step(action)
        total, step = total + float(reward), step + 1
        yield Shot(step, _render(env), total)
        if terminated or truncated or step == agent.horizon:
            return


def _render(env: gym.Env[Any, Any]) -> Any:
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pygame greets
            picture = env.render()
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        raise _cannot(env, str(error)) from error
    if isinstance(picture, str) or (isinstance(picture, np.ndarray) and picture.ndim == 3 and picture.shape[-1] == 3):
        return picture
    raise _cannot(env, f"it renders {type(picture).__name__}, and an RGB array or text is needed")


@contextmanager
def _rendering(env: gym.Env[Any, Any], mode: str) -> Iterator[Any]:
    """The environment with this render mode: made from an id, or as it was made by the caller."""
    if isinstance(env, str):
        with contextlib.closing(make(env)) as plain:
            _require(plain, mode)
        try:
            made = gym.make(env, render_mode=mode)
        except (gym.error.Error, ImportError, TypeError) as error:
            raise InputError(f"env: {env} cannot be rendered ({error})") from error
        with contextlib.closing(made):
            yield made
        return
    if not isinstance(env, gym.Env):
        raise InputError(
            f"env: {type(env).__name__} cannot be rendered; pass an id, or a Gymnasium environment made "
            f'with render_mode="{mode}"'
        )
    _require(env, mode)
    if env.render_mode != mode:
        raise InputError(
            f"env: {name_of(env)} was made with render_mode={env.render_mode!r}; pass its id, or one made "
            f'with render_mode="{mode}"'
        )
    yield env


def _require(env: gym.Env[Any, Any], mode: str) -> None:
    modes = env.metadata.get("render_modes") or []
    if mode in modes:
        return
    if "ansi" in modes:
        raise _cannot(env, "it renders text only; a .txt file holds that")
    raise _cannot(env, f"it renders no {'text' if mode == 'ansi' else 'pictures'}")


def _cannot(env: gym.Env[Any, Any], why: str) -> InputError:
    return InputError(f"env: {name_of(env)} cannot be rendered so: {why}")


@dataclass(frozen=True)
class _Kind:
    """A kind of film: how the environment is to render, and what makes bytes of a played episode."""

    mode: str
    write: Callable[[Any, Iterator[Shot]], bytes]


def _kind(path: str | os.PathLike[str]) -> _Kind:
    suffix = Path(path).suffix.lower()
    if suffix == ".mp4" and _ffmpeg() is None:
        raise InputError(f"path: {path} needs ffmpeg, which is not there; pip install imageio-ffmpeg, or write a .gif")
    if suffix not in _KINDS:
        raise InputError(f"path: {path} ends in none of {', '.join(_KINDS)}; .gif moves, and .png is a strip of frames")
    return _KINDS[suffix]


def _strip(env: gym.Env[Any, Any], shots: Iterator[Shot], kind: str) -> bytes:
    from kullback.control.view import contact_sheet as strips  # which loads Matplotlib

    kept, every = [], 1
    last = None
    for shot in shots:
        last = shot
        if shot.step % every == 0:
            kept.append(shot)
        if len(kept) > SHOTS:
            kept, every = kept[::2], 2 * every
    assert last is not None
    if kept[-1] is not last:
        kept.append(last)
    draw = {"picture": strips.picture_strip, "text": strips.text_strip}[kind]
    return draw(name_of(env), [(shot.step, shot.picture) for shot in kept], last.total)


def _gif(env: gym.Env[Any, Any], shots: Iterator[Shot]) -> bytes:
    from kullback.control.view.contact_sheet import animation

    rate = _rate(env)
    every = max(1, int(np.ceil(rate / GIF_RATE)))
    return animation((shot.picture for shot in shots if shot.step % every == 0), rate / every)


def _mp4(env: gym.Env[Any, Any], shots: Iterator[Shot]) -> bytes:
    first = next(shots).picture
    height, width, _ = first.shape
    program = _ffmpeg()
    assert program is not None
    # H.264 wants even sizes; a file that is written to a pipe has its index in fragments.
    command = [program, "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}",
               "-r", f"{_rate(env):g}", "-i", "-", "-an", "-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-c:v", "libx264",
               "-pix_fmt", "yuv420p", "-movflags", "frag_keyframe+empty_moov", "-f", "mp4", "-"]  # fmt: skip
    raw = b"".join([first.tobytes(), *(shot.picture.tobytes() for shot in shots)])
    done = subprocess.run(command, input=raw, capture_output=True, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise FileError(f"path: ffmpeg could not write it ({said[-1] if said else done.returncode}); write a .gif")
    return done.stdout


def _rate(env: gym.Env[Any, Any]) -> float:
    return float(env.metadata.get("render_fps") or USUAL_RATE)


def _ffmpeg() -> str | None:
    try:
        from imageio_ffmpeg import get_ffmpeg_exe  # type: ignore[import-not-found]

        return get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        return shutil.which("ffmpeg")


_KINDS = {
    ".gif": _Kind("rgb_array", _gif),
    ".png": _Kind("rgb_array", lambda env, shots: _strip(env, shots, "picture")),
    ".mp4": _Kind("rgb_array", _mp4),
    ".txt": _Kind("ansi", lambda env, shots: _strip(env, shots, "text")),
}
