#!/usr/bin/env bash
# NumPyro: the leaves of a distribution come in an order that depends on Python's hash seed.
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" -q --disable-pip-version-check install numpyro==0.22.0 jax==0.10.2 jaxlib==0.10.2 numpy==2.4.1
cat > "$folder/leaves.py" <<'PYTHON'
import jax
import numpyro.distributions as dist

print(jax.tree.leaves(dist.Normal(1.0, 2.0)), jax.tree.leaves(dist.Gamma(3.0, 4.0)))
PYTHON
"$folder/venv/bin/python" -c 'import jax, numpyro; print("jax", jax.__version__, "numpyro", numpyro.__version__)'
for seed in 1 2 3 4 5 6 7 8; do
  PYTHONHASHSEED=$seed "$folder/venv/bin/python" "$folder/leaves.py" | tee -a "$folder/seen"
done
distinct=$(sort -u "$folder/seen" | wc -l)
echo "$distinct orders in 8 processes; leaves stored in one and read in another exchange loc and scale"
[ "$distinct" -gt 1 ] || { echo "CHANGED: the order is now the same in every process"; exit 1; }
