"""Labels come back in the type that they had."""

import numpy as np
import pandas as pd
import pytest

import kullback as kl


@pytest.mark.parametrize(("dtype", "plain"), [("Int64", "int64"), ("boolean", "bool"), ("UInt8", "uint8")])
def test_nullable_labels_keep_their_type(dtype: str, plain: str):
    x = np.random.default_rng(0).normal(size=(20, 2))
    y = pd.Series([0, 1] * 10).astype(dtype)
    fitted = kl.KLClassifier("linear", random_state=0).fit(x, y)
    assert fitted.classes_.dtype == plain
    assert fitted.predict(x).dtype == plain
