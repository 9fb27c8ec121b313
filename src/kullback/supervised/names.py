"""Distributions and networks by name, in any spelling: "student_t", "StudentT" and "Student t" are one."""

from __future__ import annotations

import difflib
from functools import cache
from typing import Any

import numpyro.distributions as dist

from kullback.distributions import ZeroInflatedNegativeBinomial
from kullback.errors import InputError
from kullback.families import MLP, Linear
from kullback.families.form import class_of

# What people call them, beside NumPyro's own names. A negative binomial is learned by its mean and concentration:
# NumPyro's first form counts failures, which is a parameter that a regression does not know.
_ALSO = {
    "gaussian": "Normal",
    "mvn": "MultivariateNormal",
    "negativebinomial": "NegativeBinomial2",
    "negbin": "NegativeBinomial2",
    "student": "StudentT",
    "t": "StudentT",
    "zeroinflatednegativebinomial2": "ZeroInflatedNegativeBinomial",
}
_OURS = {"ZeroInflatedNegativeBinomial": ZeroInflatedNegativeBinomial}

_NETWORKS = ("mlp", "linear")
_MANY_ROWS = 10_000


def distribution_named(distribution: Any) -> Any:
    """The NumPyro class or chooser that is meant by a class or by a name in any spelling.

    Raises `InputError` for an unknown name, with the nearest ones, and for what is no distribution class.
    """
    if not isinstance(distribution, str):
        try:
            class_of(distribution)
        except TypeError as error:  # not hashable: a list, an array
            raise InputError(_no_class(distribution)) from error
        return distribution
    folded, names = fold(distribution), distribution_names()
    if folded not in names:
        near = difflib.get_close_matches(folded, names, n=3, cutoff=0.5)
        shown = ", ".join(dict.fromkeys(names[name] for name in near)) or "Normal, StudentT, Poisson"
        raise InputError(
            f"distribution: there is none named {distribution!r} that can be learned; near it are {shown}, "
            "and any NumPyro class with parameters can be passed itself"
        )
    return getattr(dist, names[folded], None) or _OURS[names[folded]]


def network_named(network: Any, rows: int) -> Any:
    """The network that is meant by "mlp" or "linear" for so many rows; anything else is returned as it is.

    A perceptron has one hidden layer of 64, and two from 10,000 rows on: a second layer needs many rows to be of use.
    """
    if not isinstance(network, str):
        return network
    if (folded := fold(network)) not in _NETWORKS:
        raise InputError(
            f"network: {network!r} is not one of {', '.join(map(repr, _NETWORKS))}; pass one of them, "
            "kl.MLP(hidden=...) or a callable Equinox module"
        )
    return Linear() if folded == "linear" else MLP(hidden=(64,) if rows < _MANY_ROWS else (64, 64))


@cache
def distribution_names() -> dict[str, str]:
    """Folded names to NumPyro's, for the classes with parameters of their own."""
    names = {fold(name): name for name in dist.__all__ if _is_family(getattr(dist, name))}
    return {**names, **{fold(name): name for name in _OURS}, **_ALSO}


def fold(name: str) -> str:
    """A name in lower case without anything but letters and digits."""
    return "".join(character for character in name.lower() if character.isalnum())


def _is_family(candidate: Any) -> bool:
    try:
        cls = class_of(candidate)
        return bool(cls.arg_constraints) and isinstance(cls.support.event_dim, int)
    except (InputError, TypeError, AttributeError, NotImplementedError):
        return False


def _no_class(distribution: Any) -> str:
    return (
        f"distribution: {type(distribution).__name__} is no distribution; pass a name such as 'student_t' or a NumPyro "
        "class such as dist.StudentT"
    )
