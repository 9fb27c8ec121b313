"""A column of text, or of times, beside a law of numbers."""

import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest

import kullback as kl
from kullback.errors import InputError

TEXT = {
    "array": np.array(["a", "b", "c"]),
    "bytes": np.array([b"a", b"b"]),
    "objects": np.array(["a", 1.0], object),
    "series": pd.Series(["a", "b", "c"]),
    "frame": pd.DataFrame({"u": [1.0, 2.0, 3.0], "city": ["a", "b", "c"]}),
}
LAWS = {
    "family": kl.Family(dist.Normal),
    "labels": kl.Family(dist.Categorical),
    "mixture": kl.Mixture(kl.Family(dist.Normal), 2),
    "law": dist.Normal(0.0, 1.0),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("kind", TEXT)
def test_text_is_named(kind, law):
    name = "city" if kind == "frame" else "0"
    with pytest.raises(InputError, match=rf"^p: column '{name}' holds text, and .* is a law of numbers; leave such"):
        kl.KL(TEXT[kind], LAWS[law])
    with pytest.raises(InputError, match=rf"^q: column '{name}' holds text"):
        kl.KL(LAWS[law], TEXT[kind])


def test_times_are_named():
    with pytest.raises(InputError, match="holds time, and"):
        kl.KL(pd.Series(pd.date_range("2020", "2021", periods=5)), kl.Family(dist.Normal))


def test_the_advice_works():
    codes = np.unique(TEXT["array"], return_inverse=True)[1]
    assert kl.KL(codes, kl.Family(dist.Categorical)).minimize().objective.value == pytest.approx(np.log(3))
    assert np.isfinite(kl.KL(TEXT["frame"], TEXT["frame"]).estimate().value)  # two tables are compared as they are
