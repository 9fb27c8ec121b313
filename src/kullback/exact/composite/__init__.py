"""Distributions made of others: what is exact of the whole, from its parts."""
