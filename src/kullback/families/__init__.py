"""Sides that can be fitted."""
