#!/usr/bin/env bash
# JAX on a CPU: an executable that was read from the persistent compilation cache is serialised without its code.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" -q --disable-pip-version-check install jax==0.10.2 jaxlib==0.10.2 numpy==2.4.1
cat > "$folder/run.py" <<'PYTHON'
import sys
import jax, jax.numpy as jnp
from jax.experimental import serialize_executable as aot

x = jnp.arange(64.0)
if sys.argv[1] == "write":
    hits = []
    jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("cache_hits") else None)
    program = jax.jit(lambda x: jnp.cumsum(jnp.sin(x) * x)).lower(x).compile()
    print("from the cache:", len(hits) > 0, " runs:", float(program(x)[-1]))
    open(sys.argv[2], "wb").write(aot.serialize(program)[0])
else:
    trees = jax.tree.structure(((0,), {})), jax.tree.structure(0)
    program = aot.deserialize_and_load(open(sys.argv[2], "rb").read(), *trees)
    try:
        print("loaded and called:", float(program(x)[-1]))
    except jax.errors.JaxRuntimeError as error:
        print("loaded, and failed when called:", str(error)[:60])
PYTHON
export JAX_COMPILATION_CACHE_DIR=$folder/cache JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES=-1
run() { "$folder/venv/bin/python" "$folder/run.py" "$@"; }
"$folder/venv/bin/python" -c 'import jax; print("jax", jax.__version__)'
run write "$folder/fresh"; JAX_COMPILATION_CACHE_DIR= run read "$folder/fresh"
run write "$folder/cached"; JAX_COMPILATION_CACHE_DIR= run read "$folder/cached" | tee "$folder/seen"
grep -q "failed when called" "$folder/seen" || { echo "CHANGED: what came from the cache is serialised whole"; exit 1; }
