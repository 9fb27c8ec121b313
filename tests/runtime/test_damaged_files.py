"""Damaged fits and checkpoints: every one is refused in our own sentence, or gives what was saved."""

import json

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from safetensors import safe_open
from safetensors.numpy import save

import kullback as kl
from kullback.errors import FileError
from kullback.runtime import files
from kullback.training import driver

KINDS = ("family", "box", "mixture", "network", "ensemble", "table")


def fitted(kind):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(60, 2)), rng.integers(0, 3, 60)
    y = (x[:, 0] > 0).astype(int)

    def conditional(net, **options):
        return kl.Conditional(net, dist.Categorical, **options)

    problem = {
        "family": lambda: kl.KL(x, kl.Family(dist.MultivariateNormal)),
        "box": lambda: kl.KL(
            kl.Family(kl.TanhNormal), kl.Density(lambda z: -z, support=dist.constraints.interval(0, 2))
        ),
        "mixture": lambda: kl.KL(x[:, 0], kl.Mixture(kl.Family(dist.Normal), 2)),
        "network": lambda: kl.KL(kl.Pairs(x, y), conditional(kl.MLP((4,), normalization="layer"))),
        "ensemble": lambda: kl.KL(kl.Pairs(x, y), conditional(kl.Linear(), ensemble=2)),
        "table": lambda: kl.KL(kl.Pairs(labels, y), conditional(kl.Table())),
    }[kind]()
    return problem.minimize(steps=200)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    for kind in KINDS:
        fitted(kind).save(folder / kind)
    return folder


def outcome(path):
    """What a file gives: "refused", or the fit saved anew as bytes."""
    try:
        fit = kl.load(path)
    except FileError as error:
        said = f"{error}"
    else:
        said = ""
    if said:
        assert said.startswith("path: ")
        assert "\n" not in said
        return "refused"
    fit.save(path.with_suffix(".again"))
    return path.with_suffix(".again").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_short_is_refused_at_every_length(saved, tmp_path, kind):
    content = (saved / kind).read_bytes()
    for length in [*range(600), *range(600, len(content), 7), len(content) - 1]:
        (tmp_path / "cut").write_bytes(content[:length])
        assert outcome(tmp_path / "cut") == "refused"


@pytest.mark.parametrize("kind", KINDS)
def test_one_bit_more_or_less_changes_nothing_silently(saved, tmp_path, kind, rng):
    content = (saved / kind).read_bytes()
    for bit in rng.integers(8 * len(content), size=170):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << (bit % 8)
        (tmp_path / "flipped").write_bytes(flipped)
        assert outcome(tmp_path / "flipped") in ("refused", content)


ODD = (None, True, -1, 0, 3, 1.5, float("nan"), 10**30, "", "Normal", "os:system", [], [[]], [1, "a"], {}, {"a": 1},
       {"kind": "dense"}, [[[[0]]]])  # fmt: skip


def mutated(spec, rng):
    """The specification with one of its values, somewhere in it, replaced or left out."""
    spec = json.loads(json.dumps(spec))
    at = spec
    while True:
        keys = list(at) if isinstance(at, dict) else list(range(len(at)))
        key = keys[rng.integers(len(keys))]
        if isinstance(at[key], dict | list) and len(at[key]) and rng.random() < 0.7:
            at = at[key]
            continue
        if rng.random() < 0.2:
            del at[key]
        else:
            at[key] = ODD[rng.integers(len(ODD))]
        return spec


@pytest.mark.parametrize("kind", KINDS)
def test_a_description_of_something_else_is_refused_in_a_sentence(saved, tmp_path, kind, rng):
    spec, arrays = files.read(saved / kind)
    refused = 0
    for _ in range(170):
        files.write(tmp_path / "mutated", mutated(spec, rng), arrays)
        refused += outcome(tmp_path / "mutated") == "refused"
    assert refused > 80


