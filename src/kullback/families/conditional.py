"""`Conditional`: a learnable q(y∣x), the one object that classifies, regresses and acts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints

from kullback.arguments import positive, whole
from kullback.errors import InputError
from kullback.families.conditional_structure import ConditionalStructure, width_of
from kullback.families.evaluation import rows_like
from kullback.families.family import ends_from, parameters, sizes_of, support_of_all
from kullback.families.fitted import At, FittedConditional
from kullback.families.form import Form, class_of, form_for
from kullback.families.initialisation.affine import affine_start
from kullback.families.initialisation.location_scale import hints_from
from kullback.families.initialisation.output_scaling import input_scaling, output_scaling
from kullback.families.learnable import Learnable, Params
from kullback.families.mixture import Mixture
from kullback.families.networks import InputSizes, SizedNetwork, sized_network
from kullback.families.static_sizes import GIVEN_TOTAL, trials_of
from kullback.known import Known, LearnableHooks

__all__ = ["At", "Conditional", "ConditionalStructure", "FittedConditional", "input_sizes"]


class Conditional:
    """A learnable conditional distribution q_θ(y∣x): a network whose outputs are a distribution's parameters.

    network       `MLP`, `Linear`, `Table`, or a callable Equinox module
    distribution  a NumPyro class, whose parameters are unconstrained through `biject_to(arg_constraints)`; or
                  `Mixture(Family(cls, ...), K)`: a mixture density network (Bishop 1994)
    prior_scale   standard deviation of a normal prior on the network's weights (not on its biases), in standardised
                  units: the fit is then the mode of the posterior, L2 regularised; None for a flat prior
    ensemble      how many members are trained together, each from its own start; the fit is the mixture of them
                  (Lakshminarayanan, Pritzel and Blundell 2017)
    fixed         parameters held at a value: `dist.Normal, scale=1.` is squared error up to a factor and a constant

    Integer inputs [n] are labels, which networks take one-hot; others are standardised inside, as are the outcomes. As
    the second side it is supervised learning, as the first (against `Optimal`) a policy.
    Raises `InputError` for a bad argument, which it names.
    """

    def __init__(
        self, network: Any, distribution: Any, *, prior_scale: float | None = None, ensemble: int = 1, **fixed: Any
    ) -> None:
        self.network, self.components = network, 0
        if isinstance(distribution, Mixture):
            if fixed:
                raise InputError(f"{next(iter(fixed))}: hold a mixture's parameters fixed in its kl.Family")
            self.components, family = distribution.components, distribution.family
            self.cls, self.fixed, self._shown = family.cls, family.fixed, distribution.name
        else:
            self.cls, self._shown = class_of(distribution), distribution.__name__
            self.fixed = parameters(self.cls, fixed)
            self._shown += "".join(f", {name}={np.asarray(value)}" for name, value in self.fixed.items())
        self.prior_scale, self.ensemble = _prior_scale(prior_scale), _ensemble(ensemble)

    def known(self) -> Known:
        return Known(name=self.name, hooks=LearnableHooks(matched=self._matched))

    @property
    def name(self) -> str:
        network = str(self.network) if hasattr(self.network, "sized") else type(self.network).__name__
        prior = "" if self.prior_scale is None else f", prior_scale={self.prior_scale:g}"
        ensemble = "" if self.ensemble == 1 else f", ensemble={self.ensemble}"
        return f"Conditional({network}, {self._shown}{prior}{ensemble})"

    def _matched(self, other: Known) -> Known:
        inputs = other.sample.inputs if other.sample is not None else other.inputs
        if inputs is None:
            raise InputError(
                f"p and q: {self.name} needs inputs, and {other.name} has none; pass kl.Pairs(x, y), a teacher.on(x), "
                "or kl.Optimal(env)"
            )
        cls, sizes = trials_of(self.cls, self.fixed, other)
        given = {**self.fixed, **ends_from(self.cls, self.fixed, other)}
        if cls in (*GIVEN_TOTAL, *GIVEN_TOTAL.values()):
            given.pop("total_count", None)
        _require_same_for_all(given, len(inputs), other.event_shape or ())
        structure = self._structure(cls, sizes, other, inputs, given)
        weights = other.sample.weights if other.sample is not None else other.input_weights
        hints = hints_from(other, sizes_of(other).categories)
        scaling = {**input_scaling(structure, inputs, weights), **output_scaling(structure, hints, given)}
        fixed: Params = {"given": given, **scaling}
        if self.prior_scale is not None:
            fixed["prior_scale"] = np.asarray(self.prior_scale)
        begin = partial(affine_start, structure, given, scaling)
        return matched_conditional(
            self.name, structure, fixed, other, partial(_initial, structure.network), self.ensemble, begin
        )

    def _structure(
        self, cls: type, sizes: dict[str, int], other: Known, inputs: np.ndarray, given: Params
    ) -> ConditionalStructure:
        """The network and the form with sizes taken from the other side; `given` are the parameters not learned."""
        held = {**given, **{name: size for name, size in sizes.items() if name in cls.arg_constraints}}
        form = replace(form_for(cls, held, sizes_of(other)), sizes=tuple(sizes.items()))
        if self.components or self.ensemble > 1:
            _require_mixable(form, given, self.components)
        network = sized_network(self.network, input_sizes(inputs), width_of(form, self.components))
        return ConditionalStructure(form, network, self.components)

    def __repr__(self) -> str:
        return self.name


def matched_conditional(
    name: str,
    structure: ConditionalStructure,
    fixed: Params,
    other: Known,
    initial: Any,
    members: int,
    begin: Any = None,
) -> Known:
    """The record of a learnable conditional of settled sizes; `initial` starts one member, `begin` the offsets."""
    remarks = (f"{members} members",) if members > 1 else ()
    if "prior_scale" in fixed:
        remarks += (f"Gaussian prior of scale {float(fixed['prior_scale']):g} on the weights",)
    wrap = partial(FittedConditional, structure, fixed, name, members=members)
    learnable = Learnable(
        structure, fixed, initial, wrap, conditional=True, members=members, remarks=remarks, begin=begin
    )
    inputs = other.sample.inputs if other.sample is not None else other.inputs
    assert inputs is not None
    example = jax.eval_shape(structure.distribution, initial(np.random.default_rng(0), 0), fixed, rows_like(inputs, 1))
    if tuple(example.event_shape) != tuple(other.event_shape or ()):
        raise InputError(
            f"p and q: {name} has outcomes of shape {example.event_shape} and {other.name} of {other.event_shape}"
        )
    return Known(
        name=name, event_shape=other.event_shape, hooks=LearnableHooks(learnable), support=support_of_all(example)
    )


def input_sizes(inputs: np.ndarray) -> InputSizes:
    """Labels for integer inputs [n] that count from 0, else the shape of one input."""
    if inputs.ndim == 1 and inputs.dtype.kind in "iub" and inputs.min() >= 0:
        return InputSizes((), int(inputs.max()) + 1)
    return InputSizes(inputs.shape[1:])


def _initial(network: SizedNetwork, rng: np.random.Generator, start: int) -> Params:
    return network.init(rng, start)


def _require_same_for_all(given: Params, rows: int, event_shape: tuple[int, ...]) -> None:
    """Raise where a parameter held fixed has a value for each row: of a new row the fit would know none."""
    for name, value in given.items():
        shape = np.shape(value)
        if len(shape) == 1 + len(event_shape) and shape[0] == rows and rows > 1 and shape != event_shape:
            counts = (
                "; of counts out of a total each, pass outcomes [n, 2], successes and failures, to dist.Binomial or "
                "dist.DirichletMultinomial without it"
            )
            raise InputError(
                f"{name}: an array of shape {shape} has a value for each row, and a fit knows none for a new row"
                f"{counts if name == 'total_count' else ''}; pass one value for all rows"
            )


def _prior_scale(scale: Any) -> float | None:
    if scale is None:
        return None
    return positive("prior_scale", scale)


def _ensemble(members: Any) -> int:
    return whole("ensemble", members, most=10**6)


def _require_mixable(form: Form, fixed: Params, components: int) -> None:
    """Raise where members' supports depend on their parameters, so that a mixture of them has none of its own."""
    if form.cls is dist.CategoricalLogits and not components:
        return
    base = jax.eval_shape(form.distribution, form.zeros(), fixed).support
    while isinstance(base, constraints.independent):
        base = base.base_constraint
    if not isinstance(base, constraints.ParameterFreeConstraint):
        raise InputError(
            f"distribution: the support of {form.cls.__name__} depends on its parameters, so it cannot be mixed; "
            "use one member and no kl.Mixture"
        )
