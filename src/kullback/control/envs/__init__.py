"""Environments that can be played: what their spaces mean, and the ways to step them.

`adaptors.KINDS` lists the kinds.
"""
