"""Tables from CSV files."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kullback.errors import FileError, InputError


def read_table(path: Path) -> Any:
    """The CSV file as a data frame; columns of numbers are numbers, everything else is text.

    Raises `FileError` for a file that is missing, empty, or not a table.
    """
    import pandas as pd

    if not path.is_file():
        raise FileError(f"{path}: there is no such file; pass a CSV file with a header")
    separator = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows longer than the header
            frame: Any = pd.read_csv(path, sep=separator, skipinitialspace=True, index_col=False)
    except pd.errors.EmptyDataError:
        raise FileError(f"{path}: the file is empty; a CSV file needs a header and at least one row") from None
    except UnicodeDecodeError:
        raise FileError(f"{path}: this is not text in UTF-8, so not a CSV file") from None
    except pd.errors.ParserWarning:
        raise FileError(f"{path}: a row has more fields than the header; this cannot be read as CSV") from None
    except (pd.errors.ParserError, ValueError) as error:
        raise FileError(f"{path}: this cannot be read as CSV ({str(error).strip()})") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from None
    if frame.empty:
        raise FileError(f"{path}: the table has a header and no rows")
    missing = [str(name) for name in frame.columns if frame[name].isna().any()]
    if missing:
        raise FileError(f"{path}: column {missing[0]!r} has missing values; drop those rows or fill them in")
    return frame


def with_dates(p: Any, q: Any) -> tuple[Any, Any]:
    """Both tables, of the same columns, with those that hold dates or times in ISO 8601 in both read as such."""
    for name in p.columns:
        found = _dates(p[name]), _dates(q[name])
        if found[0] is not None and found[1] is not None:
            p, q = p.assign(**{name: found[0]}), q.assign(**{name: found[1]})
    return p, q


def _dates(column: Any) -> Any:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column) or not column.astype(str).str.match(r"\d{4}-\d\d-\d\d([T ]|$)").all():
        return None
    try:
        return pd.to_datetime(column, format="ISO8601", utc=True)
    except ValueError:
        return None


def shared_columns(p: Any, q: Any, asked: Sequence[str], name_p: str, name_q: str) -> tuple[list[str], str]:
    """The columns to compare, in the first table's order, and a sentence on those that are left out.

    Raises `InputError` for a column that was asked for and is not in both tables, or where they share none.
    """
    for name in asked:
        for frame, where in ((p, name_p), (q, name_q)):
            if name not in frame.columns:
                raise InputError(
                    f"columns: {where} has no column {name!r}; it has {', '.join(map(str, frame.columns))}"
                )
    if asked:
        return list(dict.fromkeys(asked)), ""
    shared = [name for name in p.columns if name in q.columns]
    if not shared:
        raise InputError(f"columns: {name_p} and {name_q} have no column in common")
    alone = [f"{name!r} (only in {name_p})" for name in p.columns if name not in q.columns]
    alone += [f"{name!r} (only in {name_q})" for name in q.columns if name not in p.columns]
    return shared, f"Left out: {', '.join(alone)}." if alone else ""
