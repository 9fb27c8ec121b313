"""What an answer is: `Estimate` for a number, `Fit` for a distribution, each with what it is worth."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from os import PathLike
from types import MappingProxyType
from typing import Any

import numpy as np
from scipy.special import ndtri

from kullback.arguments import inside
from kullback.errors import FileError
from kullback.runtime.files import write


class Guarantee(enum.Enum):
    """What a number is worth.

    `EXACT`: no sampling error; right to rounding, or to the numerical error in the diagnostics.
    `UNBIASED`: a random estimate whose expectation is the quantity; the standard error says how far.
    `CONSISTENT`: tends to the quantity as the sample grows, with a bias at finite size.
    `LOWER_BOUND`, `UPPER_BOUND`: on one side of the quantity.
    """

    EXACT = "exact"
    UNBIASED = "unbiased"
    CONSISTENT = "consistent"
    LOWER_BOUND = "lower bound"
    UPPER_BOUND = "upper bound"

    @property
    def rank(self) -> int:
        """0 for the strongest; the planner prefers a lower rank."""
        return list(Guarantee).index(self)


class Status(enum.Enum):
    """How a minimisation ended; the message says the remedy where one is needed."""

    CLOSED_FORM = "solved in closed form"
    CONVERGED = "converged: no further decrease above the tolerance is expected"
    EARLY_STOPPED = "stopped at the best held-out value; the parameters of that step are returned"
    UNDECIDED = (
        "the held-out rows are too few to tell any step from the start, which is returned: the message says more"
    )
    STEP_LIMIT = "stopped at the step limit before converging: pass a larger steps=, or a larger tolerance="
    NOT_CONVERGED = "not converged: fresh draws expect a further decrease, of which the message says more"
    BOUNDARY = "the best member lies at the boundary of the family, which no parameters attain: the message says which"
    UNBOUNDED = "the likelihood has no maximum on these data: the message names what shrinks, and what would bound it"
    APPROXIMATE = (
        "the best member of the family, which is not the posterior: the message says how far it is, and corrected "
        "expectations allow for it"
    )
    UNRELIABLE = (
        "the best member of the family, too far from the posterior to be corrected by weights: the message says what "
        "would do"
    )
    INTERRUPTED = "interrupted: the best fit so far is returned; the same checkpoint= continues it"
    DIVERGED = (
        "the objective became NaN or infinite: the best fit so far is returned; check the data's scale, "
        "or start from a nearer family"
    )

    @property
    def ok(self) -> bool:
        return self in _OK


_OK = (
    Status.CLOSED_FORM,
    Status.CONVERGED,
    Status.EARLY_STOPPED,
    Status.UNDECIDED,
    Status.BOUNDARY,
    Status.APPROXIMATE,
)


def _no_diagnostics() -> Mapping[str, Any]:
    return MappingProxyType({})


@dataclass(frozen=True)
class Estimate:
    """A number in nats (or in another `unit`, such as reward), and what it is worth.

    `value` and `standard_error` are floats, or arrays of the sides' batch shape. `quantity` is what the value
    estimates; where terms were `dropped` (H(P), log Z), that is the divergence up to those terms.
    """

    value: Any
    standard_error: Any = 0.0
    guarantee: Guarantee = Guarantee.EXACT
    quantity: str = "KL(P‖Q)"
    dropped: tuple[str, ...] = ()
    reason: str = ""
    plan: Any = field(default=None, repr=False, compare=False)
    diagnostics: Mapping[str, Any] = field(default_factory=_no_diagnostics, repr=False)
    unit: str = "nats"

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _scalar_or_array(self.value))
        object.__setattr__(self, "standard_error", _scalar_or_array(self.standard_error))
        object.__setattr__(self, "diagnostics", MappingProxyType(dict(self.diagnostics)))

    @property
    def bits(self) -> Any:
        """The value in bits: nats / log 2."""
        return self.value / math.log(2.0)

    @property
    def numerical_error(self) -> float:
        """A bound on the error of the arithmetic (quadrature, truncated sums), in nats; 0 where none was stated."""
        return float(self.diagnostics.get("numerical_error", 0.0))

    def interval(self, level: float = 0.95) -> tuple[Any, Any]:
        """The normal confidence interval at `level`, widened by the numerical error.

        A lower bound's has no upper end, and an upper bound's no lower end. Raises `InputError` unless 0 < level < 1.
        """
        level = inside("level", level, 0.95)
        half = float(ndtri(0.5 + level / 2.0)) * self.standard_error + self.numerical_error
        if np.ndim(self.value) == 0 and math.isinf(self.value):
            return self.value, self.value
        open_end = _scalar_or_array(np.full(np.shape(self.value), np.inf))
        low = -open_end if self.guarantee is Guarantee.UPPER_BOUND else self.value - half
        return low, open_end if self.guarantee is Guarantee.LOWER_BOUND else self.value + half

    def __float__(self) -> float:
        if np.ndim(self.value):
            raise TypeError(
                f"value: an Estimate of batch shape {np.shape(self.value)} is not one number; "
                "use .value, or take .value.mean()"
            )
        return float(self.value)

    def __str__(self) -> str:
        if np.ndim(self.value):
            figure = f"{np.asarray(self.value)}"
        else:
            figure = f"{self.value:.6g}"
            if self.standard_error:
                figure += f" ± {self.standard_error:.2g}"
        text = f"{self.quantity} = {figure} {self.unit} ({self.guarantee.value})"
        if self.dropped:
            text += f"; drops {', '.join(self.dropped)}"
        return text + (f"; {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Fit:
    """The result of a minimisation.

    `q` is the fitted distribution or conditional, `objective` what was minimised at it, `status` how it ended,
    `trace` the objective in nats by chunk of steps. `diagnostics` maps names to numbers or `Estimate`s. `optima`
    are the distinct local optima found from several starts, best first: (objective in nats, fitted q) each.
    `history` has a line for each epoch where there are epochs: epoch, step, train_nll, heldout_nll (nats an example)
    and rate. `message` says more than the status where there is more to say.
    """

    q: Any
    objective: Estimate
    status: Status
    trace: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    plan: Any = field(default=None, repr=False, compare=False)
    diagnostics: Mapping[str, Any] = field(default_factory=_no_diagnostics)
    optima: tuple[tuple[float, Any], ...] = field(default=(), repr=False)
    history: tuple[Mapping[str, float], ...] = field(default=(), repr=False)
    message: str = ""
    record: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "diagnostics", MappingProxyType(dict(self.diagnostics)))
        if self.status.ok and np.isnan(self.objective.value).any():
            object.__setattr__(self, "status", Status.DIVERGED)

    def __repr__(self) -> str:
        return f"Fit({self.objective}; {self.message or self.status.value})"

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted side to one safetensors file, without pickles; `kl.load(path)` reads it.

        Raises `FileError` where the side has parts that a file cannot say (a function of the user's own).
        """
        if self.record is None:
            raise FileError(
                "q: this fit has no description that a file can hold; save its parameters with your own code"
            )
        side, arrays = self.record
        numbers = {
            k: float(v) for k, v in self.diagnostics.items() if isinstance(v, int | float | np.number | Estimate)
        }
        estimates = {k: _stated(v) for k, v in self.diagnostics.items() if isinstance(v, Estimate)}
        about = {
            "objective": _stated(self.objective),
            "estimates": estimates,
            "status": self.status.name,
            "trace": [float(x) for x in self.trace],
            "history": [dict(line) for line in self.history],
            "message": self.message,
        }
        write(path, {"format": "fit", **side, **about, "diagnostics": numbers}, arrays)


def _stated(estimate: Estimate) -> dict[str, Any]:
    """An estimate as a file has it."""
    return {
        "value": np.asarray(estimate.value).tolist(),
        "standard_error": np.asarray(estimate.standard_error).tolist(),
        "guarantee": estimate.guarantee.value,
        "quantity": estimate.quantity,
        "dropped": list(estimate.dropped),
        "reason": estimate.reason,
        "unit": estimate.unit,
    }


def _scalar_or_array(x: object) -> Any:
    array = np.asarray(x)
    return float(array) if array.ndim == 0 else array
