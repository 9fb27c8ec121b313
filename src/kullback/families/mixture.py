"""`Mixture`: a learnable mixture of one family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist

from kullback.arguments import whole
from kullback.errors import InputError
from kullback.families.family import Family, matched_side, sizes_of
from kullback.families.form import Form
from kullback.families.initialisation.guess import Hints, hints_from, initial_parameters
from kullback.families.learnable import Params, Structure
from kullback.known import Known, LearnableHooks


class Mixture:
    """A learnable mixture Σ_k π_k q_{θ_k}: `Mixture(Family(dist.Normal), components=3)`.

    Raises `InputError` for fewer than one component or for something that is not a `Family`.
    """

    def __init__(self, family: Family, components: int) -> None:
        if not isinstance(family, Family):
            raise InputError(f"family: {family!r} is not a kl.Family; write kl.Mixture(kl.Family(dist.Normal), 3)")
        self.family, self.components = family, whole("components", components, most=10**6)

    def known(self) -> Known:
        return Known(name=self.name, hooks=LearnableHooks(matched=self._matched))

    @property
    def name(self) -> str:
        return f"Mixture({self.family.name}, {self.components})"

    def _matched(self, other: Known) -> Known:
        form = self.family.form(other)
        structure = MixtureStructure(form, self.components)
        hints = hints_from(other, sizes_of(other).categories)
        initial = partial(_initial, structure, hints, self.family.fixed)
        try:
            return matched_side(self.name, structure, self.family.fixed, other, initial)
        except AssertionError as error:
            # NumPyro asserts that the support of the components does not depend on their parameters.
            raise InputError(
                f"family: NumPyro has no mixture of {form.cls.__name__}, whose support depends on its parameters; use "
                "components on a fixed support, such as dist.Poisson, dist.Beta or dist.Bernoulli"
            ) from error

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True)
class MixtureStructure(Structure):
    """Mixing logits [K], and a form's parameters with a leading axis of K components."""

    form: Form
    components: int

    def distribution(self, free: Params, fixed: Params, inputs: Any = None) -> Any:
        components = self.form.distribution(free["components"], fixed)
        components = components.expand((self.components,)) if not components.batch_shape else components
        mixing = dist.CategoricalLogits(free["logits"], validate_args=False)
        return dist.MixtureSameFamily(mixing, components, validate_args=False)

    def free_shapes(self) -> Params:
        of_one = self.form.free_shapes()
        each = {name: jax.ShapeDtypeStruct((self.components, *one.shape), one.dtype) for name, one in of_one.items()}
        return {"logits": jax.ShapeDtypeStruct((self.components,), np.float32), "components": each}

    def spec(self) -> dict[str, Any] | None:
        form = self.form.spec()
        return None if form is None else {"kind": "mixture", "form": form, "components": self.components}

    @staticmethod
    def from_spec(spec: Mapping[str, Any]) -> MixtureStructure:
        return MixtureStructure(Form.from_spec(spec["form"]), spec["components"])


def _initial(structure: MixtureStructure, hints: Hints, fixed: Params, rng: np.random.Generator, start: int) -> Params:
    # Equal components stay equal under any gradient, so even the first start spreads them.
    each = [initial_parameters(structure.form, hints, rng, k + 1, fixed) for k in range(structure.components)]
    return {"logits": np.zeros(structure.components), "components": jax.tree.map(lambda *xs: np.stack(xs), *each)}
