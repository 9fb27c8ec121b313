"""A policy beside its prior at given observations: what it draws, log π − log π₀, and KL(π‖π₀); and what it answers.

Inputs are scaled by their running moments: means and scales of what is seen while learning, block after block, inside
compiled programs.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, Shaped

from kullback.control.envs.spaces import Actions
from kullback.distributions import TanhNormal
from kullback.families.conditional import FittedConditional
from kullback.families.conditional_structure import ConditionalStructure
from kullback.families.initialisation.scaling import SMALLEST
from kullback.training.ravel import on_host

KNOWN = 1e4  # rows that a scaling counts as which comes with a policy learned elsewhere


class RunningMoments(NamedTuple):
    """The rows seen so far: how many, their mean, and their mean squared deviation, each [*shape] but the count."""

    count: Any  # Float[Array, ""]: the type checker knows the method of tuples
    mean: Float[Array, ...]
    variance: Float[Array, ...]

    @property
    def scale(self) -> Float[Array, ...]:
        """Standard deviations [*shape]; 1 where nothing has varied yet."""
        return scale_of(self.variance)


def scale_of(variance: Float[Array, ...], xp: ModuleType = jnp) -> Float[Array, ...]:
    """The standard deviation, or 1 where there is none; by NumPy (`xp=np`) on the host."""
    scale = xp.sqrt(variance)
    return xp.where(scale > SMALLEST, scale, 1.0)


def at_start(mean: Float[np.ndarray, ...] | float, scale: Float[np.ndarray, ...] | float) -> RunningMoments:
    """A scaling as it is given: nothing seen yet where it is the trivial one, else as `KNOWN` rows would make it."""
    mean, scale = np.asarray(mean, np.float64), np.asarray(scale, np.float64)
    known = bool(mean.any() or (scale != 1.0).any())
    dtype = jnp.result_type(float)
    count = np.asarray(KNOWN if known else 0.0, dtype)
    return on_host(RunningMoments, count=count, mean=mean.astype(dtype), variance=np.square(scale).astype(dtype))


def merged(
    seen: RunningMoments, rows: Float[Array, "n ..."], weights: Float[Array, " n"], most: float = np.inf
) -> RunningMoments:
    """The moments of what was seen and of new rows, which count by their weights.

    most  rows that the past counts as at most, so that moments follow what changes

    Source: Chan, Golub and LeVeque (1983), equation 2.1.
    """
    past, new = jnp.minimum(seen.count, most), jnp.sum(weights)
    total = jnp.maximum(past + new, 1.0)
    mean = jnp.tensordot(weights, rows, 1) / jnp.maximum(new, 1.0)
    variance = jnp.tensordot(weights, jnp.square(rows - mean), 1) / jnp.maximum(new, 1.0)
    share, difference = new / total, mean - seen.mean
    # Of nothing seen before, the variance is 0 and not what stood in its place.
    before = jnp.where(past > 0, seen.variance, 0.0)
    spread = before + share * (variance - before) + share * (1.0 - share) * jnp.square(difference)
    return RunningMoments(count=past + new, mean=seen.mean + share * difference, variance=spread)


def merged_inputs(
    inputs: RunningMoments, observation: Shaped[Array, "n ..."], weight: Float[Array, " n"]
) -> RunningMoments:
    """The moments with more observations; labels have none."""
    if is_label(observation):
        return inputs
    return merged(inputs, observation.astype(weight.dtype), weight)


def is_label(observation: Shaped[Array, "n ..."]) -> bool:
    """Whether observations are labels, which have no moments."""
    return bool(jnp.issubdtype(observation.dtype, jnp.integer))


NEVER = -1e30  # log-probability of what is forbidden: finite, so that 0 · log 0 has the gradient 0
TIE = 1e-6  # nats: actions this close to the most probable one are equally greedy


class Fixed(NamedTuple):
    """Arrays that a policy and its prior need and that are not learned.

    policy  the policy's fixed parameters (scales of inputs and outputs)
    prior   None for the uniform prior; (free, fixed) of a fitted conditional; or log-probabilities [labels, A]
    """

    policy: Any
    prior: Any = None


class Policy(Protocol):
    """How parameters become a policy at inputs [n, ...]: a `ConditionalStructure` is one. Hashable."""

    def distribution(
        self, free: PyTree, fixed: Mapping[str, Any], inputs: Shaped[Array | np.ndarray, "n ..."]
    ) -> Any: ...


@dataclass(frozen=True)
class Acting:
    """How a policy acts: its structure, what an action is, and the prior's structure if it has one. Hashable."""

    structure: Policy
    actions: Actions
    prior: ConditionalStructure | None = None

    def at(
        self,
        free: PyTree,
        fixed: Fixed,
        observation: Shaped[Array | np.ndarray, "n ..."],
        mask: Bool[Array | np.ndarray, "n ..."] | None = None,
    ) -> Here:
        """π(·∣s) and π₀(·∣s) at observations [n, ...]; masks [n, *shape, categories] restrict both."""
        policy = self.structure.distribution(free, fixed.policy, observation)
        prior = None
        if self.prior is not None:
            free_prior, fixed_prior = fixed.prior
            prior = self.prior.distribution(free_prior, fixed_prior, observation)
        elif fixed.prior is not None:
            prior = dist.CategoricalLogits(jnp.asarray(fixed.prior)[observation], validate_args=False)
        if not self.actions.is_discrete:
            return InBox(policy, prior, self.actions)
        allowed = jnp.asarray(self.actions.exists if mask is None else mask & self.actions.exists)
        log_prior = _log_probs(prior, allowed) if prior is not None else _uniform(allowed)
        log_prior = jnp.broadcast_to(log_prior, _logits(policy).shape)
        return Choosing(_log_probs(policy, log_prior > NEVER / 2), log_prior)


