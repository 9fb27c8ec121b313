"""Pairs of unlike families, from two short tables."""
