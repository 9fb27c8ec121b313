"""Distributions over labels of which there are more on one side: those that one side lacks have probability 0 there."""

import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.special import rel_entr, softmax

import kullback as kl


@pytest.mark.parametrize("kinds", ["probs logits", "probs probs", "logits logits", "logits probs"])
def test_labels_that_one_side_lacks(kinds, rng):
    few, many = rng.normal(size=(2, 3)), rng.normal(size=(2, 5))
    p, q = (
        dist.Categorical(**{kind: softmax(x, -1) if kind == "probs" else x})
        for kind, x in zip(kinds.split(), (few, many), strict=True)
    )
    want = rel_entr(np.pad(softmax(few, -1), [(0, 0), (0, 2)]), softmax(many, -1)).sum(-1)
    np.testing.assert_allclose(kl.kl_divergence(p, q), want, rtol=1e-5)
    np.testing.assert_array_equal(kl.kl_divergence(q, p), [np.inf, np.inf])
