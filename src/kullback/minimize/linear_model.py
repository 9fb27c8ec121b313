"""A network beside the linear model that it might start at: which of the two is returned.

Where labels are separated by the linear model its gradient vanishes, and a network would learn nothing beside it: there
the network is trained from the marginal law, and compared afterwards. It takes the place of the linear model only where
held-out rows say so, by a standard error (Breiman et al. 1984, section 3.4.3); else the model of all rows, those held
out among them, is the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from kullback.families.initialisation.affine import without_plane
from kullback.known import Known
from kullback.result import Status
from kullback.training.batches import Table
from kullback.training.driver import Outcome
from kullback.training.early_stopping import decrease
from kullback.training.epochs import doubtful
from kullback.training.evaluation import EpochConfig, judged_now, valued_now
from kullback.training.preparation import without_scaling

if TYPE_CHECKING:
    from kullback.minimize.minibatch import Fitted

# Classes whose linear model may tell all rows apart: its loss is then 0, and so is its gradient.
SEPARABLE = frozenset({"CategoricalLogits", "BernoulliLogits"})

PREFERENCE = 0.5  # standard errors: the network was stopped where held-out rows are best, so that they flatter it


def is_separable(structure: Any) -> bool:
    """Whether a linear model of the structure may tell all rows apart."""
    return structure.form.cls.__name__ in SEPARABLE


@dataclass(frozen=True)
class Trained:
    """A training: what it gave, its program, and its flat parameters [m, n] before and after."""

    fitted: Fitted
    config: EpochConfig
    before: Float[np.ndarray, "m n"]
    after: Float[np.ndarray, "m n"]
    resident: bool

    @property
    def at_start(self) -> bool:
        """Whether no step was clearly better than the start."""
        return bool((np.asarray(self.fitted.outcome.state.members.best.step) == 0).all())

    @property
    def ended(self) -> bool:
        return self.fitted.outcome.status in (Status.EARLY_STOPPED, Status.UNDECIDED)


def better_of(model: Known, network: Trained, held: Table) -> Outcome | None:
    """How it ended where the linear model stays; None where the network is clearly better."""
    before = _losses(model, network.config, held, network.before)
    after = _losses(network.fitted.side, network.config, held, network.after)
    gain, se = map(float, decrease(*map(jnp.asarray, (held.relative(held.numbers), before, after))))
    if not gain <= PREFERENCE * se:
        return None
    message, outcome = doubtful(gain, se, held.size), network.fitted.outcome
    return replace(outcome, status=Status.UNDECIDED, message=message) if message else outcome


def of_all_rows(model: Known, trained: Trained, outcome: Outcome, train: Table, held: Table) -> Fitted:
    """The linear model of all rows, with the network that it started with; the held-out value is that of the model of
    the other rows."""
    config, vectors = trained.config, trained.before
    (fixed, rows), (_, aside) = (_ready(model, config, part) for part in (train, held))
    least, values = map(np.asarray, valued_now(config, fixed, rows, aside, vectors))
    value = np.average(values.astype(np.float64), weights=[train.total, held.total])
    free = config.layout.stacked(vectors)
    return replace(trained.fitted, side=model, outcome=outcome, free=free, least=least, train=float(value))


def _losses(side: Known, config: EpochConfig, held: Table, vectors: np.ndarray) -> Float[np.ndarray, " n"]:
    """What held-out rows cost [n], bounded, on average over members."""
    fixed, rows = _ready(side, config, held)
    return np.asarray(judged_now(config, fixed, rows, vectors)[2], np.float64).mean(0)[: held.size]


def _ready(side: Known, config: EpochConfig, table: Table) -> tuple[Any, Any]:
    """The fixed parameters, and rows on the device, as a training has them."""
    assert side.learnable is not None
    fixed, plane = side.learnable.fixed, None
    if config.kind == "sample":
        fixed, plane = without_plane(side.learnable.structure, fixed)
    fixed = without_scaling(fixed) if table.scaling is not None else fixed
    return fixed, replace(table, plane=plane).resident(config.mesh)
