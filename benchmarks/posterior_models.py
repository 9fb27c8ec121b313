"""Models of Bayesian data analysis with their data, each as (model, args) for NumPyro; outcomes are the last argument.

The reference of a model whose chains mix badly is another way to write it, with the same latent sites by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.control_flow import scan


@dataclass(frozen=True)
class Task:
    """A model, its arguments with the outcomes last, and the model that reference draws are made with."""

    name: str
    model: Callable[..., None]
    data: Callable[[int], tuple[Any, ...]]
    reference: Callable[..., None] | None = None


def regression(x, y):
    """Raw units: an intercept and three slopes, of which two belong to columns of correlation 0.999."""
    intercept = numpyro.sample("intercept", dist.Normal(0.0, 1e6))
    slopes = numpyro.sample("slopes", dist.Normal(0.0, 1e5).expand([3]).to_event(1))
    noise = numpyro.sample("noise", dist.HalfCauchy(1e4))
    numpyro.sample("y", dist.Normal(intercept + x @ slopes, noise), obs=y)


def regression_data(seed):
    rng = np.random.default_rng(seed)
    area = rng.normal(150.0, 40.0, 200)
    rooms = 0.02 * area + rng.normal(0.0, 0.036, 200)
    year = rng.normal(1980.0, 15.0, 200)
    x = np.stack([area, rooms, year], 1)
    return x, 5e4 + x @ np.array([2000.0, 5000.0, 100.0]) + rng.normal(0.0, 3e4, 200)


def scales(x, y):
    """Poor scaling: coefficients whose posterior sds go from 1e-3 to 1e3."""
    b = numpyro.sample("b", dist.Normal(0.0, 1e4).expand([7]).to_event(1))
    numpyro.sample("y", dist.Normal(x @ b, 1.0), obs=y)


def scales_data(seed):
    rng = np.random.default_rng(seed)
    unit = 10.0 ** np.arange(-3, 4)
    x = rng.normal(size=(100, 7)) * unit
    return x, x @ (rng.normal(size=7) / unit) + rng.normal(size=100)


def schools(sigma, y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("school", len(sigma)):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def schools_non_centred(sigma, y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("school", len(sigma)):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        theta = numpyro.deterministic("theta", mu + tau * z)
        numpyro.sample("y", dist.Normal(theta, sigma), obs=y)


def schools_data(seed):
    sigma = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])
    y = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    return sigma, y + (np.random.default_rng(seed).normal(size=8) if seed else 0.0)


def hierarchical_logistic(x, group, y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 2.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    b = numpyro.sample("b", dist.Normal(0.0, 2.0).expand([3]).to_event(1))
    with numpyro.plate("group", 40):
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
    a = numpyro.deterministic("a", mu + tau * z)
    numpyro.sample("y", dist.Bernoulli(logits=a[group] + x @ b), obs=y)


def hierarchical_logistic_data(seed):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(40), 25)
    x = rng.normal(size=(1000, 3))
    logits = 0.5 + 0.8 * rng.normal(size=40)[group] + x @ np.array([1.0, -0.5, 0.2])
    return x, group, (rng.uniform(size=1000) < 1 / (1 + np.exp(-logits))).astype(np.int32)


def ordinal(x, y):
    b = numpyro.sample("b", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
    cuts = numpyro.sample(
        "cuts",
        dist.TransformedDistribution(dist.Normal(0.0, 3.0).expand([4]).to_event(1), dist.transforms.OrderedTransform()),
    )
    numpyro.sample("y", dist.OrderedLogistic(x @ b, cuts), obs=y)


def ordinal_data(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(300, 2))
    latent = x @ np.array([1.0, -0.7]) + rng.logistic(size=300)
    return x, np.digitize(latent, [-2.0, -0.5, 0.5, 2.0]).astype(np.int32)


def horseshoe(x, y):
    tau = numpyro.sample("tau", dist.HalfCauchy(0.1))
    noise = numpyro.sample("noise", dist.HalfNormal(2.0))
    with numpyro.plate("coefficient", 20):
        width = numpyro.sample("width", dist.HalfCauchy(1.0))
        z = numpyro.sample("z", dist.Normal(0.0, 1.0))
    b = numpyro.deterministic("b", tau * width * z)
    numpyro.sample("y", dist.Normal(x @ b, noise), obs=y)


def horseshoe_data(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(100, 20))
    b = np.zeros(20)
    b[:3] = 2.0, -1.5, 1.0
    return x, x @ b + rng.normal(size=100)


def counts(x, exposure, y):
    b = numpyro.sample("b", dist.Normal(0.0, 5.0).expand([3]).to_event(1))
    dispersion = numpyro.sample("dispersion", dist.Exponential(1.0))
    mean = exposure * jnp.exp(x @ b)
    numpyro.sample("y", dist.NegativeBinomial2(mean, 1.0 / dispersion), obs=y)


def counts_data(seed):
    rng = np.random.default_rng(seed)
    x = np.stack([np.ones(250), rng.normal(size=250), rng.integers(0, 2, 250)], 1)
    exposure = rng.uniform(10.0, 1000.0, 250)
    mean = exposure * np.exp(x @ np.array([-3.0, 0.5, 0.4])) * rng.gamma(2.0, 0.5, 250)
    return x, exposure, rng.poisson(mean).astype(np.int32)


def change_point(year, y):
    """A change at an unknown year, which is summed out."""
    early = numpyro.sample("early", dist.Exponential(0.2))
    late = numpyro.sample("late", dist.Exponential(0.2))
    change = numpyro.sample("change", dist.DiscreteUniform(0, 110))
    numpyro.sample("y", dist.Poisson(jnp.where(year < change, early, late)), obs=y)


def change_point_summed(year, y):
    """The same with the sum written out, for samplers that cannot sum."""
    early = numpyro.sample("early", dist.Exponential(0.2))
    late = numpyro.sample("late", dist.Exponential(0.2))
    before = year < jnp.arange(111)[:, None]
    terms = jnp.where(before, dist.Poisson(early).log_prob(y), dist.Poisson(late).log_prob(y)).sum(1)
    numpyro.factor("y", jnp.logaddexp.reduce(terms) - jnp.log(111.0))


def change_point_data(seed):
    rng = np.random.default_rng(seed)
    year = np.arange(111)
    return year, rng.poisson(np.where(year < 40, 3.0, 1.0)).astype(np.int32)


def garch(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    level = numpyro.sample("level", dist.HalfNormal(1.0))
    shock = numpyro.sample("shock", dist.Uniform(0.0, 1.0))
    memory = numpyro.sample("memory", dist.Uniform(0.0, 1.0))

    def step(variance, r):
        return level + shock * r**2 + memory * (1 - shock) * variance, variance

    _, variance = scan(step, level / (1.0 - 0.5), y - mu)
    numpyro.sample("y", dist.Normal(mu, jnp.sqrt(variance)), obs=y)


def garch_data(seed):
    rng, y, variance = np.random.default_rng(seed), [], 0.4
    for _ in range(300):
        y.append(0.1 + np.sqrt(variance) * rng.normal())
        variance = 0.1 + 0.2 * (y[-1] - 0.1) ** 2 + 0.6 * variance
    return (np.array(y),)


def gaussian_process(x, y):
    length = numpyro.sample("length", dist.InverseGamma(5.0, 5.0))
    size = numpyro.sample("size", dist.HalfNormal(2.0))
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    kernel = size**2 * jnp.exp(-0.5 * (x[:, None] - x) ** 2 / length**2)
    numpyro.sample("y", dist.MultivariateNormal(0.0, kernel + (noise**2 + 1e-6) * jnp.eye(len(x))), obs=y)


def gaussian_process_data(seed):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(-5.0, 5.0, 40))
    return x, np.sin(x) + 0.3 * rng.normal(size=40)


def mixture(y):
    """Three normals in order, with the label of each row summed out."""
    share = numpyro.sample("share", dist.Dirichlet(jnp.full(3, 2.0)))
    centre = numpyro.sample(
        "centre",
        dist.TransformedDistribution(dist.Normal(0.0, 5.0).expand([3]).to_event(1), dist.transforms.OrderedTransform()),
    )
    width = numpyro.sample("width", dist.Gamma(2.0, 2.0).expand([3]).to_event(1))
    with numpyro.plate("row", len(y)):
        label = numpyro.sample("label", dist.Categorical(share))
        numpyro.sample("y", dist.Normal(centre[label], width[label]), obs=y)


def mixture_summed(y):
    share = numpyro.sample("share", dist.Dirichlet(jnp.full(3, 2.0)))
    centre = numpyro.sample(
        "centre",
        dist.TransformedDistribution(dist.Normal(0.0, 5.0).expand([3]).to_event(1), dist.transforms.OrderedTransform()),
    )
    width = numpyro.sample("width", dist.Gamma(2.0, 2.0).expand([3]).to_event(1))
    with numpyro.plate("row", len(y)):
        numpyro.sample("y", dist.MixtureSameFamily(dist.Categorical(share), dist.Normal(centre, width)), obs=y)


def mixture_data(seed):
    rng = np.random.default_rng(seed)
    label = rng.choice(3, 200, p=[0.5, 0.3, 0.2])
    return (np.array([-4.0, 0.0, 3.0])[label] + np.array([1.0, 0.5, 1.0])[label] * rng.normal(size=200),)


TASKS = (
    Task("regression", regression, regression_data),
    Task("scales", scales, scales_data),
    Task("schools", schools, schools_data, schools_non_centred),
    Task("schools, non-centred", schools_non_centred, schools_data),
    Task("hierarchical logistic", hierarchical_logistic, hierarchical_logistic_data),
    Task("ordinal", ordinal, ordinal_data),
    Task("horseshoe", horseshoe, horseshoe_data),
    Task("counts", counts, counts_data),
    Task("change point", change_point, change_point_data, change_point_summed),
    Task("GARCH", garch, garch_data),
    Task("Gaussian process", gaussian_process, gaussian_process_data),
    Task("mixture", mixture, mixture_data, mixture_summed),
)
