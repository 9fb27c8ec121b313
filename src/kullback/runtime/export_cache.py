"""Compiled programs that are compiled once: in a process, and in all later ones of the same user.

JAX finds a compiled program by the identity of the function, and its persistent cache only after tracing and lowering,
which take longer than the fits of small problems. Here a program is found, without tracing, by what it is made from
(`runtime.identity`): the function, its static arguments, the shapes of the others, the settings of JAX, and the
versions and sources of all that is traced. A function that no text describes completely, such as one of the user's own,
is lowered, and found by the lowered text: another function object with the same trace compiles nothing. Files are kept
by `runtime.cache_folder`.

How much the compiler optimises follows from what it is given (`Effort`): the first fit of a small problem is nearly all
compilation, and its steps are fast however they are compiled.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import re
import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from functools import cache, partial, update_wrapper
from typing import Any, NamedTuple

import jax
import jax.monitoring
import numpy as np
from jax.core import Tracer
from jax.stages import Lowered
from jaxtyping import PyTree

from kullback.errors import KullbackError
from kullback.runtime import cache_folder
from kullback.runtime.effort import Effort, effort_for
from kullback.runtime.identity import Unspelled, name_of, order_of, settings, spelled, spelled_tree, versions

_LEFT_TO_JAX = ("jax_disable_jit", "jax_debug_nans", "jax_debug_infs", "jax_check_tracer_leaks", "jax_default_device")
_IN_MEMORY = 128  # programs of some 5 MB each, of which those not used for longest go first
_LAPACK = "lapack_"
_ANYWHERE = (_LAPACK, "mhlo.", "chlo.", "Sharding")  # custom calls that any process can make
_RESULTS = ("kullback", "optax")  # packages whose named tuples a kept program may return


class _Found(NamedTuple):
    """A loaded program: the tree of its results, what computes their leaves, and the leaves of a first call if made.

    given, gives  the positions of the leaves of arguments and results in the order that the program has them
    """

    result: Any
    call: Any
    first: Any = None
    given: tuple[int, ...] = ()
    gives: tuple[int, ...] = ()

    def __call__(self, leaves: list[Any]) -> Any:
        values = self.call(*(leaves[i] for i in self.given)) if self.first is None else self.first
        return jax.tree.unflatten(self.result, _put_back(values, self.gives))


_loaded: OrderedDict[Hashable, _Found] = OrderedDict()


_unknown: set[str] = set()  # options that this version of XLA does not have


def program(
    function: Callable[..., Any] | None = None, *, static: tuple[int, ...] = (0,), effort: Effort | None = None
) -> Any:
    """`jax.jit` with static positions, for a function of trees of arrays that is determined by its arguments alone.

    effort  how much the compiler is to optimise; None decides it by the size of the program
    """
    if function is None:
        return partial(program, static=static, effort=effort)
    return Program(function, static, effort)


class Program:
    """A function that is compiled once for each kind of arguments, or read from where an earlier process left it."""

    def __init__(self, function: Callable[..., Any], static: tuple[int, ...], effort: Effort | None):
        self._function, self._static, self._effort = function, static, effort
        self._jitted = jax.jit(function, static_argnums=static)
        self.kinds = 0  # of arguments that it was compiled or read from a file for, in this process
        update_wrapper(self, function)

    def __call__(self, *args: Any) -> Any:
        check_process()
        leaves, tree = jax.tree.flatten(self._traced(args))
        if _is_left_to_jax() or not all(map(_is_plain, leaves)):
            return self._jitted(*args)
        statics = tuple(args[i] for i in self._static)
        key = (self, statics, tree, settings(), *map(_kind, leaves))
        if (found := _recalled(key)) is None:
            found = self._found(args, leaves, tree)
            _remembered(key, found._replace(first=None))
        return found(leaves)

    def eval_shape(self, *args: Any) -> Any:
        """What the function gives, as shapes; arguments may be shapes."""
        return self._jitted.eval_shape(*args)

    def _traced(self, args: tuple[Any, ...]) -> list[Any]:
        return [arg for i, arg in enumerate(args) if i not in self._static]

    def _found(self, args: tuple[Any, ...], leaves: list[Any], tree: PyTree) -> _Found:
        self.kinds += 1
        flat = _Flat(self._function, self._static, args, tree)
        leaves = [leaves[i] for i in flat.given]
        return self._in_order(args, leaves, flat)._replace(given=flat.given, gives=flat.gives)

    def _in_order(self, args: tuple[Any, ...], leaves: list[Any], flat: _Flat) -> _Found:
        name, about = self._function.__name__, self._made_from(args, leaves)
        if about is not None and (content := _content(name, about)):
            result = _tree_of(content[0]["result"], flat, leaves)
            if result is not None and (found := _loaded_from(content, leaves, result)) is not None:
                return found
        # Without `keep_unused`, for which JAX 0.12 holds on to the trace: see `estimate.log_density.LogDensity`.
        traced = jax.jit(flat).trace(*leaves)
        lowered, effort = traced.lower(), self._effort or effort_for(traced)
        if about is not None:
            return _Found(flat.tree, _compiled_and_kept(name, about, lowered, effort, flat.example))
        return self._found_by_text(lowered, leaves, effort)._replace(result=flat.tree)

    def _made_from(self, args: tuple[Any, ...], leaves: list[Any]) -> str | None:
        """A text of all that the program depends on; None where no text describes it completely."""
        try:
            parts = [spelled(self._function), *(spelled(args[i]) for i in self._static)]
            parts.append(spelled_tree(self._traced(args)))
        except Unspelled:
            return None
        return "\n".join([*parts, *(repr(_kind(leaf)) for leaf in leaves), repr(settings()), versions()])

    def _found_by_text(self, lowered: Lowered, leaves: list[Any], effort: Effort) -> _Found:
        """What the same text was compiled to, here or in a file, or is compiled to now."""
        text = lowered.as_text()
        used = _used(lowered)
        # The text lacks what calls back to Python, and under that setting the constants.
        if used is None or _calls(text) is None or jax.config.values.get("jax_use_simplified_jaxpr_constants"):
            return _Found(lowered.out_tree, _compile(lowered, effort))
        about = "\n".join([text, used, *(repr(_kind(leaf)) for leaf in leaves), repr(settings()), versions()])
        key, name = hashlib.sha256(about.encode()).hexdigest(), self._function.__name__
        if (found := _recalled(key)) is not None:
            return found
        content = _content(name, about)
        found = _loaded_from(content, leaves, lowered.out_tree) if content else None
        if found is None:
            found = _Found(lowered.out_tree, _compiled_and_kept(name, about, lowered, effort, None))
        _remembered(key, found._replace(first=None))
        return found


def _put_back(values: Any, order: tuple[int, ...]) -> list[Any]:
    """Values that were taken in an order, as they were."""
    placed = dict(zip(order, values, strict=True)) if order else values
    return [placed[i] for i in range(len(values))]


class _Flat:
    """A function of leaves to a list of leaves, in the order of their names. Once traced, it knows the tree of its
    results."""

    __name__ = "flat"

    def __init__(
        self, function: Callable[..., Any], static: tuple[int, ...], args: tuple[Any, ...], tree: PyTree
    ) -> None:
        self._function, self._static, self._args, self._tree = function, static, args, tree
        self.given, self.gives = order_of(tree), ()
        self.tree: Any = None
        self.example: Any = None

    def __call__(self, *leaves: Any) -> list[Any]:
        dynamic = iter(jax.tree.unflatten(self._tree, _put_back(leaves, self.given)))
        args = (arg if i in self._static else next(dynamic) for i, arg in enumerate(self._args))
        found, self.tree = jax.tree.flatten(self._function(*args))
        self.example = jax.tree.unflatten(self.tree, [0] * len(found))
        self.gives = order_of(self.tree)
        return [found[i] for i in self.gives]


_used_by: list[int] = []  # the processes that programs ran in: this one, and those that it was forked from


def check_process() -> None:
    """Raise where this process was forked after a program ran: without JAX's threads, it would wait for ever."""
    if not _used_by:
        _used_by.append(os.getpid())
    elif _used_by[0] != os.getpid():
        raise KullbackError(
            "process: it was forked after JAX had computed, and has none of JAX's threads; start it by "
            "multiprocessing.get_context('spawn'), or compute nothing before the fork"
        )


