"""Counts given their total, where each outcome has a total of its own.

The total of an outcome is the sum of its counts, so a log-probability needs no other number; moments and draws are
those of one trial, since the total of an outcome that has not come yet is not known.
"""

from __future__ import annotations

import abc
from typing import Any

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jax.scipy.special import gammaln
from jax.typing import ArrayLike
from jaxtyping import Float
from numpyro.distributions import constraints
from numpyro.distributions.util import validate_sample


class GivenTotal(dist.Distribution):
    """A law of counts y [k], given their total; its mean, its variance and its draws are those of one trial."""

    support: Any = constraints.independent(constraints.nonnegative_integer, 1)
    total_count = 1

    @property
    @abc.abstractmethod
    def probs(self) -> Float[Array, "*b k"]:
        """The probability of each label in one trial."""

    @property
    def mean(self) -> Array:
        return self.probs

    @property
    def variance(self) -> Array:
        return self.probs * (1.0 - self.probs)

    def sample(self, key: jax.Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        assert key is not None
        labels = jax.random.categorical(key, jnp.log(self.probs), shape=(*sample_shape, *self.batch_shape))
        return jax.nn.one_hot(labels, self.event_shape[-1], dtype=jnp.result_type(int))


class MultinomialGivenTotal(GivenTotal):
    """log q(y∣n) = log n! − Σ log y! + Σ y log softmax(logits), with n = Σ y.

    logits  [*batch, k]

    Source: Johnson, Kotz and Balakrishnan (1997), Discrete multivariate distributions, chapter 35, section 2.
    """

    arg_constraints: dict[str, Any] = {"logits": constraints.real_vector}  # noqa: RUF012
    pytree_data_fields = ("logits",)

    def __init__(self, logits: Float[Array, "*b k"], *, validate_args: bool | None = None) -> None:
        self.logits: Any = logits
        shape = jnp.shape(logits)
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list[Array] | None = None) -> Array:
        return _log_orders(value) + (value * jax.nn.log_softmax(self.logits, -1)).sum(-1)

    @property
    def probs(self) -> Array:
        return jax.nn.softmax(self.logits, -1)


class BinomialGivenTotal(GivenTotal):
    """log q(y∣n) = log C(n, y₁) + y₁ log σ(logits) + y₂ log σ(−logits), for y₁ successes and y₂ failures.

    logits  of the probability of a success [*batch]

    Source: Johnson, Kotz and Balakrishnan (1997), Discrete multivariate distributions, chapter 35, section 2, of two
    labels.
    """

    arg_constraints: dict[str, Any] = {"logits": constraints.real}  # noqa: RUF012
    pytree_data_fields = ("logits",)

    def __init__(self, logits: Float[Array, "*b"], *, validate_args: bool | None = None) -> None:
        self.logits: Any = logits
        super().__init__(jnp.shape(logits), (2,), validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list[Array] | None = None) -> Array:
        return _log_orders(value) + (value * jax.nn.log_sigmoid(self._both)).sum(-1)

    @property
    def probs(self) -> Array:
        return jax.nn.sigmoid(self._both)

    @property
    def _both(self) -> Array:
        return jnp.stack([self.logits, -self.logits], -1)


class DirichletMultinomialGivenTotal(GivenTotal):
    """log q(y∣n) = log n! − Σ log y! + Σ log (a)_y − log (Σ a)_n, for rising factorials (a)_y = Γ(a + y)/Γ(a).

    concentration  a, positive [*batch, k]

    Source: Mosimann (1962), On the compound multinomial distribution; Johnson, Kotz and Balakrishnan (1997), chapter
    35, section 13.1.
    """

    arg_constraints: dict[str, Any] = {  # noqa: RUF012
        "concentration": constraints.independent(constraints.positive, 1)
    }
    pytree_data_fields = ("concentration",)

    def __init__(self, concentration: Float[Array, "*b k"], *, validate_args: bool | None = None) -> None:
        self.concentration: Any = concentration
        shape = jnp.shape(concentration)
        super().__init__(shape[:-1], shape[-1:], validate_args=validate_args)

    @validate_sample
    def log_prob(self, value: ArrayLike, intermediates: list[Array] | None = None) -> Array:
        a, y = self.concentration, jnp.asarray(value, jnp.result_type(self.concentration))
        return _log_orders(y) + _log_rising(a, y).sum(-1) - _log_rising(a.sum(-1), y.sum(-1))

    @property
    def probs(self) -> Array:
        return self.concentration / self.concentration.sum(-1, keepdims=True)


def _log_orders(y: ArrayLike) -> Array:
    """log n!/Π y!: in how many orders the trials can have come."""
    y = jnp.asarray(y, jnp.result_type(float))
    return gammaln(y.sum(-1) + 1.0) - gammaln(y + 1.0).sum(-1)


def _log_rising(a: Array, y: Array) -> Array:
    return gammaln(a + y) - gammaln(a)
