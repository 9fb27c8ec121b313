"""P is a member of the family Q: then it is the answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpyro.distributions as dist
from numpyro.distributions.distribution import ExpandedDistribution

from kullback.families.form import MOST_DEGREES, Form
from kullback.families.learnable import Learnable
from kullback.known import Known
from kullback.minimize.fitting import Report, fit_from
from kullback.minimize.forward import outside
from kullback.result import Estimate, Fit, Guarantee, Status
from kullback.rule import Applies, Missing, Question, Request, Rule


@dataclass(frozen=True)
class OwnFamily(Rule):
    """The fit to a distribution of the family itself has the parameters of that distribution.

    Nothing is integrated or searched: laws whose mass lies at scales that no grid reaches, such as a gamma of small
    concentration, and laws whose ends are parameters, are met exactly.
    """

    name: ClassVar[str] = "P's own family"
    question: ClassVar[Question] = "forward"
    identity: ClassVar[str] = "KL(P‖Q) ≥ 0, and 0 at Q = P, which the family holds"
    needs_p: ClassVar[str] = "a distribution of the family"
    needs_q: ClassVar[str] = "a family of distributions"
    guarantee: ClassVar[Guarantee] = Guarantee.EXACT
    cost: ClassVar[float] = 0.5
    source: ClassVar[str] = "Gibbs (1902), chapter XI, theorem VIII; Kullback and Leibler (1951), lemma 3.1"
    aliases: ClassVar[tuple[str, ...]] = ("same family",)

    def check(self, p: Known, q: Known) -> Applies | Missing:
        assert q.learnable is not None
        if p.distribution is None or not isinstance(q.learnable.structure, Form) or p.batch_shape:
            return Missing("P is not one distribution, or Q not one family")
        if _values(p.distribution, q.learnable) is None:
            return Missing(f"P is not stated as a member of {q.name}")
        return Applies()

    def run(self, p: Known, q: Known, request: Request) -> Fit:
        assert q.learnable is not None
        form, values = q.learnable.structure, _values(p.distribution, q.learnable)
        assert isinstance(form, Form) and values is not None
        return fit_from(q, outside(form, form.unconstrain(values)), Status.CLOSED_FORM, Report(Estimate(0.0)))


def _values(law: Any, learnable: Learnable) -> dict[str, np.ndarray] | None:
    """The free parameters at which the family is this law; None where it is another law, or none of the family."""
    form, extra = learnable.structure, 0
    assert isinstance(form, Form)
    while type(law) in (dist.Independent, ExpandedDistribution):
        if type(law) is dist.Independent:
            extra += law.reinterpreted_batch_ndims
        law = law.base_dist
    if extra != form.independent or _stem(type(law)) != _stem(form.cls):
        return None
    try:
        values = {name: np.asarray(getattr(law, name), np.float64) for name in (*form.names, *learnable.fixed)}
        sizes = all(np.all(np.asarray(getattr(law, name)) == size) for name, size in form.sizes)
        held = sizes and all(bool(np.all(values[name] == v)) for name, v in learnable.fixed.items())
        free = {name: np.broadcast_to(values[name], shape) for name, shape in form.shapes}
    except (AttributeError, TypeError, ValueError):
        return None
    if not held or not all(np.isfinite(v).all() for v in free.values()):
        return None
    # A parameter near the end of its range may have no unconstrained value, or be capped.
    kept = form.constrain(form.unconstrain(free))
    capped = any(form.is_capped(name) and (v > MOST_DEGREES).any() for name, v in free.items())
    close = all(np.allclose(kept[name], v, rtol=1e-9, atol=0.0) for name, v in free.items())
    return free if close and not capped else None


def _stem(cls: type) -> str:
    """The name of a law, whether it is given by probabilities or by logits."""
    own = cls.__module__.startswith("numpyro.")
    return cls.__name__.removesuffix("Probs").removesuffix("Logits") if own else repr(cls)
