"""Fits of a given number of passes over a large table: one network, batch and optimiser for ours and the peers.

Each returns the rows that went through training and a function that predicts labels. Rectified units, 64 and 64,
Adam, shuffled each pass; ours holds out a tenth (at most 65,536 rows) and scores it each pass, the peers nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNet

import kullback as kl
from benchmarks import torch_networks
from benchmarks.runner import OURS

HIDDEN = torch_networks.HIDDEN
Fitted = tuple[int, Callable[[np.ndarray], np.ndarray]]


def ours(x: np.ndarray, y: np.ndarray, batch: int, epochs: int) -> Fitted:
    steps = epochs * (len(x) * 9 // 10 // batch)  # whole passes of what is not held out
    rule = kl.rules.Minibatches(batch=batch, rate=1e-3)
    network = kl.MLP(HIDDEN, activation="relu")
    fitted = kl.KLClassifier(network, rule=rule, steps=steps, prior_scale=None, random_state=0).fit(x, y)
    return int(fitted.n_iter_) * batch, fitted.predict


def perceptron(x: np.ndarray, y: np.ndarray, batch: int, epochs: int) -> Fitted:
    model: Any = MLPClassifier(HIDDEN, batch_size=batch, max_iter=epochs, n_iter_no_change=epochs + 1, random_state=0)
    model.fit(x, y)
    return model.n_iter_ * len(x), model.predict


def by_skorch(x: np.ndarray, y: np.ndarray, batch: int, epochs: int) -> Fitted:
    """The callbacks that print are off."""
    torch.manual_seed(0)
    settings: dict[str, Any] = {"train_split": None, "callbacks": None, "iterator_train__shuffle": True, "verbose": 0}
    net = NeuralNet(
        torch_networks.network(x.shape[1], int(y.max()) + 1),
        torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=1e-3,
        batch_size=batch,
        max_epochs=epochs,
        **settings,
    )
    net.fit(x, y)
    return epochs * len(x), lambda x: np.asarray(net.predict(x)).argmax(1)


def bare(x: np.ndarray, y: np.ndarray, batch: int, epochs: int) -> Fitted:
    net = torch_networks.bare_loop(x, y, int(y.max()) + 1, batch, epochs, seed=0)
    return epochs * len(x), lambda x: net(torch.from_numpy(x)).argmax(1).numpy()


CONTENDERS: dict[str, Callable[[np.ndarray, np.ndarray, int, int], Fitted]] = {
    OURS: ours,
    "MLPClassifier": perceptron,
    "skorch": by_skorch,
    "PyTorch, a bare loop": bare,
}
