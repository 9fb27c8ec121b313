"""Drift: two tables compared, with exact tests, divergences both ways, and what moved in words."""

from kullback.drifting.compare import drift
from kullback.drifting.records import ColumnDrift, JointDrift
from kullback.drifting.report import DriftReport

__all__ = ["ColumnDrift", "DriftReport", "JointDrift", "drift"]
