"""The random numbers of a comparison: one stream for each use, so that none depends on what else was computed."""

import enum


class Stream(enum.IntEnum):
    """Streams of `Request.host_rng`."""

    FEATURES = 40
    PERMUTATIONS = 41
    SCORES = 42
    RELATIONS = 43
    ORDERS = 44
    SERIES = 45
    ROWS = 46
    ENGINE = 47
