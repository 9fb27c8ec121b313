"""Batches of exact divergences, from arrays of parameters to an array of divergences, beside what bounds them.

Half of the pairs of a batch are close, where a difference of large numbers loses the answer: see the errors beside
the times. What bounds a form is the cheapest pass over the same arrays: the sum of four of them, or one `logsumexp`.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import numpyro.distributions as dist
import torch

import kullback as kl
from benchmarks.runner import OURS, Case, Contender

Arrays = tuple[np.ndarray, ...]
SHOWN = 200  # elements, spread over the batch, whose error is measured


def near_and_far(n: int) -> np.ndarray:
    """Relative distances of Q from P: half of the pairs are within 3 %."""
    return np.geomspace(1.0, 1e-3, n)


def normals(n: int) -> Arrays:
    rng = np.random.default_rng(0)
    loc, scale, distance = rng.normal(size=n), rng.lognormal(sigma=0.5, size=n), near_and_far(n)
    near = loc + distance * rng.normal(size=n), scale * np.exp(distance * rng.normal(size=n))
    return tuple(np.asarray(array, np.float32) for array in (loc, scale, *near))


def concentrations(n: int, size: int) -> Arrays:
    rng = np.random.default_rng(0)
    alpha = rng.lognormal(size=(n, size))
    beta = alpha * np.exp(near_and_far(n)[:, None] * rng.normal(size=(n, size)))
    return np.asarray(alpha, np.float32), np.asarray(beta, np.float32)


def scores(n: int, size: int, distance: float) -> Arrays:
    rng = np.random.default_rng(0)
    x = 2.0 * rng.standard_normal((n, size), np.float32)
    return x, x + np.float32(distance) * rng.standard_normal((n, size), np.float32)


def normal_truth(loc: Any, scale: Any, q_loc: Any, q_scale: Any) -> Any:
    m, s, n, t = map(mp.mpf, map(float, (loc, scale, q_loc, q_scale)))
    return mp.log(t / s) + (s**2 + (m - n) ** 2) / (2 * t**2) - mp.mpf(1) / 2


def dirichlet_truth(alpha: Any, beta: Any) -> Any:
    a, b = ([mp.mpf(float(x)) for x in row] for row in (alpha, beta))
    total = mp.loggamma(mp.fsum(a)) - mp.loggamma(mp.fsum(b))
    own = mp.digamma(mp.fsum(a))
    return total + mp.fsum(
        mp.loggamma(y) - mp.loggamma(x) + (x - y) * (mp.digamma(x) - own) for x, y in zip(a, b, strict=True)
    )


def categorical_truth(x: Any, y: Any) -> Any:
    """In 80-bit numbers, whose rounding is 1e-19: 50 digits of 10,000 labels take minutes."""
    x, y = (np.asarray(row, np.longdouble) for row in (x, y))
    log_p, log_q = (row - row.max() - np.log(np.exp(row - row.max()).sum()) for row in (x, y))
    return (np.exp(log_p) * (log_p - log_q)).sum()


def error_of(truth: Callable[..., Any], arrays: Arrays) -> Callable[[Any], str]:
    """The largest relative error of some elements of an answer."""
    chosen = np.linspace(0, len(arrays[0]) - 1, SHOWN if truth is not categorical_truth else 8).astype(int)

    def error(answer: Any) -> str:
        answer = np.asarray(answer[0] if isinstance(answer, tuple) else answer)
        with mp.workdps(50):
            right = [truth(*(array[i] for array in arrays)) for i in chosen]
        return f"{max(float(abs(float(answer[i]) - t) / t) for i, t in zip(chosen, right, strict=True)):.1e}"

    return error


def by(kind: Any, divergence: Any, split: Callable[..., Any]) -> Callable[..., Any]:
    """The divergence of two distributions from their arrays."""
    return lambda *arrays: divergence(*(kind(*part) for part in split(*arrays)))


def halves(*arrays: Any) -> tuple[Any, Any]:
    middle = len(arrays) // 2
    return arrays[:middle], arrays[middle:]


def with_gradient(function: Callable[..., Any]) -> Callable[..., Any]:
    """Value and gradient in every parameter."""

    def both(*arrays: Any) -> Any:
        value, pull = jax.vjp(function, *arrays)
        return value, pull(jnp.ones_like(value))

    return jax.jit(both)


KINDS = {
    "normal": (
        lambda loc, scale: dist.Normal(loc, scale, validate_args=False),
        lambda loc, scale: torch.distributions.Normal(loc, scale, validate_args=False),
    ),
    "Dirichlet": (
        lambda a: dist.Dirichlet(a, validate_args=False),
        lambda a: torch.distributions.Dirichlet(a, validate_args=False),
    ),
    "categorical": (
        lambda x: dist.CategoricalLogits(x, validate_args=False),
        lambda x: torch.distributions.Categorical(logits=x, validate_args=False),
    ),
}
TRUTHS = {"normal": normal_truth, "Dirichlet": dirichlet_truth, "categorical": categorical_truth}
# What is read and written at the least: for a value, and for a gradient, which is as large as the arrays.
BOUNDS: dict[str, dict[str, Callable[..., Any]]] = {
    "normal": {
        "the sum of the four arrays": lambda a, b, c, d: a + b + c + d,
        "four arrays from the four": lambda a, b, c, d: (a + b, b + c, c + d, d + a),
    },
    "categorical": {
        "logsumexp of both": lambda x, y: (jax.nn.logsumexp(x, -1), jax.nn.logsumexp(y, -1)),
        "two arrays from the two": lambda x, y: (x + y, x - y),
    },
}


def _passed(function: Callable[..., Any], arrays: Any) -> Any:
    return jax.block_until_ready(function(*arrays))


def case(kind: str, title: str, arrays: Arrays, rounds: int) -> Case:
    ours, theirs = KINDS[kind]
    device, tensors = tuple(map(jax.device_put, arrays)), tuple(map(torch.from_numpy, arrays))
    divergence = by(ours, kl.kl_divergence, halves)
    value, numpyro = jax.jit(divergence), jax.jit(by(ours, dist.kl_divergence, halves))
    gradient = with_gradient(divergence)
    in_torch = by(theirs, torch.distributions.kl_divergence, halves)
    error = error_of(TRUTHS[kind], arrays)
    contenders = [
        Contender(OURS, lambda: jax.block_until_ready(value(*device)), error),
        Contender(f"{OURS}, and gradient", lambda: jax.block_until_ready(gradient(*device)), error),
        Contender("PyTorch", lambda: in_torch(*tensors), error),
    ]
    if kind != "categorical":  # NumPyro has no form for logits
        contenders.append(Contender("NumPyro, jitted", lambda: jax.block_until_ready(numpyro(*device)), error))
    for name, bound in BOUNDS.get(kind, {}).items():
        contenders.append(Contender(name, partial(_passed, jax.jit(bound), device), lambda _: ""))
    return Case(title, "largest relative error", contenders, rounds)


def cases() -> Iterator[Case]:
    yield case("normal", "1,000 normal pairs", normals(1_000), 300)
    yield case("normal", "10,000,000 normal pairs", normals(10_000_000), 20)
    yield case("Dirichlet", "100,000 Dirichlet pairs of 10", concentrations(100_000, 10), 20)
    yield case("categorical", "10,000 pairs of 10,000 labels, apart", scores(10_000, 10_000, 2.0), 5)
    yield case("categorical", "10,000 pairs of 10,000 labels, near", scores(10_000, 10_000, 0.01), 3)
