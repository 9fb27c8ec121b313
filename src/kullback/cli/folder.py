"""The folder of one training: its settings, checkpoint, metrics and results."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kullback.errors import FileError, InputError
from kullback.runtime.files import read_spec, write_atomically
from kullback.runtime.loggers import CSVLogger, JSONLLogger, Logger, Several, TensorBoardLogger

SETTINGS = "run.json"
_OURS = "kullback"  # the entry of the settings that names the files a training wrote
_EARLY = {
    "env",
    "temperature",
    "discount",
    "horizon",
    "seed",
}  # the settings in files of earlier versions


def name_for(env: str) -> str:
    """A folder's name for an environment's id: "phys2d/CartPole-v1" is phys2d-cartpole-v1."""
    return re.sub(r"[^a-z0-9._-]+", "-", env.lower()).strip("-.") or "run"


@dataclass(frozen=True)
class Folder:
    """Where the files of one training are, with TensorBoard's events if asked for.

    Raises `InputError` where tensorboardX, which writes the events, is not installed.
    """

    path: Path
    with_tensorboard: bool = False

    def __post_init__(self) -> None:
        if self.with_tensorboard:
            TensorBoardLogger(self.tensorboard)  # raises where tensorboardX is missing, and writes nothing yet

    @property
    def policy(self) -> Path:
        return self.path / "policy.safetensors"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint"

    @property
    def metrics(self) -> tuple[Path, Path]:
        return self.path / "metrics.csv", self.path / "metrics.jsonl"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    def open(self, settings: Mapping[str, Any], films: Iterable[str] = ()) -> int:
        """Make the folder, or go on with what it holds; returns the steps of the checkpoint, 0 without one.

        films  names of what else will be written to it

        Only files that an earlier training says it wrote there are replaced. Metrics without a checkpoint are of a
        training that cannot go on, and are removed. Raises `InputError` where the checkpoint is of other settings,
        which it names, and `FileError` where the folder cannot be written or holds files of something else.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(f"out: {self.path} cannot be made ({error.strerror}); pass another --out") from error
        usual = [path.name for path in (self.policy, self.checkpoint, *self.metrics, self.tensorboard)]
        before = self._before([*usual, *films])
        done = 0
        if self.checkpoint.exists():
            self._same(settings)
            done = steps_of(self.checkpoint)
        else:
            for file in (*self.metrics, *self.tensorboard.glob("*tfevents*")):
                file.unlink(missing_ok=True)
        self._write(settings, {*usual, *films, *before})
        return done

    def close(self, settings: Mapping[str, Any], films: Iterable[str] = ()) -> None:
        """Note which files there are of those that a training wrote."""
        written = {*_written(settings_of(self.path)), *films}
        self._write(settings, {name for name in written if (self.path / name).exists()})

    def _before(self, names: Iterable[str]) -> set[str]:
        """The files of an earlier training; raises `FileError` where one of these names is something else's."""
        place, found = self.path / SETTINGS, settings_of(self.path)
        if place.exists() and not (_OURS in found or found.keys() >= _EARLY):
            raise FileError(f"out: {place} is not of a training of this command; pass another --out")
        listed = set(_written(found) if _OURS in found or not found else names)
        if others := [name for name in names if name not in listed and (self.path / name).exists()]:
            raise FileError(
                f"out: {self.path} holds {', '.join(others)}, which no training of this command wrote there; pass "
                "another --out, or move what is there"
            )
        return {name for name in listed if (self.path / name).exists()}

    def logger(self) -> Several:
        """Loggers of CSV and JSON lines, and of TensorBoard's events."""
        table, lines = self.metrics
        loggers: list[Logger] = [CSVLogger(table), JSONLLogger(lines)]
        return Several([*loggers, TensorBoardLogger(self.tensorboard)] if self.with_tensorboard else loggers)

    def files(self) -> list[str]:
        """The names of the files in it that a training writes."""
        names = [self.policy, self.checkpoint, *self.metrics, self.tensorboard]
        return [path.name for path in names if path.exists()]

    def _same(self, settings: Mapping[str, Any]) -> None:
        for name, before in settings_of(self.path).items():
            if name in settings and settings[name] != before:
                raise InputError(
                    f"out: {self.path} holds a training with {_option(name, before)} and not "
                    f"{_option(name, settings[name])}; pass another --out, or remove it"
                )

    def _write(self, settings: Mapping[str, Any], files: Iterable[str]) -> None:
        text = json.dumps({**settings, _OURS: {"files": sorted(files)}}, indent=2) + "\n"
        write_atomically(self.path / SETTINGS, text.encode(), argument="out")


def settings_of(folder: Path) -> dict[str, Any]:
    """The settings of the training in a folder; empty where there are none."""
    try:
        found = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _written(settings: Mapping[str, Any]) -> list[str]:
    """The names of the files that a training wrote, by its settings."""
    about = settings.get(_OURS)
    names = about.get("files", ()) if isinstance(about, dict) else ()
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def steps_of(checkpoint: Path) -> int:
    """The environment steps made before a checkpoint was written."""
    history = read_spec(checkpoint).get("history") or [{}]
    return int(history[-1].get("step", 0))


def _option(name: str, value: object) -> str:
    if value is None or value == []:
        return f"no --{name}"
    return f"--{name} {' '.join(map(str, value)) if isinstance(value, list) else value}"
