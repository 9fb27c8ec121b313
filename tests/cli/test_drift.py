"""`kullback drift`: files of every kind, what is printed, decisions, and bad files in one line."""

import gzip
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from tests.cli.printed import one_line

import kullback as kl
from kullback.cli import main
from kullback.cli.tables import read_tables
from kullback.known.values import column_and_missing


def table(seed, shift):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "day": np.datetime64("2026-03-02") + rng.integers(0, 28, 300),
            "age": np.round(rng.normal(40.0 + shift, 10.0, 300), 3),
            "country": rng.choice(["NA", "PT", "DE"], 300),
            "score": np.where(rng.random(300) < 0.1 + 0.02 * shift, np.nan, rng.normal(size=300)),
            "visits": rng.poisson(3.0, 300),
        }
    )


@pytest.fixture
def files(tmp_path, monkeypatch):
    """a.csv, and b.csv in which age has moved by a standard deviation and more scores are missing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    first, second = table(0, 0.0), table(1, 10.0)
    first.to_csv("a.csv", index=False)
    second.to_csv("b.csv", index=False)
    return first, second


FEW = ("--rows", "40")  # for KL, which takes the most time; everything else is of all rows


def found(capsys, *args):
    status = main(["drift", *args, *FEW, "--json"])
    printed = capsys.readouterr()
    assert printed.err == ""
    return status, json.loads(printed.out)


def test_it_says_what_moved_within_80_columns(capsys, files):
    assert main(["drift", "a.csv", "b.csv"]) == 0
    printed = capsys.readouterr().out
    for words in ("P = a.csv (300 rows); Q = b.csv (300 rows)", "What moved", "the median rose from", "all together"):
        assert words in printed
    assert re.search(r"^age .* 0\.00", printed, re.MULTILINE)
    assert max(map(len, printed.splitlines())) <= 80


def test_json_has_everything(capsys, files):
    status, said = found(capsys, "a.csv", "b.csv", "--fail-if", "kl>0.01", "joint_p<0.5", "visits.psi>9")
    first, second = files
    assert status == 3
    assert [each.split(":")[0] for each in said["failed"]] == ["kl>0.01", "joint_p<0.5"]
    columns = {each["name"]: each for each in said["columns"]}
    assert set(columns) == {"day", "age", "country", "score", "visits"}
    assert columns["score"]["missing"] == {
        "reference": first["score"].isna().mean(),
        "current": second["score"].isna().mean(),
    }
    assert columns["day"]["read_as"] == "times"
    assert {region["label"] for region in columns["country"]["regions"]} == {"'NA'", "'PT'", "'DE'"}
    assert said["reference"] == {"name": "a.csv", "rows": 300, "sampled": None}
    assert "age" in said["moved"]


@pytest.mark.parametrize(("conditions", "status"), [(["kl>9"], 0), (["p<0.01"], 3), (["kl>9", "age.p<0.05"], 3)])
def test_conditions_decide_the_status(capsys, files, conditions, status):
    assert main(["drift", "a.csv", "b.csv", *FEW, "--fail-if", *conditions]) == status
    assert ("Failed: " in capsys.readouterr().out) == (status == 3)


def test_columns_and_how_they_are_read(capsys, files):
    _, said = found(capsys, "a.csv", "b.csv", "--as-label", "visits", "--ignore", "country", "day")
    assert {each["name"]: each["read_as"] for each in said["columns"]} == {
        "age": "measured",
        "score": "measured",
        "visits": "labels",
    }
    _, said = found(capsys, "a.csv", "b.csv", "--columns", "visits", "--as-measured", "visits")
    assert [(each["name"], each["read_as"]) for each in said["columns"]] == [("visits", "measured")]


def test_periods(capsys, files):
    """Four weeks that begin on a Monday, all of them moved."""
    _, said = found(capsys, "a.csv", "b.csv", "--by", "day", "--every", "week", "--columns", "age", "score")
    assert [each["name"] for each in said["series"]] == ["2026-03-02", "2026-03-09", "2026-03-16", "2026-03-23"]
    assert sum(each["rows"] for each in said["series"]) == 300
    assert all(each["alarm"] and each["column"] == "age" for each in said["series"])


class Page(HTMLParser):
    """Counts elements, and finds what a page would load."""

    def __init__(self):
        super().__init__()
        self.open, self.counts, self.loads = [], {}, []

    def handle_starttag(self, tag, attrs):
        self.counts[tag] = self.counts.get(tag, 0) + 1
        links = [value for name, value in attrs if name in ("src", "href")]
        self.loads += [link for link in links if not link.startswith(("#", "data:"))]


def test_the_page_stands_alone(capsys, files):
    assert main(["drift", "a.csv", "b.csv", *FEW, "--report", "drift.html", "--by", "day", "--every", "week"]) == 0
    assert "The report: drift.html" in capsys.readouterr().out
    with open("drift.html", encoding="utf-8") as file:
        text = file.read()
    page = Page()
    page.feed(text)
    assert page.loads == []
    assert page.counts["svg"] == 2 + 4  # the ranks, the chart, and each column but the one of periods
    assert "he median rose from" in text
    assert "nan" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL).lower()


def written(frame, name):
    """The frame as a file of the kind that its name says."""
    if name.endswith(".parquet"):
        pl.DataFrame({each: frame[each].to_list() for each in frame}).write_parquet(name)
    elif name.endswith(".feather"):
        pl.DataFrame({each: frame[each].to_list() for each in frame}).write_ipc(name)
    else:
        frame.to_csv(name, index=False, sep={"tsv": "\t", "semi": ";", "bars": "|"}.get(name.split(".")[0], ","))


KINDS = ["semi.csv", "bars.txt", "tsv.tsv", "a.csv.gz", "tsv.tsv.gz", "a.parquet", "a.feather"]


@pytest.mark.parametrize("name", KINDS)
def test_files_of_every_kind_say_the_same(files, name):
    written(files[0], name)
    plain, other, _ = read_tables(Path("a.csv"), Path("b.csv"))
    found, same, notes = read_tables(Path(name), Path("b.csv"))
    assert list(found.columns) == list(plain.columns)
    for each in plain.columns:
        for frame, expected in ((found, plain), (same, other)):
            column, missing = column_and_missing(each, frame[each], each)
            truth, gaps = column_and_missing(each, expected[each], each)
            assert np.array_equal(column.values, truth.values)
            assert np.array_equal(missing, gaps)
            assert column.unit == truth.unit
    said = {"semi.csv": ["delimited by semicolons: semi.csv"], "bars.txt": ["delimited by bars: bars.txt"]}
    assert notes == said.get(name, [])


@pytest.mark.parametrize(
    ("kind", "reader", "without"),
    [
        ("parquet", "duckdb", ["polars"]),
        ("parquet", "pyarrow", ["polars", "duckdb"]),
        ("feather", "pyarrow", ["polars"]),
    ],
)
def test_each_library_reads_binary_files_alike(files, monkeypatch, kind, reader, without):
    pytest.importorskip(reader)
    for frame, name in zip(files, "ab", strict=True):
        written(frame, f"{name}.{kind}")
    with monkeypatch.context() as hidden:
        for name in without:
            hidden.setitem(sys.modules, name, None)
        p, q, notes = read_tables(Path(f"a.{kind}"), Path(f"b.{kind}"), lazy=True)
    assert notes == []
    assert type(p).__module__.split(".")[0].strip("_") == reader
    plain = read_tables(Path("a.csv"), Path("b.csv"))
    said = [kl.drift(*tables, rows=19, permutations=19).to_dict() for tables in ((p, q), plain[:2])]
    assert said[0] == said[1]


def test_only_what_is_asked_for_is_read(files):
    for name in ("a.csv", "c.parquet", "c.feather"):
        written(files[0], name)
        p, q, _ = read_tables(Path(name), Path("b.csv"), ["age"], ["day"])
        assert set(p.columns) == set(q.columns) == {"age", "day"}


def test_an_index_column_of_pandas_is_left_out_and_said(capsys, files):
    files[0].to_csv("indexed.csv")
    _, said = found(capsys, "indexed.csv", "b.csv")
    assert len(said["columns"]) == 5
    assert any("'Unnamed: 0', an index that pandas wrote" in note for note in said["notes"])


def test_words_for_no_value_are_text_among_text_and_missing_among_numbers(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("x,country\n" + "1.5,NA\n2.25,PT\nNA,PT\n,\n" * 20)
    (tmp_path / "b.csv").write_text("x,country\n" + "1.5,NA\n2.25,NA\n3.5,NA\n4.5,NA\n" * 20)
    _, said = found(capsys, "a.csv", "b.csv")
    columns = {each["name"]: each for each in said["columns"]}
    assert columns["x"]["missing"] == {"reference": 0.5, "current": 0.0}
    assert columns["country"]["missing"] == {"reference": 0.25, "current": 0.0}
    assert {region["label"] for region in columns["country"]["regions"]} == {"'NA'", "'PT'", "missing"}


def test_decimal_commas_beside_semicolons_are_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("x;word\n1,5;u,v\n-2;w\nNA;w\n")
    (tmp_path / "b.csv").write_text("x,word\n1.5,w\n2.5,w\n")
    p, _, notes = read_tables(Path("a.csv"), Path("b.csv"))
    assert p["x"].tolist()[:2] == [1.5, -2.0]
    assert np.isnan(p["x"][2])
    assert p["word"].tolist() == ["u,v", "w", "w"]
    assert "numbers with decimal commas: 'x' of a.csv" in notes


def test_an_empty_line_of_a_single_column_is_a_missing_value(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("x\n" + "1.5\n\n" * 10)
    (tmp_path / "b.csv").write_text("x\n" + "1.5\n2.5\n" * 10)
    _, said = found(capsys, "a.csv", "b.csv")
    assert said["columns"][0]["missing"] == {"reference": 0.5, "current": 0.0}


def test_a_file_that_is_cut_off(capsys, files, tmp_path):
    whole = (tmp_path / "a.csv").read_bytes()
    (tmp_path / "cut.csv").write_bytes(whole[: whole.rindex(b",", 0, len(whole) // 2)])
    _, said = found(capsys, "cut.csv", "b.csv")
    assert any("the last line of cut.csv has fewer fields than the header" in note for note in said["notes"])


def damaged(name):
    return {
        "empty.csv": b"",
        "header.csv": b"x,y\n",
        "latin.csv": b"x\ncaf\xe9\n",
        "long.csv": b"x\n1\n2,3\n",
        "two.csv": b"x,x\n1,2\n",
        "cut.csv.gz": gzip.compress(b"x\n" + b"1\n2\n" * 9000)[:-20],
        "not.csv.gz": b"x\n1\n",
        "cut.parquet": b"PAR1 and nothing more",
        "not.feather": b"x\n1\n",
    }[name]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty.csv", "the file is empty"),
        ("header.csv", "a header and no rows"),
        ("latin.csv", "not text in UTF-8"),
        ("long.csv", "cannot be read as CSV"),
        ("two.csv", "two columns are named 'x'"),
        ("cut.csv.gz", "damaged or cut off"),
        ("not.csv.gz", "damaged or cut off"),
        ("cut.parquet", "cannot be read as parquet"),
        ("not.feather", "cannot be read as feather"),
        ("no-such.csv", "there is no such file"),
    ],
)
@pytest.mark.parametrize("command", ["drift", "estimate"])
def test_bad_files_are_one_line(capsys, files, tmp_path, command, name, words):
    if not name.startswith("no-such"):
        (tmp_path / name).write_bytes(damaged(name))
    assert main([command, name, "b.csv"]) == 1
    assert words in one_line(capsys)


def test_what_a_binary_file_needs_is_said(capsys, files, tmp_path, monkeypatch):
    written(files[0], "a.parquet")
    for name in ("polars", "duckdb", "pyarrow"):
        monkeypatch.setitem(sys.modules, name, None)
    assert main(["drift", "a.parquet", "b.csv"]) == 1
    assert "reading parquet files needs polars or pyarrow; pip install polars" in one_line(capsys)


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--fail-if", "kl"], "cannot be read"),
        (["--fail-if", "size>3"], "names no measure"),
        (["--fail-if", "joint_p<x"], "is not a number"),
        (["--fail-if", "height.kl>1"], "no column 'height' was compared"),
        (["--columns", "height"], "has no column 'height'"),
        (["--by", "month"], "has no column 'month'"),
        (["--by", "day", "--every", "fortnight"], "is no period of time"),
        (["--report", "no/such/folder.html"], "folder that does not exist"),
        (["--as-measured", "country"], "column 'country' is text"),
    ],
)
def test_bad_options_are_one_line(capsys, files, args, words):
    assert main(["drift", "a.csv", "b.csv", *FEW, *args]) == 1
    assert words in one_line(capsys)


def test_estimate_says_how_many_rows_it_leaves_out(capsys, files):
    assert main(["estimate", "a.csv", "b.csv", "--columns", "score", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert f"{files[0]['score'].isna().sum()} rows of P with missing values are left out" in said["note"]
