"""Networks of PyTorch whose outputs are a distribution's parameters, trained by skorch or by a bare loop."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import EarlyStopping, LRScheduler
from skorch.dataset import ValidSplit
from torch import nn

HIDDEN = (64, 64)
Nll = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def network(inputs: int, outputs: int, hidden: tuple[int, ...] = HIDDEN) -> nn.Sequential:
    """Dense layers with rectified units between them."""
    widths = (inputs, *hidden)
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(widths[-1], outputs))


def categorical(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(outputs, y, reduction="none")


def normal(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Two outputs: the mean and the inverse softplus of the scale."""
    scale = nn.functional.softplus(outputs[:, 1]) + 1e-4
    return -torch.distributions.Normal(outputs[:, 0], scale).log_prob(y)


def negative_binomial(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Two outputs: the logarithms of the mean and of the concentration."""
    log_mean, log_count = outputs[:, 0], outputs[:, 1].clamp(-10, 10)
    law = torch.distributions.NegativeBinomial(log_count.exp(), logits=log_mean - log_count)
    return -law.log_prob(y)


class MeanOf(nn.Module):
    """The mean of a negative log-likelihood, as skorch's criterion."""

    def __init__(self, nll: Nll) -> None:
        super().__init__()
        self.nll = nll

    def forward(self, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return self.nll(outputs, y).mean()


def skorch_net(nll: Nll, inputs: int, outputs: int, batch: int, seed: int, epochs: int = 500, **more: Any) -> NeuralNet:
    """Adam at its default rate, cut by 0.3 after 5 epochs without gain on a held-out tenth; stopped after 15, and the
    best epoch restored."""
    torch.manual_seed(seed)
    stopping = [
        ("rate", LRScheduler("ReduceLROnPlateau", monitor="valid_loss", factor=0.3, patience=5)),
        ("stop", EarlyStopping(patience=15, load_best=True, sink=lambda *_: None)),
    ]
    settings: dict[str, Any] = {
        "optimizer": torch.optim.Adam,
        "lr": 1e-3,
        "batch_size": batch,
        "max_epochs": epochs,
        "train_split": ValidSplit(0.1, stratified=nll is categorical, random_state=seed),
        "iterator_train__shuffle": True,
        "callbacks": stopping,
        "verbose": 0,
    }
    return NeuralNet(network(inputs, outputs), MeanOf(nll), **{**settings, **more})


def per_row(net: NeuralNet, nll: Nll, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Negative log-likelihoods [n] of a fitted net."""
    with torch.no_grad():
        outputs = net.forward(x).double()
    return nll(outputs, torch.from_numpy(y)).numpy()


def bare_loop(x: np.ndarray, y: np.ndarray, outputs: int, batch: int, epochs: int, seed: int) -> nn.Module:
    """Cross-entropy by Adam, shuffled tensors indexed by hand: what PyTorch costs without a data loader."""
    torch.manual_seed(seed)
    net = network(x.shape[1], outputs)
    optimiser = torch.optim.Adam(net.parameters())
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    for _ in range(epochs):
        order = torch.randperm(len(x))
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            optimiser.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(net(inputs[rows]), labels[rows]).backward()
            optimiser.step()
    return net
