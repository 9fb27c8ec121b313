"""What tests share: both precisions, and randomness that is the same in every run."""

import gc
import random
import zlib
from collections.abc import Iterator

import jax
import numpy as np
import pytest

from kullback.runtime import export_cache as programs

# Tracing makes many objects, and most of them last: looking through all of them again and again took a tenth of a run.
# What is no longer needed is collected after each file of tests, in `let_go_of_programs`.
gc.set_threshold(100_000, 20, 50)


def pytest_collection_finish() -> None:
    """What is imported by now stays, and need not be looked through."""
    gc.collect()
    gc.freeze()


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def precision(request: pytest.FixtureRequest) -> Iterator[type[np.floating]]:
    """Runs the test under both settings of `jax_enable_x64`; the value is JAX's default type under it."""
    with jax.enable_x64(request.param is np.float64):
        yield request.param


@pytest.fixture(autouse=True, scope="module")
def let_go_of_programs() -> Iterator[None]:
    """What one file of tests compiled is of no use to the next, and thousands of programs fill the memory."""
    yield
    jax.clear_caches()
    programs.forget()
    gc.collect()


@pytest.fixture(autouse=True)
def seed(request: pytest.FixtureRequest) -> int:
    """A number of the test's own, fixed by its name; what draws from a global state starts from it."""
    number = zlib.crc32(request.node.name.encode())
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002
    return number


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.fixture
def key(seed: int) -> jax.Array:
    return jax.random.key(seed)
