"""Expectation maximisation: mixtures by maximum likelihood, started from k-means++ clusters.

Components of any form with a closed form in the moments are fitted here; `normal_components` holds the arithmetic of
normal ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float, Int

from kullback.distributions.log_density import log_prob
from kullback.errors import FitError
from kullback.families.form import Form
from kullback.families.initialisation.scaling import mean_and_scale
from kullback.families.learnable import Params
from kullback.families.mixture import MixtureStructure
from kullback.known import Known
from kullback.known.static import Static
from kullback.minimize.closed_forms.solution import Expectation
from kullback.minimize.closed_forms.table import closed_form, matches_moments
from kullback.minimize.extrapolation import extrapolated
from kullback.minimize.fitting import fit_from
from kullback.minimize.forward import forward_report
from kullback.minimize.normal_components import NormalComponents, is_normal
from kullback.minimize.weighted import Weighted, can_be_weighted, require_support, weighted
from kullback.result import Fit, Guarantee, Status
from kullback.rule import Applies, Missing, Question, Request, Rule
from kullback.runtime.export_cache import program
from kullback.training.batches import as_device, bucket
from kullback.training.driver import Iterative, Progress, drive, fingerprint

_STEPS = 100


def k_means(
    rows: Float[np.ndarray, "n d"], w: Float[np.ndarray, " n"], count: int, rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """The cluster of each row: a local minimum of Σ w ‖y − centre‖² over at most `count` centres.

    The starts are those of k-means++ (Arthur and Vassilvitskii 2007), of which each is the best of a few that were
    drawn (their section 5, as scikit-learn does): a single draw leaves clusters without a centre too often. Then
    Lloyd's steps (1982) until no row changes its cluster. A centre that has lost its rows stays where it is.
    """
    centres = _plus_plus(rows, w, count, rng)
    labels = _nearest(rows, centres)
    for _ in range(_STEPS):
        mass = np.bincount(labels, w, len(centres))
        sums = np.stack([np.bincount(labels, w * column, len(centres)) for column in rows.T], 1)
        centres = np.where(mass[:, None] > 0, sums / np.where(mass > 0, mass, 1.0)[:, None], centres)
        before, labels = labels, _nearest(rows, centres)
        if (labels == before).all():
            break
    return labels


def _plus_plus(rows: np.ndarray, w: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    centres = [rows[rng.choice(len(rows), p=w)]]
    nearest = np.square(rows - centres[0]).sum(1)
    for _ in range(1, count):
        mass = w * nearest
        if not mass.sum() > 0:  # every value has its centre
            break
        drawn = rows[rng.choice(len(rows), 2 + int(np.log(count)), p=mass / mass.sum())]
        each = np.minimum(nearest[:, None], _squares(rows, drawn))
        best = int(np.argmin(w @ each))
        centres.append(drawn[best])
        nearest = each[:, best]
    return np.stack(centres)


def _nearest(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    return np.argmin(0.5 * np.square(centres).sum(1) - rows @ centres.T, 1)


def _squares(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Squared distances [n, k]."""
    return np.stack([np.square(rows - centre).sum(1) for centre in centres], 1)


