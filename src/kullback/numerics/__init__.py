"""Functions that keep their relative accuracy where plain differences lose it."""
