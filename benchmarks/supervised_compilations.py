"""How many programs XLA compiles in cross-validation and in a grid search: splits of about one size share them all.

The folds of 1,797 rows have 1,437 or 1,438 rows to fit, so that shapes alone would tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import one_thread

COMPILED = "/jax/core/compile/backend_compile_duration"
TABLE = "digits"
SCALES = (0.3, 1.0, 3.0)


class Counter:
    """Counts compilations of this process from its making on; without the disk's cache, which JAX counts alike."""

    def __init__(self) -> None:
        import jax

        self.count = 0
        jax.monitoring.register_event_duration_secs_listener(self._heard)

    def _heard(self, event: str, duration: float, **_: object) -> None:
        self.count += event == COMPILED

    def taken(self) -> int:
        """The count since it was last taken."""
        count, self.count = self.count, 0
        return count


def counts(network: str) -> dict[str, list[int]]:
    """In the pinned process: programs compiled in each fold, fit and score, then in a whole grid search."""
    from sklearn.model_selection import GridSearchCV, StratifiedKFold

    import kullback as kl
    from benchmarks.data import load

    table, counter = load(TABLE), Counter()
    folds = []
    for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(table.x, table.y):
        fitted = kl.KLClassifier(network, random_state=0).fit(table.x[train], table.y[train])
        fitted.score(table.x[test], table.y[test])
        folds.append(counter.taken())
    search = GridSearchCV(kl.KLClassifier(network, random_state=0), {"prior_scale": SCALES}, cv=5, refit=False)
    search.fit(table.x, table.y)
    return {"folds": folds, "grid": [counter.taken()]}


def tables() -> Iterator[str]:
    head = f"| {TABLE}, programs compiled | fold 1 | fold 2 | fold 3 | fold 4 | fold 5 "
    lines = [f"{head}| then a grid of {len(SCALES)} priors × 5 folds |", "|---|---|---|---|---|---|---|"]
    for network in ("linear", "mlp"):
        found = one_thread.call("benchmarks.supervised_compilations:counts", network=network)
        lines.append(f"| {network} | " + " | ".join(str(n) for n in found["folds"] + found["grid"]) + " |")
    yield "\n".join(lines)
