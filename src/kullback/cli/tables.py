"""Tables from CSV files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kullback.errors import FileError


def read_table(path: Path) -> Any:
    """The CSV file as a data frame; columns of numbers are numbers, everything else is text.

    Raises `FileError` for a file that is missing, empty, or not a table.
    """
    import pandas as pd

    if not path.is_file():
        raise FileError(f"{path}: there is no such file; pass a CSV file with a header")
    try:
        frame = pd.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",", skipinitialspace=True)
    except pd.errors.EmptyDataError:
        raise FileError(f"{path}: the file is empty; a CSV file needs a header and at least one row") from None
    except UnicodeDecodeError:
        raise FileError(f"{path}: this is not text in UTF-8, so not a CSV file") from None
    except (pd.errors.ParserError, ValueError) as error:
        raise FileError(f"{path}: this cannot be read as CSV ({str(error).strip()})") from None
    except OSError as error:
        raise FileError(f"{path}: cannot be read ({error.strerror})") from None
    if frame.empty:
        raise FileError(f"{path}: the table has a header and no rows")
    return frame
