"""Rules that return an `Estimate`."""
