"""Generalised linear models with a ridge, on the host: where networks for counts, times, shares and labels start.

For a loss ℓ(y, η) of a linear predictor η = c + xᵀb the sum Σ_i w_i ℓ(y_i, η_i) + ½ λ ‖b‖² is minimised by Fisher
scoring (Nelder and Wedderburn 1972; le Cessie and van Houwelingen 1992 with the ridge). The strength λ is the one of
the least loss where each row is left out, approximately: η_i moves by a_i ℓ'_i/(1 − a_i ℓ''_i), with a_i = x_iᵀH⁻¹x_i
(le Cessie and van Houwelingen 1992, section 3; Rad and Maleki 2020, theorem 3). Exact refits would cost n times as
much. Of labels, which a model may separate without a loss, that says nothing: there parts of the rows are left out in
turn.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

Predictor = Float[np.ndarray, "n k"]
Array = Float[np.ndarray, "..."]

STRENGTHS = 10.0 ** np.arange(1.0, -6.5, -0.5)  # of the ridge, beside the mean curvature of a row
PASSES = 25  # of Fisher scoring, for each strength
WORK = 1e9  # products, of which a path of strengths may take about so many
ENOUGH = 1e-4  # nats a row: a start need not be nearer to its optimum
FARTHEST = 30.0  # from the marginal predictor, where exp is still a number in single precision
PARTS = 5
WORSE = 3  # strengths one after another that leave-one-out says are worse: the path ends


class Loss(abc.ABC):
    """ℓ(y, η) of a row, up to what does not depend on η, for k predictors a row.

    share  of a step of Fisher scoring with the curvature of each predictor by itself that never overshoots
    keeps  for how many steps a curvature is good enough
    parts  of the rows that are left out in turn; 0 for each row, approximately
    """

    share: float = 1.0
    keeps: int = 1
    parts: int = 0

    @abc.abstractmethod
    def value(self, y: Array, eta: Predictor) -> Float[np.ndarray, " n"]:
        """ℓ of each row."""

    @abc.abstractmethod
    def slopes(self, y: Array, eta: Predictor) -> tuple[Predictor, Predictor]:
        """∂ℓ/∂η and its expected curvature, [n, k] both."""

    @abc.abstractmethod
    def marginal(self, y: Array, w: Float[np.ndarray, " n"]) -> Float[np.ndarray, " k"]:
        """The best η that does not depend on x; w sums to 1."""


@dataclass(frozen=True)
class Counts(Loss):
    """Of a negative binomial with mean e^η and concentration k; k = ∞ is Poisson's."""

    concentration: float = np.inf

    def value(self, y: Array, eta: Predictor) -> Float[np.ndarray, " n"]:
        mean, k = np.exp(eta), self.concentration
        each = mean - y * eta if np.isinf(k) else (y + k) * np.log1p(mean / k) - y * eta
        return each.sum(1)

    def slopes(self, y: Array, eta: Predictor) -> tuple[Predictor, Predictor]:
        mean = np.exp(eta)
        shrunk = 1.0 / (1.0 + mean / self.concentration)
        return (mean - y) * shrunk, mean * shrunk

    def marginal(self, y: Array, w: Float[np.ndarray, " n"]) -> Float[np.ndarray, " k"]:
        # Half an event in all, where there is none.
        return np.log(np.maximum(w @ y, 0.5 / len(y)))


@dataclass(frozen=True)
class Times(Loss):
    """Of an exponential or a gamma law with mean e^η, for each unit of its shape."""

    def value(self, y: Array, eta: Predictor) -> Float[np.ndarray, " n"]:
        return (y * np.exp(-eta) + eta).sum(1)

    def slopes(self, y: Array, eta: Predictor) -> tuple[Predictor, Predictor]:
        return 1.0 - y * np.exp(-eta), np.ones(eta.shape)

    def marginal(self, y: Array, w: Float[np.ndarray, " n"]) -> Float[np.ndarray, " k"]:
        return np.log(w @ y)


