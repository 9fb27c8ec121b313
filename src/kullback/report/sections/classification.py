"""Supervised learning as forward KL: a classifier of digits beside scikit-learn's, and imitation of a policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import kullback as kl
from kullback.control import rollout
from kullback.report.data import Split, digits
from kullback.report.figures import learning_curve, reliabilities
from kullback.report.page import Picture, Section, Table
from kullback.report.style import EDGE, FORWARD, INK, as_svg, bare_y, drawing
from kullback.supervised import calibration_curve, log_score

CODE = """\
q = kl.Conditional(kl.MLP(hidden=(64,)), dist.Categorical)
fit = kl.KL(kl.Pairs(x, y), q).minimize()
kl.KL(kl.Pairs(x_test, y_test), fit.q).estimate()  # cross entropy, in nats
kl.KL(kl.Pairs(x_more, y_more), kl.Tempered(fit.q)).minimize()  # how surely to say it

kl.KLClassifier(kl.MLP(hidden=(64,)), ensemble=5).fit(x, y)  # as an estimator"""

MEMBERS = 5
BY_HEART, MORE = 150, 300


def classifier(hidden: int = 64, rows: int | None = None, peers: bool = True) -> Section:
    """Fit q(y∣x) to the digits, and test it beside its peers of like size; `rows` of the data, all unless given."""
    data, network = digits(rows), kl.MLP(hidden=(hidden,))
    divergence = kl.KL(kl.Pairs(data.x, data.y), kl.Conditional(network, dist.Categorical))
    fit = divergence.minimize(quiet=True)
    several = kl.KL(kl.Pairs(data.x, data.y), kl.Conditional(network, dist.Categorical, ensemble=MEMBERS))
    test = kl.KL(kl.Pairs(data.x_test, data.y_test), fit.q)
    score, probabilities = test.estimate(), np.asarray(fit.q(data.x_test).probs, np.float64)
    found = [
        (f"kl.MLP(({hidden},))", *_scores(fit.q(data.x_test), data.y_test)),
        (
            f"kl.MLP(({hidden},)), ensemble={MEMBERS}",
            *_scores(several.minimize(quiet=True).q(data.x_test), data.y_test),
        ),
        *(_peers(data, hidden) if peers else []),
    ]
    rows_shown = tuple((name, f"{nats:.3f}", f"{100 * accuracy:.1f} %") for name, nats, accuracy in found)
    calibration, calibrated, errors = _tempering(data, network)
    return Section(
        key="classifier",
        title="Supervised learning is a forward KL",
        lead="P is known by pairs of an image and its label, and q(y∣x) is a network whose outputs are the "
        "parameters of a categorical distribution. The part of KL(P‖Q) that Q can change is the cross entropy, the "
        "usual loss; the plan says that H(P) is dropped.",
        code=CODE,
        plans=(("Fitting", f"{divergence}"), ("Testing", f"{test}")),
        pictures=(digits_in_doubt(_doubt(data, probabilities)), learning_curve(fit), calibration),
        tables=(
            Table(
                ("model", "test nats", "accuracy"), rows_shown, caption=_caption(score, data), ours=frozenset({0, 1})
            ),
            calibrated,
        ),
        numbers={
            "test_nll": float(score),
            "accuracy": found[0][2],
            "ensemble_nll": found[1][1],
            **errors,
            **{f"peer_{i}": n for i, (_, n, _) in enumerate(found[2:])},
        },
    )


def _scores(d: Any, y: np.ndarray) -> tuple[float, float]:
    """Nats and accuracy."""
    return log_score(y, d), float(np.mean(np.asarray(d.logits).argmax(1) == y))


def _tempering(data: Split, network: kl.MLP) -> tuple[Picture, Table, dict[str, float]]:
    """A network that knows its few digits by heart, before and after its temperature is fitted to others."""
    own, more = slice(BY_HEART), slice(BY_HEART, BY_HEART + MORE)
    x = np.concatenate([data.x[BY_HEART + MORE :], data.x_test])
    y = np.concatenate([data.y[BY_HEART + MORE :], data.y_test])
    learned = kl.KL(kl.Pairs(data.x[own], data.y[own]), kl.Conditional(network, dist.Categorical))
    q = learned.minimize(rule="maximum likelihood", quiet=True).q
    tempered = kl.KL(kl.Pairs(data.x[more], data.y[more]), kl.Tempered(q)).minimize(quiet=True).q
    temperature = float(tempered.fixed["temperature"])
    rows, curves = [], {}
    by_heart = f"{BY_HEART} digits by heart"
    for name, title, side in (
        ("as it was fitted", f"{by_heart}, as fitted", q),
        (f"its logits over {temperature:.1f}", f"{by_heart}, logits over {temperature:.1f}", tempered),
    ):
        curves[title] = calibration_curve(y, side(x), bins=10)
        nats, right = _scores(side(x), y)
        rows.append((name, f"{nats:.3f}", f"{curves[title].error:.3f}", f"{100 * right:.1f} %"))
    before, after = curves.values()
    caption = (
        f"A network that knows {BY_HEART} digits by heart (its forward KL to them is 0) is too sure of the other "
        f"{len(y):,}. One number, the temperature, fitted by forward KL to {MORE} more digits, mends it and changes "
        "no answer. The calibration error is the mean distance from the diagonal of the picture."
    )
    numbers = {"ece_before": before.error, "ece_after": after.error, "temperature": temperature}
    columns = (by_heart, "test nats", "calibration error", "accuracy")
    return reliabilities(curves), Table(columns, tuple(rows), caption=caption, ours=frozenset({0, 1})), numbers


