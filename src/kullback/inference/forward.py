"""Forward fits of posteriors: draws of the posterior by the No-U-Turn sampler, and q of largest likelihood on them.

The two sides of a reverse fit, in the other order. q covers the posterior where a reverse fit seeks a mode of it, and
the draws bring what weights of q cannot: an upper bound on log Z, E_P[log p̃ − log q] = log Z + KL(P‖q). The chains run
in the coordinates of Laplace's approximation, so that neither units nor correlations matter, and start apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from numpyro.infer import NUTS

from kullback.inference.fit import PosteriorFit
from kullback.inference.named_law import NamedLaw
from kullback.inference.reverse import TOLERANCE, diagnosed, located
from kullback.inference.start import Place
from kullback.inference.worth import Weighted, log_joint_of, weighted
from kullback.known import Known, Sample
from kullback.known.posterior import Sites
from kullback.known.static import Static
from kullback.minimize.expectation_maximization import ExpectationMaximization
from kullback.minimize.maximum_likelihood import MaximumLikelihood
from kullback.minimize.minibatch import Minibatches
from kullback.minimize.moment_matching import MomentMatching
from kullback.plan import make_plan
from kullback.result import Estimate, Fit, Guarantee, Status
from kullback.rule import Applies, Missing, Question, Request, Rule
from kullback.runtime.export_cache import program

FITTED_BY = (MomentMatching(), ExpectationMaximization(), MaximumLikelihood(), Minibatches())
GRADIENTS = 10  # of a transition, about
MIXED = 1.05  # split R̂ of every coordinate, above which chains are not one (Vehtari et al. 2021 ask for 1.01)
DIVERGENT = 0.005  # of the transitions, above which part of the posterior was not reached


@dataclass(frozen=True)
class PosteriorDraws(Rule):
    """Draw from a posterior by NUTS, and fit q to the draws by maximum likelihood.

    chains  that run side by side, each from a start of its own
    warmup  transitions of each chain that are thrown away
    draws   of each chain that are kept
    """

    name: ClassVar[str] = "posterior draws"
    question: ClassVar[Question] = "forward"
    identity: ClassVar[str] = "KL(P‖Q) + log Z = E_P[log joint − log q], with draws of P by NUTS"
    needs_p: ClassVar[str] = "named sites: a Posterior, or a Density of a dict"
    needs_q: ClassVar[str] = "learnable, over real vectors"
    guarantee: ClassVar[Guarantee] = Guarantee.CONSISTENT
    cost: ClassVar[float] = 5.5
    source: ClassVar[str] = "Hoffman and Gelman (2014), algorithm 6"
    aliases: ClassVar[tuple[str, ...]] = ("NUTS", "Hamiltonian Monte Carlo", "HMC", "MCMC")

    chains: int = 4
    warmup: int = 500
    draws: int = 1000

    def check(self, p: Known, q: Known) -> Applies | Missing:
        if not isinstance(p.named, Sites):
            return Missing("P is no posterior of named sites", "kl.Posterior of a NumPyro model")
        if q.learnable is None or q.learnable.conditional:
            return Missing("Q is no learnable distribution")
        transitions = self.chains * (self.warmup + self.draws)
        note = (
            f"{self.chains} chains of {self.warmup} + {self.draws} transitions, about "
            f"{GRADIENTS * transitions:,} gradients of the log-density or more"
        )
        return Applies(cost=float(np.log10(GRADIENTS * transitions)), dropped=("log Z",), note=note)

    def run(self, p: Known, q: Known, request: Request) -> PosteriorFit:
        sites = p.named
        assert isinstance(sites, Sites)
        places = located(sites, request)
        chains = self._chains(sites, places, request)
        fit = _fitted(p, q, np.concatenate(chains.x), request)
        return assessed_chains(replace(fit, q=NamedLaw(sites, fit.q)), sites, chains, request)

    def _chains(self, sites: Sites, places: tuple[Place, ...], request: Request) -> Chains:
        best, rng = places[0], request.host_rng(8)
        starts = []
        for k in range(self.chains):
            place = places[k % len(places)]
            x = place.x + place.factor @ rng.normal(size=len(place.x))
            starts.append(np.linalg.solve(best.factor, x - best.x))
        words = np.asarray(jax.random.key_data(jax.random.split(jax.random.fold_in(request.key, 2), self.chains)))
        static = Static((self.warmup, self.draws))
        with jax.enable_x64(sites.double):
            found = _run(static, sites.log_density, best.x, best.factor, np.stack(starts), words)
        u, diverging, steps = map(np.asarray, found)
        return Chains(best.x + u @ best.factor.T, float(diverging.mean()), int(steps.sum()))


@dataclass(frozen=True)
class Chains:
    """Draws x [chains, n, D], the share of transitions that diverged, and the gradients taken after the warm-up."""

    x: Float[np.ndarray, "c n d"]
    diverging: float
    gradients: int

    @property
    def rhat(self) -> Float[np.ndarray, " d"]:
        """Split R̂ of each coordinate (Vehtari, Gelman, Simpson, Carpenter and Bürkner 2021, eq. 3)."""
        return np.asarray(split_gelman_rubin(self.x))

    @property
    def effective(self) -> float:
        """The least effective sample size over the coordinates and their squares."""
        away = np.square(self.x - self.x.mean((0, 1)))
        return float(min(np.min(effective_sample_size(each)) for each in (self.x, away)))


@program(static=())
def _run(
    static: Static, target: Any, centre: Float[Array, " d"], factor: Float[Array, "d d"], starts: Any, words: Any
) -> tuple[Array, Array, Array]:
    """Draws of each chain in the coordinates of the place [c, n, d], whether each diverged, and its gradients."""
    warmup, draws = static.value

    def chain(start: Array, words: Array) -> tuple[Array, Array, Array]:
        kernel = NUTS(potential_fn=lambda u: -target(centre + factor @ u), target_accept_prob=0.9)
        state = kernel.init(jax.random.wrap_key_data(words), warmup, start, (), {})
        step = lambda state, _: (kernel.sample(state, (), {}), None)  # noqa: E731
        state, _ = lax.scan(step, state, None, length=warmup)

        def kept(state: Any, _: None) -> tuple[Any, tuple[Array, Array, Array]]:
            state = kernel.sample(state, (), {})
            return state, (state.z, state.diverging, state.num_steps)

        return lax.scan(kept, state, None, length=draws)[1]

    return jax.vmap(chain)(jnp.asarray(starts), jnp.asarray(words))


def _fitted(p: Known, q: Known, x: Float[np.ndarray, "n d"], request: Request) -> Fit:
    """q fitted to draws by the rules for samples."""
    sample = Known(name=f"draws of {p.name}", event_shape=p.event_shape, sample=Sample(values=x), support=p.support)
    side = q if q.matched is None else q.matched(sample)
    plan = make_plan(sample, side, FITTED_BY)
    fit = plan.rule.run(sample, side, replace(request, checkpoint=None))
    assert isinstance(fit, Fit)
    return fit


def assessed_chains(fit: Fit, sites: Sites, chains: Chains, request: Request) -> PosteriorFit:
    """A fit by name with what it is worth; its corrected draws are those of the chains."""
    law = fit.q
    x = np.concatenate(chains.x)
    effective = chains.effective
    logs = log_joint_of(law, x) - law.log_prob_of_vectors(x)
    upper = Estimate(
        logs.mean(),
        logs.std(ddof=1) / np.sqrt(max(effective, 1.0)),
        Guarantee.UPPER_BOUND,
        quantity="log Z",
        reason="its expectation under the posterior is that over draws by NUTS",
    )
    own = weighted(law, jax.random.fold_in(request.key, 0x6C6F67))
    found = {
        **fit.diagnostics,
        **diagnosed(own),
        "log_z_upper": upper,
        "ess": effective,
        "rhat": float(chains.rhat.max()),
        "divergent": chains.diverging,
        "gradients": chains.gradients,
    }
    found["gap"] = _gap(found["log_z"], upper, own.reliable)
    objective = replace(upper, guarantee=Guarantee.CONSISTENT, quantity="KL(P‖Q) + log Z", dropped=("log Z",))
    status, message = _verdict(fit, sites, chains, found, request)
    return PosteriorFit(
        q=law,
        objective=objective,
        status=status,
        trace=fit.trace,
        diagnostics=found,
        message=message,
        record=fit.record,
        corrected=Weighted(x, np.zeros(len(x)), 0.0, share=min(1.0, effective / len(x))),
    )


def _gap(log_z: Estimate, upper: Estimate, reliable: bool) -> Estimate:
    """KL(P‖q) = E_P[log p̃ − log q] − log Z; above it where log Z is known from below alone."""
    guarantee = Guarantee.CONSISTENT if reliable else Guarantee.UPPER_BOUND
    error = float(np.hypot(upper.standard_error, log_z.standard_error))
    return Estimate(upper.value - log_z.value, error, guarantee, quantity="KL(posterior‖q)")


def _verdict(fit: Fit, sites: Sites, chains: Chains, found: dict[str, Any], request: Request) -> tuple[Status, str]:
    rhat = chains.rhat
    if not rhat.max() < MIXED:
        site = sites.coordinates[int(np.nanargmax(np.where(np.isnan(rhat), np.inf, rhat)))]
        return Status.NOT_CONVERGED, (
            f"not converged: the chains differ in site {site!r} (R̂ = {rhat.max():.3g}); pass more warm-up, as "
            "rule=kl.rules.PosteriorDraws(warmup=2000), or look for several modes"
        )
    if chains.diverging > DIVERGENT:
        return Status.NOT_CONVERGED, (
            f"not converged: {chains.diverging:.1%} of the transitions diverged, so part of the posterior was not "
            "reached; write group effects as locations plus scales (numpyro.infer.reparam.LocScaleReparam)"
        )
    gap = found["gap"]
    if fit.status.ok and gap.value > (request.tolerance or TOLERANCE) + 2 * gap.standard_error:
        return Status.APPROXIMATE, (
            f"q is the best of its family on the draws, {gap.value:.2g} nats from the posterior; expectations are over "
            "the draws of the posterior themselves"
        )
    return fit.status, fit.message