@dataclass(frozen=True)
class Shares(Loss):
    """Of shares y ∈ [0, 1] with logit η, by the number of trials that each is a share of."""

    trials: float = 1.0
    parts: int = PARTS

    def value(self, y: Array, eta: Predictor) -> Float[np.ndarray, " n"]:
        return self.trials * (np.logaddexp(0.0, eta) - y * eta).sum(1)

    def slopes(self, y: Array, eta: Predictor) -> tuple[Predictor, Predictor]:
        p = 1.0 / (1.0 + np.exp(-eta))
        return self.trials * (p - y), self.trials * p * (1.0 - p)

    def marginal(self, y: Array, w: Float[np.ndarray, " n"]) -> Float[np.ndarray, " k"]:
        p = np.clip(w @ y, 0.5 / len(y), 1.0 - 0.5 / len(y))
        return np.log(p) - np.log1p(-p)


@dataclass(frozen=True)
class Labels(Loss):
    """Of counts y [n, k] of k labels with probabilities softmax(η).

    The curvature is a Laplacian, at most twice its diagonal: so half a step is taken.
    """

    share: float = 0.5
    keeps: int = 4
    parts: int = PARTS

    def value(self, y: Array, eta: Predictor) -> Float[np.ndarray, " n"]:
        return y.sum(1) * np.logaddexp.reduce(eta, 1) - (y * eta).sum(1)

    def slopes(self, y: Array, eta: Predictor) -> tuple[Predictor, Predictor]:
        p = np.exp(eta - np.logaddexp.reduce(eta, 1, keepdims=True))
        total = y.sum(1, keepdims=True)
        return total * p - y, total * p * (1.0 - p)

    def marginal(self, y: Array, w: Float[np.ndarray, " n"]) -> Float[np.ndarray, " k"]:
        shares = w @ y
        shares = shares / shares.sum() + 0.5 / len(y)
        log = np.log(shares)
        return log - log.mean()


@dataclass(frozen=True)
class Fitted:
    """A model c + xᵀb [inputs, k], and the predictors [n, k] of rows that were left out, each in turn."""

    centre: Float[np.ndarray, " k"]
    slope: Float[np.ndarray, "d k"]
    left_out: Predictor
    loss: float


def ridged(x: Float[np.ndarray, "n d"], y: Array, w: Float[np.ndarray, " n"], loss: Loss) -> Fitted:
    """The model whose strength, ∞ among them, has the least loss where rows are left out.

    x  standardised inputs; y [n, k]; w weights of any positive sum
    """
    share, whole = w / w.sum(), Path(x, y, w, loss)
    work = products(x, len(whole.centre)) / WORK
    parts = _parts(len(x), min(loss.parts, 2) if work * loss.parts > 1.0 else loss.parts)
    paths = [Path(x[~part], y[~part], w[~part], loss) for part in parts]

    def left_out(strength: float) -> Predictor:
        if not parts:
            whole.go(strength)
            return whole.left_out()
        left = np.empty((len(x), len(whole.centre)))
        for part, path in zip(parts, paths, strict=True):
            path.go(strength)
            left[part] = path.predicted(x[part])
        return left

    best, worse = (
        Fitted(centre=whole.coefficients[0], slope=whole.coefficients[1:], left_out=whole.left_out(), loss=np.inf),
        0,
    )
    chosen = np.inf
    # Fewer strengths where each costs much.
    every = int(np.clip(np.ceil(work * max(1, len(parts))), 1, 3))
    for strength in (np.inf, *STRENGTHS[::every]):
        left = left_out(strength)
        value = float(share @ loss.value(y, left))
        if not np.isfinite(value) or worse == WORSE:
            break
        worse = 0 if value < best.loss else worse + 1
        if value < best.loss:
            chosen, best = (
                strength,
                Fitted(centre=whole.coefficients[0], slope=whole.coefficients[1:], left_out=left, loss=value),
            )
    if parts:
        whole.go(chosen)
        best = replace(best, centre=whole.coefficients[0], slope=whole.coefficients[1:])
    return best


def products(x: Float[np.ndarray, "n d"], predictors: int) -> float:
    """About how many products a path of strengths takes."""
    return 4.0 * len(x) * (1.0 + x.shape[1]) ** 2 * predictors * len(STRENGTHS)


def _parts(rows: int, count: int) -> list[np.ndarray]:
    """Parts of the rows as masks [n], by chance and always the same."""
    if not count:
        return []
    at = np.random.default_rng(0).permutation(rows) % min(count, rows)
    return [at == i for i in range(at.max() + 1)]


