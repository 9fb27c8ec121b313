"""Several devices, and several processes, give the answer of one device up to the order of summation."""

import os
import socket
import subprocess
import sys
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import kullback as kl
from kullback.errors import InputError
from kullback.training.batches import automatic

COMMON = """
import jax, numpy as np, numpyro.distributions as dist
import kullback as kl

rng = np.random.default_rng(0)
x = rng.normal(size=(600, 3)).astype(np.float32)
y, weights = x[:, 0] ** 2 + rng.normal(size=600), rng.uniform(0.5, 2.0, 600)

def fit(mesh, ensemble=1, memory=None, **settings):
    q = kl.Conditional(kl.MLP(hidden=(4,)), dist.Normal, ensemble=ensemble)
    rule = kl.rules.Minibatches(mesh=mesh, memory=memory)
    return kl.KL(kl.Pairs(x, y, weights), q).minimize(rule=rule, steps=40, quiet=True, **settings)

def numbers(fit):
    values = [fit.diagnostics["train_nll"], fit.diagnostics["heldout_nll"]]
    return np.concatenate([*map(np.ravel, jax.tree.leaves(fit.q.free)), values])
"""

FOUR = (
    COMMON
    + """
from kullback.training.epochs import EpochDescent
from kullback.training.batches import BLOCK, Table, automatic

seen, init = [], EpochDescent.init
def watched(self):
    seen.append(self)
    return init(self)
EpochDescent.init = watched

assert jax.device_count() == 4
mesh = jax.make_mesh((4,), ("data",))
np.testing.assert_allclose(numbers(fit(mesh, 2)), numbers(fit(None, 2)), rtol=1e-4, atol=1e-6)
for array in (seen[0].rows.x, seen[0].rows.y, seen[0].rows.weights):
    shards = array.addressable_shards
    assert len({shard.device for shard in shards}) == 4
    assert {shard.data.shape for shard in shards} == {(len(array) // 4, *array.shape[1:])}
assert seen[1].rows.x.sharding.device_set == {jax.devices()[0]}
# Over the first of two axes, and in chunks from the host.
alone = numbers(fit(None))
np.testing.assert_allclose(numbers(fit(jax.make_mesh((2, 2), ("data", "spare")))), alone, rtol=1e-4, atol=1e-6)
np.testing.assert_allclose(numbers(fit(mesh, memory=1000)), alone, rtol=1e-4, atol=1e-6)
assert [problem.streamed for problem in seen] == [False, False, False, False, True]
# A number of devices that no length is a multiple of by itself.
three = jax.sharding.Mesh(np.array(jax.devices()[:3]), ("rows",))
for size in (50, 600, 2500):
    rows = Table(np.ones((size, 2)), np.ones(size), np.ones(size), np.arange(size), None).resident(automatic(three))
    assert len(rows.x) % 3 == 0 and len(rows.x.addressable_shards) == 3
    assert len(rows.x) <= BLOCK or len(rows.x) % BLOCK == 0
    assert float(rows.weights.sum()) == size
print("done")
"""
)

TWO = (
    """
import sys
import jax
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.config.update("jax_num_cpu_devices", 2)
jax.distributed.initialize(sys.argv[1], num_processes=2, process_id=int(sys.argv[2]))
"""
    + COMMON
    + """
mesh = jax.make_mesh((4,), ("data",))
assert len(jax.local_devices()) == 2 and jax.device_count() == 4
found = fit(mesh, checkpoint=sys.argv[3] + "/checkpoint", logger=kl.loggers.CSVLogger(sys.argv[3] + "/log.csv"))
np.save(sys.argv[3] + "/" + sys.argv[2], numbers(found))
"""
)


def start(script, *arguments, flags=""):
    environment = {**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}"}
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finished(*processes):
    try:
        outputs = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, errors) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return outputs


def test_four_devices():
    ((printed, _),) = finished(start(FOUR, flags="--xla_force_host_platform_device_count=4"))
    assert printed == "done\n"


def test_two_processes(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    finished(*(start(TWO, address, rank, tmp_path) for rank in (0, 1)))
    first, second = (np.load(tmp_path / f"{rank}.npy") for rank in (0, 1))
    here = {}
    exec(COMMON, here)
    alone = here["numbers"](here["fit"](None, logger=kl.loggers.CSVLogger(tmp_path / "alone.csv")))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, alone, rtol=1e-4, atol=1e-6)
    # The first process alone saves and logs.
    logs = [(tmp_path / name).read_text().splitlines() for name in ("log.csv", "alone.csv")]
    assert len(logs[0]) == len(logs[1]) == 3
    assert (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize("mesh", [4, jax.devices(), jax.sharding.AbstractMesh((2,), ("data",))], ids=repr)
def test_what_is_no_mesh_is_refused(mesh):
    with pytest.raises(InputError, match=rf"^mesh: {type(mesh).__name__} is no mesh of devices; pass jax.make_mesh"):
        automatic(mesh)


@pytest.mark.parametrize(("batch", "devices"), [(33, 2), (None, 64)])
def test_a_batch_that_cannot_be_shared_is_refused(batch, devices):
    """Rows a step are whole parts for each device; a mesh is only asked for its shape here."""
    mesh = SimpleNamespace(devices=np.empty(devices))
    with pytest.raises(InputError, match=rf"^batch: .* of 50 rows .* the {devices} devices"):
        kl.rules.Minibatches(batch=batch)._batch(55, 50, mesh)
    assert kl.rules.Minibatches()._batch(55, 50, SimpleNamespace(devices=np.empty(3))) == 30
