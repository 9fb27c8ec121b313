"""What the other tests stand on: precision is local to a test, and randomness repeats."""

import ast
import re
import subprocess
import sys
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


ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IMPORTED_AS = {"pillow": "PIL", "scikit-learn": "sklearn"}


def test_version_is_said_once():
    assert kl.__version__ == PROJECT["version"]


def imports() -> set[str]:
    """The packages that the sources import, anywhere in a file."""
    found = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            found |= {name.split(".")[0] for name in names}
    return found


def test_a_base_dependency_is_one_that_the_package_imports():
    names = {re.split(r"[^\w-]", requirement)[0] for requirement in PROJECT["dependencies"]}
    assert {IMPORTED_AS.get(name, name) for name in names} <= imports()
    others = imports() - set(sys.stdlib_module_names) - {IMPORTED_AS.get(name, name) for name in names} - {"kullback"}
    # Extras, what is looked at only where the user has it, and what a dependency cannot do without.
    optional = {
        "arviz",
        "dask",
        "duckdb",
        "_typeshed",  # for types alone
        "statsmodels",
        "gymnax",
        "flax",
        "tensorboardX",
        "wandb",
        "polars",
        "pyarrow",
        "imageio_ffmpeg",
        "jaxlib",
        "threadpoolctl",
    }
    assert others <= optional, "imported, and no dependency"


WATCHED = """
import sys
import kullback as kl

for name in ("Optimal", "KL", "kl_divergence"):
    getattr(kl, name)
    print(name, *sorted({"matplotlib", "pandas", "PIL", "rich"} & set(sys.modules)))
"""


def test_what_draws_and_prints_is_loaded_when_it_is_used():
    printed = subprocess.run([sys.executable, "-c", WATCHED], capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["Optimal", "KL", "kl_divergence"]