def forget() -> None:
    """Let go of the programs in memory; those in files stay."""
    _loaded.clear()


def _recalled(key: Hashable) -> _Found | None:
    found = _loaded.get(key)
    if found is not None:
        _loaded.move_to_end(key)
    return found


def _remembered(key: Hashable, found: _Found) -> _Found:
    _loaded[key] = found
    while len(_loaded) > _IN_MEMORY:
        _loaded.popitem(last=False)
    return found


def _is_left_to_jax() -> bool:
    """Whether JAX is set to check or to place what it computes; such calls go to `jax.jit`."""
    if any(getattr(jax.config, name, None) for name in _LEFT_TO_JAX):
        return True
    return not jax.sharding.get_abstract_mesh().empty or jax.process_count() > 1


def _is_plain(leaf: object) -> bool:
    """Whether a leaf is a number, or an array on the first device that is there and not being traced."""
    if isinstance(leaf, Tracer):
        return False
    if isinstance(leaf, jax.Array):
        return leaf.sharding.device_set == {jax.local_devices()[0]}
    return isinstance(leaf, np.ndarray | np.generic | bool | int | float)


def _kind(leaf: np.ndarray | jax.Array) -> tuple[Any, ...]:
    """The kind of an array, or of a number of Python's, by which JAX compiles separate programs."""
    if isinstance(leaf, bool | int | float):
        return (type(leaf).__name__,)
    return leaf.shape, leaf.dtype, getattr(leaf, "weak_type", False)


def _compile(lowered: Lowered, effort: Effort) -> Any:
    """The executable. Options that this XLA does not have are left out, now and later."""
    options: dict[str, Any] = {name: value for name, value in effort.value if name not in _unknown}
    if jax.default_backend() != "cpu" or not options:
        return lowered.compile()
    try:
        return lowered.compile(compiler_options=options)
    except jax.errors.JaxRuntimeError as error:
        missing = {name for name in options if f"'{name}'" in str(error)}
        if "No such compile option" not in str(error) or not missing:
            raise
        _unknown.update(missing)
        return _compile(lowered, effort)


