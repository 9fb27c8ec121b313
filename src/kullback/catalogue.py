"""The rules, one ordered readable list; public as `kl.rules`. Nothing registers itself by being imported."""

from __future__ import annotations

from kullback.rule import Applies, Missing, Request, Rule

DEFAULT_RULES: tuple[Rule, ...] = ()

__all__ = ["DEFAULT_RULES", "Applies", "Missing", "Request", "Rule"]
