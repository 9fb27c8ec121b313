"""Pairs of unlike families without a form of their own in `closed_forms/`, from two short tables: expectations under P,
and the statistics in which log q is linear."""
