"""The adaptor for FlowJAX distributions."""

from __future__ import annotations

from typing import Any

import jax
from jax.tree_util import Partial
from jax.typing import ArrayLike

from kullback.errors import InputError
from kullback.known.record import Functions, Known

Flow = Any  # FlowJAX is not imported here


def accepts(x: object) -> bool:
    return any(
        kind.__module__.startswith("flowjax.") and kind.__name__ == "AbstractDistribution" for kind in type(x).__mro__
    )


def known(flow: Flow) -> Known:
    """What is known of an unconditional FlowJAX distribution: a log-probability and a sampler.

    Raises `InputError` for a conditional one, which is a law for each condition and none by itself.
    """
    if getattr(flow, "cond_shape", None) is not None:
        raise InputError(
            f"flow: a conditional FlowJAX {type(flow).__name__} (cond_shape {tuple(flow.cond_shape)}) is a law only at "
            "a condition c; pass kl.Density(lambda x: flow.log_prob(x, c), flow.shape, normalized=True), "
            "or as p kl.Samples(flow.sample(key, (n,), c))"
        )

    def log_prob(x: ArrayLike) -> jax.Array:
        return flow.log_prob(x)

    def sample(key: jax.Array, n: int) -> jax.Array:
        return flow.sample(key, (n,))

    return Known(
        name=f"flowjax {type(flow).__name__}",
        event_shape=tuple(flow.shape),
        functions=Functions(
            sampler=Partial(sample),
            log_prob=Partial(log_prob),
            reparametrized=True,
        ),
    )
