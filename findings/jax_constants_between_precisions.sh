#!/usr/bin/env bash
# JAX: an array of NumPy's that a function traced under enable_x64(True) closes over is double outside of it as well.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cat > "$folder/constants.py" <<'PYTHON'
import gc

import jax
import jax.numpy as jnp
import numpy as np

print("jax", jax.__version__, "numpy", np.__version__)
array = np.array([0.5, 3.0, 20.0])


def function(x):
    return x + jnp.sum(array, axis=-1)


print("before:", jnp.asarray(array).dtype)
with jax.enable_x64(True):
    jax.eval_shape(function, jax.ShapeDtypeStruct((), np.float64))
print("after:", jnp.asarray(array).dtype)
try:
    print("after:", jnp.sum(array, axis=-1))
except Exception as error:
    print("after:", type(error).__name__, str(error).splitlines()[0])
print("a copy:", jnp.asarray(array.copy()).dtype, jnp.sum(array.copy(), axis=-1))


def lasting(keep_unused):
    """The type of an array after a function that closed over it was lowered in double, and is gone."""
    held = np.array([0.5, 3.0, 20.0])
    closing = lambda x: x + jnp.sum(held, axis=-1)
    with jax.enable_x64(True):
        jax.jit(closing, keep_unused=keep_unused).lower(jax.ShapeDtypeStruct((), np.float64))
    del closing
    gc.collect()
    return jnp.asarray(held).dtype


print("lowered and gone:", lasting(False), "with keep_unused:", lasting(True))
PYTHON
for version in 0.10.2 0.12.0; do
  "${PYTHON:-python3.12}" -m venv "$folder/$version"
  "$folder/$version/bin/pip" -q --disable-pip-version-check install "jax==$version" "jaxlib==$version" numpy==2.4.1
  "$folder/$version/bin/python" "$folder/constants.py" 2>/dev/null | tee "$folder/seen"
  grep -q "^before: float32" "$folder/seen" && grep -q "^after: float64" "$folder/seen" \
    && grep -q "RuntimeProgramInputMismatch" "$folder/seen" && grep -q "^a copy: float32 23.5" "$folder/seen" \
    || { echo "CHANGED: the two precisions no longer share the constant"; exit 1; }
  kept=float32; [ "$version" = 0.10.2 ] || kept=float64
  grep -q "^lowered and gone: float32 with keep_unused: $kept" "$folder/seen" || { echo "CHANGED: keep_unused"; exit 1; }
done
