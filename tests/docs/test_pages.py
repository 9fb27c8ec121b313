"""The generated pages: every distribution is in the matrix, every formula has a source, every link leads somewhere."""

import re
from pathlib import Path

import numpyro.distributions as dist
import pytest
from docs.counts import counts
from docs.kinds import ABSTRACT, ALONE, FUNCTIONS, TABLES

from docs import formulas, pairs

EVERY = [k for kinds in (*TABLES.values(), ALONE) for k in kinds]
ROOT = Path(__file__).parents[2]


pytestmark = pytest.mark.xdist_group("pages")  # one worker writes the matrices, which takes seconds


@pytest.fixture(scope="module")
def matrices():
    return {title: pairs.cells(kinds) for title, kinds in TABLES.items()}


def test_every_distribution_is_an_example():
    """None of NumPyro's names is missing, and none is listed that is gone."""
    shown = {type(d).__name__ for k in EVERY for d in k.examples}
    assert set(dist.__all__) <= shown | FUNCTIONS | ABSTRACT
    assert set(dist.__all__) >= FUNCTIONS | ABSTRACT
    assert len({k.name for k in EVERY}) == len(EVERY)


@pytest.mark.parametrize("title", TABLES)
def test_the_examples_of_a_table_are_of_one_shape(title):
    assert len({d.event_shape for k in TABLES[title] for d in k.examples}) == 1
    assert all(len(k.examples) > 1 or k.name == "TruncatedPolyaGamma" for k in TABLES[title])


SAID = {
    ("Normal", "Normal"): pairs.EXACT,
    ("Gamma", "InverseGamma"): pairs.EXACT,
    ("Normal", "Gamma"): pairs.INFINITE,
    ("Normal", "Logistic"): pairs.INTEGRAL,
    ("Logistic", "Logistic"): pairs.SOMETIMES,
    ("Normal", "MixtureSameFamily"): pairs.BOUNDED,
    ("MixtureGeneral", "MixtureGeneral"): pairs.SOMETIMES,
    ("Gamma", "Delta"): pairs.INFINITE,
    ("Uniform", "Uniform"): pairs.EXACT,
    ("Poisson", "Binomial"): pairs.INFINITE,
    ("BetaNegativeBinomial", "Poisson"): pairs.SUM,
    ("MultivariateNormal", "MultivariateNormal"): pairs.EXACT,
    ("Dirichlet", "MultivariateNormal"): pairs.INFINITE,
    ("ProjectedNormal", "ProjectedNormal"): pairs.DRAWS,
}


def test_what_the_matrix_says(matrices):
    """A few cells of every kind of answer."""
    found = {(c.p.name, c.q.name): c.answer for rows in matrices.values() for row in rows for c in row}
    assert {pair: found[pair] for pair in SAID} == SAID


def test_every_cell_of_a_formula_leads_to_it(matrices):
    page = formulas.page()
    there = set(re.findall(r'id="([^"]+)"', page))
    cells = [c for rows in matrices.values() for row in rows for c in row]
    assert {c.anchor for c in cells if c.anchor} <= there
    assert len(re.findall(r'id="', page)) == len(there)
    shown = pairs.page(matrices)
    assert shown.count("<td class=") - shown.count("'corner'") >= len(cells)
    for answer in pairs.LEGEND:
        assert answer.meaning in shown


def test_every_form_has_an_identity_and_a_source():
    """One line of mathematics, and where it is from, in the docstring of every form."""
    every = [*formulas.divergences(), *formulas.entropies()]
    assert formulas.without_source(every) == []
    assert [entry.served for entry in every if not entry.texts[0]] == []


def test_the_readme_says_the_counts(matrices):
    """The paragraph on exact divergences, word for word."""
    text = " ".join((ROOT / "README.md").read_text().split())
    assert str(counts(c for rows in matrices.values() for row in rows for c in row)) in text