class Here(abc.ABC):
    """π(·∣s) and π₀(·∣s) at n observations."""

    @abc.abstractmethod
    def draw(self, key: jax.Array) -> tuple[Any, Float[Array, " n"]]:
        """Actions [n, *shape] from π and their log π − log π₀ [n]; differentiable in the parameters in a box."""

    @abc.abstractmethod
    def prior_draw(self, key: jax.Array) -> Any:
        """Actions [n, *shape] from π₀."""

    @abc.abstractmethod
    def log_prob(self, action: Shaped[Array | np.ndarray, "n ..."]) -> Float[Array, " n"]:
        """log π(a∣s) of actions [n, *shape]."""

    @abc.abstractmethod
    def log_ratio(self, action: Shaped[Array | np.ndarray, "n ..."]) -> Float[Array, " n"]:
        """log π(a∣s) − log π₀(a∣s) of actions [n, *shape]."""

    @abc.abstractmethod
    def kl(self, key: jax.Array | None = None) -> Float[Array, " n"]:
        """KL(π‖π₀) in nats: exact where it is known, else from one draw by the key."""

    @abc.abstractmethod
    def taken(self, greedy: bool | Bool[Array | np.ndarray, ""], key: jax.Array) -> Any:
        """Actions [n, *shape]: drawn, or if `greedy` (which may be traced) the most probable ones, of which several
        are equally likely; in a box the median of each coordinate."""


@dataclass(frozen=True)
class Choosing(Here):
    """Among finitely many: log-probabilities [n, *shape, categories]; what is forbidden has about −10³⁰."""

    log_policy: Float[Array, "n *shape c"]
    log_prior: Float[Array, "n *shape c"]

    def draw(self, key: jax.Array) -> tuple[Any, Float[Array, " n"]]:
        action = jax.random.categorical(key, self.log_policy)
        return action, self.log_ratio(action)

    def prior_draw(self, key: jax.Array) -> Any:
        return jax.random.categorical(key, self.log_prior)

    def log_prob(self, action: Shaped[Array | np.ndarray, "n ..."]) -> Float[Array, " n"]:
        return _total(_picked(self.log_policy, action))

    def log_ratio(self, action: Shaped[Array | np.ndarray, "n ..."]) -> Float[Array, " n"]:
        return _total(_picked(self.log_policy, action) - _picked(self.log_prior, action))

    def kl(self, key: jax.Array | None = None) -> Float[Array, " n"]:
        # What is forbidden is so for both, at the same −10³⁰: its ratio is 0.
        ratio = self.log_policy - self.log_prior
        return _total(jnp.sum(jnp.exp(self.log_policy) * ratio, -1))

    def taken(self, greedy: bool | Bool[Array | np.ndarray, ""], key: jax.Array) -> Any:
        best = self.log_policy >= jnp.max(self.log_policy, -1, keepdims=True) - TIE
        # One draw for both ways of acting.
        return jax.random.categorical(key, jnp.where(greedy, jnp.where(best, 0.0, NEVER), self.log_policy))


