"""`Conditional`, a learnable q(y∣x): the one object that classifies, regresses and acts; and `FittedConditional`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist
from numpyro.distributions import constraints

from kullback.arguments import LARGEST, positive, whole
from kullback.errors import InputError
from kullback.families import conditional_structure
from kullback.families.conditional_structure import ConditionalStructure, rows_like, width_of
from kullback.families.family import GIVEN_TOTAL, ends_from, parameters, sizes_of, support_of_all, trials_of
from kullback.families.form import Form, class_of, form_for
from kullback.families.initialisation.affine import affine_start
from kullback.families.initialisation.location_scale import hints_from
from kullback.families.initialisation.output_scaling import input_scaling, output_scaling
from kullback.families.initialisation.scaling import mean_and_scale
from kullback.families.learnable import Learnable, Params
from kullback.families.mixture import Mixture
from kullback.families.networks import InputSizes, SizedNetwork, sized_network
from kullback.known import ConditionalFacts, Known, LearnableHooks
from kullback.known.adaptors import numpyro_distributions
from kullback.known.columns import is_frame, numeric_frame
from kullback.known.samples import as_sample_array, as_weights

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
        _require_held(inputs)
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
        structure=structure,
        fixed=fixed,
        initial=initial,
        wrap=wrap,
        conditional=True,
        members=members,
        remarks=remarks,
        begin=begin,
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
        if int(inputs.max()) >= _MOST_LABELS:
            raise InputError(
                f"x: integer inputs [n] are labels that count from 0, and {int(inputs.max()):,} is too large for one; "
                "pass measurements as [n, 1], or labels numbered anew"
            )
        return InputSizes((), int(inputs.max()) + 1)
    return InputSizes(inputs.shape[1:])


def _require_held(inputs: np.ndarray, scale: np.ndarray | None = None) -> None:
    """Raise where double precision rounds whole numbers of 64 bits by more than a thousandth of their scale."""
    if inputs.dtype.kind not in "iu" or inputs.itemsize < 8 or not inputs.size:
        return
    most = max(abs(int(inputs.min())), abs(int(inputs.max())))
    if most <= LARGEST:
        return
    lost = np.spacing(np.abs(inputs.astype(np.float64)).max(0)) / 2
    scale = mean_and_scale(inputs)[1] if scale is None else scale
    if ((lost > _MOST_LOST * scale) & (lost >= 1.0)).any():
        raise InputError(
            f"x: inputs up to {most:.2g} are rounded by up to {lost.max():.2g} in double precision, too much for what "
            "they differ by; pass them less an offset that is the same for all rows"
        )


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


# Fitted conditionals


PRECISE = "_kullback_in_double"  # the attribute of a predictive law that gives it with parameters in double precision


class FittedConditional:
    """A fitted q(y∣x). `q(x)` is the NumPyro distribution at inputs x; `q.on(x)` is that as a side.

    Of an ensemble it is the mixture 1/M Σ q_m(y∣x) of its members; each leaf of `free` then has a leading axis [M].
    """

    def __init__(
        self, structure: ConditionalStructure, fixed: Params, name: str, free: Params, members: int = 1
    ) -> None:
        self.structure, self.fixed, self.name, self.members = structure, fixed, name, members
        self.free = jax.tree.map(np.asarray, free)

    def __call__(self, x: Any) -> Any:
        """q(y∣x) at inputs x [n, ...]: a NumPyro distribution of batch shape [n].

        Quantiles, PIT values and scores of it are taken from its parameters in double precision, since a location far
        from 0 has lost its last digits in single precision.
        """
        inputs = self._inputs(x)
        if not _is_held(self.fixed):
            d = jax.tree.map(np.asarray, self._in_double(inputs))
        else:
            d = conditional_structure.predictive(self.structure, self.members, self.free, self.fixed, inputs)
        object.__setattr__(d, PRECISE, partial(self._in_double, inputs))
        return d

    def in_double(self, x: Any) -> Any:
        """q(y∣x) at inputs x [n, ...] with parameters in double precision, whatever JAX is set to."""
        return self._in_double(self._inputs(x))

    def _in_double(self, inputs: np.ndarray) -> Any:
        return conditional_structure.predictive_in_double(self.structure, self.members, self.free, self.fixed, inputs)

    def on(self, x: Any, weights: Any = None) -> At:
        """q(y∣x) at inputs x [n, ...] as one side of a divergence, which averages over them (by `weights`)."""
        inputs = self._inputs(x)
        return At(self, inputs, as_weights(weights, len(inputs)))

    def evaluate(self, function: Callable[..., Any], x: Any, *rows: Any) -> Any:
        """`function(d, *rows)` on d = q(y∣x), compiled, in double precision: NumPy arrays [n, ...].

        function  of a distribution of batch [b] and b rows of each further array, to arrays [b, ...], each row by
                  itself; a module-level function, so that what is compiled is found again
        x         inputs [n, ...], read in blocks
        rows      further arrays [n, ...], such as outcomes

        Raises `InputError` for inputs of another shape or arrays of another length.
        """
        inputs = self._inputs(x)
        arrays = tuple(np.asarray(row) for row in rows)
        for row in arrays:
            if row.shape[:1] != (len(inputs),):
                raise InputError(f"rows: an array of shape {row.shape} beside {len(inputs)} inputs; pass [n, ...]")
        return conditional_structure.in_double(
            function, self.structure, self.members, self.free, self.fixed, (inputs, *arrays)
        )

    def tempered(self, temperature: float) -> FittedConditional:
        """The same with its logits divided by `temperature`, positive: above 1 it is less sure of its answers.

        For categorical and Bernoulli outcomes; of an ensemble the logits of the average are divided, and those of each
        member where an outcome has several labels. Raises `InputError` for other outcomes.
        Source: Guo, Pleiss, Sun and Weinberger (2017), equation 9.
        """
        cls = self.structure.form.cls
        if cls not in (dist.CategoricalLogits, dist.BernoulliLogits):
            raise InputError(f"q: {cls.__name__} has no logits to temper; a temperature is for classifiers")
        temperature = positive("temperature", temperature)
        return self.holding(temperature=np.asarray(temperature, np.float64) * self.fixed.get("temperature", 1.0))

    def holding(self, **fixed: Any) -> FittedConditional:
        """The same with these arrays among its fixed parameters."""
        return FittedConditional(self.structure, {**self.fixed, **fixed}, self.name, self.free, self.members)

    def known(self) -> Known:
        return Known(
            name=f"fitted {self.name}",
            conditioning=ConditionalFacts(conditional=lambda inputs: self.on(inputs).known()),
        )

    def _inputs(self, x: Any) -> np.ndarray:
        inputs = as_sample_array(numeric_frame(x, "x") if is_frame(x) else x, "x")
        labels = self.structure.network.labels
        if labels is not None:
            if inputs.dtype.kind not in "iub" or inputs.ndim != 1 or inputs.min() < 0 or inputs.max() >= labels:
                raise InputError(f"x: the inputs of this conditional are integers from 0 to {labels - 1}")
            return inputs.astype(np.int32) if inputs.dtype.kind in "bu" else inputs
        expected = np.shape(self.fixed["x_mean"])
        if inputs.shape[1:] != expected:
            raise InputError(f"x: inputs of shape {inputs.shape[1:]} where this conditional was fitted to {expected}")
        _require_held(inputs, self.fixed["x_scale"])
        return inputs

    def __repr__(self) -> str:
        return f"fitted {self.name}"


_LEAST, _MOST = 1e-36, 1e36  # numbers of which single precision holds all digits
_FARTHEST = 1e4  # scales from 0 at which single precision rounds an input to a thousandth of a scale
_MOST_LABELS, _MOST_LOST = 2**31, 1e-3


def _is_held(fixed: Params) -> bool:
    """Whether single precision holds inputs and how a network's outputs become parameters: scales of 1e-300 are 0."""
    if (np.abs(fixed["x_mean"]) > _FARTHEST * np.asarray(fixed["x_scale"])).any():
        return False
    sizes = np.abs(np.concatenate([np.ravel(fixed[name]) for name in ("offset", "gain", "slope") if name in fixed]))
    logs = np.abs(fixed["offset"])[np.isfinite(fixed["reach"])] if "reach" in fixed else np.zeros(1)
    within = (sizes < _MOST) & ((sizes == 0) | (sizes > _LEAST))
    return bool(within.all() and (logs < np.log(_MOST)).all())


class At:
    """A conditional at given inputs: what `q.on(x)` returns. `distribution` is NumPyro's, of batch shape [n]."""

    def __init__(self, conditional: FittedConditional, inputs: np.ndarray, weights: np.ndarray | None) -> None:
        self.inputs, self.weights = inputs, weights
        self.distribution, self.conditional = conditional(inputs), conditional

    def known(self) -> Known:
        return numpyro_distributions.known(self.distribution).holding(
            name=f"fitted {self.conditional.name} at {len(self.inputs):,} inputs",
            inputs=self.inputs,
            input_weights=self.weights,
            origin=self.conditional,
        )
