"""Data that do not lie in memory (chunks, mapped files, batches from an iterable): the answer is the same."""

import hashlib
import subprocess
import sys
import tracemalloc
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest

import kullback as kl
from kullback.errors import InputError
from kullback.training import batches as table

ROWS = 700


def parameters(fit):
    return b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(fit.q.free))


def fitted(pairs, memory=None, ensemble=1, **settings):
    q = kl.Conditional(kl.MLP(hidden=(4,), dropout=0.1), dist.Normal, ensemble=ensemble)
    return kl.KL(pairs, q).minimize(rule=kl.rules.Minibatches(memory=memory), **{"steps": 90, **settings})


@pytest.fixture
def data(rng):
    x = rng.normal(size=(ROWS, 3))
    return x, x[:, 0] ** 2 + rng.normal(size=ROWS), rng.uniform(0.5, 2.0, ROWS)


@pytest.mark.parametrize(("ensemble", "weighted"), [(1, False), (2, True)], ids=["one", "two, weighted"])
def test_chunks_give_what_resident_rows_give_bit_for_bit(data, ensemble, weighted):
    x, y, weights = data
    pairs = kl.Pairs(x, y, weights if weighted else None)
    whole = fitted(pairs, ensemble=ensemble)
    assert len(whole.history) >= 3
    # 8 or 4 steps a chunk of the 20 in an epoch, so that chunks end with epochs and within them.
    chunked = fitted(pairs, memory=8192, ensemble=ensemble)
    assert parameters(chunked) == parameters(whole)
    assert chunked.history == whole.history
    np.testing.assert_allclose(chunked.q.fixed["least"], whole.q.fixed["least"], rtol=1e-6)
    for name in ("train_nll", "heldout_nll"):
        np.testing.assert_allclose(chunked.diagnostics[name], whole.diagnostics[name], rtol=1e-6)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_rows_by_number_are_standardised_in_double_whatever_their_order(kind, rng, monkeypatch):
    monkeypatch.setattr(table, "_CHUNK", 100)  # 8 rows, so that blocks end within the rows
    x = (1e4 + 100 * rng.normal(size=(50, 3))).astype(kind)
    mean, scale = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    for numbers in (np.arange(3, 48, 2), rng.permutation(50)[:23]):
        rows = table.Table(x, x[:, 0], np.ones(50), numbers, (mean, scale))
        want = np.array([(x[i].astype(np.float64) - mean) / scale for i in numbers]).astype(jnp.result_type(float))
        np.testing.assert_array_equal(np.asarray(rows.resident().x)[: rows.size], want)
        positions = np.array([[4, 0], [22, 4]])
        np.testing.assert_array_equal(rows.take(positions)[0], want[positions])


def test_a_checkpoint_of_one_continues_in_the_other(data, tmp_path):
    pairs = kl.Pairs(*data[:2])
    fitted(pairs, checkpoint=tmp_path / "c", steps=50)
    rest = fitted(pairs, memory=8192, checkpoint=tmp_path / "c")
    assert parameters(rest) == parameters(fitted(pairs))


LIMITED = """
import hashlib, resource, sys
import jax, numpy as np
import kullback as kl
from tests.training.test_streaming import large

x, y = (np.load(f"{sys.argv[1]}/{name}.npy", mmap_mode="r") for name in "xy")
# The programs are compiled before there is a limit, since compiling takes memory of its own.
large(x[:30_000], y[:30_000], 2**21)
used = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (used + 150 * 2**20,) * 2)
print(hashlib.sha256(large(x, y, 2**25)).hexdigest())
try:
    large(x, y, None)
except (MemoryError, jax.errors.JaxRuntimeError):
    print("does not fit")
"""


def large(x, y, memory):
    q = kl.Conditional(kl.MLP(hidden=(4,)), dist.Normal)
    return parameters(kl.KL(kl.Pairs(x, y), q).minimize(rule=kl.rules.Minibatches(memory=memory, batch=2048), steps=30))


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the limit on private memory is Linux's")
def test_a_table_larger_than_memory_trains_to_the_same_answer(tmp_path, rng):
    """200 MB of rows where 150 MB may be taken; the resident table does not fit there."""
    rows, width = 200_000, 250
    x = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, (rows, width))
    for start in range(0, rows, 20_000):
        x[start : start + 20_000] = rng.standard_normal((20_000, width), np.float32)
    x.flush()
    y = x[:, 0] - np.abs(x[:, 1])
    np.save(tmp_path / "y.npy", y)
    limited = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert limited.returncode == 0, limited.stderr[-2000:]
    assert limited.stdout.split("\n")[:2] == [hashlib.sha256(large(x, y, None)).hexdigest(), "does not fit"]


