"""A network beside the linear model that it starts at: which of the two is returned, and what a training gave."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from kullback.families.initialisation.affine import without_plane
from kullback.families.learnable import Params
from kullback.families.outcome_units import in_units
from kullback.families.units import Units
from kullback.known import Known
from kullback.minimize.fitting import Report, fit_from
from kullback.result import Estimate, Fit, Status
from kullback.training.batches import Table, without_scaling
from kullback.training.driver import Outcome
from kullback.training.early_stopping import decrease, doubtful
from kullback.training.epochs import EpochDescent, State
from kullback.training.evaluation import EpochConfig, with_min_scale

# Classes whose linear model may tell all rows apart: its loss is then 0, and so is its gradient.
SEPARABLE = frozenset({"CategoricalLogits", "BernoulliLogits"})
PREFERENCE = 0.5  # standard errors: the network was stopped where held-out rows are best, so that they flatter it
_APART = 100.0  # nats a row


@dataclass(frozen=True)
class Fitted:
    """What training gave: the outcome, the free parameters, their least outputs, and the training and held-out values.

    `held` is None where nothing was held out.
    """

    side: Known
    outcome: Outcome
    free: Params
    least: np.ndarray
    train: float
    held: float | None

    def with_a_word_on_few_rows(self) -> Fitted:
        """The same, with a message where the mean losses of rows learned from and held out are worlds apart."""
        if self.held is None:
            return self
        apart, size = abs(self.train - self.held), min(abs(self.train), abs(self.held))
        if not apart > max(_APART, 10.0 * size):
            return self
        message = (
            f"the mean loss is {self.train:.3g} nats over the rows learned from and {self.held:.3g} over those held "
            "out: few rows decide it, as one number far beyond all others does; leave them out, or take a family of "
            "heavier tails"
        )
        return replace(self, outcome=replace(self.outcome, message=message))

    def in_units_of_the_data(self, units: Units) -> Fitted:
        """What was trained on outcomes in units of their own, as that of the outcomes."""
        learnable, log = self.side.learnable, units.log_jacobian
        assert learnable is not None
        outcome = replace(self.outcome, trace=self.outcome.trace + log)
        held = None if self.held is None else self.held + log
        side = self.side.holding(learnable=in_units(learnable, units, back=True))
        return replace(self, side=side, outcome=outcome, train=self.train + log, held=held)

    def fit(self, objective: Estimate, value: str) -> Fit:
        """The `Fit` of the learnable side; `value` is what the diagnostics call the mean over rows."""
        diagnostics = {f"train_{value}": self.train} | ({} if self.held is None else {f"heldout_{value}": self.held})
        return fit_from(
            with_min_scale(self.side, self.least),
            self.free,
            self.outcome.status,
            Report(objective, diagnostics),
            self.outcome,
        )


def is_separable(structure: Any) -> bool:
    """Whether a linear model of the structure may tell all rows apart."""
    return structure.form.cls.__name__ in SEPARABLE


@dataclass(frozen=True)
class Trained:
    """A training: what it gave, how it was run, and its flat parameters [m, n] before and after."""

    fitted: Fitted
    algorithm: EpochDescent
    before: Float[np.ndarray, "m n"]
    after: Float[np.ndarray, "m n"]

    @property
    def resident(self) -> bool:
        return self.algorithm.rows is not None

    @property
    def at_start(self) -> bool:
        """Whether no step was clearly better than the start."""
        return bool((np.asarray(self.fitted.outcome.state.members.best.step) == 0).all())

    @property
    def ended(self) -> bool:
        return self.fitted.outcome.status in (Status.EARLY_STOPPED, Status.UNDECIDED)


def better_of(model: Known, network: Trained, held: Table) -> Outcome | None:
    """How it ended where the linear model stays; None where the network is clearly better."""
    algorithm = network.algorithm
    fixed, train, aside = ready(model, algorithm.config, algorithm.train, held)
    before = _losses(_evaluated(algorithm, fixed, train, aside, network.before), held)
    after = _losses(_evaluated(algorithm, algorithm.fixed, algorithm.train, algorithm.held, network.after), held)
    with np.errstate(invalid="ignore"):  # rows that are impossible before and after
        gain, se = map(float, decrease(held.relative(held.numbers), before, after, np))
    if not gain <= PREFERENCE * se:
        return None
    message, outcome = doubtful(gain, se, held.size), network.fitted.outcome
    return replace(outcome, status=Status.UNDECIDED, message=message) if message else outcome


def of_all_rows(model: Known, trained: Trained, outcome: Outcome, train: Table, held: Table) -> Fitted:
    """The linear model of all rows, with the network that it started with; the held-out value is that of the model of
    the other rows."""
    algorithm, vectors = trained.algorithm, trained.before
    state = _evaluated(algorithm, *ready(model, algorithm.config, train, held), vectors)
    value = np.average(np.asarray(state.final, np.float64), weights=[train.total, held.total])
    free, least = algorithm.config.layout.stacked(vectors), np.asarray(state.least)
    return replace(trained.fitted, side=model, outcome=outcome, free=free, least=least, train=float(value))


def _evaluated(
    training: EpochDescent, fixed: Params, train: Table, held: Table | None, starts: Float[np.ndarray, "m n"]
) -> State:
    """The state of the same training where it starts there and takes no step: its start is judged, and valued.

    By the program of the training: one of its own would take longer to compile than a small problem to learn.
    """
    algorithm = EpochDescent(
        training.title,
        training.config,
        fixed=fixed,
        train=train,
        held=held,
        starts=starts,
        schedule=training.schedule,
        tolerance=training.tolerance,
        seed=training.seed,
        limit=0,
        memory=training.memory,
    )
    return algorithm.step(algorithm.init())


def _losses(state: State, held: Table) -> Float[np.ndarray, " n"]:
    """What held-out rows cost [n], bounded, on average over members, at a start that was evaluated."""
    return np.asarray(state.members.start_losses, np.float64).mean(0)[: held.size]


def ready(side: Known, config: EpochConfig, train: Table, held: Table | None) -> tuple[Params, Table, Table | None]:
    """The fixed parameters, and the rows to learn from and to watch, as a training has them."""
    assert side.learnable is not None
    fixed = side.learnable.fixed
    if config.kind == "sample":
        fixed, plane = without_plane(side.learnable.structure, fixed)
        train, held = replace(train, plane=plane), None if held is None else replace(held, plane=plane)
    return without_scaling(fixed) if train.scaling is not None else fixed, train, held
