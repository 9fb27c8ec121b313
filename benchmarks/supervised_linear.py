"""Linear problems have one solution: the largest difference of our coefficients from scikit-learn's.

Coefficients are of standardised inputs, where a prior of standard deviation s on every weight is scikit-learn's penalty
with C = s² for three labels or more. With two, scikit-learn penalises the difference of the labels' weights, we the
weights, so C = 2s². Coefficients of labels are compared up to the constant that labels may share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks import one_thread

Pair = tuple[str, Any, Any]


def regression() -> Pair:
    from sklearn.linear_model import LinearRegression

    import kullback as kl

    return "diabetes", LinearRegression(), kl.KLRegressor("normal", "linear", fixed={"scale": 1.0}, prior_scale=None)


def many_labels() -> Pair:
    from sklearn.linear_model import LogisticRegression

    import kullback as kl

    return "digits", LogisticRegression(C=1.0, tol=1e-10, max_iter=100_000), kl.KLClassifier("linear", prior_scale=1.0)


def two_labels() -> Pair:
    from sklearn.linear_model import LogisticRegression

    import kullback as kl

    theirs = LogisticRegression(C=2.0, tol=1e-10, max_iter=100_000)
    return "breast cancer", theirs, kl.KLClassifier("linear", prior_scale=1.0)


def no_penalty() -> Pair:
    from sklearn.linear_model import LogisticRegression

    import kullback as kl

    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=100_000)
    return "100,000 × 50, classes", theirs, kl.KLClassifier("linear", prior_scale=None)


def counts() -> Pair:
    from sklearn.linear_model import PoissonRegressor

    import kullback as kl

    theirs = PoissonRegressor(alpha=0.0, solver="newton-cholesky", tol=1e-12, max_iter=1_000)
    return "doctor visits", theirs, kl.KLRegressor("poisson", "linear", prior_scale=None)


PROBLEMS: dict[str, Callable[[], Pair]] = {
    "LinearRegression": regression,
    "LogisticRegression, 10 labels, C = 1": many_labels,
    "LogisticRegression, 2 labels, C = 2": two_labels,
    "LogisticRegression, no penalty": no_penalty,
    "PoissonRegressor, no penalty": counts,
}


def difference(problem: str) -> tuple[str, float, float, float]:
    """In the pinned process: the set, the largest differences of slopes and intercepts, and the largest slope."""
    from sklearn.preprocessing import StandardScaler

    from benchmarks.data import load

    name, theirs, ours = PROBLEMS[problem]()
    table = load(name)
    x = StandardScaler().fit_transform(table.x.astype(np.float64))
    (w, b), (v, c) = (_coefficients(learner.fit(x, table.y)) for learner in (theirs, ours))
    return name, float(np.abs(w - v).max()), float(np.abs(b - c).max()), float(np.abs(w).max())


def _coefficients(fitted: Any) -> tuple[np.ndarray, np.ndarray]:
    slopes, intercepts = np.atleast_2d(fitted.coef_), np.atleast_1d(fitted.intercept_)
    if len(slopes) > 2:
        return slopes - slopes.mean(0), intercepts - intercepts.mean()
    return slopes, intercepts


def tables() -> Iterator[str]:
    lines = ["| scikit-learn | set | largest slope | difference of slopes | of intercepts |", "|---|---|---|---|---|"]
    for problem in PROBLEMS:
        name, slopes, intercepts, size = one_thread.call("benchmarks.supervised_linear:difference", problem=problem)
        lines.append(f"| {problem} | {name} | {size:.3g} | {slopes:.1e} | {intercepts:.1e} |")
    yield "\n".join(lines)