@dataclass(frozen=True)
class InBox(Here):
    """Real numbers: distributions with draws that are differentiable. Without a prior it is uniform on the box."""

    policy: Any
    prior: Any
    actions: Actions

    def draw(self, key: jax.Array) -> tuple[Any, Float[Array, " n"]]:
        base, _ = _base(self.policy)
        if isinstance(base, TanhNormal):
            action, log_prob = base.sample_and_log_prob(key)
            return action, _total(log_prob) - self._log_prior(action)
        action = self.policy.rsample(key)
        return action, self.log_ratio(action)

    def prior_draw(self, key: jax.Array) -> Any:
        if self.prior is not None:
            return self.prior.sample(key)
        low, high = self.actions.bounds
        shape = (*self.policy.batch_shape, *self.actions.shape)
        return low + (high - low) * jax.random.uniform(key, shape)

    def log_prob(self, action: Shaped[Array | np.ndarray, "n ..."]) -> Float[Array, " n"]:
        return self.policy.log_prob(action)

    def log_ratio(self, action: Shaped[Array | np.ndarray, "n ..."]) -> Float[Array, " n"]:
        return self.policy.log_prob(action) - self._log_prior(action)

    def kl(self, key: jax.Array | None = None) -> Float[Array, " n"]:
        policy, prior = _base(self.policy)[0], None if self.prior is None else _base(self.prior)[0]
        if prior is None:
            try:
                return -_total(policy.entropy()) + float(np.sum(np.log(self._widths)))
            except NotImplementedError:
                pass
        elif type(policy) is type(prior) and isinstance(policy, TanhNormal | dist.Normal):
            # A bijection that both share leaves the divergence as it is: that of the normals.
            return _total(
                dist.kl_divergence(dist.Normal(policy.loc, policy.scale), dist.Normal(prior.loc, prior.scale))
            )
        assert key is not None
        return self.draw(key)[1]

    def taken(self, greedy: bool | Bool[Array | np.ndarray, ""], key: jax.Array) -> Any:
        base, _ = _base(self.policy)
        middle = base.median if isinstance(base, TanhNormal) else self.policy.mean
        return jnp.where(greedy, middle, self.policy.sample(key))

    @property
    def _widths(self) -> np.ndarray:
        low, high = self.actions.bounds
        return high - low

    def _log_prior(self, action: Shaped[Array | np.ndarray, "n ..."]) -> Any:
        return -np.sum(np.log(self._widths)) if self.prior is None else self.prior.log_prob(action)


def _logits(d: dist.Distribution) -> jax.Array:
    base, _ = _base(d)
    if isinstance(base, dist.BernoulliLogits):
        return jnp.stack([jnp.zeros_like(base.logits), base.logits], -1)
    return base.logits


def _log_probs(d: dist.Distribution, allowed: Bool[Array, "*b c"]) -> Float[Array, "*b c"]:
    logits = jnp.where(allowed, _logits(d), NEVER)
    return jnp.where(allowed, jnp.maximum(jax.nn.log_softmax(logits), NEVER), NEVER)


def _uniform(allowed: Bool[Array, "*b c"]) -> Float[Array, "*b c"]:
    return jnp.where(allowed, -jnp.log(jnp.sum(allowed, -1, keepdims=True).astype(jnp.result_type(float))), NEVER)


def _picked(
    log_probs: Float[Array, "n *shape c"], action: Shaped[Array | np.ndarray, "n ..."]
) -> Float[Array, " n *shape"]:
    return jnp.take_along_axis(log_probs, jnp.asarray(action)[..., None], -1)[..., 0]


def _total(x: jax.Array) -> Float[Array, " n"]:
    """The sum over the places of an action."""
    return jnp.sum(x.reshape(x.shape[0], -1), -1)


def _base(d: dist.Distribution) -> tuple[Any, int]:
    return (d.base_dist, d.reinterpreted_batch_ndims) if isinstance(d, dist.Independent) else (d, 0)


def scaled(fixed: Fixed, inputs: RunningMoments) -> Fixed:
    """The policy's arrays with inputs scaled as they have been seen."""
    return fixed._replace(policy={**fixed.policy, "x_mean": inputs.mean, "x_scale": inputs.scale})


@dataclass(frozen=True)
class Answering:
    """A fitted policy as it answers. Hashable."""

    structure: ConditionalStructure
    members: int

    def distribution(self, free: PyTree, fixed: Mapping[str, Any], inputs: Shaped[Array | np.ndarray, "n ..."]) -> Any:
        return self.structure.predictive(free, fixed, inputs, self.members)


def acting_of(policy: FittedConditional, actions: Actions) -> Acting:
    """How a fitted policy acts, beside the uniform prior."""
    return Acting(Answering(policy.structure, policy.members), actions)


@partial(jax.jit, static_argnums=(0, 1))
def answer(
    acting: Acting,
    greedy: bool,
    free: PyTree,
    fixed: Fixed,
    observation: Shaped[Array | np.ndarray, "n ..."],
    mask: Bool[Array | np.ndarray, "n ..."] | None,
    key: Key[Array, ""],
    count: Int[Array | np.ndarray, ""],
) -> jax.Array:
    """Actions at observations [n, ...], greedy or drawn by the count-th key: one compiled program."""
    return acting.at(free, fixed, observation, mask).taken(greedy, jax.random.fold_in(key, count))


def within_bounds(actions: Actions, action: Shaped[Array | np.ndarray, "n ..."]) -> np.ndarray:
    """Actions on the host; real ones clipped to the bounds of their box."""
    return np.asarray(action) if actions.is_discrete else np.clip(np.asarray(action), *actions.bounds)


def divergence(p: Here, q: Here) -> Here:
    """Two policies at the same observations, the second in the place of the prior."""
    if isinstance(p, Choosing) and isinstance(q, Choosing):
        return Choosing(p.log_policy, q.log_policy)
    assert isinstance(p, InBox)
    assert isinstance(q, InBox)
    return InBox(p.policy, q.policy, p.actions)
