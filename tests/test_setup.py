"""What the other tests stand on: precision is local to a test, and randomness repeats."""

import tomllib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import kullback as kl


def test_precision_is_in_force(precision):
    assert jnp.zeros(()).dtype == precision


def test_precision_is_not_left_behind():
    assert jnp.zeros(()).dtype == jnp.float32


def test_seed_is_fixed_by_the_name(seed, rng, key):
    assert seed == 4133702995
    assert rng.integers(100) == np.random.default_rng(seed).integers(100)
    assert jnp.array_equal(jax.random.key_data(key), jax.random.key_data(jax.random.key(seed)))


def test_version_is_said_once():
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    assert kl.__version__ == project["version"]
