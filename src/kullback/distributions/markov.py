"""Markov chains over finitely many states."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax import Array
from jax.typing import ArrayLike
from jaxtyping import Float
from numpyro.distributions import constraints

from kullback.arguments import numeric, whole
from kullback.errors import InputError

MAX_PATHS = 2**14


class MarkovChain(dist.Distribution):
    """The law of the first states of a Markov chain.

    initial     probabilities of the first state [*batch, K]
    transition  probabilities of the next state [*batch, K, K], a row for each present one
    length      how many states an outcome has, the first included

    The divergence of two chains is KL(initial) + Σₛ N(s) KL(row s), with N(s) the expected number of transitions from s
    under P; `kl.kl_rate` is its limit per step. Source: Cover and Thomas (2006), theorem 2.5.3 and section 4.2.
    """

    arg_constraints: dict[str, Any] = {  # noqa: RUF012
        "initial": constraints.simplex,
        "transition": constraints.independent(constraints.simplex, 1),
    }
    pytree_aux_fields = ("length", "has_enumerate_support")

    def __init__(
        self,
        initial: Float[Array, "*b k"],
        transition: Float[Array, "*b k k"],
        length: int,
        *,
        validate_args: bool | None = None,
    ) -> None:
        initial, transition = numeric("initial", initial), numeric("transition", transition)
        length = whole("length", length)
        if not jnp.ndim(initial):
            raise InputError(f"initial: {initial!r} is one number; give the probability of each state")
        states = jnp.shape(initial)[-1:]
        if jnp.shape(transition)[-2:] != 2 * states:
            raise InputError(
                f"transition: its shape {jnp.shape(transition)} does not end in {2 * states}, the states of `initial`"
            )
        self.initial, self.transition, self.length = initial, transition, length
        self.has_enumerate_support = states[-1] ** length <= MAX_PATHS
        batch = jnp.broadcast_shapes(jnp.shape(initial)[:-1], jnp.shape(transition)[:-2])
        super().__init__(batch, (length,), validate_args=validate_args)

    @property
    def states(self) -> int:
        """How many states there are."""
        return jnp.shape(self.initial)[-1]

    @property
    def has_rsample(self) -> bool:
        return False

    @property
    def support(self) -> Any:
        return constraints.independent(constraints.integer_interval(0, self.states - 1), 1)

    def enumerate_support(self, expand: bool = True) -> Array:
        """Every path, [Kⁿ, *batch or ones, n], where there are few."""
        if not self.has_enumerate_support:
            raise NotImplementedError(f"{self.states} states over {self.length} steps are too many paths to list")
        grid = np.stack(np.meshgrid(*[np.arange(self.states)] * self.length, indexing="ij"), -1)
        paths = grid.reshape(-1, *(1,) * len(self.batch_shape), self.length)
        return jnp.broadcast_to(paths, (len(paths), *self.batch_shape, self.length)) if expand else jnp.asarray(paths)

    def sample(self, key: jax.Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        shape = sample_shape + self.batch_shape
        assert key is not None
        keys = jax.random.split(key, self.length)
        first = jax.random.categorical(keys[0], jnp.log(jnp.asarray(self.initial)), shape=shape)
        rows = jnp.log(jnp.broadcast_to(self.transition, (*shape, self.states, self.states)))

        def step(state: Array, key: jax.Array) -> tuple[Array, Array]:
            row = jnp.take_along_axis(rows, state[..., None, None], -2)[..., 0, :]
            state = jax.random.categorical(key, row)
            return state, state

        _, later = jax.lax.scan(step, first, keys[1:])
        return jnp.concatenate([first[..., None], jnp.moveaxis(later, 0, -1)], -1)

    def log_prob(self, value: ArrayLike, intermediates: list[Array] | None = None) -> Array:
        """log of the probability of paths [..., n]."""
        path = jnp.asarray(value).astype(int)
        known = ((path >= 0) & (path < self.states) & (path == value)).all(-1)
        path = jnp.where(known[..., None], path, 0)
        first, rows = jnp.log(jnp.asarray(self.initial)), jnp.log(jnp.asarray(self.transition))
        batch = jnp.broadcast_shapes(self.batch_shape, path.shape[:-1])
        path = jnp.broadcast_to(path, (*batch, self.length))
        first = jnp.broadcast_to(first, (*batch, self.states))
        pairs = jnp.broadcast_to(rows, (*batch, self.states, self.states)).reshape(*batch, -1)
        total = jnp.take_along_axis(first, path[..., :1], -1)[..., 0]
        steps = jnp.take_along_axis(pairs, path[..., :-1] * self.states + path[..., 1:], -1)
        return jnp.where(known, total + steps.sum(-1), -jnp.inf)
