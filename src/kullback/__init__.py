"""KL divergence, estimated and minimised."""

__version__ = "0.1.0"