class FormComponents:
    """Components of one form: their log-probabilities compiled in double precision, their moments on the host."""

    def __init__(self, form: Form, fixed: Params, y: np.ndarray, w: np.ndarray, floor: float, k: int) -> None:
        self.form, self.y, self.w = form, y, w
        self.fixed = {name: np.asarray(value, np.float64) for name, value in fixed.items()}
        flat = np.asarray(y, np.float64).reshape(len(y), -1)
        mean, scale = mean_and_scale(flat, w)
        self.rows = (flat - mean) / scale  # for k-means alone
        self._pad()

    def _pad(self) -> None:
        extra = bucket(len(self.w)) - len(self.w)
        with jax.enable_x64(True):
            self.padded = as_device(np.concatenate([self.y, np.repeat(self.y[:1], extra, 0)]))

    def part(self, numbers: Int[np.ndarray, " m"], w: np.ndarray) -> FormComponents:
        """The same over some of the rows, with weights of their own."""
        some = object.__new__(FormComponents)
        some.__dict__.update(self.__dict__)
        some.y, some.w, some.rows = self.y[numbers], w, self.rows[numbers]
        some._pad()
        return some

    def from_shares(self, shares: Float[np.ndarray, "n K"]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Mixing logits and parameters from the share of each row that each component has."""
        # A component without rows of its own, or with equal ones alone, has a little of all.
        return self._maximized(0.99 * shares + 0.01 / shares.shape[1])[:2]

    def step(self, logits: np.ndarray, parameters: Any) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """log q(y) [n] at the parameters, and the logits and parameters that maximise its bound there."""
        joint = logits + self._log_probs(parameters)
        most = joint.max(1, keepdims=True)
        log_q = most[:, 0] + np.log(np.exp(joint - most).sum(1))
        return log_q, *self._maximized(np.exp(joint - log_q[:, None]))[:2]

    def constrained(self, parameters: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The parameters of the form, in the units of the data."""
        return parameters

    def narrowest(self, parameters: dict[str, np.ndarray]) -> np.ndarray:
        """Which components [K] have collapsed on outcomes that are all one number."""
        k = len(next(iter(parameters.values())))
        joint = self._log_probs(parameters)
        shares = np.exp(joint - joint.max(1, keepdims=True))
        return np.array(self._maximized(shares)[2]) if k else np.zeros(0, bool)

    def _log_probs(self, parameters: dict[str, np.ndarray]) -> np.ndarray:
        with jax.enable_x64(True):
            found = _log_probs(Static(self.form), self.fixed, self.padded, parameters)
        return np.asarray(found, np.float64)[: len(self.w)]

    def _maximized(self, shares: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray], list[bool]]:
        """Mixing logits, parameters, and which components have no maximum."""
        solve = closed_form(self.form, self.fixed)
        assert solve is not None
        shares = shares * self.w[:, None]
        mass = np.maximum(shares.sum(0), np.finfo(float).tiny)
        found = []
        for share, total in zip(shares.T, mass, strict=True):
            keep = share > 0 if total > np.finfo(float).tiny else np.ones(len(share), bool)
            weights = share[keep] / total if total > np.finfo(float).tiny else self.w
            found.append(solve(Expectation(self.y[keep], weights), self.fixed))
        values = {
            name: np.stack([np.broadcast_to(np.asarray(each.values[name], np.float64), shape) for each in found])
            for name, shape in self.form.shapes
        }
        return np.log(mass / mass.sum()), values, [bool(each.unbounded) for each in found]


@program(static=())
def _log_probs(static: Static, fixed: Params, y: Any, parameters: Any) -> Any:
    """log q_k(y_i) [n, K]."""
    form = static.value
    components = form.cls(**parameters, **fixed, **dict(form.sizes), validate_args=False)
    components = components.to_event(form.independent) if form.independent else components
    return log_prob(components, y[:, None])


TOLERANCE = 1e-5  # nats an example, of all the decrease that is still expected
# Starts are compared where no more than so many nats are still expected of each, and a start goes on while it is at
# most `_MARGIN` times that worse than the best. At the last of them starts that reached one optimum are merged.
_LEVELS, _MARGIN = (1e-2, 1e-3, 1e-4), 10.0
_PART, _PART_A_PARAMETER = 5_000, 20  # rows on which starts are compared first
RUNNING, CONVERGED, DROPPED = 0, 1, 2
_CHUNK = 20
_MANY = 1_000_000  # rows times components, from where on the best start and the first alone go to their ends
_LARGEST = 1e150


class State(NamedTuple):
    """Starts [S]: mixing logits [S, K], components with leading axes S and K, H(P, Q) in nats, and its last decrease.

    The value is that of the parameters one step before: but for rounding never less than their own. The decrease is
    NaN where the value is over other rows. `level` counts the comparisons of starts that were made.
    """

    logits: Any
    components: Any
    value: Any
    decrease: Any
    steps: Any
    status: Any
    level: Any


