"""The data sets of the demonstration, all shipped with scikit-learn or statsmodels, each split once."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.model_selection import train_test_split


@dataclass(frozen=True)
class Split:
    """Inputs and outcomes to fit to, and those held out for testing: a quarter."""

    x: Float[np.ndarray, "n d"]
    y: Shaped[np.ndarray, " n"]
    x_test: Float[np.ndarray, "m d"]
    y_test: Shaped[np.ndarray, " m"]


def _split(x: np.ndarray, y: np.ndarray, rows: int | None, stratify: bool = False) -> Split:
    x, y = x[:rows], y[:rows]
    parts = train_test_split(x, y, random_state=0, stratify=y if stratify else None)
    x_fit, x_test, y_fit, y_test = (np.asarray(part) for part in parts)
    return Split(x=x_fit, y=y_fit, x_test=x_test, y_test=y_test)


def digits(rows: int | None = None) -> Split:
    """1,797 handwritten digits of 8 × 8 pixels (Alpaydin and Kaynak, 1998)."""
    x, y = (np.asarray(part) for part in load_digits(return_X_y=True))
    return _split(x / 16.0, y, rows, stratify=True)


def diabetes(rows: int | None = None) -> Split:
    """442 patients: ten measurements, and a disease's progression a year on (Efron et al., 2004)."""
    x, y = (np.asarray(part) for part in load_diabetes(return_X_y=True, scaled=False))
    return _split(x, y, rows)


def doctor_visits(rows: int | None = None) -> Split:
    """20,190 person-years of the RAND health insurance experiment: nine covariates, and visits to a doctor.

    Raises `ImportError` without statsmodels, which ships them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from statsmodels.datasets import randhie

        frame: Any = randhie.load_pandas().data
    y = frame.pop("mdvis").to_numpy().astype(np.int64)
    x = frame.to_numpy().astype(np.float64)
    order = np.random.default_rng(0).permutation(len(y))
    return _split(x[order], y[order], rows)


def tumours(rows: int) -> tuple[Float[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
    """Tumours of the Wisconsin set (Street et al., 1993), evenly spread over it: mean radius, standardised, and whether
    each is malignant."""
    x, y = load_breast_cancer(return_X_y=True)
    chosen = np.linspace(0, len(y) - 1, rows).astype(int)
    radius = np.asarray(x)[chosen, 0]
    return (radius - radius.mean()) / radius.std(), 1 - np.asarray(y)[chosen]


MEASUREMENTS = {
    "bmi": "body mass",
    "bp": "pressure",
    "s1": "cholesterol",
    "s2": "LDL",
    "s3": "HDL",
    "s4": "ratio",
    "s5": "triglycerides",
    "s6": "sugar",
    "target": "progression",
}


def patients_by_sex() -> tuple[Any, Any]:
    """The diabetes patients as two data frames, by sex, without that column; which sex is which is not recorded."""
    frame: Any = load_diabetes(as_frame=True, scaled=False).frame  # type: ignore[union-attr]
    sex = frame.pop("sex")
    frame = frame.rename(columns=MEASUREMENTS)
    codes = sorted(sex.unique())
    return frame[sex == codes[0]], frame[sex == codes[1]]
