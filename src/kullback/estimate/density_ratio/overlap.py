"""How far the rows of Q carry an estimate of log P/Q."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kullback.estimate.rows import Rows

FEWEST_EFFECTIVE = 30.0
LARGEST_SHARE = 0.2
_FEWEST_BEYOND = 5


@dataclass(frozen=True)
class Overlap:
    """The rows of Q that carry E_Q[P/Q] = 1, and what P owes to ratios that next to no row of Q has.

    effective    (Σ e^g)² / Σ e^{2g} over the rows of Q, over their autocorrelation time
    share        the largest e^g over their sum
    unsupported  E_P[(g − t)₊] in nats, t being the fifth largest g of a row of Q
    """

    effective: float
    share: float
    unsupported: float

    @classmethod
    def of(cls, p: Rows, q: Rows, of_p: Float[np.ndarray, " n"], of_q: Float[np.ndarray, " m"]) -> Overlap:
        ratio = np.exp(of_q - of_q.max()) * (1.0 if q.weight is None else q.weight)
        total, fifth = ratio.sum(), np.sort(of_q)[-_FEWEST_BEYOND]
        return cls(
            effective=float(total**2 / (ratio**2).sum() / q.time),
            share=float(ratio.max() / total),
            unsupported=p.mean(np.maximum(of_p - fifth, 0.0)),
        )

    @property
    def enough(self) -> bool:
        return self.effective >= FEWEST_EFFECTIVE and self.share <= LARGEST_SHARE
