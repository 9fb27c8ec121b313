"""The public names: what is promised is there, what is there was meant, and each says what it is."""

import importlib.resources
from types import ModuleType

import pytest

import kullback as kl

PROMISED = {
    "Conditional", "DEFAULT_RULES", "Density", "DriftReport", "Estimate", "Family", "Fit", "Guarantee", "Joint", "KL",
    "KLClassifier", "KLRegressor", "Laplace", "Linear", "LowRank", "MLP", "MarkovChain", "Mixture", "Optimal", "Pairs",
    "Posterior", "Product",
    "Samples", "Table", "TanhNormal", "Tempered", "Tilted", "cross_entropy", "drift", "entropy", "entropy_rate",
    "kl_divergence", "kl_rate", "learnable", "load", "rules",
}  # fmt: skip


def test_what_is_promised_is_exported_and_nothing_else():
    assert set(kl.__all__) == PROMISED


def test_what_stands_in_the_module_is_exported():
    public = {
        name for name, value in vars(kl).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public <= set(kl.__all__)


def test_old_names_of_modules_warn():
    with pytest.warns(DeprecationWarning, match=r"kullback\.programs is kullback\.runtime\.export_cache"):
        assert callable(kl.programs.forget)


def test_the_list_has_no_repeats():
    assert len(kl.__all__) == len(set(kl.__all__))


@pytest.mark.parametrize("name", sorted(PROMISED - {"DEFAULT_RULES"}))
def test_each_name_says_what_it_is(name):
    assert getattr(kl, name).__doc__


def test_the_package_is_typed():
    assert (importlib.resources.files(kl) / "py.typed").is_file()
