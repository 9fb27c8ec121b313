"""The page of formulas: every entry of the tables of exact forms, with the identity and the source of its docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from html import escape
from itertools import count
from typing import Any

from docs.kinds import ALONE, TABLES

from kullback.exact import table
from kullback.exact.composite import bijections, mixtures, structure
from kullback.exact.cross_family import cross, expectations
from kullback.exact.type_keys import type_key


@dataclass(frozen=True)
class Entry:
    """One form: the pairs or kinds it serves, its identity, what else its docstring says, and its source."""

    form: Callable[..., Any]
    keys: tuple[Hashable, ...]
    conditional: bool

    @property
    def anchor(self) -> str:
        return anchor_of(self.form)

    @property
    def texts(self) -> tuple[str, str]:
        """The identity with what follows it, and the source."""
        found = [_parted(form) for form in dict.fromkeys([written(self.form), *_inner(self)])]
        said, sources = ([text for text in texts if text] for texts in zip(*found, strict=True))
        return " ".join(said), " ".join(dict.fromkeys(sources))

    @property
    def may_fail(self) -> bool:
        """Whether its condition fails for some examples."""
        examples = [some for key in self.keys for some in EXAMPLES.get(key, ())] if self.conditional else ()
        return any(self.form(*some) is None for some in examples if len({d.event_shape for d in some}) == 1)

    @property
    def served(self) -> str:
        """Which kinds, in words: every pair of some kinds is said once."""
        if not _is_pair(self.keys[0]):
            return _names(self.keys)
        firsts, seconds = (list(dict.fromkeys(key[i] for key in self.keys)) for i in (0, 1))
        if _names(firsts) == _names(seconds) and len(self.keys) == len(firsts) * len(seconds):
            return f"any two of {_names(firsts)}" if ", " in _names(firsts) else f"{_names(firsts)} ‖ {_names(firsts)}"
        groups: dict[str, list[Hashable]] = {}
        for q in seconds:
            groups.setdefault(_names(p for p, other in self.keys if other == q), []).append(q)
        return "; ".join(f"{names} ‖ {_names(others)}" for names, others in groups.items())


def _is_pair(key: Any) -> bool:
    """Whether a key is of two kinds, rather than one kind that is named by a type and that of its base."""
    return key in table.KL or key in table.BUILD_KL


REDUCTIONS = (structure, bijections, mixtures)


def name_of(key: Any) -> str:
    """The name of a kind, whichever way it is parametrised."""
    if isinstance(key, tuple):
        return f"{name_of(key[0])}({', '.join(map(name_of, key[1:]))})"
    return re.sub("(Probs|Logits|Distribution)$", "", key.__name__)


def _names(keys: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(name for name in map(name_of, keys) if not name.startswith("_")))


def plain(form: Any) -> Any:
    """The function that was written, beneath compilation and fixed arguments."""
    while True:
        if isinstance(form, partial):
            form = form.func
        elif hasattr(form, "__wrapped__"):
            form = form.__wrapped__
        else:
            return form


def written(form: Any) -> Any:
    """The function whose docstring says what the form is: itself, or one that it was made from."""
    form = plain(form)
    if form.__doc__ or not form.__closure__:
        return form
    inside = [cell.cell_contents for cell in form.__closure__ if callable(cell.cell_contents)]
    found = (written(part) for part in inside if inspect.isfunction(plain(part)))
    return next((part for part in found if part.__doc__), form)


def _anchors() -> dict[Any, str]:
    """A name for each function that is unique on the page."""
    every = [*table.KL.values(), *table.BUILD_KL.values(), *table.ENTROPY.values(), *table.BUILD_ENTROPY.values()]
    found, taken = {}, set()
    for form in dict.fromkeys(map(written, every)):
        name = stem = re.sub(r"[\W_]+", "-", f"{form.__module__.rsplit('.', 1)[-1]}-{form.__name__}")
        numbers = count(2)
        while name in taken:
            name = f"{stem}-{next(numbers)}"
        taken.add(name)
        found[form] = name
    return found


ANCHORS = _anchors()


def anchor_of(form: Any) -> str:
    return ANCHORS[written(form)]


def _doc(form: Any) -> str:
    return inspect.getdoc(written(form)) or ""


def _parted(form: Any) -> tuple[str, str]:
    """What a docstring says, and the source that it names, which ends with its paragraph."""
    said, sources = _doc(form), []
    for found in re.finditer(r"Source: (.*?)(?=\n\s*\n|\Z)", said, re.DOTALL):
        sources.append(found[1])
        said = said.replace(found[0], "")
    return " ".join(said.split()), " ".join(" ".join(sources).split())


def _inner(entry: Entry) -> list[Any]:
    """The forms that a conditional entry gives for the examples, where its condition holds."""
    if not entry.conditional:
        return []
    found: dict[Any, None] = {}
    for examples in EXAMPLES.get(entry.keys[0], ()):
        form = entry.form(*examples)
        if form is not None and inspect.isfunction(inner := written(form)) and inner.__doc__:
            found[inner] = None
    return list(found)


def _examples() -> dict[Hashable, list[tuple[Any, ...]]]:
    every = [d for group in (*TABLES.values(), ALONE) for k in group for d in k.examples]
    found: dict[Hashable, list[tuple[Any, ...]]] = {}
    for p in every:
        found.setdefault(type_key(p), []).append((p,))
    for pair in table.BUILD_KL:
        found[pair] = [(*p, *q) for p in found.get(pair[0], []) for q in found.get(pair[1], [])]
    return found


EXAMPLES = _examples()


def entries(conditional: dict[Any, Any], plainly: dict[Any, Any]) -> list[Entry]:
    """The forms of two tables, each once, in the order of the tables."""
    found: dict[tuple[Any, bool], list[tuple[Hashable, Any]]] = {}
    for forms, needs in ((plainly, False), (conditional, True)):
        for key, form in forms.items():
            found.setdefault((written(form), needs), []).append((key, form))
    return [Entry(each[0][1], tuple(key for key, _ in each), needs) for (_, needs), each in found.items()]


def divergences() -> list[Entry]:
    return entries(table.BUILD_KL, table.KL)


def entropies() -> list[Entry]:
    return entries(table.BUILD_ENTROPY, table.ENTROPY)


def without_source(every: Iterable[Entry]) -> list[str]:
    """The functions whose docstring names no source."""
    return [f"{written(e.form).__module__}.{written(e.form).__name__}" for e in every if not e.texts[1]]


def _raised(found: re.Match[str]) -> str:
    return f"<sup>{next(group for group in found.groups() if group is not None)}</sup>"


def mathematics(text: str) -> str:
    """The text as HTML, with powers raised and the side that a parameter belongs to lowered: e^θ, μp, aq, E_P."""
    text = re.sub(r"\^(?:\{([^{}]*)\}|\(([^()]*)\)|(\w\([^()]*\)|−?(?:\d/)?\w+))", _raised, escape(text, quote=False))
    text = re.sub(r"(?<![A-Za-zΑ-ω])([Α-ωabcmsvLKAGMS])([pq])\b(?!')", r"\1<sub>\2</sub>", text)
    return re.sub(r"\b([A-Za-z])_([A-Za-z])\b", r"\1<sub>\2</sub>", text)


def _item(entry: Entry) -> str:
    said, source = entry.texts
    note = ' <span class="when">where its condition holds</span>' if entry.may_fail else ""
    cite = f'<p class="source">{mathematics(source)}</p>' if source else ""
    return f'<dt id="{entry.anchor}">{escape(entry.served)}{note}</dt><dd><p>{mathematics(said)}</p>{cite}</dd>'


def _list(items: Iterable[str]) -> str:
    return raw('<dl class="formulas">' + "\n".join(items) + "</dl>")


def raw(html: str) -> str:
    return f"```{{raw}} html\n{html}\n```"


def _by_file(every: list[Entry]) -> dict[str, list[Entry]]:
    """The entries under the first sentence of their file."""
    found: dict[str, list[Entry]] = {}
    for entry in every:
        found.setdefault(_title(inspect.getmodule(plain(entry.form))), []).append(entry)
    return found


def _cross() -> list[str]:
    """What Q asks for, and which P give it; once for all Q that ask for the same."""
    asked: dict[tuple[str, ...], list[Hashable]] = {}
    for q, (names, _) in cross.STATISTICS.items():
        asked.setdefault(tuple(names), []).append(q)
    items = []
    for names, targets in asked.items():
        givers = _names(p for p, given in expectations.EXPECTATIONS.items() if all(n in given for n in names))
        marks = "".join(f'<a id="cross-{name}"></a>' for name in dict.fromkeys(map(name_of, targets)))
        what = f"linear in {mathematics(', '.join(names))}" if names else "constant over the support"
        items.append(f"<dt>{marks}… ‖ {escape(_names(targets))}</dt><dd><p>log q is {what}.</p><p>P: {givers}</p></dd>")
    return items


def _given() -> list[str]:
    """Each expectation that is a function with a docstring, once."""
    found: dict[str, str] = {}
    for p, given in expectations.EXPECTATIONS.items():
        for statistic, form in given.items():
            if said := " ".join(_parted(form)).strip():
                found.setdefault(said, f"{escape(name_of(p))}, E {mathematics(statistic)}")
    return [f"<dt>{title}</dt><dd><p>{mathematics(said)}</p></dd>" for said, title in found.items()]


def _reductions() -> list[str]:
    """The steps that reduce wholes to parts: the functions whose docstring names what holds, or its source."""
    parts = []
    for module in REDUCTIONS:
        items = []
        for name, form in inspect.getmembers(module, inspect.isfunction):
            said, source = _parted(form)
            if form.__module__ == module.__name__ and (source or name in ("_masked", "_expanded", "_independent")):
                cite = f'<p class="source">{mathematics(source)}</p>' if source else ""
                title = escape(name.strip("_").replace("_", " ").capitalize())
                items.append(f"<dt>{title}</dt><dd><p>{mathematics(said)}</p>{cite}</dd>")
        parts += [f"### {_title(module)}", _list(items)] if items else []
    return parts


def _title(module: Any) -> str:
    return (inspect.getdoc(module) or "").split("\n\n")[0].split(". ")[0].replace("\n", " ").rstrip(".")


def page() -> str:
    parts = ["## Divergences"]
    for title, every in _by_file(divergences()).items():
        parts += [f"### {title}", _list(map(_item, every))]
    parts += ["## Wholes and parts", '<a id="structure"></a>', *_reductions()]
    parts += [
        "## Unlike families",
        CROSS,
        _list(_cross()),
        "The expectations that are more than a moment:",
        _list(_given()),
    ]
    parts += ["## Entropies"]
    for title, every in _by_file(entropies()).items():
        parts += [f"### {title}", _list(_item(entry) for entry in every)]
    return "\n\n".join(parts) + "\n"


CROSS = """\
The log-density of Q is a constant and a sum of statistics of x with coefficients. Where P gives the expectations of all
of them, H(P, Q) follows, and KL(P‖Q) = H(P, Q) − H(P)."""
