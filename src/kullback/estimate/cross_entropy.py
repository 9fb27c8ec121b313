"""Cross entropy: what is left of the divergence where the log-probability of P is not known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.tree_util import Partial
from jaxtyping import Float

from kullback.errors import EstimateError, InputError
from kullback.estimate.batch import doubled
from kullback.estimate.columns import columns_of, is_held
from kullback.estimate.dependence import in_order, on_dependence
from kullback.estimate.monte_carlo import average, integrand_of
from kullback.estimate.rows import Rows
from kullback.estimate.support import escape_of
from kullback.families.closure import MOVED, PLACE, kinds_of
from kullback.families.initialisation.scaling import less
from kullback.known import Known
from kullback.known.adaptors import numpyro_distributions
from kullback.known.record import Sample
from kullback.result import Estimate, Guarantee
from kullback.rule import Applies, Missing, Request, Rule
from kullback.runtime.export_cache import program

ROWS = 8192


@dataclass(frozen=True)
class CrossEntropy(Rule):
    """H(P, Q) = −E_P[log Q] = KL(P‖Q) + H(P): the mean negative log-probability of Q over a sample or draws of P.

    For pairs (x, y) and a conditional Q it is the mean of −log Q(y∣x) over the pairs.

    tolerance, pilot, draws  as those of `MonteCarlo`, where P is a sampler

    Source: Shannon (1948), section 6; Cover and Thomas (2006), eq. 5.25 (the wrong code).
    """

    tolerance: float = 0.005
    pilot: int = 8192
    draws: int = 1 << 22

    name = "cross entropy"
    question = "estimate"
    identity = "KL(P‖Q) = H(P, Q) − H(P), H(P, Q) = −E_P[log Q]"
    needs_p = "a sample or a sampler"
    needs_q = "a normalised log-probability"
    guarantee = Guarantee.UNBIASED
    cost = 5.0
    source = "Cover and Thomas (2006), Elements of Information Theory, section 5.4"
    aliases = ("log loss", "negative log-likelihood", "NLL")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.tolerance > 0 or self.pilot < 1 or self.draws < 1:
            raise InputError("CrossEntropy: tolerance, pilot and draws must be positive")

    def check(self, p: Known, q: Known) -> Applies | Missing:
        if p.sample is None and p.sampler is None:
            return Missing("P has neither a sample nor a sampler", "a sample of P")
        if p.sample is not None and p.sample.values is None:
            return Missing("P's table has columns that are not numbers", "a table of numbers")
        if q.log_prob is None:
            return Missing("the normalised log-probability of Q is not known", "Q's normalised log-probability")
        if p.sample is not None and q.batch_shape and not _paired(p.sample, q):
            return Missing("P is one sample and Q a batch of distributions", "one Q")
        if p.sample is not None and p.sample.weights is not None:
            return Applies(Guarantee.CONSISTENT, dropped=("H(P)",))
        return Applies(dropped=("H(P)",))

    def run(self, p: Known, q: Known, request: Request) -> Estimate:
        if p.sample is None:
            return average(integrand_of(p, q, None), p, q, request, self)
        found = escape_of(p, q)
        if found is not None:
            return Estimate(np.inf, quantity="H(P, Q)", dropped=("H(P)",), reason=found.reason)
        return _over_rows(*less_offset("p", p.sample, q))


def _paired(sample: Sample, q: Known) -> bool:
    return q.inputs is not None and q.batch_shape == (sample.size,)


def _over_rows(sample: Sample, q: Known) -> Estimate:
    """The weighted mean of −log Q over rows, with the standard error of a ratio of means."""
    losses = losses_of(sample, q)
    if np.isnan(losses).any():
        row = int(np.argmax(np.isnan(losses)))
        raise EstimateError(f"q: its log-probability is NaN at row {row} of P's sample; correct it, or drop the row")
    weights = sample.normalized_weights()
    counted = weights > 0
    if np.isposinf(losses[counted]).any():
        row = int(np.argmax(np.isposinf(losses) & counted))
        reason = f"Q gives probability 0 to row {row} of P's sample"
        return Estimate(np.inf, quantity="H(P, Q)", dropped=("H(P)",), reason=reason)
    value = float(weights[counted] @ losses[counted])
    residual = weights[counted] * (losses[counted] - value)
    n = int(counted.sum())
    rows = Rows(np.zeros(n, np.int64), losses[counted, None])
    rows = in_order(rows, sample.block) if sample.inputs is None else rows
    error = float(np.sqrt(residual @ residual * n / (n - 1) * rows.time)) if n > 1 else np.inf
    return Estimate(
        value,
        error,
        Guarantee.UNBIASED if sample.weights is None else Guarantee.CONSISTENT,
        quantity="H(P, Q)",
        dropped=("H(P)",),
        reason="; ".join(on_dependence("P", rows)) if n > 1 else "one row gives no standard error",
        diagnostics={"rows": n},
    )


def losses_of(sample: Sample, q: Known) -> Float[np.ndarray, " n"]:
    """−log Q at every row [n], in double precision; in chunks unless Q is a conditional at those rows."""
    values, log_q = sample.values, q.log_prob
    assert values is not None
    assert log_q is not None
    evaluate = _compiled if isinstance(log_q, Partial) else _negative
    log_q = doubled(log_q) if isinstance(log_q, Partial) else log_q
    with jax.enable_x64(True):
        if q.batch_shape:
            return np.asarray(evaluate(log_q, values))
        padded = -len(values) % min(ROWS, 1 << (len(values) - 1).bit_length())
        rows = np.concatenate([values, np.repeat(values[-1:], padded, 0)])
        size = min(ROWS, len(rows))
        parts = [evaluate(log_q, rows[start : start + size]) for start in range(0, len(rows), size)]
    return np.concatenate([np.asarray(part) for part in parts])[: len(values)]


def _negative(log_q: Callable[..., Any], x: np.ndarray | jax.Array) -> Float[jax.Array, " n"]:
    return -jnp.asarray(log_q(x), jnp.result_type(float))


_compiled = program(_negative, static=())


# Numbers that double precision does not hold

_MOST_CHANGE = 0.01  # nats by which the log-probability of the law may change from one double to the next
_WRAPPERS = {dist.Independent: "base_dist", dist.MixtureSameFamily: "component_distribution"}


def less_offset(argument: str, sample: Sample, law: Known) -> tuple[Sample, Known]:
    """The sample and the law less an offset where double precision does not hold the numbers of the sample.

    A law that is not closed under that stays where it is. Raises `EstimateError` where it then changes within the
    rounding of the numbers.
    """
    columns = columns_of(sample) if sample.values is not None else ()
    if all(map(is_held, columns)):
        return sample, law
    assert sample.values is not None
    rough = np.stack([column.values for column in columns], 1).astype(np.float64)
    offset = rough.min(0)
    moved = _moved(law.distribution, offset.reshape(sample.values.shape[1:]))
    if moved is None:
        _require_level(argument, replace(sample, values=rough.reshape(sample.values.shape), columns=()), law)
        return sample, law
    exact = [less(c.values, o) + (0.0 if c.rest is None else c.rest) for c, o in zip(columns, offset, strict=True)]
    stated = tuple(replace(c, values=values, rest=None) for c, values in zip(sample.columns, exact, strict=False))
    values = np.stack(exact, 1).reshape(sample.values.shape)
    with jax.enable_x64(True):
        at = numpyro_distributions.known(moved)
    near = replace(sample, values=values, columns=stated)
    return near, at.holding(name=law.name, inputs=law.inputs, input_weights=law.input_weights)


def _moved(d: Any, offset: Float[np.ndarray, "*event"]) -> Any:
    """The law of x − offset; None for one that is not closed under that, or not known to be."""
    if type(d) in _WRAPPERS:
        part = _WRAPPERS[type(d)]
        inner = _moved(getattr(d, part), offset)
        if inner is None:
            return None
        if type(d) is dist.Independent:
            return inner.to_event(d.reinterpreted_batch_ndims)
        return dist.MixtureSameFamily(d.mixing_distribution, inner)
    kinds = kinds_of(type(d)) if type(d) in MOVED else None
    if kinds is None:
        return None
    held = {name: value for name in d.arg_constraints if (value := d.__dict__.get(name)) is not None}
    if "scale_tril" in held:
        held = {name: value for name, value in held.items() if name not in ("covariance_matrix", "precision_matrix")}
    with jax.enable_x64(True):
        return type(d)(
            **{
                name: np.asarray(value, np.float64) - offset if kinds.get(name) == PLACE else value
                for name, value in held.items()
            },
            validate_args=False,
        )


def _require_level(argument: str, sample: Sample, law: Known) -> None:
    """Raise where the log-probability of a law changes between neighbouring doubles at the rows of a sample."""
    if law.log_prob is None:
        return
    values = sample.values
    assert values is not None
    beside = [losses_of(replace(sample, values=np.nextafter(values, way)), law) for way in (-np.inf, np.inf)]
    change = np.abs(beside[1] - beside[0]) / 2.0
    if np.isfinite(change).any() and change[np.isfinite(change)].mean() > _MOST_CHANGE:
        lost = np.spacing(np.abs(values)).max() / 2
        raise EstimateError(
            f"{argument}: double precision rounds its numbers by up to {lost:.2g}, over which the law of the other "
            "side changes; take an offset off the sample and off that law"
        )