def _caption(score: kl.Estimate, data: Split) -> str:
    return (
        f"Cross entropy H(P, Q) on {len(data.y_test)} held-out digits, in nats each; its standard error for the "
        f"first row is {score.standard_error:.3f}. The second row averages the probabilities of {MEMBERS} networks "
        "that are trained together. The peers are scikit-learn's, on the same split, with inputs standardised."
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


# The picture: digits in doubt


@dataclass(frozen=True)
class Doubt:
    """Images [k, side, side] in [0, 1], their true labels [k], and q(y∣x) [k, classes]."""

    images: Float[np.ndarray, "k side side"]
    labels: Int[np.ndarray, " k"]
    probabilities: Float[np.ndarray, "k classes"]


def digits_in_doubt(doubt: Doubt, name: str = "digits") -> Picture:
    """Each image over the probabilities that the classifier gives to the ten digits."""
    count, classes = doubt.probabilities.shape
    with drawing(8.2, 2.0) as figure:
        grid = figure.subplots(2, count, height_ratios=(1.0, 0.75))
        for i in range(count):
            _image(grid[0, i], doubt.images[i])
            below = grid[1, i]
            colours = [FORWARD if digit == doubt.labels[i] else EDGE for digit in range(classes)]
            below.bar(range(classes), doubt.probabilities[i], width=0.72, color=colours)
            below.set_ylim(0, 1)
            bare_y(below)
            below.set_xticks([int(doubt.labels[i])])
            below.tick_params(length=0, labelsize=9, labelcolor=FORWARD)
        svg = as_svg(figure, name)
    return Picture(
        svg,
        alt=f"{count} handwritten digits, each over bars of the probabilities that the classifier gives to the ten "
        "digits.",
        caption="The test digits on which the fitted q(y∣x) is least certain, and the distribution it returns for "
        "each; the true digit is in blue.",
    )


def _image(axes: Axes, image: np.ndarray) -> None:
    """The image as squares of ink, which follow the page's theme as a bitmap would not."""
    for (row, column), ink in np.ndenumerate(image):
        if ink > 0.03:
            square = Rectangle((column, row), 0.94, 0.94, facecolor=INK, alpha=float(ink), linewidth=0)
            axes.add_patch(square)
    axes.set_xlim(-0.5, image.shape[1] + 0.5)
    axes.set_ylim(image.shape[0] + 0.2, -0.2)
    axes.set_aspect("equal")
    axes.set_axis_off()


IMITATION_CODE = """\
q = kl.Conditional(kl.MLP(hidden=(32,)), dist.Categorical)
kl.KL(q, kl.Optimal("FrozenLake-v1", temperature=0.002)).minimize()  # acting: reverse
kl.KL(kl.Pairs(states, actions), q).minimize()                       # imitating: forward"""

LAKE, TEMPERATURE = "FrozenLake-v1", 0.002


def imitation(episodes: tuple[int, ...] = (10, 100, 1000), hidden: int = 32) -> Section:
    """Fit one network to the reward, and the same one to demonstrations of growing number."""
    target = kl.Optimal(LAKE, temperature=TEMPERATURE)
    q = kl.Conditional(kl.MLP(hidden=(hidden,)), dist.Categorical)
    acting = kl.KL(q, target)
    actor = acting.minimize(quiet=True)
    rows = [
        ("from the reward", "–", _number(actor.diagnostics["sampled_return"]), _nats(actor.diagnostics["kl_excess"]))
    ]
    numbers, plan = {"actor": actor.diagnostics["sampled_return"]}, ""
    for count in episodes:
        shown = rollout(LAKE, actor.q, count, seed=0)
        imitating = kl.KL(shown.pairs(), q)
        found = kl.KL(imitating.minimize(quiet=True).q, target).estimate().diagnostics
        plan = plan or f"{imitating}"
        rows.append(
            (
                f"from {count:,} episodes",
                f"{len(shown.actions):,}",
                _number(found["sampled_return"]),
                _nats(found["kl_excess"]),
            )
        )
        numbers[f"imitator_{count}"] = found["sampled_return"]
    return Section(
        key="imitation",
        title="Flip the order, and it is imitation",
        lead="One network, one line. As the first argument, against the reward, it acts; as the second, against "
        "pairs of states and actions that another policy took, it imitates, and that is supervised learning again.",
        code=IMITATION_CODE,
        plans=(("Acting", f"{acting}"), ("Imitating", plan)),
        tables=(
            Table(
                ("the same network", "steps seen", "expected return", "excess KL"),
                tuple(rows),
                f"{LAKE} at temperature {TEMPERATURE:g}. The returns and the KL of each policy above the least "
                "attainable, in nats a trajectory, are computed from the transition table.",
            ),
        ),
        numbers=numbers,
    )


def _number(x: float) -> str:
    return f"{x:.4f}"


def _nats(x: float) -> str:
    return f"{x:.4f}"
