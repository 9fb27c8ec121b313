"""Fits from files, and fitted sides made learnable again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from os import PathLike
from typing import Any

import equinox as eqx
import jax
import numpy as np
import numpyro.distributions as dist

from kullback.errors import FileError, InputError
from kullback.families.conditional import ConditionalStructure, FittedConditional, matched_conditional
from kullback.families.family import fitted_distribution, matched_side
from kullback.families.form import Form, Sizes, form_for
from kullback.families.learnable import Params, Structure
from kullback.families.mixture import MixtureStructure
from kullback.known import Known, LearnableHooks
from kullback.result import Estimate, Fit, Guarantee, Status
from kullback.runtime.files import read, unpack


def load(path: str | PathLike[str], network: Any = None) -> Fit:
    """Read a fit that `Fit.save` wrote; no code in the file is run.

    network  the Equinox module, where the fit's network was one of the user's

    Raises `FileError` for a file that is missing, damaged, of another kind or not as `save` writes it, and `InputError`
    where `network` is missing or of other sizes.
    """
    if network is not None and not isinstance(network, eqx.Module):
        raise InputError(f"network: {network!r:.60} is no Equinox module; pass the one that was fitted")
    spec, arrays = read(path)
    if spec.get("format") != "fit":
        raise FileError(f"path: {path} holds a {spec.get('format', 'thing')}, not a saved fit; pass what save() wrote")
    try:
        _check_fields(spec)
        structure = _structure(spec["structure"], network)
        return _fit(spec, structure, *_parameters(spec, structure, arrays), arrays)
    except Exception as error:  # whatever it is that a strange description leads to
        if isinstance(error, InputError) and f"{error}".startswith("network"):
            raise
        said = f"{error}".partition("\n")[0] or type(error).__name__
        raise FileError(
            f"path: {path} does not describe a fit as save() does ({said:.200}); save the fit again"
        ) from error


_FIELDS: dict[str, type | tuple[type, ...]] = {
    "structure": dict,
    "name": str,
    "objective": dict,
    "status": str,
    "trace": list,
    "diagnostics": dict,
}
_LATER = {"history": list, "message": str, "members": int, "estimates": dict}  # that early files lack


def _check_fields(spec: Mapping[str, Any]) -> None:
    """Raises `ValueError` for a field that is missing or of another kind."""
    if missing := [name for name in (*_FIELDS, "free", "fixed") if name not in spec]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    for name, kind in {**_FIELDS, **_LATER}.items():
        if name in spec and not isinstance(spec[name], kind):
            raise ValueError(f"its {name} is {spec[name]!r:.40}")
    numbers = [*spec["trace"], *spec["diagnostics"].values()]
    if not all(isinstance(x, int | float) for x in numbers):
        raise ValueError("its trace or its diagnostics hold something else than numbers")
    if not all(isinstance(line, dict) for line in spec.get("history", ())):
        raise ValueError("its history holds something else than lines of numbers")


def _structure(spec: Mapping[str, Any], network: Any) -> Structure:
    match spec["kind"]:
        case "form":
            return Form.from_spec(spec)
        case "mixture":
            return MixtureStructure.from_spec(spec)
        case "conditional":
            return ConditionalStructure.from_spec(spec, network)
    raise ValueError(f"it holds a side of the unknown kind {spec['kind']!r}, which a newer version may read")


def _parameters(spec: Mapping[str, Any], structure: Structure, arrays: Mapping[str, np.ndarray]) -> tuple[Any, Any]:
    """Free and fixed parameters, looked at before anything is built from what the file says of their sizes."""
    if any(np.isnan(array).any() for array in arrays.values() if array.dtype.kind == "f"):
        raise ValueError("its parameters hold NaN")
    if (members := spec.get("members", 1)) < 1:
        raise ValueError(f"its members are {members}")
    want = structure.free_shapes()
    if members > 1:
        want = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((members, *leaf.shape), leaf.dtype), want)
    if spec["free"] is None:
        leaves, treedef = jax.tree.flatten(want)
        free = jax.tree.unflatten(treedef, [arrays[f"free.{i}"] for i in range(len(leaves))])
    else:
        free = unpack(spec["free"], "free", arrays)
    got = jax.tree.map(np.shape, free)
    if jax.tree.structure(free) != jax.tree.structure(want) or got != jax.tree.map(lambda leaf: leaf.shape, want):
        raise ValueError("its arrays have other sizes than its description")
    return free, unpack(spec["fixed"], "fixed", arrays)


def _fit(
    spec: Mapping[str, Any], structure: Structure, free: Params, fixed: Params, arrays: Mapping[str, np.ndarray]
) -> Fit:
    if isinstance(structure, ConditionalStructure):
        q: Any = FittedConditional(structure, fixed, spec["name"], free, spec.get("members", 1))
        jax.eval_shape(partial(structure.predictive, members=q.members), free, fixed, _one_row(structure, fixed))
    else:
        jax.eval_shape(structure.distribution, free, fixed)
        q = fitted_distribution(structure, fixed, free)
    objective = _estimate(spec["objective"], "its objective")
    estimates = {name: _estimate(said, f"its {name}") for name, said in spec.get("estimates", {}).items()}
    record = {key: spec[key] for key in ("structure", "name", "free", "fixed", "members") if key in spec}, arrays
    trace, status = np.asarray(spec["trace"]), Status[spec["status"]]
    told = {"history": tuple(spec.get("history", ())), "message": spec.get("message", "")}
    return Fit(
        q=q,
        objective=objective,
        status=status,
        trace=trace,
        diagnostics={**spec["diagnostics"], **estimates},
        record=record,
        **told,
    )


def _estimate(stated: Mapping[str, Any], called: str) -> Estimate:
    found = Estimate(**{**stated, "guarantee": Guarantee(stated["guarantee"]), "dropped": tuple(stated["dropped"])})
    numbers = [np.asarray(number) for number in (found.value, found.standard_error)]
    if not all(number.size and number.dtype.kind in "fiu" for number in numbers):
        raise ValueError(f"{called} is not a number")
    return found


def _one_row(structure: ConditionalStructure, fixed: Params) -> jax.ShapeDtypeStruct:
    shape = np.shape(fixed["x_mean"]) if structure.network.labels is None else ()
    return jax.ShapeDtypeStruct((1, *shape), np.float32 if structure.network.labels is None else np.int32)


class learnable:
    """A fixed side made learnable again, from where it stands: `kl.learnable(fit.q)` is a warm start.

    q  a fitted conditional, a NumPyro distribution whose class is a family or a mixture of one, or the q of a
       posterior's fit

    Raises `InputError` for anything else.
    """

    def __init__(self, q: Any) -> None:
        q = getattr(q, "flat", q)  # of a law of named sites
        if isinstance(q, FittedConditional):
            if "temperature" in q.fixed:
                raise InputError("q: a tempered conditional cannot be made learnable; pass the one that was tempered")
            self.structure, self.free, self.members, self._name = q.structure, q.free, q.members, q.name
            self.fixed = {name: value for name, value in q.fixed.items() if name != "least"}
        else:
            self.structure, self.free = _taken_apart(q)
            self.fixed, self._name, self.members = {}, type(q).__name__, 1

    def known(self) -> Known:
        return Known(name=f"{self._name}, from where it stands", hooks=LearnableHooks(matched=self._matched))

    def _matched(self, other: Known) -> Known:
        name = f"{self._name}, from where it stands"
        if not isinstance(self.structure, ConditionalStructure):
            return matched_side(name, self.structure, self.fixed, other, lambda rng, start: self.free)
        if other.inputs is None and (other.sample is None or other.sample.inputs is None):
            raise InputError(f"p and q: {name} is conditional, and {other.name} has no inputs; pass kl.Pairs(x, y)")
        return matched_conditional(name, self.structure, self.fixed, other, self._member, self.members)

    def _member(self, rng: np.random.Generator, start: int) -> Params:
        if self.members == 1:
            return self.free
        return jax.tree.map(lambda leaf: leaf[start % self.members], self.free)


def _taken_apart(q: Any) -> tuple[Structure, Params]:
    if isinstance(q, dist.MixtureSameFamily):
        form, components = _form_of(q.component_distribution)
        logits = np.log(np.maximum(np.asarray(q.mixing_distribution.probs), np.finfo(np.float32).tiny))
        return MixtureStructure(form, q.mixture_size), {"logits": logits, "components": components}
    if not isinstance(q, dist.Distribution):
        raise InputError(f"q: {type(q).__name__} cannot be made learnable; pass fit.q or a NumPyro distribution")
    return _form_of(q)


def _form_of(q: Any) -> tuple[Form, Params]:
    base = q
    while isinstance(base, dist.Independent | dist.ExpandedDistribution):
        base = base.base_dist
    fixed = {name: True for name, c in type(base).arg_constraints.items() if getattr(c, "is_discrete", False)}
    if fixed:
        raise InputError(
            f"q: {type(base).__name__} counts with {', '.join(fixed)}; pass kl.Family with it fixed instead"
        )
    categories = np.shape(base.logits)[-1] if isinstance(base, dist.CategoricalLogits) else None
    form = form_for(type(base), {}, Sizes(tuple(q.event_shape), categories))
    full = q.batch_shape
    values = {name: np.broadcast_to(np.asarray(getattr(base, name)), (*full, *shape)) for name, shape in form.shapes}
    return form, form.unconstrain(values)
