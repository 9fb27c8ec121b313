"""Exact rules: closed forms and exact sums."""
