"""What lies between a made Gymnasium environment and the environment itself."""

from __future__ import annotations

from typing import Any

from kullback.control.tabular.environment import is_harmless, layers, time_limit

__all__ = ["is_bare", "threshold_of", "time_limit"]


def is_bare(env: Any) -> bool:
    """Whether every wrapper around it is one of Gymnasium's own that only watches or limits time."""
    return all(map(is_harmless, layers(env)))


def threshold_of(env: Any) -> float | None:
    """The return at which its authors call it solved, or None."""
    given = env.spec.reward_threshold if getattr(env, "spec", None) is not None else None
    return None if given is None else float(given)
