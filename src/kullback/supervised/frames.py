"""Frames out: predictions of several columns as pandas or polars frames, where `set_output` asked for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np

from kullback.errors import InputError


class FrameOutput:
    """Predictions of several named columns (probabilities, quantiles, intervals) as arrays or as frames.

    `predict` gives an array whatever came in, as scikit-learn's estimators do.
    """

    _sklearn_output_config: dict[str, str]  # the name that `sklearn.clone` copies

    def set_output(self, *, predict: Literal["default", "pandas", "polars"] | None = None) -> Self:
        """Say what `predict_proba`, `predict_log_proba`, `predict_quantile` and `predict_interval` return.

        predict  "default" (arrays), "pandas" or "polars"; None changes nothing

        A pandas frame keeps the index of the inputs. Raises `InputError` for anything else.
        """
        if predict is None:
            return self
        if predict not in ("default", "pandas", "polars"):
            raise InputError(f"predict: {predict!r} is not one of 'default', 'pandas', 'polars'")
        self._sklearn_output_config = {"predict": predict}
        return self

    def _framed(self, values: np.ndarray, columns: Sequence[Any], X: Any) -> Any:
        kind = getattr(self, "_sklearn_output_config", {}).get("predict", "default")
        if kind == "pandas":
            import pandas

            return pandas.DataFrame(values, columns=list(columns), index=getattr(X, "index", None))
        if kind == "polars":
            import polars

            return polars.DataFrame(values, schema=[str(name) for name in columns])
        return values
