"""Minibatches against scikit-learn where every step takes all rows, and their checkpoints against other data."""

import numpy as np
import numpyro.distributions as dist
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

import kullback as kl
from kullback.errors import FileError

ROWS = 200


@pytest.mark.parametrize("rate", [0.003, 0.03])
def test_a_prior_is_ridge(rng, rate):
    """The prior counts once for all rows, also in the choice of what is returned."""
    x = rng.normal(size=(ROWS, 2))
    y = x @ [1.0, -2.0] + rng.normal(size=ROWS)
    q = kl.Conditional(kl.Linear(), dist.Normal, scale=1.0, prior_scale=0.03)
    rule = kl.rules.Minibatches(held_out=0.0, batch=ROWS, rate=rate, patience=50)
    fit = kl.KL(kl.Pairs(x, y), q).minimize(rule=rule, tolerance=1e-6, quiet=True)
    inputs = StandardScaler().fit_transform(x)
    ridge = Ridge(alpha=1.0 / (y.std() * 0.03) ** 2).fit(inputs, y)
    np.testing.assert_allclose(np.asarray(fit.q(x).mean), ridge.predict(inputs), atol=0.03 * y.std())
    assert np.linalg.norm(ridge.coef_) < 0.6 * np.linalg.norm(np.linalg.lstsq(inputs, y)[0])


def test_a_checkpoint_of_other_data_is_refused(rng, tmp_path):
    x, y = rng.normal(size=(ROWS, 2)), rng.normal(size=ROWS)

    def fitted(x, y, weights=None):
        q = kl.Conditional(kl.Linear(), dist.Normal, scale=1.0)
        path = tmp_path / "checkpoint"
        return kl.KL(kl.Pairs(x, y, weights), q).minimize(rule="minibatches", steps=8, checkpoint=path, quiet=True)

    fitted(x, y)
    fitted(x, y)
    # Exchanged rows leave every mean and scale as it is.
    for other in ((x[::-1], y), (x, y[::-1]), (x, y, np.r_[2.0, np.ones(ROWS - 1)])):
        with pytest.raises(FileError, match="another problem"):
            fitted(*other)
