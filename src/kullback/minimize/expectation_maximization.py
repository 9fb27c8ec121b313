"""Expectation maximisation: mixtures by maximum likelihood."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import lax
from jax.scipy.linalg import solve_triangular

from kullback.errors import FitError
from kullback.families.form import Form
from kullback.families.mixture import MixtureStructure
from kullback.known import Known
from kullback.known.static import Static
from kullback.minimize.driver import Iterative, Progress, drive, fingerprint
from kullback.minimize.fitting import fit_from
from kullback.minimize.forward import forward_report
from kullback.minimize.table import as_device
from kullback.minimize.weighted import Weighted, can_be_weighted, padded, require_support, weighted
from kullback.minimize.weighted_mle import closed_form
from kullback.programs import program
from kullback.result import Fit, Guarantee, Status
from kullback.rule import Applies, Missing, Question, Request, Rule

TOLERANCE = 1e-5  # nats an example, of all the decrease that is still expected
RUNNING, CONVERGED, SCREENED = 0, 1, 2
_CHUNK = 20


class State(NamedTuple):
    """One start: mixing logits [K], constrained parameters with a leading K, and H(P, Q) in nats."""

    logits: Any
    parameters: Any
    value: Any
    decrease: Any
    steps: Any
    status: Any


@dataclass(frozen=True)
class ExpectationMaximization(Rule):
    """Fit a mixture by EM: responsibilities, then moment matching of each component under them.

    Each start comes from k-means++; after the first chunk of steps only the best goes on. It stops where Aitken's
    extrapolation expects less than the tolerance of further decrease.

    starts  how many k-means++ starts
    floor   added to each component's variances, relative to the data's: without it the likelihood of a mixture is
            unbounded (a component collapses on a point)
    """

    name: ClassVar[str] = "expectation maximisation"
    question: ClassVar[Question] = "forward"
    identity: ClassVar[str] = "KL(P‖Q) ≤ KL of the joint with the component, tight at the responsibilities"
    needs_p: ClassVar[str] = "a sample, a finite support, or a one-dimensional density"
    needs_q: ClassVar[str] = "a mixture of an exponential family with a closed form"
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT
    cost: ClassVar[float] = 2.9
    source: ClassVar[str] = "Dempster, Laird and Rubin (1977), eq. 2.17; Arthur and Vassilvitskii (2007) for the starts"

    starts: int = 4
    floor: float = 1e-6

    def check(self, p: Known, q: Known) -> Applies | Missing:
        assert q.learnable is not None
        structure = q.learnable.structure
        if not isinstance(structure, MixtureStructure):
            return Missing("Q is no mixture")
        if closed_form(structure.form, q.learnable.fixed) is None or structure.form.cls is dist.Uniform:
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
        require_support(data, q.support, q.name, len(q.event_shape))
        problem = _Problem(structure, learnable.fixed, data, self.starts, self.floor, request)
        outcome = drive(problem, request, 5_000)
        state = jax.tree.map(np.asarray, outcome.state)
        values = state.value.astype(np.float64)
        if not np.isfinite(values).any():
            raise FitError("expectation maximisation: no start has a finite likelihood; use fewer components")
        best = int(np.nanargmin(np.where(np.isfinite(values), values, np.nan)))
        chosen = jax.tree.map(lambda leaf: leaf[best].astype(np.float64), state)
        free = {"logits": chosen.logits, "components": structure.form.unconstrain(chosen.parameters)}
        # Until it stops, the value is that of the parameters one step before: never less than their own.
        report = forward_report(data, p, learnable.wrap(free), float(values[best]))
        diagnostics = {**report.diagnostics, "variance_floor": self.floor}
        return fit_from(q, free, outcome.status, replace(report, diagnostics=diagnostics), outcome)


class _Problem(Iterative):
    title = ExpectationMaximization.name

    def __init__(
        self, structure: MixtureStructure, fixed: Any, data: Weighted, starts: int, floor: float, request: Request
    ) -> None:
        self.static, self.fixed = Static(structure), fixed
        full = padded(data)
        self.y, self.weights = as_device(full.y), full.weights
        self.tolerance = request.tolerance or TOLERANCE
        self.starts = np.stack([_labels(structure, data, request.host_rng(0, k), len(full.y)) for k in range(starts)])
        values = data.y.astype(np.float64).reshape(data.size, -1)
        variance = data.weights @ (values - data.weights @ values) ** 2
        self.floor = floor * variance.mean()

    def init(self) -> State:
        return _first(self.static, self.fixed, self.y, self.weights, self.starts, self.floor)

    def step(self, state: State) -> State:
        state = _advance(self.static, self.fixed, self.y, self.weights, state, self.floor, self.tolerance)
        if int(np.max(np.asarray(state.steps))) > _CHUNK:
            return state
        value = np.where(np.isfinite(np.asarray(state.value)), state.value, np.inf)
        lost = np.arange(len(value)) != np.argmin(value)
        return state._replace(status=np.where(lost, SCREENED, np.asarray(state.status)).astype(np.int32))

    def progress(self, state: State) -> Progress:
        status = np.asarray(state.status)
        done = None if (status == RUNNING).any() else Status.CONVERGED
        return Progress(float(np.nanmin(np.asarray(state.value))), int(np.max(np.asarray(state.steps))), done)

    def fingerprint(self) -> str:
        return fingerprint(self.title, repr(self.static), self.fixed, self.y, self.weights, self.starts, self.tolerance)


def _labels(structure: MixtureStructure, data: Weighted, rng: np.random.Generator, size: int) -> np.ndarray:
    """k-means labels [size] of the rows, with rows added for padding labelled 0."""
    from scipy.cluster.vq import kmeans2, vq

    values = data.y.astype(np.float64).reshape(data.size, -1)
    spread = values.std(0)
    values = (values - values.mean(0)) / np.where(spread > 0, spread, 1.0)
    count = min(structure.components, len(np.unique(values, axis=0)))
    equal = np.ptp(data.weights) == 0
    # Unequal weights enter by drawing rows in proportion; k-means itself counts every row once.
    part = rng.choice(data.size, min(data.size, 20_000), replace=not equal, p=None if equal else data.weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an empty cluster is an unused component, which EM fills
        centres, _ = kmeans2(values[part], count, iter=20, minit="++", rng=rng)
    return np.concatenate([vq(values, centres)[0], np.zeros(size - data.size)]).astype(np.int32)


@program(static=())
def _first(static: Static, fixed: Any, y: Any, w: Any, labels: Any, floor: Any) -> State:
    structure = static.value

    def one(label: Any) -> State:
        share = jax.nn.one_hot(label, structure.components) * 0.9 + 0.1 / structure.components
        logits, parameters = _maximize(structure.form, fixed, y, w[:, None] * share, floor)
        inf = jnp.asarray(jnp.inf, logits.dtype)
        return State(logits, parameters, inf, inf, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))

    return lax.map(one, labels)


@program(static=())
def _advance(static: Static, fixed: Any, y: Any, w: Any, states: State, floor: Any, tolerance: Any) -> State:
    structure = static.value

    def step(s: State) -> State:
        joint = s.logits + _log_probs(structure.form, fixed, s.parameters, y)
        log_q = jax.nn.logsumexp(joint, -1)
        value = -jnp.vdot(w, log_q)
        logits, parameters = _maximize(structure.form, fixed, y, w[:, None] * jnp.exp(joint - log_q[:, None]), floor)
        decrease = s.value - value
        ratio = jnp.clip(jnp.where(jnp.isfinite(s.decrease), decrease / s.decrease, 0.99), 0.0, 0.999)
        noise = jnp.finfo(value.dtype).eps * jnp.maximum(1.0, jnp.abs(value))
        expected = decrease / (1 - ratio)
        done = (s.steps > 2) & ((expected < tolerance) | (decrease <= noise))
        status = jnp.where(done, CONVERGED, RUNNING).astype(s.status.dtype)
        # The value belongs to the parameters before this step, so those are the ones that stay at the end.
        keep = lambda new, old: jnp.where(done, old, new)  # noqa: E731
        return State(
            keep(logits, s.logits), jax.tree.map(keep, parameters, s.parameters), value, decrease, s.steps + 1, status
        )

    def one(state: State) -> State:
        def body(carry: tuple[Any, State]) -> tuple[Any, State]:
            return carry[0] + 1, step(carry[1])

        return lax.while_loop(lambda c: (c[0] < _CHUNK) & (c[1].status == RUNNING), body, (0, state))[1]

    return lax.map(one, states)


def _log_probs(form: Form, fixed: Any, parameters: Any, y: Any) -> Any:
    """log q_k(y_i) [n, K]."""
    if form.cls is dist.MultivariateNormal and not form.independent and not fixed:
        return _normal_log_probs(parameters["loc"], parameters["scale_tril"], y)
    components = form.cls(**parameters, **fixed, validate_args=False)
    components = components.to_event(form.independent) if form.independent else components
    return components.log_prob(y[:, None])


def _normal_log_probs(loc: Any, scale_tril: Any, y: Any) -> Any:
    """Multivariate normals by one matrix product a component instead of a triangular solve a row."""
    d = loc.shape[-1]
    whiten = jax.vmap(lambda tril: solve_triangular(tril, jnp.eye(d), lower=True))(scale_tril)
    log_det = jnp.log(jnp.diagonal(scale_tril, axis1=-2, axis2=-1)).sum(-1)
    centre = loc.mean(0)
    squares = lax.map(lambda k: jnp.square((y - centre) @ k[0].T - k[0] @ (k[1] - centre)).sum(-1), (whiten, loc))
    return -0.5 * squares.T - log_det - 0.5 * d * np.log(2 * np.pi)


def _maximize(form: Form, fixed: Any, y: Any, shares: Any, floor: Any) -> tuple[Any, Any]:
    """Mixing logits and parameters from shares w_i r_ik [n, K]."""
    solve = closed_form(form, fixed)
    assert solve is not None
    mass = jnp.maximum(shares.sum(0), jnp.finfo(shares.dtype).tiny * 1e3)

    def component(share: Any) -> Any:
        return {name: value for name, value in solve(y, share, fixed, floor).items() if name in form.names}

    return jnp.log(mass) - jnp.log(mass.sum()), lax.map(component, (shares / mass).T)
