"""Compiled programs are told apart by the types that they are given, and by the sources that they are traced from."""

import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import kullback as kl
from kullback.runtime import cache_folder, export_cache, identity


def halved(x):
    return x / 2, x + 1


def test_types_and_shapes(precision):
    """Whatever came before, values and types are those of JAX."""
    ours = export_cache.program(halved, static=())
    given = [np.ones(3, np.float32), np.ones(3, np.int32), np.ones(3, bool), np.ones((3, 1), np.float32), 1, 1.0, True,
             np.float32(1), jnp.ones(3, jnp.float16), np.ones(3, np.float64)]  # fmt: skip
    for x in [*given, *given]:
        for found, want in zip(ours(x), halved(jnp.asarray(x)), strict=True):
            assert found.dtype == want.dtype, x
            np.testing.assert_array_equal(found, want)


def test_any_change_of_a_source(tmp_path, monkeypatch):
    (tmp_path / "part").mkdir()
    module = tmp_path / "part" / "module.py"
    module.write_text("x = 1")
    seen = {tuple(identity._sources(str(tmp_path)))}
    module.write_text("x = 10")
    seen.add(tuple(identity._sources(str(tmp_path))))
    os.utime(module, ns=(0, 0))
    seen.add(tuple(identity._sources(str(tmp_path))))
    (tmp_path / "another.py").write_text("")
    seen.add(tuple(identity._sources(str(tmp_path))))
    assert len(seen) == 4
    texts = set()
    for sources in seen:
        monkeypatch.setattr(identity, "_SOURCES", sources)
        identity.versions.cache_clear()
        texts.add(identity.versions())
    identity.versions.cache_clear()
    assert len(texts) == 4


def test_a_kept_program_is_known_by_every_source_and_the_version_of_this_package(tmp_path, monkeypatch):
    sources = sorted(
        f"{p.name} {p.stat().st_size} {p.stat().st_mtime_ns}" for p in Path(kl.__file__).parent.rglob("*.py")
    )
    assert sorted(identity._SOURCES) == sources
    monkeypatch.setenv(cache_folder.VARIABLE, str(tmp_path))
    place = cache_folder.place("made from", "one")
    assert place is not None
    assert place.parent.name.startswith(f"{kl.__version__}-jax-")
