"""Supervised learning as forward KL: a classifier of handwritten digits, beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import numpyro.distributions as dist
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import kullback as kl
from kullback.report.data import Split, digits
from kullback.report.figures import digits_in_doubt
from kullback.report.figures.supervised import Doubt
from kullback.report.record import Section, Table

CODE = """\
q = kl.Conditional(kl.MLP(hidden=(64,)), dist.Categorical)
fit = kl.KL(kl.Pairs(x, y), q).minimize()
kl.KL(kl.Pairs(x_test, y_test), fit.q).estimate()  # cross entropy, in nats"""


def classifier(hidden: int = 64, rows: int | None = None, peers: bool = True) -> Section:
    """Fit q(y∣x) to the digits, and test it beside its peers of like size; `rows` of the data, all unless given."""
    data = digits(rows)
    divergence = kl.KL(kl.Pairs(data.x, data.y), kl.Conditional(kl.MLP(hidden=(hidden,)), dist.Categorical))
    fit = divergence.minimize(quiet=True)
    test = kl.KL(kl.Pairs(data.x_test, data.y_test), fit.q)
    score = test.estimate()
    probabilities = np.asarray(fit.q(data.x_test).probs, np.float64)
    right = float(np.mean(probabilities.argmax(1) == data.y_test))
    found = [(f"kl.MLP(({hidden},))", float(score), right), *(_peers(data, hidden) if peers else [])]
    rows_shown = tuple((name, f"{nats:.3f}", f"{100 * accuracy:.1f} %") for name, nats, accuracy in found)
    return Section(
        key="classifier",
        title="Supervised learning is a forward KL",
        lead="P is known by pairs of an image and its label, and q(y∣x) is a network whose outputs are the "
        "parameters of a categorical distribution. The part of KL(P‖Q) that Q can change is the cross entropy, the "
        "usual loss; the plan says that H(P) is dropped.",
        code=CODE,
        plans=(("Fitting", f"{divergence}"), ("Testing", f"{test}")),
        pictures=(digits_in_doubt(_doubt(data, probabilities)),),
        tables=(Table(("model", "test nats", "accuracy"), rows_shown, _caption(score, data), frozenset({0})),),
        numbers={
            "test_nll": float(score),
            "accuracy": right,
            **{f"peer_{i}": n for i, (_, n, _) in enumerate(found[1:])},
        },
    )


def _caption(score: kl.Estimate, data: Split) -> str:
    return (
        f"Cross entropy H(P, Q) on {len(data.y_test)} held-out digits, in nats each; its standard error for the "
        f"first row is {score.standard_error:.3f}. The peers are scikit-learn's, on the same split, with inputs "
        "standardised."
    )


def _peers(data: Split, hidden: int) -> list[tuple[str, float, float]]:
    models = {
        "LogisticRegression": LogisticRegression(max_iter=2000),
        f"MLPClassifier(({hidden},))": MLPClassifier((hidden,), max_iter=400, tol=1e-3, random_state=0),
    }
    found = []
    for name, model in models.items():
        with threadpool_limits(1):
            fitted = make_pipeline(StandardScaler(), model).fit(data.x, data.y)
        nats = float(log_loss(data.y_test, fitted.predict_proba(data.x_test)))
        found.append((name, nats, float(fitted.score(data.x_test, data.y_test))))
    return found


def _doubt(data: Split, probabilities: np.ndarray, count: int = 8) -> Doubt:
    """The held-out digits whose predicted distribution has the largest entropy."""
    entropy = -np.sum(probabilities * np.log(np.maximum(probabilities, 1e-30)), axis=1)
    worst = np.argsort(-entropy)[:count]
    return Doubt(data.x_test[worst].reshape(-1, 8, 8), data.y_test[worst], probabilities[worst])