class Path:
    """Models of some rows, of one strength after another."""

    def __init__(self, x: Float[np.ndarray, "n d"], y: Array, w: Float[np.ndarray, " n"], loss: Loss) -> None:
        self.y, self.w, self.loss = y, w / w.mean(), loss
        self.design = _design(x)
        self.centre = loss.marginal(y, w / w.sum())
        self.coefficients = np.zeros((self.design.shape[1], len(self.centre)))
        self.coefficients[0] = self.centre
        curvature = loss.slopes(y, np.broadcast_to(self.centre, (len(x), len(self.centre))))[1]
        self.unit = max(float(np.mean(self.w @ curvature)), 1e-300)
        # Of the model without inputs, every slope is as good as held at 0.
        ridge = np.append(0.0, np.full(x.shape[1], 1e12 * self.unit * len(x)))
        self.roots = _roots(self.design, self.w[:, None] * curvature, ridge)

    def predicted(self, x: Float[np.ndarray, "n d"]) -> Predictor:
        return self._at(_design(x), self.coefficients)

    def go(self, strength: float) -> None:
        """To the model of this strength, by Fisher scoring from where the path stands."""
        if np.isinf(strength):
            return
        ridge = np.append(0.0, np.full(len(self.coefficients) - 1, strength * self.unit))
        value = self._objective(self.coefficients, ridge)
        for turn in range(PASSES):
            gradient, curvature = self.loss.slopes(self.y, self._at(self.design, self.coefficients))
            if turn % self.loss.keeps == 0:
                self.roots = _roots(self.design, self.w[:, None] * curvature, ridge)
            descent = self.design.T @ (self.w[:, None] * gradient) + ridge[:, None] * self.coefficients
            white = self.roots @ descent.T[:, :, None]
            step = (self.roots.swapaxes(1, 2) @ white)[:, :, 0].T
            before, size = value, self.loss.share
            for _ in range(8):
                trial = self._objective(self.coefficients - size * step, ridge)
                if trial < value:
                    self.coefficients, value = self.coefficients - size * step, trial
                    break
                size /= 2.0
            if before - value <= self._enough(gradient, curvature):
                break

    def _enough(self, gradient: Predictor, curvature: Predictor) -> float:
        """Beside the dispersion of a gamma law of large shape its loss hardly varies; labels that are separated have
        none."""
        if self.loss.parts:
            return ENOUGH * len(self.y)
        pearson = float(np.mean(self.w @ (np.square(gradient) / np.maximum(curvature, 1e-300))))
        return ENOUGH * min(float(len(self.y)), pearson)

    def left_out(self) -> Predictor:
        """The predictors of rows that are left out, each in turn, approximately."""
        eta = self._at(self.design, self.coefficients)
        gradient, curvature = self.loss.slopes(self.y, eta)
        leverages = [np.square(self.design @ root.T).sum(1) for root in self.roots]
        a = self.w[:, None] * np.stack(leverages, 1)
        left = eta + a * gradient / np.maximum(1.0 - a * curvature, 0.05)
        return np.clip(left, self.centre - FARTHEST, self.centre + FARTHEST)

    def _at(self, design: Float[np.ndarray, "n d"], b: Float[np.ndarray, "d k"]) -> Predictor:
        return np.clip(design @ b, self.centre - FARTHEST, self.centre + FARTHEST)

    def _objective(self, b: Float[np.ndarray, "d k"], ridge: Float[np.ndarray, " d"]) -> float:
        losses = self.loss.value(self.y, self._at(self.design, b))
        return float(self.w @ losses + 0.5 * (ridge @ np.square(b)).sum())


def _roots(
    design: Float[np.ndarray, "n d"], weights: Float[np.ndarray, "n k"], ridge: Float[np.ndarray, " d"]
) -> Float[np.ndarray, "k d d"]:
    """R of (XᵀWX + Λ)⁻¹ = RᵀR for each predictor, in two calls for all: of small matrices the calls are the cost."""
    matrices = np.stack([(design * w[:, None]).T @ design for w in weights.T])
    diagonal = np.einsum("kdd->kd", matrices)
    # A predictor that is sure of every row has no curvature of its own.
    diagonal += ridge + 1e-9 * np.maximum(diagonal.sum(1, keepdims=True), 1e-300)
    return np.linalg.inv(np.linalg.cholesky(matrices))


def _design(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d1"]:
    return np.hstack([np.ones((len(x), 1)), x])
