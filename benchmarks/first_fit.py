"""CPU seconds of the first fit and the first predictions of a process, with nothing kept, and in a later process.

Each figure is of a process of its own, imports aside; the median of several. `KULLBACK_BENCH_BESIDE=folder` runs
another checkout of the package in turn with this one.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROUNDS = 3
FITS = "iris", "iris, linear", "diabetes", "counts", "posterior"
PARTS = "fit", "predict", "interval", "the same again"

PROCESS = """
import json, sys, time
import jax, jax.numpy as jnp, numpy as np, numpyro.distributions as dist, scipy.stats
from sklearn.datasets import load_diabetes, load_iris
import kullback as kl

kl.KL, kl.KLClassifier, kl.rules
jnp.zeros(3) + 1
rng = np.random.default_rng(0)
taken, parts = time.process_time(), {}

def done(part):
    global taken
    now = time.process_time()
    parts[part], taken = now - taken, now

def posterior():
    def log_density(b):
        return dist.Normal(x @ b, 1.0).log_prob(y).sum() + dist.Normal(0.0, 10.0).log_prob(b).sum()

    return kl.KL(kl.Family(dist.MultivariateNormal), kl.Density(log_density, (3,))).minimize(quiet=True)

name = sys.argv[1]
if name == "posterior":
    x = rng.normal(size=(100, 3)).astype(np.float32)
    y = (x @ np.array([1.0, 2.0, 3.0]) + rng.normal(size=100)).astype(np.float32)
    done("data")
    posterior()
    done("fit")
    posterior()
    done("the same again")
else:
    if name.startswith("iris"):
        x, y = load_iris(return_X_y=True)
        model = kl.KLClassifier("linear" if "linear" in name else "mlp", random_state=0)
    elif name == "diabetes":
        x, y = load_diabetes(return_X_y=True)
        model = kl.KLRegressor(random_state=0)
    else:
        x = rng.normal(size=(500, 4))
        y = rng.poisson(np.exp(0.5 * x[:, 0] + 1.0))
        model = kl.KLRegressor("negative_binomial", random_state=0)
    done("data")
    model.fit(x, y)
    done("fit")
    model.predict(x)
    done("predict")
    if name in ("diabetes", "counts"):
        model.predict_interval(x)
        done("interval")
    model.fit(x, y)
    done("the same again")
print(json.dumps(parts))
"""


def taken(fit: str, kept: str, sources: str | None) -> dict[str, float]:
    """CPU seconds of the parts of one process."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    environment |= {"KULLBACK_CACHE_DIR": kept} | ({"PYTHONPATH": str(Path(sources) / "src")} if sources else {})
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, fit], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def tables() -> Iterator[str]:
    beside = os.environ.get("KULLBACK_BENCH_BESIDE")
    lines = ["| fit | process | " + " | ".join(PARTS) + " |", "|" + "---|" * (len(PARTS) + 2)]
    for fit in FITS:
        rounds: dict[str, list[dict[str, float]]] = {"first": [], "later": []} | ({"beside": []} if beside else {})
        for _ in range(ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                for process in rounds:
                    rounds[process].append(taken(fit, folder, beside if process == "beside" else None))
        for process, each in rounds.items():
            cells = [f"{statistics.median(one[p] for one in each):.2f}" if p in each[0] else "" for p in PARTS]
            lines.append(f"| {fit} | {process} | " + " | ".join(cells) + " |")
    yield "\n".join(["First fits: CPU seconds, imports aside", "", *lines])


if __name__ == "__main__":
    print(*tables(), sep="\n\n")
