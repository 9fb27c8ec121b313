"""A learning problem is a KL divergence with one side under your control."""

import importlib
import typing
import warnings

if typing.TYPE_CHECKING:
    from kullback import catalogue as rules
    from kullback.catalogue import DEFAULT_RULES
    from kullback.control import Optimal
    from kullback.distributions import Joint, MarkovChain, Product, TanhNormal
    from kullback.divergence import KL
    from kullback.drifting import DriftReport, drift
    from kullback.exact import cross_entropy, entropy, entropy_rate, kl_divergence, kl_rate
    from kullback.families import MLP, Conditional, Family, Linear, Mixture, Table, Tempered, learnable, load
    from kullback.inference import Laplace, LowRank
    from kullback.known import Density, Pairs, Posterior, Samples, Tilted
    from kullback.result import Estimate, Fit, Guarantee
    from kullback.supervised import KLClassifier, KLRegressor

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_RULES",
    "KL",
    "MLP",
    "Conditional",
    "Density",
    "DriftReport",
    "Estimate",
    "Family",
    "Fit",
    "Guarantee",
    "Joint",
    "KLClassifier",
    "KLRegressor",
    "Laplace",
    "Linear",
    "LowRank",
    "MarkovChain",
    "Mixture",
    "Optimal",
    "Pairs",
    "Posterior",
    "Product",
    "Samples",
    "Table",
    "TanhNormal",
    "Tempered",
    "Tilted",
    "cross_entropy",
    "drift",
    "entropy",
    "entropy_rate",
    "kl_divergence",
    "kl_rate",
    "learnable",
    "load",
    "rules",
]

# A name is imported when it is first asked for, so that `kullback --help` does not wait for JAX.
_HOMES = {
    "catalogue": ("DEFAULT_RULES",),
    "control": ("Optimal",),
    "divergence": ("KL",),
    "drifting": ("DriftReport", "drift"),
    "exact": ("cross_entropy", "entropy", "entropy_rate", "kl_divergence", "kl_rate"),
    "families": ("MLP", "Conditional", "Family", "Linear", "Mixture", "Table", "Tempered", "learnable", "load"),
    "distributions": ("Joint", "MarkovChain", "Product", "TanhNormal"),
    "inference": ("Laplace", "LowRank"),
    "known": ("Density", "Pairs", "Posterior", "Samples", "Tilted"),
    "result": ("Estimate", "Fit", "Guarantee"),
    "supervised": ("KLClassifier", "KLRegressor"),
}
_MODULES = {"errors": "errors", "loggers": "runtime.loggers"}  # as after an import of everything, beside the homes
_RENAMED = {"laws": "distributions", "programs": "runtime.export_cache"}  # until the next version
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> typing.Any:
    if name == "rules":
        value: typing.Any = importlib.import_module("kullback.catalogue")
    elif name in _HOMES or name in _MODULES:
        return importlib.import_module(f"kullback.{_MODULES.get(name, name)}")
    elif name in _RENAMED:
        warnings.warn(f"kullback.{name} is kullback.{_RENAMED[name]}", DeprecationWarning, stacklevel=2)
        return importlib.import_module(f"kullback.{_RENAMED[name]}")
    elif name in _HOME:
        value = getattr(importlib.import_module(f"kullback.{_HOME[name]}"), name)
    else:
        raise AttributeError(f"module 'kullback' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