@pytest.mark.parametrize("kind", KINDS)
def test_other_arrays_are_refused_in_a_sentence(saved, tmp_path, kind):
    spec, arrays = files.read(saved / kind)
    for name, array in arrays.items():
        for other in (array[..., None], np.full_like(array, np.nan), np.zeros((2, 7)), None):
            changed = {key: value for key, value in {**arrays, name: other}.items() if value is not None}
            files.write(tmp_path / "changed", spec, changed)
            if not (name.startswith("fixed") and other is not None and other.ndim):
                assert outcome(tmp_path / "changed") == "refused"
            else:
                outcome(tmp_path / "changed")


def test_a_small_file_that_says_it_is_large_is_refused_before_anything_is_made(saved, tmp_path):
    spec, arrays = files.read(saved / "network")
    spec["structure"]["network"]["widths"] = [200_000, 200_000, 200_000]
    for free in (spec["free"], None):
        files.write(tmp_path / "large", {**spec, "free": free}, arrays)
        assert outcome(tmp_path / "large") == "refused"


def as_version_one(path, target, **changes):
    with safe_open(path, framework="numpy") as file:
        spec, arrays = json.loads(file.metadata()["kullback"]), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    spec = {**spec, "version": 1, **changes}
    target.write_bytes(save(arrays, metadata={"kullback": json.dumps(spec)}))


def test_files_of_the_version_before_open_and_those_of_a_later_one_say_so(saved, tmp_path):
    as_version_one(saved / "family", tmp_path / "before")
    assert kl.load(tmp_path / "before").objective.value == kl.load(saved / "family").objective.value
    for version in (0, 3, 99, "1", None, True):
        as_version_one(saved / "family", tmp_path / "later", version=version)
        with pytest.raises(FileError, match="version"):
            kl.load(tmp_path / "later")


def test_sizes_are_those_of_what_is_made(saved):
    for kind in KINDS:
        q = kl.load(saved / kind).record
    network = kl.MLP((5, 3), normalization="layer").sized(kl.families.networks.InputSizes((2,)), 4)
    made = jax.tree.map(np.shape, network.init(np.random.default_rng(0)))
    assert made == jax.tree.map(lambda leaf: leaf.shape, network.free_shapes())
    assert q is not None


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint"
    state = {"x": np.arange(6.0).reshape(2, 3), "n": np.int32(4)}
    driver.save(path, "problem", state, [1.0, 0.5], [{"step": 1}])
    return path, state


def test_a_damaged_checkpoint_gives_the_same_state_or_is_refused(checkpoint, tmp_path, rng):
    path, state = checkpoint
    content, whole = path.read_bytes(), driver.resumed(path, "problem", state)
    damaged = [content[:length] for length in range(len(content))]
    for bit in rng.integers(8 * len(content), size=1000):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << (bit % 8)
        damaged.append(bytes(flipped))
    for one in damaged:
        (tmp_path / "damaged").write_bytes(one)
        try:
            found = driver.resumed(tmp_path / "damaged", "problem", state)
        except FileError:
            continue
        assert jax.tree.all(jax.tree.map(np.array_equal, found, whole))


@pytest.mark.parametrize("changes", [{"state.0": np.zeros(3)}, {"state.1": np.zeros(3)}, {"trace": np.zeros((2, 2))}])
def test_a_checkpoint_with_other_arrays_is_refused(checkpoint, tmp_path, changes):
    path, state = checkpoint
    spec, arrays = files.read(path)
    files.write(tmp_path / "changed", spec, {**arrays, **changes})
    with pytest.raises(FileError, match=r"^checkpoint: .* is damaged"):
        driver.resumed(tmp_path / "changed", "problem", state)


def test_a_deeply_nested_description_is_refused(saved, tmp_path):
    deep = "[" * 100_000 + "]" * 100_000
    for text in (deep, "[" * 60 + "]" * 60, '{"a":' * 60 + "1" + "}" * 60, "7", "null", "{"):
        (tmp_path / "deep").write_bytes(save({"a": np.zeros(1)}, metadata={"kullback": text}))
        with pytest.raises(FileError, match="damaged"):
            kl.load(tmp_path / "deep")
