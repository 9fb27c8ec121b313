"""Bayesian inference by name: posteriors of NumPyro models, fitted in either direction, with what the fit is worth."""

from kullback.inference.laplace import Laplace
from kullback.inference.low_rank import LowRank

__all__ = ["Laplace", "LowRank"]
