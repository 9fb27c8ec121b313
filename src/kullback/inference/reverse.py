"""Reverse fits of posteriors: from the place of most mass, with a verdict on how far q is from the posterior."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import jax
import numpy as np
import numpyro.distributions as dist

from kullback.errors import FitError
from kullback.families.form import Form
from kullback.families.learnable import Learnable, Params
from kullback.families.mixture import MixtureStructure
from kullback.inference.fit import PosteriorFit
from kullback.inference.low_rank import Scaled
from kullback.inference.named_law import NamedLaw
from kullback.inference.start import Place, locate
from kullback.inference.worth import RELIABLE, Weighted, integrated, log_density_of, missing, weighted
from kullback.known import Known
from kullback.known.posterior import Sites
from kullback.minimize.fitting import reverse_target
from kullback.minimize.fixed_draw_objective import packed_from
from kullback.minimize.fixed_draws import FixedDraws
from kullback.minimize.improper import falls_everywhere
from kullback.minimize.reparameterise import push_for
from kullback.minimize.stochastic import PathwiseGradients
from kullback.result import Estimate, Fit, Guarantee, Status
from kullback.rule import Applies, Missing, Question, Request, Rule

TOLERANCE = 0.01  # nats: a gap that is not spoken of
AROUND = 1.0  # standard deviations by which starts are spread


@dataclass(frozen=True)
class VariationalPosterior(Rule):
    """Fit q to a posterior by its bound on the evidence, from the place of most mass, and say how far q is.

    A search by Newton's method finds where the mass lies and its shape; fixed draws in these coordinates then fit any
    family. On fresh draws the bound, the evidence between two bounds, their gap and the weights' tail are estimated.

    draws   how many are fixed (a power of two, at least 8 for each dimension up to 200, is used)
    starts  how many starting points
    """

    name: ClassVar[str] = "variational posterior"
    question: ClassVar[Question] = "reverse"
    identity: ClassVar[str] = "KL(q‖posterior) = log Z − E_q[log joint − log q], over unconstrained sites"
    needs_p: ClassVar[str] = "learnable and reparametrisable, over real vectors"
    needs_q: ClassVar[str] = "named sites: a Posterior, or a Density of a dict"
    guarantee: ClassVar[Guarantee] = Guarantee.UNBIASED
    cost: ClassVar[float] = 4.9
    source: ClassVar[str] = "Kucukelbir et al. (2017), eq. 5; Giordano, Ingram and Broderick (2024), eq. 6"
    aliases: ClassVar[tuple[str, ...]] = ("variational inference", "automatic differentiation variational inference")

    draws: int = 512
    starts: int = 4

    def check(self, p: Known, q: Known) -> Applies | Missing:
        if not isinstance(q.named, Sites):
            return Missing("the fixed side is no posterior of named sites", "kl.Posterior of a NumPyro model")
        return reverse_target(p, q)

    def run(self, p: Known, q: Known, request: Request) -> PosteriorFit:
        sites = q.named
        assert isinstance(sites, Sites) and p.learnable is not None
        places = located(sites, request)
        best = places[0]
        learnable = replace(p.learnable, initial=partial(_initial, p.learnable, places))
        side = p.holding(learnable=learnable)
        target = q.holding(around=lambda: (best.x, best.curvature))
        scaled = Scaled.of(p.learnable, best)
        if _stands(p.learnable):  # it goes on from there, and from nowhere else
            side, target, scaled, places = p, q, None, places[:1]
        elif scaled is not None:
            side, target = scaled.sides(p, q)
        count = self.starts if isinstance(p.learnable.structure, MixtureStructure) else len(places)
        rule: Rule = PathwiseGradients()
        if push_for(p.learnable.structure) is not None:
            rule = FixedDraws(draws=self.draws, starts=min(count, self.starts))
        fit = rule.run(side, target, request)
        assert isinstance(fit, Fit)
        if scaled is not None:
            fit = scaled.undone(fit, p)
        return assessed(fit, sites, request, best)


def _stands(side: Learnable) -> bool:
    """Whether a side starts where it stands, as one made learnable again does: then all its starts are one."""
    rng = np.random.default_rng(0)
    one, other = (jax.tree.leaves(side.initial(rng, start)) for start in (0, 3))
    varied = not isinstance(side.structure, Form) or side.structure.cls is dist.LowRankMultivariateNormal
    return not varied and all(map(np.array_equal, one, other))


def located(sites: Sites, request: Request) -> tuple[Place, ...]:
    """Where the mass lies. Raises `FitError`, which names the site that is not finite anywhere."""
    with jax.enable_x64(sites.double):
        try:
            return locate(sites.log_density, sites.program.size, request.host_rng(7))
        except FitError:
            raise FitError(_not_finite(sites)) from None


def _not_finite(sites: Sites) -> str:
    terms = sites.log_prob_by_site(np.zeros(sites.program.size))
    bad = {name: value for name, value in terms.items() if not np.isfinite(value)}
    if not bad:
        return f"{sites.title}: the derivatives of the log-density are not finite at any start; check its formula there"
    name, value = next(iter(bad.items()))
    said = "NaN" if np.isnan(value) else "infinite"
    return (
        f"{sites.title}: the log-probability of site {name!r} is {said} where the fit starts; check the data for NaN "
        "and for values outside the support, and the site's parameters"
    )


def _initial(side: Learnable, places: tuple[Place, ...], rng: np.random.Generator, start: int) -> Params:
    """Free parameters of the start-th start: at the start-th place, or spread around the best."""
    own = side.initial(rng, start)
    structure = side.structure
    if isinstance(structure, MixtureStructure):
        each = [_placed(structure.form, one, places, rng, i) for i, one in enumerate(_rows(own["components"]))]
        stacked = {name: np.stack([one[name] for one in each]) for name in own["components"]}
        return {**own, "components": stacked}
    # A fit in the frame of the best place puts its last start there.
    at = (start + 1) % len(places)
    return _placed(structure, own, places, rng, at) if isinstance(structure, Form) else own


def _rows(tree: Mapping[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    return [{name: leaf[i] for name, leaf in tree.items()} for i in range(len(next(iter(tree.values()))))]


def _placed(form: Form, own: Params, places: tuple[Place, ...], rng: np.random.Generator, start: int) -> Params:
    place = places[start] if start < len(places) else places[0]
    centre = place.x
    if start >= max(len(places), 1):
        centre = centre + AROUND * place.factor @ rng.normal(size=len(centre)) / np.sqrt(len(centre))
    found = dict(own)
    spread = 1.0 / np.sqrt(np.square(np.linalg.inv(place.factor)).sum(0))
    for name, value in {"loc": centre, "scale": np.log(spread), "scale_tril": packed_from(place.factor)}.items():
        if name in found and np.shape(found[name]) == np.shape(value):
            found[name] = value
    return found


# The verdict


def assessed(fit: Fit, sites: Sites, request: Request, place: Place) -> PosteriorFit:
    """A fit over the unconstrained vector as one of named sites, with what it is worth.

    Raises `FitError`, which names the site, where the posterior is improper or q has mass where the data cannot be.
    """
    law = NamedLaw(sites, fit.q)
    if fit.status is Status.DIVERGED:
        raise FitError(_diverged(fit, sites, place))
    try:
        corrected = weighted(law, jax.random.fold_in(request.key, 0x6C6F67))
        known = _evidence(sites, place) if sites.program.size <= 2 else None
        corrected = missing(corrected, known, _elsewhere(law, fit))
        diagnostics = {**fit.diagnostics, **diagnosed(corrected, known)}
        status, message = _verdict(fit, diagnostics, corrected, request)
    except KeyboardInterrupt:
        corrected, diagnostics, status, message = None, fit.diagnostics, Status.INTERRUPTED, ""
    return PosteriorFit(
        q=law,
        objective=fit.objective,
        status=status,
        trace=fit.trace,
        diagnostics=diagnostics,
        optima=tuple((value, NamedLaw(sites, flat)) for value, flat in fit.optima),
        history=fit.history,
        message=message,
        record=fit.record,
        corrected=corrected,
    )


def _evidence(sites: Sites, place: Place) -> float | None:
    """log Z as an integral, in one or two dimensions."""
    return integrated(lambda x: log_density_of(sites.log_density, x, sites.double), place.x, place.factor)


def diagnosed(corrected: Weighted, known: float | None = None) -> dict[str, Any]:
    """What fresh draws say; `known` is log Z where it is known."""
    found: dict[str, Any] = {
        "elbo": corrected.bound,
        "khat": corrected.khat,
        "khat_error": corrected.khat_error,
        "ess": corrected.effective,
        "log_z_lower": corrected.lower,
        "log_z_upper": corrected.upper,
        "log_z": corrected.evidence,
        "gap": corrected.gap,
    }
    if known is not None:
        exact = Estimate(known, 0.0, Guarantee.EXACT, quantity="log Z")
        gap = replace(
            corrected.bound,
            value=known - corrected.bound.value,
            guarantee=Guarantee.UNBIASED,
            quantity="KL(q‖posterior)",
        )
        found |= {"log_z": exact, "log_z_lower": exact, "log_z_upper": exact, "gap": gap}
    return found


FAR = 18.0  # nats of log q below its value at the mean: six standard deviations


def _elsewhere(law: NamedLaw, fit: Fit) -> list[float]:
    """The bounds of optima at which q has no draws."""
    means = [np.asarray(flat.mean, np.float64) for _, flat in fit.optima]
    if len(means) < 2 or not all(np.isfinite(mean).all() for mean in means):
        return []
    heights = law.log_prob_of_vectors(np.stack(means))
    return [-value for (value, _), height in zip(fit.optima, heights, strict=True) if height < heights[0] - FAR]


def _verdict(fit: Fit, found: Mapping[str, Any], corrected: Weighted, request: Request) -> tuple[Status, str]:
    """CONVERGED only without a gap that is seen; else whether weights make up for it."""
    if fit.status is not Status.CONVERGED:
        return fit.status, fit.message
    gap, khat = found["gap"], found["khat"]
    close = gap.value <= (request.tolerance or TOLERANCE) + 2 * gap.standard_error
    if close and gap.guarantee is Guarantee.UNBIASED:  # log Z is known as an integral
        return fit.status, fit.message
    if corrected.missed:
        return Status.UNRELIABLE, (
            f"q is an optimum of its family, and the posterior has mass where q has none: {corrected.missed:.2g} nats "
            "of log Z, in another mode or a tail, which its weights cannot show; take kl.Mixture of the family, or the "
            "forward direction, kl.KL(posterior, q)"
        )
    if khat >= RELIABLE:
        return Status.UNRELIABLE, (
            f"q is the best of its family, and KL(q‖posterior) is {_least(gap)} nats; its weights have k̂ = "
            f"{khat:.2f}, above {RELIABLE}, so corrected expectations are not reliable: take kl.Mixture of the family, "
            "or the forward direction, kl.KL(posterior, q); of groups, write effects as locations plus scales "
            "(numpyro.infer.reparam.LocScaleReparam)"
        )
    if not close:
        return Status.APPROXIMATE, (
            f"q is the best of its family, {gap.value:.2g} nats from the posterior; its weights have k̂ = {khat:.2f}, "
            "so corrected expectations allow for it"
        )
    return fit.status, fit.message


def _least(gap: Estimate) -> str:
    return f"at least {gap.value:.2g}" if gap.guarantee is Guarantee.LOWER_BOUND else f"{gap.value:.2g}"


def _diverged(fit: Fit, sites: Sites, place: Place) -> str:
    """Why a fit diverged, by the site of the direction along which the density does not fall."""
    names = np.asarray(sites.coordinates)
    with jax.enable_x64(sites.double):
        flat = [
            i
            for i, axis in enumerate(np.eye(len(place.x)))
            if not falls_everywhere(sites.log_density, place.x, (axis * np.linalg.norm(place.factor[i]))[None])
        ]
    direction = np.abs(np.linalg.svd(place.factor)[0][:, 0])
    worst = flat or [int(np.argmax(direction))]
    listed = ", ".join(repr(str(name)) for name in dict.fromkeys(names[worst]))
    said = fit.message or fit.status.value
    if "improper" not in said and not flat:
        return f"{sites.title}: {said}; the direction in question is that of site {listed}"
    return (
        f"{sites.title}: the posterior is improper: its density does not fall along site {listed}, whose mass has no "
        "end; give it a proper prior"
    )
