"""Environments that are known as a table: exact dynamic programming."""
