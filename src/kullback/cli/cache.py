"""JAX's compilations, kept from one command to the next."""

from __future__ import annotations

import os


def keep_compilations() -> None:
    """Keep what JAX compiles beside the kept programs, unless JAX_COMPILATION_CACHE_DIR says another place.

    Programs of this package are kept whatever the command; this is for all that a command compiles besides.
    """
    import jax

    from kullback.runtime.cache_folder import root

    folder = root()
    if os.environ.get("JAX_COMPILATION_CACHE_DIR") or folder is None:
        return
    folder = folder / "jax"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # a home that cannot be written costs time, not answers
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