@dataclass(frozen=True)
class ExpectationMaximization(Rule):
    """Fit a mixture by EM: responsibilities, then moment matching of each component under them, in double precision.

    Each start assigns every row to its centre by k-means++ and Lloyd's steps. Large data are started on a part of the
    rows. Starts that are clearly worse than the best are dropped as the others come near their optima. A start
    stops where Aitken's extrapolation expects less than the tolerance of further decrease. Steps for normal components
    are extrapolated (`extrapolation`).

    starts  how many k-means++ starts; the first few are the same whatever their number
    floor   the least variance of a component in any direction, relative to the square of the column's spread within
            clusters: without it the likelihood of a mixture is unbounded (a component collapses on a point)
    """

    name: ClassVar[str] = "expectation maximisation"
    question: ClassVar[Question] = "forward"
    identity: ClassVar[str] = "KL(P‖Q) ≤ KL of the joint with the component, tight at the responsibilities"
    needs_p: ClassVar[str] = "a sample, a finite support, or a one-dimensional density"
    needs_q: ClassVar[str] = "a mixture of an exponential family with a closed form"
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT
    cost: ClassVar[float] = 2.9
    source: ClassVar[str] = "Dempster, Laird and Rubin (1977), eq. 2.17; Arthur and Vassilvitskii (2007) for the starts"
    aliases: ClassVar[tuple[str, ...]] = ("EM", "expectation maximization", "GMM")

    starts: int = 4
    floor: float = 1e-6

    def check(self, p: Known, q: Known) -> Applies | Missing:
        assert q.learnable is not None
        structure = q.learnable.structure
        if not isinstance(structure, MixtureStructure):
            return Missing("Q is no mixture")
        form = structure.form
        if closed_form(form, q.learnable.fixed) is None or not matches_moments(form) or form.cls is dist.Uniform:
            return Missing(f"components of {structure.form.cls.__name__} have no smooth closed form in the moments")
        source = can_be_weighted(p)
        if isinstance(source, Missing):
            return source
        return Applies(dropped=("H(P)",) if p.sample is not None else (), note=f"over {source}")

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        learnable = q.learnable
        assert learnable is not None and q.event_shape is not None
        structure = learnable.structure
        assert isinstance(structure, MixtureStructure)
        data = weighted(p)
        require_support(data, q)
        if (most := float(np.abs(data.y[data.weights > 0].astype(np.float64)).max())) > _LARGEST:
            raise FitError(
                f"p: the outcomes reach {most:.3g} in size, of which double precision holds no squares; divide the "
                "column by a number of that size, and multiply locations and scales by it"
            )
        problem = _Problem(structure, learnable.fixed, data, self.starts, self.floor, request)
        outcome = drive(problem, request, 5_000)
        best = problem.best(outcome.state)
        log_q, _, _ = problem.whole.step(*best)
        value = -float(problem.whole.w @ log_q)
        if not np.isfinite(value):
            raise FitError("expectation maximisation: no start has a finite likelihood; use fewer components")
        free = {"logits": best[0], "components": structure.form.unconstrain(problem.whole.constrained(best[1]))}
        report = forward_report(data, p, learnable.wrap(free), value)
        report = replace(report, diagnostics={**report.diagnostics, "variance_floor": self.floor})
        narrow = np.flatnonzero(problem.whole.narrowest(best[1]) & (best[0] > np.log(1e-12)))
        if len(narrow) and outcome.status is Status.CONVERGED:
            outcome = replace(
                outcome, status=Status.UNBOUNDED, message=_unbounded(narrow, self, is_normal(structure.form))
            )
        return fit_from(q, free, outcome.status, report, outcome)


