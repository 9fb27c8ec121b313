"""Match a list of rules with what is known of two sides, and say so in words."""

from kullback.plan.plan import Plan, make_plan

__all__ = ["Plan", "make_plan"]
