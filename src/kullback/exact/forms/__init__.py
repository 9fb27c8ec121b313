"""The exact forms, one file for each kind of distribution.

A file gives `KL`, from pairs of kinds to forms, and `ENTROPY`, from kinds to forms: functions of the distributions
alone, which are compiled. Where a form exists only under a condition on parameters, or needs a number of terms that is
known before compiling, the file gives in `BUILD_KL` and `BUILD_ENTROPY` a function that returns the form ready to be
called, or None.
"""

from kullback.exact.forms import (
    beta,
    categorical,
    chain,
    circular,
    compound,
    count_pairs,
    counts,
    delta,
    folded,
    gamma,
    generalized_gamma,
    inflated,
    kumaraswamy,
    laplace,
    lkj,
    location,
    matrix,
    multivariate,
    multivariate_student,
    normal,
    ordinal,
    power_law,
    shared,
    student,
    truncated,
    unit_interval,
    walk,
    wishart,
)

FILES = (
    normal,
    multivariate,
    gamma,
    beta,
    categorical,
    ordinal,
    counts,
    count_pairs,
    compound,
    inflated,
    location,
    laplace,
    shared,
    folded,
    student,
    generalized_gamma,
    power_law,
    kumaraswamy,
    unit_interval,
    circular,
    truncated,
    chain,
    delta,
    lkj,
    matrix,
    multivariate_student,
    walk,
    wishart,
)