def _unbounded(narrow: np.ndarray, rule: ExpectationMaximization, floored: bool) -> str:
    which = f"component {narrow[0]} shrinks" if len(narrow) == 1 else f"components {', '.join(map(str, narrow))} shrink"
    if not floored:
        verb = which.replace("shrinks", "collapses").replace("shrink", "collapse")
        return (
            f"the likelihood of this mixture has no maximum on these data: {verb} on outcomes that are all one number; "
            "use fewer components, or leave out repeated outcomes"
        )
    return (
        f"the likelihood of this mixture has no maximum on these data: {which} until the floor of "
        f"{rule.floor:g} of the variance within clusters holds; fewer components, or a larger "
        "rule=kl.rules.ExpectationMaximization(floor=...), would bound it"
    )


class _Problem(Iterative):
    title = ExpectationMaximization.name

    def __init__(
        self, structure: MixtureStructure, fixed: Params, data: Weighted, starts: int, floor: float, request: Request
    ) -> None:
        counted = np.flatnonzero(data.weights)
        y, w = data.y[counted], data.weights[counted]
        kind = NormalComponents if is_normal(structure.form) else FormComponents
        self.whole = kind(structure.form, fixed, y, w, floor, structure.components)
        few = max(_PART, _PART_A_PARAMETER * structure.components * sum(_sizes(structure.form)))
        self.part = self.whole if len(y) <= 2 * few else self.whole.part(*_drawn(w, few, request.host_rng(1)))
        self.components = structure.components
        self.rngs = [request.host_rng(0, k) for k in range(starts)]
        self.tolerance = request.tolerance or TOLERANCE
        tolerances = [max(level, self.tolerance) for level in _LEVELS]
        self.schedule = [(self.part, each) for each in tolerances]
        if self.part is not self.whole:
            self.schedule.append((self.whole, max(_LEVELS[1], self.tolerance)))
        self.schedule.append((self.whole, self.tolerance))
        self.about = (structure, fixed, y, w, floor, starts, self.tolerance, request.seed)

    def init(self) -> State:
        firsts = [self.part.from_shares(np.eye(self.components)[self._clusters(rng)]) for rng in self.rngs]
        logits, components = jax.tree.map(lambda *leaves: np.stack(leaves), *firsts)
        size, zero = len(firsts), np.zeros(len(firsts), np.int32)
        return State(
            logits=logits,
            components=components,
            value=np.full(size, np.inf),
            decrease=np.full(size, np.nan),
            steps=zero,
            status=zero,
            level=np.zeros((), np.int32),
        )

    def _clusters(self, rng: np.random.Generator) -> np.ndarray:
        return k_means(self.part.rows, self.part.w, self.components, rng)

    def step(self, state: State) -> State:
        rows, tolerance = self.schedule[int(state.level)]
        running = np.flatnonzero(state.status == RUNNING)
        if not running.size:
            return self._next_level(state)
        state = jax.tree.map(np.copy, state)
        for start in running:
            self._advance(rows, tolerance, state, int(start))
        return state

    def _advance(self, rows: Any, tolerance: float, state: State, start: int) -> None:
        """At most `_CHUNK` steps of one start, written into `state`."""
        at, value, decrease = _of(state, start), state.value[start], state.decrease[start]
        if isinstance(rows, NormalComponents):
            found = extrapolated(rows, at, tolerance)
            state.steps[start] += found.steps
            if not np.isfinite(found.value):
                state.status[start] = DROPPED
            elif found.ended:
                state.status[start] = CONVERGED
            at, value, decrease = found.at, found.value, found.decrease
            self._written(state, start, at, value, decrease)
            return
        for _ in range(_CHUNK):
            log_q, *at = rows.step(*at)
            before, value = value, -float(rows.w @ log_q)
            previous, decrease = decrease, np.inf if np.isnan(decrease) else before - value
            state.steps[start] += 1
            if not np.isfinite(value) or _is_done(previous, decrease, tolerance, value):
                state.status[start] = CONVERGED if np.isfinite(value) else DROPPED
                break
        self._written(state, start, at, value, decrease)

    def _written(self, state: State, start: int, at: Any, value: float, decrease: float) -> None:
        state.value[start], state.decrease[start] = value, decrease
        for leaf, new in zip(jax.tree.leaves(state[:2]), jax.tree.leaves(tuple(at)), strict=True):
            leaf[start] = new

    def _next_level(self, state: State) -> State:
        """Starts compared: those that go on run to the next tolerance, from the parameters that they have."""
        level = int(state.level)
        rows, tolerance = self.schedule[level]
        after, _ = self.schedule[level + 1]
        alive = [int(i) for i in np.argsort(state.value, kind="stable") if state.status[i] == CONVERGED]
        margin = _MARGIN * tolerance
        if after is not rows:
            # An optimum on m rows is off that of all by about p/2m nats, and two of them differently.
            margin += 1.5 * np.sqrt(2.0 * sum(leaf[0].size for leaf in jax.tree.leaves(state[:2]))) / len(rows.w)
        kept = self._distinct(state, alive, margin, tolerance) if len(alive) > 1 else alive
        if level + 2 == len(self.schedule) and len(rows.w) * self.components > _MANY:
            kept = kept[:1] + [i for i in kept[1:] if i == 0]
        status = np.full(len(state.status), DROPPED, np.int32)
        status[kept] = RUNNING
        decrease = state.decrease if after is rows else np.full(len(status), np.nan)
        return state._replace(status=status, level=np.asarray(level + 1, np.int32), decrease=decrease)

    def _distinct(self, state: State, alive: list[int], margin: float, tolerance: float) -> list[int]:
        """The starts that may yet be the best, one for each optimum; those without a collapsed component first."""
        open_ended = {i: bool(self.whole.narrowest(_of(state, i)[1]).any()) for i in alive}
        if not all(open_ended.values()):
            alive = [i for i in alive if not open_ended[i]]
        # The first start goes to its end, so that more starts are never worse than one.
        alive = [i for i in alive if i == 0 or state.value[i] <= state.value[alive[0]] + margin]
        if tolerance > _LEVELS[-1] or len(alive) == 1:
            return alive
        kept: list[tuple[int, np.ndarray]] = []
        for i in alive:
            log_q = self.part.step(*_of(state, i))[0]
            # Half the mean square of log q − log q' is their divergence where it is small.
            if i == 0 or all(self.part.w @ np.square(log_q - other) / 2 > tolerance / 10 for _, other in kept):
                kept.append((i, log_q))
        return [i for i, _ in kept]

    def best(self, state: State) -> tuple[Any, Any]:
        """Logits and components of the best start that was not dropped."""
        kept = np.where((state.status != DROPPED) & ~np.isnan(state.value), state.value, np.inf)
        return _of(state, int(np.argmin(kept)))

    def progress(self, state: State) -> Progress:
        last = int(state.level) == len(self.schedule) - 1
        kept = state.status != DROPPED
        ended = not kept.any() or (last and not (state.status == RUNNING).any())
        value = float(np.min(state.value[kept])) if kept.any() else np.inf
        return Progress(value, int(np.max(state.steps)), Status.CONVERGED if ended else None)

    def fingerprint(self) -> str:
        structure, *numbers = self.about
        return fingerprint(self.title, repr(structure), *numbers)


def _is_done(previous: float, decrease: float, tolerance: float, value: float) -> bool:
    """Whether Aitken's extrapolation of the last two decreases expects less than the tolerance of any more."""
    if not np.isfinite(previous):
        return False
    ratio = np.clip(decrease / previous, 0.0, 0.999) if previous > 0 else 0.999
    return bool(decrease / (1.0 - ratio) < tolerance or decrease <= np.finfo(float).eps * max(1.0, abs(value)))


def _of(state: State, start: int) -> tuple[Any, Any]:
    return jax.tree.map(lambda leaf: leaf[start], (state.logits, state.components))


def _sizes(form: Form) -> list[int]:
    return [int(np.prod(form.free_shape(name))) for name in form.names]


def _drawn(w: np.ndarray, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows that stand for all: unequal weights enter by drawing rows in proportion, and these then count alike."""
    equal = bool((w == w[0]).all())
    numbers = rng.choice(len(w), size, replace=not equal, p=None if equal else w)
    return np.sort(numbers), np.full(size, 1.0 / size)