def test_batches_are_read_once_and_give_what_the_arrays_give(data):
    x, y, weights = data
    times = [0]

    def batches():
        times[0] += 1
        for start in range(0, ROWS, 150):
            part = slice(start, start + 150)
            yield x[part], y[part], weights[part]

    pairs = kl.Pairs.from_batches(batches())
    for got, want in zip((pairs.x, pairs.y, pairs.weights), data, strict=True):
        np.testing.assert_array_equal(got, want)
        assert got.dtype == want.dtype
    assert times == [1]
    assert parameters(fitted(pairs, memory=8192)) == parameters(fitted(kl.Pairs(x, y, weights)))


def test_batches_are_not_kept_in_memory(rng):
    """32 MB come through; what is allocated at once is a few batches of 512 kB."""
    tracemalloc.start()
    try:
        pairs = kl.Pairs.from_batches((rng.random((1024, 128), np.float32), rng.random(1024)) for _ in range(64))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert pairs.x.nbytes == 2**25
    assert most < 2**23


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int8, np.int64, np.uint8, bool])
def test_types_stay_what_they_are(kind, rng):
    x, y = rng.integers(2, size=(60, 2)).astype(kind), rng.integers(2, size=60).astype(kind)
    pairs = kl.Pairs.from_batches([[x[:50], y[:50]], [x[50:50], y[50:50]], [x[50:], y[50:]]])
    assert (pairs.x.dtype, pairs.y.dtype) == (kind, kind)
    np.testing.assert_array_equal(pairs.x, x)
    np.testing.assert_array_equal(pairs.y, y)


def test_lists_and_frames_are_batches():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    pairs = kl.Pairs.from_batches([(frame, frame["a"]), ([[5.0, 6.0]], [7.0])])
    np.testing.assert_array_equal(pairs.x, [[1.0, 3.0], [2.0, 4.0], [5.0, 6.0]])
    np.testing.assert_array_equal(pairs.y, [1.0, 2.0, 7.0])


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return lambda: [file for file in tmp_path.rglob("*") if file.is_file()]


def test_the_files_go_with_the_pairs_and_mapped_rows_stay_readable(files):
    pairs = kl.Pairs.from_batches([(np.ones((50, 2)), np.arange(50.0))])
    assert {file.name for file in files()} == {"x", "y"}
    divergence = kl.KL(pairs, kl.Conditional(kl.Linear(), dist.Normal, scale=1.0))
    y = pairs.y
    del pairs
    assert files() == []
    assert y.sum() == 1225
    assert divergence.minimize().diagnostics["train_nll"] > 0


def test_the_files_go_at_the_end_of_the_program(tmp_path):
    script = "import kullback as kl, tempfile, os, sys; tempfile.tempdir = sys.argv[1]\n"
    script += "pairs = kl.Pairs.from_batches([([[1.0]], [2.0])]); assert os.listdir(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True)
    assert list(tmp_path.iterdir()) == []


ONE = np.ones((4, 2)), np.ones(4)
BAD = {
    "nothing": ([], "no rows"),
    "rows of other widths": ([ONE, (np.ones((4, 3)), np.ones(4))], r"rows of x have the shape \(3,\) in batch 1"),
    "unequal lengths": ([(np.ones((4, 2)), np.ones(3))], r"batch 0 has unequally many rows \(4 of x, 3 of y\)"),
    "weights missing": ([(*ONE, np.ones(4)), ONE], "batch 1 is of 2 arrays after 3"),
    "NaN": ([ONE, (np.ones((4, 2)), np.full(4, np.nan))], "y of batch 1: the sample has NaN"),
    "infinity": ([(np.full((4, 2), np.inf), np.ones(4))], "x of batch 0: the sample has infinite values"),
    "words": ([([["a"]], [1.0])], "x of batch 0: values of type .* are not numbers"),
    "one array": ([np.ones((4, 2))], "batch 0 is ndarray; pass"),
    "four arrays": ([(*ONE, *ONE)], "batch 0 is 4 parts; pass"),
    "another type": ([(np.ones((4, 2)), np.ones(4, int)), ONE], "y is of type float64 in batch 1 and int64 before"),
    "negative weights": ([(*ONE, -np.ones(4))], "weights: they must be finite and non-negative"),
    "a number": (3, "int cannot be iterated over"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_batches_are_refused_and_leave_nothing_behind(what, files):
    batches, message = BAD[what]
    with pytest.raises(InputError, match=message):
        kl.Pairs.from_batches(batches)
    assert files() == []
