"""Learning from batches of rows with a held-out part: how networks are trained, in either direction.

A network that starts at a linear model is compared with it. Where the linear model separates the labels its gradient
vanishes, and a network that starts there would learn nothing: it is then trained from the marginal law, and compared
afterwards. The network replaces the linear model only where held-out rows prefer it by half a standard error (Breiman
et al. 1984, section 3.4.3, take a whole one); else the linear model of all rows, held-out ones included, is returned.
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from dataclasses import InitVar, dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

import jax
import numpy as np
import optax

from kullback.arguments import positive, share
from kullback.errors import FitError, InputError
from kullback.exact import has_exact
from kullback.families.conditional import FittedConditional
from kullback.families.learnable import Learnable, Params
from kullback.families.outcome_units import in_units, outcome_units
from kullback.known import Known
from kullback.known.adaptors.numpyro_distributions import rows_of
from kullback.minimize.fitting import is_deep, prior_in_words, starts_of
from kullback.minimize.linear_comparison import Fitted, Trained, better_of, is_separable, of_all_rows, ready
from kullback.minimize.truncated_limit import exponential_limit
from kullback.minimize.weighted import can_be_weighted, require_support, weighted
from kullback.result import Estimate, Fit, Guarantee, Status
from kullback.rule import Applies, Missing, Question, Request, Rule
from kullback.runtime.random import words_from
from kullback.training.batches import (
    LINEAR_ROWS,
    Rows,
    Table,
    automatic,
    begun,
    default_batch,
    memory_budget,
    needs_double,
    padded_length,
    scaling_of,
    some_of,
    split,
)
from kullback.training.driver import Outcome, drive
from kullback.training.early_stopping import HELD_OUT, rows_held_out, schedule_for
from kullback.training.epochs import EpochDescent, chosen
from kullback.training.evaluation import EpochConfig, bounded_scales, final_now, least_now, valued_now, with_least
from kullback.training.optimiser import checked

TOLERANCE = 1e-4  # nats an example
MAX_STEPS = 1_000_000
FEWEST = 8
_SHUFFLE = 3  # a stream of random numbers


@dataclass(frozen=True)
class Batches(Rule):
    """What the two directions share: how large a batch is, how fast to go, what is held out, where the data lie.

    held_out  share of the rows set aside, of few rows more; 0 stops by the training loss
    batch     rows a step; None takes about n/25 between 32 and 512
    rate      the first step size, which falls by itself; None takes 0.01, and 0.005 from 10,000 rows on
    patience  epochs without improvement before it does; None takes 5 or as many as make 500 steps, and 10 from 10,000
              rows on
    memory    bytes that the data may take on each device before they are brought in chunks; None takes half of it
    mesh      a JAX mesh, over whose first axis the rows of a batch are spread
    min_scale whether a predicted scale is never below its minimum over some 2,048 of the training rows: far from them
              a network that is not linear may predict a scale near 0; `floor` is the former name
    linear    whether a network that is not linear starts at a linear model of real outcomes, and learns what is left
    optimiser an Optax transformation, whose updates take the place of those of Adam with adaptive clipping; they are
              multiplied by `rate`, which is then 1 unless given, and falls by itself as before
    """

    held_out: float = HELD_OUT
    batch: int | None = None
    rate: float | None = None
    patience: int | None = None
    memory: int | None = None
    mesh: Any = None
    min_scale: bool = True
    linear: bool = True
    optimiser: optax.GradientTransformation | None = field(default=None, repr=False)
    floor: InitVar[bool | None] = None

    def __post_init__(self, floor: bool | None) -> None:
        if floor is not None:
            warnings.warn("floor: this setting is now min_scale", DeprecationWarning, stacklevel=3)
            object.__setattr__(self, "min_scale", floor)
        super().__post_init__()
        checked(self.optimiser)
        share("held_out", self.held_out)
        if self.rate is not None:
            positive("rate", self.rate)
        if self.mesh is not None and not isinstance(self.mesh, jax.sharding.Mesh):
            raise InputError(f"mesh: {self.mesh!r:.60} is no mesh of devices; jax.make_mesh makes one")

    @property
    def _rate(self) -> float | None:
        """The first step size; updates of an optimiser of the user's have theirs already."""
        return 1.0 if self.rate is None and self.optimiser is not None else self.rate

    def _note(self, count: int, what: str, learnable: Learnable) -> str:
        held = (
            f"{rows_held_out(count, self.held_out) / count:.0%} of the {what} held out"
            if self.held_out
            else f"no {what} held out"
        )
        least = ", with a minimum of the scale" if self._bounded_scales(learnable) else ""
        return held + least + prior_in_words(learnable)

    def _bounded_scales(self, learnable: Learnable) -> tuple[bool, ...]:
        return bounded_scales(learnable.structure) if self.min_scale else ()

    def _fit(self, learner: Known, table: Table, kind: str, request: Request) -> Fitted:
        train, held = split(table, rows_held_out(table.size, self.held_out), request)
        started = begun(learner, train) if self.linear else learner
        assert started.learnable is not None
        if held is None or train.size > LINEAR_ROWS or not _is_modelled(started):
            return self._trained(started, train, held, kind, request).fitted
        separable = is_separable(started.learnable.structure)
        # The network that starts at the marginal law has a slope of 0: one program is compiled for it and the model.
        level = {"slope": np.zeros_like(started.learnable.fixed["slope"])} if separable else {}
        trained = self._trained(learner if separable else started, train, held, kind, request, level)
        if not (trained.ended and trained.resident and (separable or trained.at_start)):
            return trained.fitted
        outcome: Outcome | None = trained.fitted.outcome
        if separable and (outcome := better_of(started, trained, held)) is None:
            return trained.fitted
        assert outcome is not None
        return of_all_rows(begun(learner, table), trained, outcome, train, held)

    def _start_alone(self, learner: Known, table: Table, request: Request) -> Fitted:
        """The linear or constant model that a network starts at, of rows too few to learn more from."""
        side = begun(learner, table)
        learnable = side.learnable
        assert learnable is not None
        layout, starts = starts_of(learnable, request, learnable.members)
        config = EpochConfig(
            structure=learnable.structure,
            layout=layout,
            kind="sample",
            batch=table.size,
            stochastic=bool(getattr(getattr(learnable.structure, "network", None), "stochastic", False)),
            mesh=None,
            min_scale=self._bounded_scales(learnable),
            weighted=table.weighted,
            optimiser=None,
        )
        fixed, table, _ = ready(side, config, table, None)
        least, values = map(np.asarray, valued_now(config, fixed, table.resident(), starts))
        message = (
            f"{table.size} rows are too few to hold some out, so that the linear or constant model that the network "
            f"starts at is returned, with a scale as its leave-one-out errors have; {FEWEST} rows are learned from"
        )
        outcome = Outcome(state=None, status=Status.UNDECIDED, trace=np.zeros(0), message=message)
        train = float(values.astype(np.float64)[0])
        return Fitted(side=side, outcome=outcome, free=layout.stacked(starts), least=least, train=train, held=None)

    def _trained(
        self,
        learner: Known,
        train: Table,
        held: Table | None,
        kind: str,
        request: Request,
        beside: Params | None = None,
    ) -> Trained:
        """The training of a learner; `beside` are fixed parameters of the training alone."""
        learnable, size = learner.learnable, train.size + (0 if held is None else held.size)
        assert learnable is not None
        layout, starts = starts_of(learnable, request, learnable.members)
        network = getattr(learnable.structure, "network", None)
        mesh = automatic(self.mesh)
        batch = self._batch(size, train.size, mesh)
        stochastic = bool(getattr(network, "stochastic", False))
        config = EpochConfig(
            structure=learnable.structure,
            layout=layout,
            kind=kind,
            batch=batch,
            stochastic=stochastic,
            mesh=mesh,
            min_scale=self._bounded_scales(learnable),
            weighted=train.weighted,
            optimiser=self.optimiser,
        )
        schedule = schedule_for(size, max(1, train.size // batch), self._rate, self.patience)
        if not _is_modelled(learner):
            # A marginal law is no fit to hold on to, and what goes on from where it stands may be improved by little.
            schedule = replace(schedule, caution=0.0)
        fixed, train, held = ready(learner, config, train, held)
        fixed = {**fixed, **(beside or {})}
        algorithm = EpochDescent(
            self.name,
            config,
            fixed=fixed,
            train=train,
            held=held,
            starts=starts,
            schedule=schedule,
            tolerance=request.tolerance or TOLERANCE,
            seed=words_from(request.host_rng(_SHUFFLE)),
            limit=request.steps or MAX_STEPS,
            memory=memory_budget(self.memory),
        )
        outcome = drive(algorithm, request, MAX_STEPS)
        vectors = chosen(jax.tree.map(np.asarray, outcome.state))
        untried = (np.asarray(outcome.state.members.best.step) == 0).any()
        if not np.isfinite(vectors).all() or (untried and outcome.status is Status.DIVERGED):
            raise FitError(f"{self.name}: {outcome.message or 'the objective was not finite from the start'}")
        least, final = np.asarray(outcome.state.least), np.asarray(outcome.state.final, np.float64)
        if np.isnan(final[0]):
            least, final = self._final(algorithm, config, fixed, vectors)
        aside = float(final[1]) if held is not None else None
        fitted = Fitted(
            side=learner, outcome=outcome, free=layout.stacked(vectors), least=least, train=float(final[0]), held=aside
        )
        return Trained(fitted, algorithm, before=starts, after=vectors)

    def _batch(self, rows: int, trained: int, mesh: Any) -> int:
        """Rows a step: what was asked for, or about a 25th of the rows, in equal parts for the devices of a mesh."""
        devices = 1 if mesh is None else mesh.devices.shape[0]
        batch = min(self.batch or default_batch(rows), trained)
        if self.batch is None:
            batch = max(1, batch // devices) * devices
        if batch > trained or batch % devices:
            raise InputError(
                f"batch: {batch} of {trained:,} rows cannot be shared equally by the {devices} devices along the first "
                f"axis of the mesh; pass a multiple of {devices} up to {trained // devices * devices:,}"
            )
        return batch

    def _final(
        self, algorithm: EpochDescent, config: EpochConfig, fixed: Params, vectors: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The least outputs and the final values after an interrupt, or of data that were brought in chunks."""
        table, mesh, rows = algorithm.train, config.mesh, algorithm.rows
        some = rows or table.part(some_of(padded_length(table.size, mesh))).resident(mesh)
        least = np.asarray(least_now(config, fixed, some, vectors))
        fixed = with_least(fixed, least)

        def value(rows: Rows) -> np.ndarray:
            return np.asarray(final_now(config, fixed, rows, algorithm.aside, vectors), np.float64)

        if rows is not None:
            return least, value(rows)
        total, weight, held = 0.0, 0.0, np.nan
        size = max(1, algorithm.memory // (2 * max(1, table.bytes // table.size)))
        for start in range(0, table.size, size):
            part = table.part(slice(start, start + size))
            mean, held = value(part.resident(mesh))
            total, weight = total + mean * part.total, weight + part.total
        return least, np.array([total / weight, held])


def _is_modelled(learner: Known) -> bool:
    """Whether a network starts at a linear model."""
    learnable = learner.learnable
    return learnable is not None and learnable.begin is not None and "slope" in learnable.fixed


def _starts_alone(learnable: Learnable, rows: int) -> bool:
    """Whether a network can go through all of so few rows, at which its scale would then be 0."""
    return rows > 1 and is_deep(learnable) and any(bounded_scales(learnable.structure))


@dataclass(frozen=True)
class Minibatches(Batches):
    """Minimise H(P, Q_θ), or KL(P‖Q_θ) to a teacher, by Adam on batches, stopping where held-out rows stop improving.

    The settings are those of `Batches`.
    """

    name: ClassVar[str] = "minibatches"
    question: ClassVar[Question] = "forward"
    identity: ClassVar[str] = "KL(P‖Q) = H(P, Q) − H(P), with E_P[∇ log q] over batches of the rows"
    needs_p: ClassVar[str] = f"a sample of at least {FEWEST} rows, or a teacher at as many inputs"
    needs_q: ClassVar[str] = "learnable"
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT
    cost: ClassVar[float] = 6.0
    source: ClassVar[str] = "Kingma and Ba (2015), algorithm 1; Prechelt (1998) for early stopping"
    aliases: ClassVar[tuple[str, ...]] = ("SGD", "stochastic gradient descent", "Adam")

    def check(self, p: Known, q: Known) -> Applies | Missing:
        assert q.learnable is not None
        if p.inputs is not None and p.distribution is not None:
            return _teacher(p, q.learnable, lambda teacher, student: (teacher, student), self)
        source = can_be_weighted(p)
        if isinstance(source, Missing):
            return source
        if p.sample is None:
            return Missing("P is no sample, so there are no rows to hold out")
        if p.sample.size < FEWEST:
            if _starts_alone(q.learnable, p.sample.size):
                return Applies(dropped=("H(P)",), note="too few rows to learn from: the model that a network starts at")
            return Missing(f"{p.sample.size} rows are too few to hold some out", f"{FEWEST} rows")
        return Applies(dropped=("H(P)",), note=self._note(p.sample.size, "rows", q.learnable))

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        assert q.learnable is not None and q.event_shape is not None
        if p.sample is None:
            return _taught(self, q, p, "forward", request)
        data = weighted(p)
        require_support(data, q)
        weights = data.weights * data.total
        table = Table(
            x=data.x, y=data.y, weights=weights, numbers=np.arange(data.size), scaling=scaling_of(q.learnable, data.x)
        )
        units = outcome_units(q.learnable.structure, data.y)
        few = data.size < FEWEST
        if units is not None:
            q, table = q.holding(learnable=in_units(q.learnable, units)), replace(table, y=units.standardized(data.y))
        with jax.enable_x64(True) if needs_double(table.y) else nullcontext():
            fitted = self._start_alone(q, table, request) if few else self._fit(q, table, "sample", request)
        fitted = fitted.with_a_word_on_few_rows()
        fitted = fitted if units is None else fitted.in_units_of_the_data(units)
        fit = fitted.fit(Estimate(fitted.train, quantity="H(P, Q)", dropped=("H(P)",)), "nll")
        if isinstance(fit.q, FittedConditional) and (limit := exponential_limit(fit.q, data.x, data.y, data.weights)):
            return replace(fit, status=Status.BOUNDARY, message=limit)
        return fit


@dataclass(frozen=True)
class ReverseMinibatches(Batches):
    """Minimise KL(Q_θ‖P) to a teacher P at many inputs, by Adam on batches of its closed form.

    The settings are those of `Batches`.
    """

    name: ClassVar[str] = "reverse minibatches"
    question: ClassVar[Question] = "reverse"
    identity: ClassVar[str] = "KL(P‖Q) is a known function at each input: descend on its mean over batches of inputs"
    needs_p: ClassVar[str] = "learnable and conditional, of a family with an exact pair"
    needs_q: ClassVar[str] = f"a teacher at {FEWEST} or more inputs"
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT
    cost: ClassVar[float] = 6.0
    source: ClassVar[str] = "Kingma and Ba (2015), algorithm 1; Hinton, Vinyals and Dean (2015) for a teacher"
    aliases: ClassVar[tuple[str, ...]] = ("policy distillation", "mode-seeking distillation")

    def check(self, p: Known, q: Known) -> Applies | Missing:
        assert p.learnable is not None
        return _teacher(q, p.learnable, lambda teacher, student: (student, teacher), self)

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        return _taught(self, p, q, "reverse", request)


def _teacher(teacher: Known, learnable: Learnable, pair: Any, rule: Batches) -> Applies | Missing:
    """Whether a student can learn from a teacher's distributions, row by row."""
    if teacher.inputs is None or teacher.distribution is None:
        return Missing("the fixed side is no teacher at inputs", "a teacher.on(x)")
    if len(teacher.inputs) < FEWEST:
        return Missing(f"{len(teacher.inputs)} inputs are too few to hold some out", f"{FEWEST} inputs")
    if jax.eval_shape(partial(rows_of, teacher.distribution), np.zeros(1, np.int32)) is None:
        return Missing(f"rows of {type(teacher.distribution).__name__} cannot be taken apart")
    start = learnable.initial(np.random.default_rng(0), 0)
    example = jax.eval_shape(learnable.structure.distribution, start, learnable.fixed, teacher.inputs)
    if not has_exact(*pair(teacher.distribution, example)):
        kinds = " and ".join(type(d).__name__ for d in pair(teacher.distribution, example))
        return Missing(f"the pair {kinds} has no closed form")
    return Applies(note=rule._note(len(teacher.inputs), "inputs", learnable))


def _taught(rule: Batches, student: Known, teacher: Known, kind: str, request: Request) -> Fit:
    inputs, weights = teacher.inputs, teacher.input_weights
    assert student.learnable is not None and inputs is not None
    given = np.ones(len(inputs)) if weights is None else weights
    scaling = scaling_of(student.learnable, inputs)
    table = Table(x=inputs, y=teacher.distribution, weights=given, numbers=np.arange(len(inputs)), scaling=scaling)
    fitted = rule._fit(student, table, kind, request)
    return fitted.fit(Estimate(fitted.train), "kl")
