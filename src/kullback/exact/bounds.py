"""Rules that bound the divergence of mixtures by what is exact between their components, and how far these overlap.

P = Σₖ wₖ fₖ and Q = Σₗ vₗ gₗ throughout; a side that is no mixture is one of one component. With p the density of P,

    KL(P‖Q) = Σₖ wₖ E_fₖ[log p/fₖ] − Σₖ wₖ E_fₖ[log q/fₖ],

and each of the two terms has a lower and an upper bound. The tables of overlaps between components, ∫ √(f g) and ∫ f g
in closed form, come first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.scipy.linalg import cho_solve
from jaxtyping import Float

from kullback.errors import InputError
from kullback.estimate.batch import doubled
from kullback.exact.closed_forms.gamma import GammaLaw, shape_and_rate
from kullback.exact.closed_forms.interval import DirichletLaw, concentrations
from kullback.exact.composite.mixtures import along_axis, components, disjoint, is_mixture, unsqueezed
from kullback.exact.composite.structure import reduce_pair
from kullback.exact.rule_helpers import averaged, unequal_inputs, why_infinite
from kullback.exact.table import entropy_form, kl_form
from kullback.exact.type_keys import INDEPENDENT_NORMAL, Form, every_pair, type_key
from kullback.known import Known
from kullback.numerics.double_precision import floats
from kullback.numerics.log_gamma import HALF_LOG_2PI
from kullback.result import Estimate, Guarantee
from kullback.rule import Applies, Missing, Request, Rule

Table = dict[Any, Callable[[Any, Any], Array]]


def normal_distance(p: dist.Normal | dist.LogNormal, q: dist.Normal | dist.LogNormal) -> Float[Array, "*batch"]:
    """−log ∫ √(p q) = ½ log(1 + (σp − σq)²/(2 σp σq)) + ¼ (μp − μq)²/(σp² + σq²).

    Source: Bhattacharyya (1943), for the integral; completing the square.
    """
    mean_p, scale_p, mean_q, scale_q = floats(p.loc, p.scale, q.loc, q.scale)
    spread = 0.5 * jnp.log1p(jnp.square(scale_p - scale_q) / (2.0 * scale_p * scale_q))
    return spread + 0.25 * jnp.square(mean_p - mean_q) / (jnp.square(scale_p) + jnp.square(scale_q))


def multivariate_distance(p: dist.Distribution, q: dist.Distribution) -> Float[Array, "*batch"]:
    """−log ∫ √(p q) = ⅛ dᵀS⁻¹d + ½ log(|S|/√(|Σp| |Σq|)), with d = μp − μq and S = (Σp + Σq)/2.

    Source: Kailath (1967), eq. 51.
    """
    squares, half_log_total, half_logs = _multivariate(p, q, 0.5)
    return 0.125 * squares + half_log_total - 0.5 * half_logs


def gamma_distance(p: GammaLaw, q: GammaLaw) -> Float[Array, "*batch"]:
    """−log ∫ √(p q) = ½ G(ap, bp) + ½ G(aq, bq) − G of the mean parameters, with G(a, b) = log Γ(a) − a log b.

    Source: Nielsen and Boltz (2011), eq. 14, for an exponential family with log-normaliser G.
    """
    a_p, b_p, a_q, b_q = floats(*shape_and_rate(p), *shape_and_rate(q))
    return _midpoint_gap(lambda a, b: jax.lax.lgamma(a) - a * jnp.log(b), (a_p, b_p), (a_q, b_q))


def dirichlet_distance(p: DirichletLaw, q: DirichletLaw) -> Float[Array, "*batch"]:
    """−log ∫ √(p q) = ½ log B(α) + ½ log B(β) − log B((α + β)/2). Source: Nielsen and Boltz (2011), eq. 14."""
    return _midpoint_gap(_log_beta, floats(concentrations(p)), floats(concentrations(q)))


def poisson_distance(p: dist.Poisson, q: dist.Poisson) -> Float[Array, "*batch"]:
    """−log Σ √(p q) = ½ (√λp − √λq)². Source: Nielsen and Boltz (2011), table 1."""
    rate_p, rate_q = floats(p.rate, q.rate)
    return 0.5 * jnp.square(jnp.sqrt(rate_p) - jnp.sqrt(rate_q))


def normal_product(p: dist.Normal, q: dist.Normal) -> Float[Array, "*batch"]:
    """−log ∫ p q = −log N(μp; μq, σp² + σq²). Source: the density of x − y at 0, for x of P and y of Q."""
    mean_p, scale_p, mean_q, scale_q = floats(p.loc, p.scale, q.loc, q.scale)
    total = jnp.square(scale_p) + jnp.square(scale_q)
    return 0.5 * jnp.square(mean_p - mean_q) / total + 0.5 * jnp.log(total) + HALF_LOG_2PI


def multivariate_product(p: dist.Distribution, q: dist.Distribution) -> Float[Array, "*batch"]:
    """−log ∫ p q = −log N(μp; μq, Σp + Σq). Source: the density of x − y at 0, for x of P and y of Q."""
    squares, half_log_total, _ = _multivariate(p, q, 1.0)
    return 0.5 * squares + half_log_total + p.event_shape[0] * HALF_LOG_2PI


def _midpoint_gap(normaliser: Callable[..., Array], p: tuple[Array, ...], q: tuple[Array, ...]) -> Array:
    middle = (0.5 * (x + y) for x, y in zip(p, q, strict=True))
    return 0.5 * (normaliser(*p) + normaliser(*q)) - normaliser(*middle)


def _log_beta(x: Array) -> Array:
    return jax.lax.lgamma(x).sum(-1) - jax.lax.lgamma(x.sum(-1))


def _multivariate(p: dist.Distribution, q: dist.Distribution, share: float) -> tuple[Array, Array, Array]:
    """dᵀS⁻¹d and ½ log |S| for S = `share` · (Σp + Σq), and the sum ½ log |Σp| + ½ log |Σq|."""
    mean_p, cov_p, mean_q, cov_q = floats(*_moments(p), *_moments(q))
    factor, own, other = (jnp.linalg.cholesky(cov) for cov in (share * (cov_p + cov_q), cov_p, cov_q))
    shift = mean_p - mean_q
    batch = jnp.broadcast_shapes(factor.shape[:-2], shift.shape[:-1])
    factor = jnp.broadcast_to(factor, (*batch, *factor.shape[-2:]))
    shift = jnp.broadcast_to(shift, (*batch, shift.shape[-1]))[..., None]
    squares = (shift * cho_solve((factor, True), shift)).sum((-2, -1))
    return squares, _half_log(factor), _half_log(own) + _half_log(other)


def _moments(d: dist.Distribution) -> tuple[Any, Any]:
    if type(d) is dist.Independent:
        (variance,) = floats(d.variance)
        return d.mean, variance[..., None] * jnp.eye(variance.shape[-1], dtype=variance.dtype)
    assert isinstance(d, dist.MultivariateNormal | dist.LowRankMultivariateNormal)
    return d.loc, d.covariance_matrix


def _half_log(factor: Array) -> Array:
    return jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)).sum(-1)


_MULTIVARIATE = (dist.MultivariateNormal, dist.LowRankMultivariateNormal, INDEPENDENT_NORMAL)

DISTANCE: Table = {
    (dist.Normal, dist.Normal): normal_distance,
    (dist.LogNormal, dist.LogNormal): normal_distance,
    (dist.InverseGamma, dist.InverseGamma): gamma_distance,
    (dist.Dirichlet, dist.Dirichlet): dirichlet_distance,
    (dist.Poisson, dist.Poisson): poisson_distance,
    **every_pair(multivariate_distance, *_MULTIVARIATE),
    **every_pair(gamma_distance, dist.Gamma, dist.Chi2, dist.Exponential),
    **every_pair(dirichlet_distance, dist.Beta, dist.BetaProportion),
}

PRODUCT: Table = {
    (dist.Normal, dist.Normal): normal_product,
    **every_pair(multivariate_product, *_MULTIVARIATE),
}

_compiled = cache(jax.jit)


def distance_form(p: dist.Distribution, q: dist.Distribution) -> Form | None:
    """The Bhattacharyya distance −log ∫ √(p q) ≥ 0, ready to be called, or None.

    A shared bijection keeps it, and the distances of independent coordinates add.
    """
    if disjoint(p, q):
        return lambda: jnp.full(jnp.broadcast_shapes(p.batch_shape, q.batch_shape), jnp.inf)
    if (form := DISTANCE.get((type_key(p), type_key(q)))) is not None:
        return partial(_compiled(form), p, q)
    parts = reduce_pair(p, q)
    return None if parts is None else parts.form(distance_form)


def product_form(p: dist.Distribution, q: dist.Distribution) -> Form | None:
    """−log ∫ p q, ready to be called, or None."""
    form = PRODUCT.get((type_key(p), type_key(q)))
    return None if form is None else partial(_compiled(form), p, q)


Pairwise = Callable[[Any, Any], Form | None]


# Every component of one side with every component of the other, in double precision.


class Side(NamedTuple):
    """A side as a mixture.

    log_weights  the logarithms of the weights
    blocks       the components in blocks, each along a last batch axis
    sizes        the number of components of each block; they sum to k
    batch        the batch shape of the side
    """

    log_weights: Float[np.ndarray, "*batch k"]
    blocks: tuple[dist.Distribution, ...]
    sizes: tuple[int, ...]
    batch: tuple[int, ...]


def side_of(d: dist.Distribution) -> Side | None:
    """The components of a distribution; None where they cannot be arranged along one axis."""
    found = components(d)
    if found is None:
        return None
    weights = np.asarray(found.weights, np.float64)
    with np.errstate(divide="ignore"):
        logs = np.log(weights / weights.sum(-1, keepdims=True))
    return Side(log_weights=logs, blocks=found.blocks, sizes=found.sizes, batch=tuple(d.batch_shape))


def sides(p: Known, q: Known) -> tuple[Side, Side]:
    """The components of both, in double precision."""
    assert p.distribution is not None
    assert q.distribution is not None
    own, other = side_of(doubled(p.distribution)), side_of(doubled(q.distribution))
    assert own is not None
    assert other is not None
    return own, other


def pairs_of(own: Side, other: Side) -> list[list[tuple[Any, Any]]]:
    """Every block of one side with every block of the other, as rows and columns of a table."""
    rows, columns = [unsqueezed(b) for b in own.blocks], [unsqueezed(b, 1) for b in other.blocks]
    return [[(row, column) for column in columns] for row in rows]


def pairwise_table(pairwise: Pairwise, own: Side, other: Side) -> Float[np.ndarray, "*batch k l"]:
    """The values of every pair of components, [*batch, K, L]; 0 where there is no form."""
    batch = np.broadcast_shapes(own.batch, other.batch)
    parts = []
    for row, size in zip(pairs_of(own, other), own.sizes, strict=True):
        forms = [pairwise(*pair) for pair in row]
        values = [0.0 if form is None else np.asarray(form()) for form in forms]
        shapes = [(*batch, size, width) for width in other.sizes]
        parts.append(np.concatenate([np.broadcast_to(v, s) for v, s in zip(values, shapes, strict=True)], -1))
    return np.concatenate(parts, -2)


def all_pairs_have(pairwise: Pairwise, own: Side, other: Side) -> bool:
    """Whether every component of one side has a form with every one of the other."""
    return all(pairwise(*pair) is not None for row in pairs_of(own, other) for pair in row)


def weighted(
    log_weights: Float[np.ndarray, "*batch k"], values: Float[np.ndarray, "*batch k"]
) -> Float[np.ndarray, "*batch"]:
    """Σₖ wₖ xₖ, in which a weight of 0 leaves its value out, be it ∞."""
    live = log_weights > -np.inf
    return np.where(live, np.exp(log_weights) * np.where(live, values, 0.0), 0.0).sum(-1)


def log_sum(x: np.ndarray, axis: int) -> np.ndarray:
    """log Σ exp x, in which no term at all gives −∞."""
    top = np.max(x, axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(x - top).sum(axis)) + np.squeeze(top, axis)


def subtract(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """x − y, and −∞ where x is."""
    nothing = x == -np.inf
    return np.where(nothing, -np.inf, x - np.where(nothing, 0.0, y))


# The rules.


@dataclass(frozen=True)
class VariationalUpperBound(Rule):
    """An upper bound by splitting the weights: wₖ = Σₗ ψₖₗ and vₗ = Σₖ φₖₗ.

    By the convexity of KL in both arguments, KL(P‖Q) ≤ Σₖₗ ψₖₗ (log(ψₖₗ/φₖₗ) + KL(fₖ‖gₗ)) for every split. Each of ψ
    and φ has a closed-form best value given the other, and alternating them lowers the bound to its minimum, since it
    is a divergence between two convex sets. The first split, φₖₗ = wₖ vₗ, gives −Σₖ wₖ log Σₗ vₗ exp(−KL(fₖ‖gₗ)),
    which is below the simple bound by convexity, Σₖₗ wₖ vₗ KL(fₖ‖gₗ). The same paper's variational approximation is
    closer on average, but it is no bound.

    steps      the most alternations; every one of them gives a bound
    tolerance  nats; stop when an alternation gains less, where the request has none

    Source: Hershey and Olsen (2007), section 8.
    """

    name = "variational upper bound"
    question = "estimate"
    identity = "KL(P‖Q) ≤ min over Σₗ ψₖₗ = wₖ, Σₖ φₖₗ = vₗ of Σₖₗ ψₖₗ (log ψₖₗ/φₖₗ + KL(fₖ‖gₗ))"
    needs_p = "a mixture Σₖ wₖ fₖ, or a distribution"
    needs_q = "a mixture Σₗ vₗ gₗ whose components make exact pairs with those of P"
    guarantee = Guarantee.UPPER_BOUND
    cost = 1.5
    source = "Hershey and Olsen (2007), section 8"
    aliases = ("Hershey–Olsen", "variational approximation")

    steps: int = 1000
    tolerance: float = 1e-9

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tolerance > 0 or self.steps < 1:
            raise InputError("VariationalUpperBound: steps and tolerance must be positive")

    def check(self, p: Known, q: Known) -> Applies | Missing:
        return _missing(p, q, (p, q, kl_form, "KL(fₖ‖gₗ)")) or Applies()

    def run(self, p: Known, q: Known, request: Request) -> Estimate:
        with jax.enable_x64(True):
            own, other = sides(p, q)
            divergence = pairwise_table(kl_form, own, other)
        tolerance = request.tolerance or self.tolerance
        value, steps = _alternate(own.log_weights, other.log_weights, divergence, self.steps, tolerance)
        return _bound(value, p, q, self.guarantee, alternations=steps)


def _alternate(
    log_w: np.ndarray, log_v: np.ndarray, divergence: np.ndarray, steps: int, tolerance: float
) -> tuple[np.ndarray, int]:
    """The bound [*batch] after alternations of ψ ∝ φ exp(−KL) in each row and φ ∝ ψ in each column."""
    log_phi, best, done = log_w[..., :, None] + log_v[..., None, :], np.asarray(np.inf), 0
    for done in range(1, steps + 1):  # noqa: B007
        log_psi = log_phi - divergence
        rows = log_sum(log_psi, -1)
        value = weighted(log_w, subtract(log_w, rows))
        finite = np.isfinite(value)
        gained = np.max(np.subtract(best, value, where=finite, out=np.zeros_like(value)), initial=0.0)
        best = np.minimum(best, value)
        if gained < tolerance:
            break
        log_psi = log_w[..., :, None] + subtract(log_psi, rows[..., None])
        log_phi = log_v[..., None, :] + subtract(log_psi, log_sum(log_psi, -2)[..., None, :])
    return best, done


@dataclass(frozen=True)
class PairwiseUpperBound(Rule):
    """An upper bound by comparing every component with every other, of P and of Q.

    E_fₖ[log q/fₖ] ≥ log Σₗ vₗ exp(−KL(fₖ‖gₗ)), by the evidence bound on log Σₗ vₗ gₗ at its best weights; and
    Σₖ wₖ E_fₖ[log p/fₖ] ≤ Σₖ wₖ log Σⱼ wⱼ ∫ √(fₖ fⱼ), by Jensen's inequality twice: the label of an
    outcome is identified at least as well as the overlaps of the components allow. Where an overlap has no closed form,
    it is taken as 1. Unlike the variational bound, this one uses the overlaps of P's own components. Either may be
    closer.

    Source: Kolchinsky and Tracey (2017), section 3, for both; Durrieu, Thiran and Kelly (2012), for their difference.
    """

    name = "pairwise upper bound"
    question = "estimate"
    identity = "KL(P‖Q) ≤ Σₖ wₖ log(Σⱼ wⱼ ∫√(fₖ fⱼ) / Σₗ vₗ exp(−KL(fₖ‖gₗ)))"
    needs_p = "a mixture Σₖ wₖ fₖ, or a distribution"
    needs_q = "a mixture Σₗ vₗ gₗ whose components make exact pairs with those of P"
    guarantee = Guarantee.UPPER_BOUND
    cost = 1.25
    source = "Kolchinsky and Tracey (2017), section 3; Durrieu, Thiran and Kelly (2012)"
    aliases = ("Kolchinsky–Tracey upper bound",)

    def check(self, p: Known, q: Known) -> Applies | Missing:
        return _missing(p, q, (p, q, kl_form, "KL(fₖ‖gₗ)")) or Applies()

    def run(self, p: Known, q: Known, request: Request) -> Estimate:
        with jax.enable_x64(True):
            own, other = sides(p, q)
            among = log_sum(own.log_weights[..., None, :] - pairwise_table(distance_form, own, own), -1)
            across = log_sum(other.log_weights[..., None, :] - pairwise_table(kl_form, own, other), -1)
        return _bound(weighted(own.log_weights, subtract(among, across)), p, q, self.guarantee)


@dataclass(frozen=True)
class PairwiseLowerBound(Rule):
    """A lower bound by comparing every component with every other, of P and of Q.

    Σₖ wₖ E_fₖ[log p/fₖ] ≥ Σₖ wₖ log Σⱼ wⱼ exp(−KL(fₖ‖fⱼ)), as in the upper bound. The other term, which is
    −KL(fₖ‖Q), is at most each of 0, of 2 log Σₗ √vₗ ∫ √(fₖ gₗ), since √ is concave and subadditive, and, where the
    components are normal, of H(fₖ) + log Σₗ vₗ ∫ fₖ gₗ, by Jensen's inequality; the least of them is taken for each k,
    and where Q has one component its exact value. Since KL ≥ 0, a value below 0 is replaced by 0.

    Source: Kolchinsky and Tracey (2017), section 3; Durrieu, Thiran and Kelly (2012), for the difference and ∫ fₖ gₗ.
    """

    name = "pairwise lower bound"
    question = "estimate"
    identity = "KL(P‖Q) ≥ Σₖ wₖ log Σⱼ wⱼ exp(−KL(fₖ‖fⱼ)) − 2 Σₖ wₖ log Σₗ √vₗ ∫√(fₖ gₗ)"
    needs_p = "a mixture Σₖ wₖ fₖ of components that make exact pairs, or a distribution"
    needs_q = "a mixture Σₗ vₗ gₗ whose components have closed overlaps with those of P, or a distribution"
    guarantee = Guarantee.LOWER_BOUND
    cost = 1.25
    source = "Kolchinsky and Tracey (2017), section 3; Durrieu, Thiran and Kelly (2012)"
    aliases = ("Kolchinsky–Tracey lower bound",)

    def check(self, p: Known, q: Known) -> Applies | Missing:
        mixed = q.distribution is not None and is_mixture(q.distribution)
        overlap = (p, q, distance_form, "∫√(fₖ gₗ)") if mixed else (p, q, kl_form, "KL(fₖ‖Q)")
        return _missing(p, q, (p, p, kl_form, "KL(fₖ‖fⱼ)"), overlap) or Applies()

    def run(self, p: Known, q: Known, request: Request) -> Estimate:
        with jax.enable_x64(True):
            own, other = sides(p, q)
            among = log_sum(own.log_weights[..., None, :] - pairwise_table(kl_form, own, own), -1)
            value = weighted(own.log_weights, subtract(among, _log_ratio(own, other)))
        return _bound(np.maximum(value, 0.0), p, q, self.guarantee)


def _log_ratio(own: Side, other: Side) -> np.ndarray:
    """At least E_fₖ[log q/fₖ] = −KL(fₖ‖Q), [*batch, K]."""
    log_v = other.log_weights[..., None, :]
    if sum(other.sizes) == 1:
        return -pairwise_table(kl_form, own, other)[..., 0]
    found = np.minimum(0.0, 2.0 * log_sum(0.5 * log_v - pairwise_table(distance_form, own, other), -1))
    entropies = [entropy_form(block) for block in own.blocks]
    if any(h is None for h in entropies) or not all_pairs_have(product_form, own, other):
        return found
    batch = np.broadcast_shapes(own.batch, other.batch)
    inside = along_axis([h() for h in entropies if h is not None], own.sizes, batch)
    return np.minimum(found, np.asarray(inside) + log_sum(log_v - pairwise_table(product_form, own, other), -1))


def _missing(p: Known, q: Known, *needs: tuple[Known, Known, Pairwise, str]) -> Missing | None:
    """Why a form that a bound `needs` is missing: each need is (side, side, form, its name in words)."""
    if p.distribution is None or q.distribution is None:
        return Missing(f"{'P' if p.distribution is None else 'Q'} is not a distribution with known components")
    if not (is_mixture(p.distribution) or is_mixture(q.distribution)):
        return Missing("neither side is a mixture")
    for a, b, pairwise, words in needs:
        assert a.distribution is not None
        assert b.distribution is not None
        own, other = side_of(a.distribution), side_of(b.distribution)
        if own is None or other is None or any(b is None for row in pairs_of(own, other) for pair in row for b in pair):
            return Missing("the components of a batch of mixtures cannot be arranged along one axis")
        if not all_pairs_have(pairwise, own, other):
            return Missing(f"{words} has no closed form for every pair of components")
    return unequal_inputs(p, q)


def _bound(value: np.ndarray, p: Known, q: Known, guarantee: Guarantee, **diagnostics: float) -> Estimate:
    value = averaged(value, p, q)
    return Estimate(value, guarantee=guarantee, reason=why_infinite(value, p, q), diagnostics=diagnostics)
