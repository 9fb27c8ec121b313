"""Counts with more zeros than their law has."""

from __future__ import annotations

from typing import Any

import numpyro.distributions as dist
from jax import Array
from jaxtyping import Float
from numpyro.distributions import constraints
from numpyro.distributions.discrete import ZeroInflatedProbs
from numpyro.distributions.util import promote_shapes


class ZeroInflatedNegativeBinomial(ZeroInflatedProbs):
    """0 with probability `gate`, and a draw of NegativeBinomial2(rate, concentration) otherwise.

    gate           probability of an extra zero [*batch]
    rate           mean of the negative binomial [*batch]; its variance is rate + rate²/concentration
    concentration  positive [*batch]

    The mean of the whole is (1 − gate) rate. NumPyro's `ZeroInflatedNegativeBinomial2` is a function, and this is the
    class, as its `ZeroInflatedPoisson` is one.
    Source: Greene (1994), section 2.3.
    """

    arg_constraints: dict[str, Any] = {  # noqa: RUF012
        "gate": constraints.unit_interval,
        "rate": constraints.positive,
        "concentration": constraints.positive,
    }
    support: Any = constraints.nonnegative_integer
    pytree_data_fields = ("rate", "concentration")

    def __init__(
        self,
        gate: Float[Array, "*b"],
        rate: Float[Array, "*b"],
        concentration: Float[Array, "*b"],
        *,
        validate_args: bool | None = None,
    ) -> None:
        same: Any = promote_shapes(gate, rate, concentration)
        gate, self.rate, self.concentration = same
        super().__init__(dist.NegativeBinomial2(self.rate, self.concentration), gate, validate_args=validate_args)
