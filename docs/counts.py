"""How many exact forms there are, as the README says: `python -m docs.counts`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from docs.kinds import ALONE, TABLES, Kind
from docs.pairs import EXACT, INFINITE, SOMETIMES, Cell, cell

from kullback.exact.table import entropy_form

PEERS = (
    "PyTorch 87, of which 33 are a constant ∞; TensorFlow Probability 47; Distributions.jl 20; Distrax 18; NumPyro 16"
)


class Counts(NamedTuple):
    """Of families, not of what is made of them: expanded, masked, mixed and transformed distributions."""

    families: int
    same: int
    unlike: int
    infinite: int
    entropies: int

    @property
    def finite(self) -> int:
        return self.same + self.unlike

    def __str__(self) -> str:
        return (
            f"{self.finite} ordered pairs of families have a closed form ({self.same} of a family with itself, "
            f"{self.unlike} of two unlike ones), {self.infinite} more are ∞ whatever the parameters, and "
            f"{self.entropies} of {self.families} families have an entropy"
        )


def counts(found: Iterable[Cell] | None = None) -> Counts:
    tables = [[k for k in kinds if not k.composite] for kinds in TABLES.values()]
    cells = list(found or (cell(p, q) for kinds in tables for p in kinds for q in kinds))
    cells = [c for c in cells if not (c.p.composite or c.q.composite)]
    exact = [c for c in cells if c.answer in (EXACT, SOMETIMES)]
    families = [k for kinds in (*tables, ALONE) for k in kinds if not k.composite]
    return Counts(
        families=len(families),
        same=sum(c.p is c.q for c in exact),
        unlike=sum(c.p is not c.q for c in exact),
        infinite=sum(c.answer is INFINITE for c in cells),
        entropies=sum(map(has_entropy, families)),
    )


def has_entropy(k: Kind) -> bool:
    return any(entropy_form(d) is not None for d in k.examples)


if __name__ == "__main__":
    print(f"{counts()}.\nOthers: {PEERS}.")
