"""`Laplace()`: the normal law of the curvature at a mode of a posterior, which needs no fit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import numpy as np
import numpyro.distributions as dist

from kullback.errors import InputError
from kullback.families.family import Family
from kullback.inference.fit import PosteriorFit
from kullback.inference.named_law import NamedLaw
from kullback.inference.reverse import assessed, located
from kullback.inference.worth import weighted
from kullback.known import Known, LearnableHooks, OwnRules
from kullback.known.posterior import Sites
from kullback.minimize.fitting import Report, fit_from
from kullback.minimize.fixed_draw_objective import packed_from
from kullback.result import Estimate, Guarantee, Status
from kullback.rule import Applies, Missing, Question, Request, Rule


class Laplace:
    """Laplace's approximation of a posterior: `kl.KL(kl.Laplace(), kl.Posterior(model, data)).minimize()`.

    q is N(m, H⁻¹) over the unconstrained sites, with a mode m of their density and H = −∇² log P(m). Where the density
    has no mode where its mass is, the place on the way uphill is taken whose normal law has the largest bound. Other
    families start from it.

    Source: Tierney and Kadane (1986), eq. 2.2.
    """

    def known(self) -> Known:
        return Known(name="Laplace()", hooks=LearnableHooks(matched=self._matched))

    def _matched(self, other: Known) -> Known:
        if not isinstance(other.named, Sites):
            raise InputError(
                f"p and q: Laplace() is of a posterior of named sites, and {other.name} is none; pass Laplace() "
                "first and then kl.Posterior(model, data), or "
                "kl.Density(f, {'x': constraints.real_vector}, shapes={'x': 3})"
            )
        side = Family(dist.MultivariateNormal).known()
        assert side.matched is not None
        found = side.matched(other)
        return replace(found, name="Laplace()", own=OwnRules(rules=(LaplaceApproximation(),)))

    def __repr__(self) -> str:
        return "Laplace()"


@dataclass(frozen=True)
class LaplaceApproximation(Rule):
    """The normal law of the curvature at a mode, by Newton's method from several starts."""

    name: ClassVar[str] = "Laplace approximation"
    question: ClassVar[Question] = "reverse"
    identity: ClassVar[str] = "log P(x) ≈ log P(m) − ½ (x − m)ᵀ H (x − m) at a mode m, and so q = N(m, H⁻¹)"
    needs_p: ClassVar[str] = "kl.Laplace()"
    needs_q: ClassVar[str] = "named sites: a Posterior, or a Density of a dict"
    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED
    cost: ClassVar[float] = 3.0
    source: ClassVar[str] = "Tierney and Kadane (1986), eq. 2.2"

    def check(self, p: Known, q: Known) -> Applies | Missing:
        if not isinstance(q.named, Sites):
            return Missing("the fixed side is no posterior of named sites", "kl.Posterior of a NumPyro model")
        return Applies(dropped=("log Z",), note="nothing is fitted: a mode and the curvature there")

    def run(self, p: Known, q: Known, request: Request) -> PosteriorFit:
        sites = q.named
        assert isinstance(sites, Sites) and p.learnable is not None
        places = located(sites, request)
        best = next((place for place in places if place.is_mode), places[0])
        free: Any = {"loc": np.asarray(best.x), "scale_tril": packed_from(best.factor)}
        law = NamedLaw(sites, p.learnable.wrap(free))
        bound = weighted(law, jax.random.fold_in(request.key, 1)).bound
        objective = Estimate(
            -bound.value,
            bound.standard_error,
            Guarantee.UNBIASED,
            quantity="KL(P‖Q) − log Z",
            dropped=("log Z",),
        )
        status = Status.CONVERGED if best.is_mode else Status.NOT_CONVERGED
        fit = fit_from(p, free, status, Report(objective, message="" if best.is_mode else NO_MODE))
        return assessed(fit, sites, request, best)


NO_MODE = (
    "the density has no mode where its mass is, so this is the normal law of the largest bound on the way uphill; fit "
    "kl.Family(dist.MultivariateNormal), which needs none"
)
