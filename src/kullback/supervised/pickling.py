"""A fit as plain values that pickle and skops take: numbers, arrays and the structure, without the plan, which holds
functions, and with statuses by their names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from enum import Enum
from typing import Any

from kullback.result import Estimate, Fit


def plain(answer: Fit | Estimate) -> dict[str, Any]:
    """The fields of a fit or an estimate, without its plan."""
    kept = (field.name for field in fields(answer) if field.name != "plan")
    return {"kind": type(answer), **{name: _plain_value(getattr(answer, name)) for name in kept}}


def restored(state: Mapping[str, Any]) -> Any:
    """What `plain` took apart."""
    return state["kind"](**{name: _restored_value(value) for name, value in state.items() if name != "kind"})


def _plain_value(value: Any) -> Any:
    if isinstance(value, Fit | Estimate):
        return plain(value)
    if isinstance(value, Enum):
        return {"kind": type(value), "name": value.name}
    if isinstance(value, Mapping):
        return {name: _plain_value(item) for name, item in value.items()}
    return tuple(_plain_value(item) for item in value) if isinstance(value, tuple) else value


def _restored_value(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("kind") in (Fit, Estimate):
            return restored(value)
        if isinstance(kind := value.get("kind"), type) and issubclass(kind, Enum):
            return kind[value["name"]]
        return {name: _restored_value(item) for name, item in value.items()}
    return tuple(_restored_value(item) for item in value) if isinstance(value, tuple) else value
