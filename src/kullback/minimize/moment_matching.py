"""Moment matching: the forward KL in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpyro.distributions as dist

from kullback.families.form import Form
from kullback.families.learnable import Learnable
from kullback.known import Known, Moments
from kullback.minimize.closed_forms.table import closed_form, matches_moments
from kullback.minimize.fitting import Report, fit_from
from kullback.minimize.forward import solved
from kullback.minimize.weighted import can_be_weighted
from kullback.result import Estimate, Fit, Guarantee, Status
from kullback.rule import Applies, Missing, Question, Request, Rule


@dataclass(frozen=True)
class MomentMatching(Rule):
    """The member of an exponential family whose expected statistics equal those of P minimises KL(P‖Q)."""

    name: ClassVar[str] = "moment matching"
    question: ClassVar[Question] = "forward"
    identity: ClassVar[str] = "min KL(P‖Q) over an exponential family is where E_Q[T] = E_P[T]"
    needs_p: ClassVar[str] = "a sample, a finite support, a one-dimensional density, or mean and covariance"
    needs_q: ClassVar[str] = "an exponential family with a closed form"
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT
    cost: ClassVar[float] = 1.0
    source: ClassVar[str] = "Barndorff-Nielsen (1978), theorem 9.13"
    aliases: ClassVar[tuple[str, ...]] = ("method of moments", "M-projection")

    def check(self, p: Known, q: Known) -> Applies | Missing:
        learnable = q.learnable
        assert learnable is not None
        structure = learnable.structure
        if not isinstance(structure, Form):
            return Missing("Q is not one exponential family")
        if closed_form(structure, learnable.fixed) is None or not matches_moments(structure):
            held = f" with {', '.join(learnable.fixed)} fixed" if learnable.fixed else ""
            return Missing(f"{structure.cls.__name__}{held} has no closed form in the moments")
        if _by_moments(p, learnable):
            dropped = () if _entropy(p) is not None else ("H(P)",)
            if not dropped or isinstance(can_be_weighted(p), Missing):
                return Applies(dropped=dropped, note="the mean and covariance that P states")
        source = can_be_weighted(p)
        if isinstance(source, Missing):
            return source
        dropped = ("H(P)",) if p.sample is not None else ()
        return Applies(dropped=dropped, note=f"statistics over {source}")

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        learnable = q.learnable
        assert learnable is not None and q.event_shape is not None
        if _by_moments(p, learnable) and (_entropy(p) is not None or isinstance(can_be_weighted(p), Missing)):
            return _from_moments(p, q, learnable)
        return solved(p, q)


def _unconstrained(form: Any, parameters: Any) -> Any:
    return form.unconstrain({name: np.asarray(value, np.float64) for name, value in parameters.items()})


def _by_moments(p: Known, learnable: Learnable) -> bool:
    """Whether the mean and covariance that P states are all the statistics that Q has."""
    form = learnable.structure
    gaussian = isinstance(form, Form) and form.cls in (dist.Normal, dist.MultivariateNormal) and not learnable.fixed
    return gaussian and p.sample is None and not p.batch_shape and _moments(p) is not None


def _moments(p: Known) -> Moments | None:
    try:
        moments = p.moments() if p.moments is not None else None
    except (NotImplementedError, AttributeError, TypeError, ValueError):
        return None
    if moments is None or not (np.isfinite(moments.mean).all() and np.isfinite(moments.covariance).all()):
        return None
    return moments


def _entropy(p: Known) -> float | None:
    try:
        return float(p.entropy()) if p.entropy is not None else None
    except (NotImplementedError, TypeError, AttributeError):
        return None


def _from_moments(p: Known, q: Known, learnable: Learnable) -> Fit:
    moments, form = _moments(p), learnable.structure
    assert moments is not None and isinstance(form, Form)
    covariance = np.asarray(moments.covariance, np.float64)
    if form.cls is dist.MultivariateNormal:
        parameters = {"loc": moments.mean, "scale_tril": np.linalg.cholesky(covariance)}
        log_det = 2 * np.log(np.diagonal(parameters["scale_tril"])).sum()
    else:
        variance = np.diagonal(covariance)
        parameters = {"loc": moments.mean, "scale": np.sqrt(variance).reshape(np.shape(moments.mean))}
        log_det = np.log(variance).sum()
    # At the optimum H(P, Q) = H(Q): log q is linear in the matched moments.
    cross_entropy = 0.5 * (log_det + len(covariance) * (1 + np.log(2 * np.pi)))
    entropy = _entropy(p)
    if entropy is None:
        objective = Estimate(cross_entropy, quantity="H(P, Q)", dropped=("H(P)",))
    else:
        objective = Estimate(cross_entropy - entropy)
    return fit_from(q, _unconstrained(form, parameters), Status.CLOSED_FORM, Report(objective))
