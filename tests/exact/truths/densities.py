"""Laws on the line as log-densities in 50-digit arithmetic, for what is an integral against them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import mpmath as mp
import numpyro.distributions as dist


@dataclass(frozen=True)
class Law:
    """A constructor, its log-density up to a constant of (x, *parameters), and points between which that is smooth."""

    make: Callable[..., Any]
    log_density: Callable[..., Any]
    parameters: tuple[float, ...]
    points: tuple[float, ...]

    @cached_property
    def log_mass(self) -> Any:
        """log ∫ of the density, which is known up to a constant."""
        return mp.log(self.integral(lambda x: mp.exp(self.log(x))))

    @cached_property
    def exact(self) -> tuple[Any, ...]:
        return tuple(map(mp.mpf, self.parameters))

    def log(self, x: Any) -> Any:
        """The log-density up to a constant; −∞ outside the points."""
        if not self.points[0] <= x <= self.points[-1]:
            return -mp.inf
        return self.log_density(x, *self.exact)

    def integral(self, f: Callable[[Any], Any], *breaks: float) -> Any:
        """∫ f over the points."""
        inside = [b for b in breaks if self.points[0] < b < self.points[-1]]
        return mp.quad(f, sorted({*self.points, *inside}))


def _truncated(make):
    return lambda m, s, *bounds, **keywords: make(dist.Normal(m, s), *bounds, **keywords)


def _asymmetric(x, m, s, k):
    return -(x - m) * k / s if x > m else (x - m) / (s * k)


def _quantile(x, m, s, k):
    return -(x - m) * k / s if x > m else (x - m) * (1 - k) / s


def _softplus(x):
    return mp.log1p(mp.exp(x)) if x < 0 else x + mp.log1p(mp.exp(-x))


def _normal(x, m, s, *bounds):
    return -(((x - m) / s) ** 2) / 2


def _gamma(x, a, b):
    return (a - 1) * mp.log(x) - b * x


def _beta(x, a, b):
    return (a - 1) * mp.log(x) + (b - 1) * mp.log1p(-x)


INF = mp.inf
LINE = (-INF, -20, -8, -3, 0, 0.5, 1, 4, 9, 20, INF)
HALF = (0, 0.0625, 0.25, 1, 3, 8, 30, INF)
UNIT = (0, 0.125, 0.5, 0.875, 1)

LAWS = {
    "normal": Law(dist.Normal, _normal, (0.5, 1.25), LINE),
    "normal above": Law(_truncated(dist.LeftTruncatedDistribution), _normal, (0.5, 1.25, 0.25), (0.25, 1, 3, 9, INF)),
    "normal below": Law(
        _truncated(dist.RightTruncatedDistribution),
        lambda x, m, s, b: _normal(x, m, s),
        (0.5, 1.25, 0.25),
        (-INF, -9, -3, 0.25),
    ),
    "normal between": Law(
        _truncated(dist.TwoSidedTruncatedDistribution), _normal, (0.5, 0.25, 0.125, 0.875), (0.125, 0.5, 0.875)
    ),
    "half normal": Law(dist.HalfNormal, lambda x, s: _normal(x, 0, s), (1.5,), HALF),
    "log normal": Law(
        dist.LogNormal,
        lambda x, m, s: _normal(mp.log(x), m, s) - mp.log(x),
        (0.25, 0.75),
        (0, 0.1, 0.5, 1, 2, 5, 20, 200, INF),
    ),
    "laplace": Law(dist.Laplace, lambda x, m, s: -abs(x - m) / s, (0.5, 1.25), LINE),
    "asymmetric laplace": Law(dist.AsymmetricLaplace, _asymmetric, (0.5, 1.0, 1.5), LINE),
    "quantile laplace": Law(dist.AsymmetricLaplaceQuantile, _quantile, (0.5, 0.5, 0.25), LINE),
    "logistic": Law(dist.Logistic, lambda x, m, s: -(x - m) / s - 2 * _softplus(-(x - m) / s), (0.5, 0.75), LINE),
    "soft laplace": Law(dist.SoftLaplace, lambda x, m, s: -mp.log(mp.cosh((x - m) / s)), (0.5, 0.75), LINE),
    "gumbel": Law(
        dist.Gumbel, lambda x, m, s: -(x - m) / s - mp.exp(-(x - m) / s), (0.5, 0.75), (-4, -2, 0, 1, 4, 12, 40)
    ),
    "gompertz": Law(dist.Gompertz, lambda x, c, b: b * x - c * mp.exp(b * x), (0.5, 1.5), (0, 1, 2, 3.5)),
    "exponential": Law(dist.Exponential, lambda x, b: -b * x, (2.0,), HALF),
    "gamma": Law(dist.Gamma, _gamma, (2.5, 2.0), HALF),
    "chi squared": Law(dist.Chi2, lambda x, k: (k / 2 - 1) * mp.log(x) - x / 2, (3.0,), HALF),
    "inverse gamma": Law(
        dist.InverseGamma,
        lambda x, a, b: -(a + 1) * mp.log(x) - b / x,
        (4.0, 1.5),
        (0, 0.05, 0.25, 1, 4, 20, 200, 1e4, INF),
    ),
    "weibull": Law(dist.Weibull, lambda x, s, k: (k - 1) * mp.log(x) - (x / s) ** k, (1.5, 2.5), (0, 0.25, 1, 2, 4, 8)),
    "half cauchy": Law(
        dist.HalfCauchy, lambda x, s: -mp.log1p((x / s) ** 2), (1.5,), (0, 1, 10, 1e3, 1e7, 1e12, 1e18, 1e25, INF)
    ),
    "cauchy": Law(
        dist.Cauchy, lambda x, m, s: -mp.log1p(((x - m) / s) ** 2), (0.5, 1.5), (-INF, -1e3, -9, 0, 9, 1e3, INF)
    ),
    "student": Law(
        dist.StudentT,
        lambda x, n, m, s: -(n + 1) / 2 * mp.log1p(((x - m) / s) ** 2 / n),
        (5.0, 0.5, 1.5),
        (-INF, -1e3, -30, -5, 0, 5, 30, 1e3, INF),
    ),
    "pareto": Law(dist.Pareto, lambda x, m, a: -(a + 1) * mp.log(x), (1.5, 3.5), (1.5, 4, 20, 1e3, 1e6, INF)),
    "power above": Law(
        dist.LowerTruncatedPowerLaw, lambda x, a, m: a * mp.log(x), (-4.5, 0.25), (0.25, 1, 5, 100, 1e4, INF)
    ),
    "power between": Law(
        dist.DoublyTruncatedPowerLaw, lambda x, a, m, n: a * mp.log(x), (1.5, 0.25, 0.75), (0.25, 0.75)
    ),
    "log uniform": Law(dist.LogUniform, lambda x, a, b: -mp.log(x), (0.25, 0.75), (0.25, 0.75)),
    "uniform": Law(dist.Uniform, lambda x, a, b: mp.mpf(0), (0.25, 0.75), (0.25, 0.75)),
    "beta": Law(dist.Beta, _beta, (2.0, 3.5), UNIT),
    "beta by mean": Law(dist.BetaProportion, lambda x, m, k: _beta(x, m * k, k - m * k), (0.375, 4.0), UNIT),
    "kumaraswamy": Law(
        dist.Kumaraswamy, lambda x, a, b: (a - 1) * mp.log(x) + (b - 1) * mp.log1p(-(x**a)), (2.5, 3.0), UNIT
    ),
    "dagum": Law(
        dist.Dagum,
        lambda x, k, a, b: (a * k - 1) * mp.log(x) - (k + 1) * mp.log1p((x / b) ** a),
        (1.5, 3.5, 0.75),
        (0, 0.25, 1, 4, 30, 1e3, 1e6, INF),
    ),
    "von mises": Law(dist.VonMises, lambda x, m, k: k * mp.cos(x - m), (0.5, 2.0), (-mp.pi, -1, 0.5, 2, mp.pi)),
}