def _used(lowered: Lowered) -> str | None:
    """Which of its arguments a lowered program is of, which its text does not say; None where JAX does not tell."""
    about = getattr(getattr(lowered, "_lowering", None), "compile_args", None)
    kept = about.get("kept_var_idx") if isinstance(about, dict) else None
    return None if kept is None else f"{sorted(kept)}"


def _calls(text: str) -> set[str] | None:
    """The custom calls of a lowered program; None where another process, or another function, could not make them."""
    calls = set(re.findall(r"custom_call @([\w.$]+)", text))
    return calls if all(call.startswith(_ANYWHERE) for call in calls) else None


def _compiled_and_kept(name: str, about: str, lowered: Lowered, effort: Effort, results: PyTree) -> Any:
    """The executable, written to a file with the skeleton of its results.

    It is not where it calls what another process may not have, nor where JAX had it from a cache of its own: of such a
    one JAX writes no code.
    """
    before = len(_cache_hits)
    call = _compile(lowered, effort)
    path, calls = cache_folder.place(about, name), _calls(lowered.as_text())
    if path is None or calls is None or len(_cache_hits) > before:
        return call
    from jax.experimental import serialize_executable

    try:
        payload = serialize_executable.serialize(call)[0]
        note = {"result": _skeleton(results), "lapack": any(call.startswith(_LAPACK) for call in calls)}
    except Exception:  # this backend has no such form, or the results have no text
        return call
    cache_folder.write(path, about, note, payload)
    return call


_cache_hits: list[None] = []


@jax.monitoring.register_event_listener
def _(event: str, **_: Any) -> None:
    if event == "/jax/compilation_cache/cache_hits":
        _cache_hits.append(None)


def _content(name: str, about: str) -> tuple[Any, bytes] | None:
    path = cache_folder.place(about, name)
    return path and cache_folder.read(path, about)


def _loaded_from(content: tuple[Any, bytes], leaves: list[Any], result: PyTree) -> _Found | None:
    """The program that was kept, after a first call; None where it cannot be loaded here, or does not run."""
    from jax.experimental import serialize_executable

    note, payload = content
    trees = jax.tree.structure(((0,) * len(leaves), {})), jax.tree.structure([0] * result.num_leaves)
    if note["lapack"]:
        _find_lapack()
    try:
        call = serialize_executable.deserialize_and_load(payload, *trees, execution_devices=jax.local_devices()[:1])
        return _Found(result, call, jax.block_until_ready(call(*leaves)))
    except Exception:
        return None


@cache
def _find_lapack() -> None:
    """JAX looks for LAPACK where it lowers a call of it; an executable that is loaded has none before that."""
    jax.jit(jax.numpy.linalg.cholesky).lower(jax.ShapeDtypeStruct((1, 1), np.float32))


def _skeleton(tree: PyTree) -> Any:
    """Tuples, our named tuples, lists and dicts as JSON, with 0 for an array and [] for None; other trees as a text."""
    try:
        return _boxed(tree)
    except Unspelled:
        return spelled_tree(tree)


def _boxed(tree: PyTree) -> Any:
    if tree is None:
        return []
    if type(tree) is dict and all(isinstance(key, str) for key in tree):
        return ["dict", {key: _boxed(tree[key]) for key in sorted(tree)}]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return [name_of(type(tree)), [_boxed(part) for part in tree]]
    if type(tree) in (tuple, list):
        return [type(tree).__name__, [_boxed(part) for part in tree]]
    if type(tree) is int:
        return 0
    raise Unspelled


def _tree_of(skeleton: object, flat: _Flat, leaves: list[Any]) -> Any:
    """The tree that `_skeleton` describes, that of a text by tracing; None for what it would not have written."""
    try:
        if not isinstance(skeleton, str):
            return jax.tree.structure(_unboxed(skeleton, itertools.repeat(0)))
        jax.eval_shape(flat, *leaves)
        return flat.tree if spelled_tree(flat.example) == skeleton else None
    except (TypeError, ValueError, AttributeError, ImportError, Unspelled):
        return None


def _unboxed(skeleton: Any, leaves: Iterator[int]) -> Any:
    if skeleton == []:
        return None
    if skeleton == 0:
        return next(leaves)
    kind, parts = skeleton
    if kind == "dict":
        return {key: _unboxed(part, leaves) for key, part in parts.items()}
    whole = [_unboxed(part, leaves) for part in parts]
    return whole if kind == "list" else tuple(whole) if kind == "tuple" else _named_tuple(kind)(*whole)


def _named_tuple(text: str) -> Any:
    module, name = text.split(":")
    if module.split(".")[0] not in _RESULTS:
        raise ValueError(text)
    # What makes such results has imported it: nothing is imported because a file names it.
    found = getattr(sys.modules.get(module), name)
    if not (isinstance(found, type) and issubclass(found, tuple) and hasattr(found, "_fields")):
        raise ValueError(text)
    return found
