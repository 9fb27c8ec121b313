"""The page: one file that needs nothing else, whole at every moment, and safe whatever its texts hold."""

import dataclasses
import re
from html.parser import HTMLParser

import pytest

from kullback.errors import FileError
from kullback.report.page import TITLE, Colophon, Picture, Section, Table, page, write_page
from kullback.report.style import as_svg, drawing

COLOPHON = Colophon((("kullback", "0.1.0"),), (("first", 1.5), ("second", 2.5)))
VOID = {"meta", "link", "br", "img"}


def section(key: str = "first") -> Section:
    with drawing(2, 1) as figure:
        figure.subplots().plot([0, 1], [0, 1])
        picture = Picture(as_svg(figure, key), 'a "line" & more', "A line.")
    table = Table(("model", "nats"), (("ours", "0.1"), ("<theirs>", "−0.2 ± 0.1")), "A caption.", frozenset({0}))
    return Section(key, f"The {key}", "A lead with `code` & <b>.", "kl.KL(p, q)", (("Plan", "KL(P ‖ Q)\n  P  <x>"),),
                   (picture,), (table,))  # fmt: skip


class Outline(HTMLParser):
    """Checks that tags nest, and collects what a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.links += [v for k, v in attrs if k in ("href", "src", "xlink:href", "data", "poster") and v]
        self.ids += [v for k, v in attrs if k == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def outline(text: str) -> Outline:
    read = Outline()
    read.feed(text)
    assert read.open == []
    return read


def test_the_page_fetches_nothing():
    text = page("A lead.", [section("first"), section("second")], COLOPHON)
    read = outline(text)
    assert all(link.startswith(("#", "data:")) for link in read.links)
    assert not re.search(r"@import|url\((?!#)", text)
    assert "<script" not in text


def test_the_page_has_its_sections_and_identifiers_once():
    read = outline(page("A lead.", [section("first"), section("second")], COLOPHON))
    assert {"first", "second"} <= set(read.ids)
    assert len(read.ids) == len(set(read.ids))
    assert {"#first", "#second"} <= set(read.links)


def test_a_table_that_a_picture_shows_is_folded():
    made = section()
    folded = dataclasses.replace(made, tables=(dataclasses.replace(made.tables[0], pictured=True),))
    assert "The same numbers as a table" in page("A lead.", [folded], COLOPHON)
    assert "The same numbers as a table" not in page("A lead.", [made], COLOPHON)


def test_texts_are_escaped():
    text = page("P & <Q>", [section()], COLOPHON)
    assert "P &amp; &lt;Q&gt;" in text
    assert "&lt;theirs&gt;" in text
    assert "<code>code</code> &amp; &lt;b&gt;" in text
    assert 'aria-label="a &quot;line&quot; &amp; more"' in text


def test_the_page_says_what_it_is():
    text = page("A lead.", [section()], COLOPHON)
    assert TITLE in text
    assert "kullback 0.1.0" in text
    assert "in 4 s" in text
    assert 'tr class="ours"' in text
    assert '<td class="number">−0.2 ± 0.1</td>' in text


def test_a_picture_takes_the_colours_of_the_page_and_is_the_same_twice():
    first, second = (section("same").pictures[0].svg for _ in range(2))
    assert first == second
    assert "var(--soft, #69717c)" in first
    assert not first.startswith("<?xml")


def test_writing_replaces_a_page_whole_and_leaves_nothing_beside_it(tmp_path):
    folder = tmp_path / "made" / "on the way"
    for text in ("old", "new é"):
        path = write_page(folder, text)
    assert path.read_text(encoding="utf-8") == "new é"
    assert [file.name for file in folder.iterdir()] == ["index.html"]


def test_a_failed_write_keeps_the_old_page(tmp_path, monkeypatch):
    write_page(tmp_path, "old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(FileError, match="No space left"):
        write_page(tmp_path, "new")
    assert [file.name for file in tmp_path.iterdir()] == ["index.html"]
    assert (tmp_path / "index.html").read_text() == "old"


def test_a_folder_that_is_a_file_is_an_error_of_ours(tmp_path):
    (tmp_path / "report").write_text("")
    with pytest.raises(FileError, match="cannot be written"):
        write_page(tmp_path / "report", "page")
