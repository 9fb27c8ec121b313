#!/usr/bin/env bash
# jaxlib: a compiler option that one release takes is an error in the next.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cat > "$folder/option.py" <<'PYTHON'
import jax

options = {"xla_cpu_use_fusion_emitters": False}
try:
    print(jax.__version__, jax.jit(lambda x: x + 1, compiler_options=options)(1.0))
except jax.errors.JaxRuntimeError as error:
    print(jax.__version__, "raises:", error)
PYTHON
"${PYTHON:-python3.12}" -m venv "$folder/older" && "${PYTHON:-python3.12}" -m venv "$folder/newer"
"$folder/older/bin/pip" -q --disable-pip-version-check install jax==0.10.2 jaxlib==0.10.2 numpy==2.4.1
"$folder/newer/bin/pip" -q --disable-pip-version-check install jax==0.12.0 jaxlib==0.12.0 numpy==2.4.1
for which in older newer; do "$folder/$which/bin/python" "$folder/option.py" | tee -a "$folder/seen"; done
grep -q "^0.10.2 2.0" "$folder/seen" && grep -q "^0.12.0.* raises:.*No such compile option" "$folder/seen" \
  || { echo "CHANGED: both releases now agree"; exit 1; }
