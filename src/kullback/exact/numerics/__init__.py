"""The functions that stable forms are made of: each keeps its relative accuracy where plain differences lose it."""
