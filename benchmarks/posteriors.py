"""Posteriors of twelve models: ours, full rank, beside NumPyro's SVI with a full-rank guide and 10,000 steps of Adam.

`python -m benchmarks.posteriors [--reference] [model ...]`. Each model runs in a process of its own with nothing kept,
one contender after the other. Times are CPU seconds: of a first fit, compilation included, and of a second with other
data of the same shapes. A bound is E_q[log joint − log q] in nats over 8,192 draws of the fitted q, in double
precision, by the same code for both. With `--reference` means and standard deviations of the unconstrained sites are
compared with those of NUTS (4 chains of 1,000 + 2,000): the largest error of a mean in standard deviations, and of a
standard deviation in per cent, of ours as fitted and corrected.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from benchmarks.posterior_models import TASKS

STEPS, RATE = 10_000, 0.01
HEAD = (
    "| model | ours first, s | ours again, s | SVI first, s | SVI again, s | bound, ours | bound, SVI | gap | status |"
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--child", action="store_true")
    parser.add_argument("models", nargs="*")
    asked = parser.parse_args()
    if asked.child:
        print(row(asked.models[0], asked.reference))
        return
    print(HEAD.replace(" status |", " status | mean error | sd error, % | khat |") if asked.reference else HEAD)
    print("|" + "---|" * (12 if asked.reference else 9))
    for task in TASKS:
        if not asked.models or task.name in asked.models:
            command = [sys.executable, "-m", "benchmarks.posteriors", "--child", task.name]
            command += ["--reference"] if asked.reference else []
            environment = {**os.environ, "KULLBACK_CACHE_DIR": "off", "JAX_ENABLE_COMPILATION_CACHE": "false"}
            found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            print(
                found.stdout.strip() or f"| {task.name} | failed: {found.stderr.strip().splitlines()[-1]} |", flush=True
            )


def row(name: str, reference: bool) -> str:
    import jax.numpy as jnp
    import numpyro.distributions as dist

    import kullback as kl

    task = next(task for task in TASKS if task.name == name)
    _ = kl.KL, kl.rules, jnp.zeros(3) + 1

    def ours(seed: int):
        side = kl.Posterior(task.model, *task.data(seed))
        return kl.KL(kl.Family(dist.MultivariateNormal), side).minimize(quiet=True)

    first, fit = timed(lambda: ours(0))
    again, _ = timed(lambda: ours(1))
    # SVI cannot sum discrete sites out without funsor, so it gets the model with the sum written out.
    summed = task.reference if task.model.__name__ in ("change_point", "mixture") else task.model
    svi_first, (bound, _) = timed(lambda: svi(summed, task.data(0)))
    svi_again, _ = timed(lambda: svi(summed, task.data(1)))
    numbers = fit.diagnostics
    cells = [
        name,
        f"{first:.1f}",
        f"{again:.2f}",
        f"{svi_first:.1f}",
        f"{svi_again:.1f}",
        f"{numbers['elbo'].value:.3f} ± {numbers['elbo'].standard_error:.1g}",
        f"{bound(fit.q.sites if summed is task.model else kl.Posterior(summed, *task.data(0)).sites):.3f}",
        f"{numbers['gap'].value:.2g}",
        fit.status.name,
    ]
    if reference:
        cells += [*compared(fit, draws_of(task)), f"{numbers['khat']:.2f}"]
    return "| " + " | ".join(cells) + " |"


def timed(call):
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def svi(model, data):
    """The guide after all steps, as its bound on a posterior's sites, and its parameters."""
    import jax
    import numpy as np
    import numpyro
    import scipy.stats
    from numpyro.infer import SVI, Trace_ELBO
    from numpyro.infer.autoguide import AutoMultivariateNormal

    from kullback.inference.worth import log_density_of

    guide = AutoMultivariateNormal(model)
    engine = SVI(model, guide, numpyro.optim.Adam(RATE), Trace_ELBO())
    found = jax.block_until_ready(engine.run(jax.random.key(0), STEPS, *data, progress_bar=False).params)

    def bound(sites):
        loc, lower = (np.asarray(found[f"auto_{name}"], np.float64) for name in ("loc", "scale_tril"))
        order = np.concatenate([np.flatnonzero(guide_names(guide) == site.name) for site in sites.program.sites])
        noise = np.random.default_rng(0).normal(size=(8192, len(loc)))
        log_q = scipy.stats.norm.logpdf(noise).sum(1) - np.log(np.diagonal(lower)).sum()
        return float(
            np.mean(log_density_of(sites.log_density, (loc + noise @ lower.T)[:, order], sites.double) - log_q)
        )

    return bound, found


def guide_names(guide):
    """The site of each coordinate of a guide's vector: NumPyro ravels sites in alphabetical order."""
    import jax
    import numpy as np

    parts = jax.tree.map(np.size, guide._init_locs)
    return np.array([name for name in sorted(parts) for _ in range(parts[name])])


def draws_of(task):
    """Draws of a long run of NUTS by name, latent and deterministic sites."""
    import jax
    from numpyro.infer import MCMC, NUTS

    kernel = NUTS(task.reference or task.model, dense_mass=True, target_accept_prob=0.95)
    chains = MCMC(
        kernel, num_warmup=1000, num_samples=2000, num_chains=4, chain_method="vectorized", progress_bar=False
    )
    with jax.enable_x64(True):
        chains.run(jax.random.key(7), *task.data(0))
        return chains.get_samples()


def compared(fit, reference):
    """Errors of means, in standard deviations, and of standard deviations, in per cent: of q, and corrected."""
    import jax
    import numpy as np

    sites = fit.q.sites
    with jax.enable_x64(True):
        at = {site.name: np.asarray(reference[site.name]) for site in sites.program.sites}
    truth = sites.vectors(at)[0]
    mean, sd = truth.mean(0), truth.std(0)
    cells = []
    for weights in (np.full(len(fit.corrected.x), 1 / len(fit.corrected.x)), fit.corrected.weights):
        found = weights @ fit.corrected.x
        spread = np.sqrt(weights @ np.square(fit.corrected.x - found))
        cells.append((np.max(np.abs(found - mean) / sd), 100 * np.max(np.abs(spread / sd - 1))))
    return f"{cells[0][0]:.2f}, {cells[1][0]:.2f} corrected", f"{cells[0][1]:.0f}, {cells[1][1]:.0f} corrected"


if __name__ == "__main__":
    main()
