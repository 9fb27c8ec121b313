"""Maximum likelihood over families × scales × offsets × weights, against SciPy's log-densities optimised in double.

Truth is the least −Σ w log q that Nelder and Mead's method finds over SciPy's law in units in which the data are about
1; in other units it moves by the logarithm of the scale, which is exact. What a fit states must be its own law's value
by SciPy, and within 1e-4 nats a row of that truth.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.optimize
import scipy.stats as st

import kullback as kl
from kullback.families.form import Sizes, form_for
from kullback.minimize.closed_forms.table import closed_form

N = 60


@dataclass(frozen=True)
class Row:
    """A family, draws [N] in units of about 1, SciPy's law at the family's parameters, and how units change them.

    free   the parameters at real numbers, and real numbers near the optimum to start the search for the truth at
    kind   "location", "scale" or "none": the changes of units that the family is closed under
    """

    family: Any
    draws: np.ndarray
    law: Any
    free: Any
    start: tuple[float, ...]
    kind: str
    fixed: dict[str, float] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return ", ".join([self.family.__name__, *self.fixed])


def r() -> np.random.Generator:
    return np.random.default_rng(20)


def scaled(law):
    return lambda loc, scale, **shapes: law(loc=loc, scale=scale, **shapes)


def located(law, family, draws):
    return Row(family, draws, scaled(law), lambda t: {"loc": t[0], "scale": np.exp(t[1])}, (0.0, 0.0), "location")


def positive(*names):
    """Positive parameters at the exponentials of real numbers."""
    return lambda t: dict(zip(names, np.exp(t), strict=True))


def dagum(concentration, sharpness, scale):
    return st.burr(sharpness, concentration, scale=scale)


def proportion(mean, concentration):
    return st.beta(mean * concentration, (1 - mean) * concentration)


class Kumaraswamy:
    """x^a has the law of 1 − u^(1/b)."""

    def __init__(self, concentration1, concentration0):
        self.a, self.b = concentration1, concentration0

    def logpdf(self, x):
        return np.log(self.a * self.b) + (self.a - 1) * np.log(x) + (self.b - 1) * np.log1p(-(x**self.a))


class PowerLaw:
    """A density ∝ x^α between two ends."""

    def __init__(self, low, high, alpha):
        self.low, self.high, self.alpha = low, high, alpha

    def logpdf(self, x):
        beta = self.alpha + 1
        mass = (self.high**beta - self.low**beta) / beta
        inside = (x >= self.low * (1 - 1e-12)) & (x <= self.high * (1 + 1e-12))
        return np.where(inside, self.alpha * np.log(x) - np.log(mass), -np.inf)


def soft_laplace(loc, scale):
    return st.hypsecant(loc, scale)


def asymmetric(loc, scale, asymmetry):
    # SciPy's scale/κ to the right and scale·κ to the left, as NumPyro's.
    return st.laplace_asymmetric(asymmetry, loc, scale)


def by_quantile(loc, scale, quantile):
    left, right = scale / (1 - quantile), scale / quantile
    return asymmetric(loc, np.sqrt(left * right), np.sqrt(left / right))


POSITIVE = r().gamma(2.0, 0.7, N)
REAL = r().normal(0.3, 1.0, N)
UNIT = r().beta(2.0, 3.0, N)
TAIL = 1.0 + r().pareto(3.0, N)

FAMILIES = [
    located(st.norm, dist.Normal, REAL),
    located(st.laplace, dist.Laplace, REAL),
    located(st.logistic, dist.Logistic, REAL),
    located(st.gumbel_r, dist.Gumbel, r().gumbel(size=N)),
    located(st.cauchy, dist.Cauchy, r().standard_cauchy(N)),
    Row(dist.SoftLaplace, REAL, soft_laplace, lambda t: {"loc": t[0], "scale": np.exp(t[1])}, (0.0, 0.0), "location"),
    Row(dist.StudentT, r().standard_t(2.5, N), lambda df, loc, scale: st.t(df, loc, scale),
        lambda t: {"df": np.exp(t[0]), "loc": t[1], "scale": np.exp(t[2])}, (1.0, 0.0, 0.0), "location"),
    Row(dist.StudentT, r().standard_t(2.5, N), lambda loc, scale: st.t(4.0, loc, scale),
        lambda t: {"loc": t[0], "scale": np.exp(t[1])}, (0.0, 0.0), "location", {"df": 4.0}),
    Row(dist.AsymmetricLaplace, REAL + POSITIVE, asymmetric,
        lambda t: {"loc": t[0], "scale": np.exp(t[1]), "asymmetry": np.exp(t[2])}, (1.0, 0.0, 0.0), "location"),
    Row(dist.AsymmetricLaplaceQuantile, REAL, lambda loc, scale: by_quantile(loc, scale, 0.8),
        lambda t: {"loc": t[0], "scale": np.exp(t[1])}, (1.0, -1.0), "location", {"quantile": 0.8}),
    Row(dist.Levy, st.levy.rvs(size=N, random_state=1), lambda loc, scale: st.levy(loc, scale),
        lambda t: {"loc": t[0], "scale": np.exp(t[1])}, (0.0, 0.0), "location"),
    Row(dist.Uniform, UNIT, lambda low, high: st.uniform(low, high - low),
        lambda t: {"low": UNIT.min() - np.exp(t[0]), "high": UNIT.max() + np.exp(t[1])}, (-20.0, -20.0), "location"),
    Row(dist.Gamma, POSITIVE, lambda concentration, rate: st.gamma(concentration, scale=1 / rate),
        positive("concentration", "rate"), (0.5, 0.5), "scale"),
    Row(dist.Gamma, r().gamma(0.2, 1.0, N), lambda concentration, rate: st.gamma(concentration, scale=1 / rate),
        positive("concentration", "rate"), (-1.5, 0.0), "scale"),
    Row(dist.InverseGamma, 1 / POSITIVE, lambda concentration, rate: st.invgamma(concentration, scale=rate),
        positive("concentration", "rate"), (0.5, 0.5), "scale"),
    Row(dist.Weibull, POSITIVE, lambda concentration, scale: st.weibull_min(concentration, scale=scale),
        positive("concentration", "scale"), (0.3, 0.3), "scale"),
    Row(dist.LogNormal, POSITIVE, lambda loc, scale: st.lognorm(scale, scale=np.exp(loc)),
        lambda t: {"loc": t[0], "scale": np.exp(t[1])}, (0.0, -0.5), "scale"),
    Row(dist.Exponential, POSITIVE, lambda rate: st.expon(scale=1 / rate), positive("rate"), (0.0,), "scale"),
    Row(dist.HalfNormal, POSITIVE, lambda scale: st.halfnorm(scale=scale), positive("scale"), (0.3,), "scale"),
    Row(dist.HalfCauchy, POSITIVE, lambda scale: st.halfcauchy(scale=scale), positive("scale"), (0.3,), "scale"),
    Row(dist.Gompertz, r().weibull(2.0, N), lambda concentration, rate: st.gompertz(concentration, scale=1 / rate),
        positive("concentration", "rate"), (-1.0, 0.5), "scale"),
    Row(dist.Dagum, POSITIVE, dagum, positive("concentration", "sharpness", "scale"), (-0.5, 1.0, 0.5), "scale"),
    # Tails whose moments say nothing: the mean is e³⁰ times the median.
    Row(dist.Dagum, r().lognormal(0.0, 8.0, N), dagum, positive("concentration", "sharpness", "scale"),
        (0.0, -1.5, 0.0), "scale"),
    Row(dist.Pareto, TAIL, lambda scale, alpha: st.pareto(alpha, scale=scale),
        lambda t: {"scale": TAIL.min() - np.exp(t[0]), "alpha": np.exp(t[1])}, (-20.0, 1.0), "scale"),
    Row(dist.LogUniform, TAIL, lambda low, high: st.loguniform(low, high),
        lambda t: {"low": TAIL.min() - np.exp(t[0]), "high": TAIL.max() + np.exp(t[1])}, (-20.0, -20.0), "scale"),
    Row(dist.LowerTruncatedPowerLaw, TAIL, lambda alpha, low: st.pareto(-1 - alpha, scale=low),
        lambda t: {"low": TAIL.min() - np.exp(t[0]), "alpha": -1 - np.exp(t[1])}, (-20.0, 1.0), "scale"),
    Row(dist.DoublyTruncatedPowerLaw, TAIL, PowerLaw,
        lambda t: {"low": TAIL.min() - np.exp(t[0]), "high": TAIL.max() + np.exp(t[1]), "alpha": t[2]},
        (-20.0, -20.0, -4.0), "scale"),
    Row(dist.Beta, UNIT, lambda concentration1, concentration0: st.beta(concentration1, concentration0),
        positive("concentration1", "concentration0"), (0.7, 1.0), "none"),
    Row(dist.Beta, r().beta(0.1, 1.0, N), lambda concentration1, concentration0: st.beta(
        concentration1, concentration0), positive("concentration1", "concentration0"), (-2.3, 0.0), "none"),
    Row(dist.BetaProportion, UNIT, proportion,
        lambda t: {"mean": 1 / (1 + np.exp(-t[0])), "concentration": np.exp(t[1])}, (-0.5, 1.5), "none"),
    Row(dist.Kumaraswamy, UNIT, Kumaraswamy, positive("concentration1", "concentration0"), (0.5, 1.0), "none"),
    Row(dist.VonMises, r().vonmises(3.0, 2.0, N), lambda loc, concentration: st.vonmises(concentration, loc),
        lambda t: {"loc": t[0], "concentration": np.exp(t[1])}, (3.0, 0.7), "none"),
    Row(dist.Chi2, 5 * POSITIVE, st.chi2, positive("df"), (2.0,), "none"),
]  # fmt: skip

UNITS = {
    "location": [(1.0, 0.0), (1e-6, 0.0), (1e6, 0.0), (1.0, 1e6), (1.0, 1.7e9)],
    "scale": [(1.0, 0.0), (1e-6, 0.0), (1e6, 0.0)],
    "none": [(1.0, 0.0)],
}
HALF = np.arange(N) % 2 == 0
WEIGHTS = {"some zero": HALF * 1.0, "some huge": np.where(HALF, 1e15, 1.0), "tiny": np.where(HALF, 1e-290, 1e-305)}


def value(row, law, x, w):
    with np.errstate(all="ignore"):
        found = -(w / w.sum()) @ row.law(**law).logpdf(x)
    return found if np.isfinite(found) else np.inf


def truth(row, x, w):
    """The least value near the start, by a search that is begun again from where it ended."""
    counted = w > 0
    at, best = np.asarray(row.start), np.inf
    for _ in range(4):
        found = scipy.optimize.minimize(
            lambda t: value(row, row.free(t), x[counted], w[counted]), at, method="Nelder-Mead",
            options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 4000, "maxfev": 4000},
        )  # fmt: skip
        at, best = found.x, min(best, float(found.fun))
    return best


def parameters(row, q):
    return {name: float(getattr(q, name)) for name in row.family.arg_constraints if name not in row.fixed}


def fitted(row, x, w=None):
    fit = kl.KL(kl.Samples(x, w), kl.Family(row.family, **row.fixed)).minimize(quiet=True)
    assert fit.status.ok, fit
    return fit


@pytest.mark.parametrize("row", FAMILIES, ids=[f"{i}-{row.name}" for i, row in enumerate(FAMILIES)])
def test_the_fit_is_the_optimum_in_any_units_and_under_any_weights(row):
    base = fitted(row, row.draws)
    least = truth(row, row.draws, np.ones(N))
    for scale, offset in UNITS[row.kind]:
        x = offset + scale * row.draws
        fit = fitted(row, x)
        at = parameters(row, fit.q)
        stated = fit.objective.value
        assert stated == pytest.approx(value(row, at, x, np.ones(N)), abs=1e-6), (scale, offset)
        assert stated - np.log(scale) <= least + 1e-5, (scale, offset)
        assert stated - np.log(scale) == pytest.approx(base.objective.value, abs=2e-6), (scale, offset)
        if "loc" in at and row.kind == "location":
            moved = (at["loc"] - offset) / scale
            assert moved == pytest.approx(float(base.q.loc), abs=1e-4), (scale, offset)


@pytest.mark.parametrize("how", WEIGHTS)
@pytest.mark.parametrize("row", FAMILIES, ids=[f"{i}-{row.name}" for i, row in enumerate(FAMILIES)])
def test_weights_count_and_rows_without_weight_do_not(row, how):
    w, x = WEIGHTS[how], row.draws.copy()
    if how == "some zero":
        x[1::2] = -7.0 if row.kind == "scale" else 1e30  # outside every support, or far beyond all others
    fit = fitted(row, x, w)
    with_rows_left_out = fitted(row, row.draws[::2])
    assert fit.objective.value == pytest.approx(with_rows_left_out.objective.value, abs=1e-6)
    assert fit.objective.value == pytest.approx(value(row, parameters(row, fit.q), x[w > 0], w[w > 0]), abs=1e-6)


SIDE_BY_SIDE = [row for row in FAMILIES if closed_form(form_for(row.family, row.fixed, Sizes(())), row.fixed)]


@pytest.mark.parametrize("row", SIDE_BY_SIDE, ids=[f"{i}-{row.name}" for i, row in enumerate(SIDE_BY_SIDE)])
def test_columns_side_by_side_are_fitted_each_by_itself(row):
    other = row.draws if row.kind == "none" else 1e4 * row.draws
    apart = fitted(row, row.draws).objective.value + fitted(row, other).objective.value
    columns = np.stack([row.draws, other, other, row.draws], 1)
    assert fitted(row, columns[:, :2]).objective.value == pytest.approx(apart, abs=1e-9)
    assert fitted(row, columns.reshape(-1, 2, 2)).objective.value == pytest.approx(2 * apart, abs=1e-9)


def test_a_mixture_by_descent_is_the_same_in_any_units(rng):
    x = np.r_[rng.standard_t(4, 60) - 6, rng.standard_t(4, 60) + 6]
    values, places = [], []
    for scale, offset in ((1.0, 0.0), (1e-6, 0.0), (1e6, 0.0), (1.0, 1e6)):
        fit = kl.KL(offset + scale * x, kl.Mixture(kl.Family(dist.StudentT), 2)).minimize(quiet=True)
        values.append(fit.objective.value - np.log(scale))
        places.append(np.sort((fit.q.component_distribution.loc - offset) / scale))
    np.testing.assert_allclose(values, values[0], atol=1e-6)
    np.testing.assert_allclose(places, [places[0]] * 4, atol=1e-3)


def test_what_is_stated_survives_a_file(tmp_path):
    for x in (np.full(9, 3.0), 1.7e9 + np.arange(9)):
        fit = kl.KL(x, kl.Family(dist.Normal)).minimize(quiet=True)
        fit.save(tmp_path / "fit")
        again = kl.load(tmp_path / "fit")
        assert (again.objective.value, again.status, again.message) == (fit.objective.value, fit.status, fit.message)
        assert again.q.loc == fit.q.loc
        assert again.q.scale == fit.q.scale


def test_rules_agree_where_both_apply(rng):
    """Moment matching and descent on the same likelihood, in double and in any units."""
    for family, x in ((dist.Normal, 1e6 + 1e-2 * rng.normal(size=N)), (dist.Gamma, 1e-6 * rng.gamma(2.0, size=N))):
        closed = kl.KL(x, kl.Family(family)).minimize(quiet=True)
        descended = kl.KL(x, kl.Family(family)).minimize(rule="maximum likelihood", quiet=True)
        assert descended.objective.value == pytest.approx(closed.objective.value, abs=1e-9)
