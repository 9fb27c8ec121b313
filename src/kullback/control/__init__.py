"""Environments, and the rules for `Optimal`, over the core."""
