"""Rules that return a `Fit`, and the one driver that runs every iterative rule."""
