"""`PosteriorFit`: a fit of a posterior, with corrected expectations, predictions and what it is worth."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from kullback.arguments import whole
from kullback.errors import InputError
from kullback.inference.named_law import Named, NamedLaw, as_key, table
from kullback.inference.predictive import predicted
from kullback.inference.worth import RELIABLE, Weighted
from kullback.known.host import UNTRACEABLE
from kullback.result import Estimate, Fit, Guarantee


@dataclass(frozen=True, repr=False)
class PosteriorFit(Fit):
    """A `Fit` whose q is a `NamedLaw`, and draws of q with weights that make them draws of the posterior.

    `diagnostics` has `elbo`, the bound that was maximised; `log_z_lower` and `log_z_upper`, between which the evidence
    lies; `log_z`; `gap`, KL(q‖posterior); `khat`, the shape of the tail of the weights, with `khat_error`; and `ess`,
    the effective sample size of the corrected draws. A file of `save` holds q over the unconstrained vector.
    """

    corrected: Weighted | None = field(default=None, repr=False)

    def expectation(self, of: Callable[[Named], Any] | str) -> Estimate:
        """E[f] under the posterior, from draws of q with Pareto-smoothed weights, and its standard error.

        of  a function of one draw, a dict of the sites' values, or the name of a site

        Where k̂ is above 0.7 the weights do not correct q, the error is not known, and the reason says so.
        Raises `InputError` for a name that is no site, and a function that raises, or is not a number or an array of
        numbers at each draw. Source: Vehtari et al. (2024), eq. 5 and section 3.
        """
        law, corrected = self._parts
        if isinstance(of, str) and of not in law.sites.names:
            raise InputError(f"of: {of!r} is no site; the sites are {', '.join(law.sites.names)}")
        if not isinstance(of, str) and not callable(of):
            raise InputError(f"of: {type(of).__name__} is neither the name of a site nor a function of a draw")
        draws = self.draws
        values = np.asarray(draws[of] if isinstance(of, str) else _mapped(of, draws), np.float64)
        lost = np.isnan(values).mean()
        if lost:
            raise InputError(f"of: it is NaN at {lost:.1%} of the draws; pass a function that has a value at each")
        mean, error = corrected.expectation(values)
        error = error if corrected.reliable else np.full_like(error, np.inf)
        name = of if isinstance(of, str) else "f"
        reason = corrected.reason
        return Estimate(mean, error, Guarantee.CONSISTENT, quantity=f"E[{name}]", reason=reason, unit="")

    def sample(self, key: jax.Array | int, n: int = 1) -> Named:
        """Draws of the posterior by name [n, *shape]: draws of q, resampled by their weights."""
        _, corrected = self._parts
        places = corrected.resampled(_rng(key), whole("n", n))
        return {name: value[places] for name, value in self.draws.items()}

    def predict(self, key: jax.Array | int, n: int = 1, *args: Any, **kwargs: Any) -> Named:
        """Draws of the observed sites from the posterior predictive distribution, by name [n, ...].

        n             how many
        args, kwargs  what the model is called with, such as new inputs with the outcomes left out; those of the fit,
                      whose outcomes are drawn anew, if there are none

        Raises `InputError`, which names the site, where a latent site has another shape with these arguments.
        """
        law, _ = self._parts
        key = as_key(key)
        latent = self.sample(jax.random.fold_in(key, 1), n)
        return predicted(law.sites, latent, key, args, kwargs)

    def to_arviz(self, key: jax.Array | int = 0, draws: int = 4000) -> Any:
        """The corrected draws, predictions and data as ArviZ has them: `InferenceData` of ArviZ 0.x, `DataTree` of 1.x.

        Raises `InputError` where ArviZ is not installed.
        """
        from kullback.inference.arviz import exported

        law, _ = self._parts
        first, second = jax.random.split(as_key(key))
        draws = whole("draws", draws)
        return exported(self.sample(first, draws), self.predict(second, draws), law.sites)

    @property
    def draws(self) -> Named:
        """The draws of q behind the corrected expectations, by name."""
        law, corrected = self._parts
        if "draws" not in self._kept:
            self._kept["draws"] = law.sites.draws(corrected.x)
        return self._kept["draws"]

    @property
    def _kept(self) -> dict[str, Any]:
        return self.__dict__.setdefault("_made", {})

    @property
    def _parts(self) -> tuple[NamedLaw, Weighted]:
        assert isinstance(self.q, NamedLaw)
        if self.corrected is None:
            raise InputError("fit: it ended before any draw was weighted; run minimize() again")
        return self.q, self.corrected

    def __repr__(self) -> str:
        return "\n".join([*self._head(), "", *self._table()])

    def _head(self) -> list[str]:
        law = self.q
        lines = [f"Fit of {law.sites.title}: {self.status.name.lower().replace('_', ' ')}"]
        lines += textwrap.wrap(
            self.message or self.status.value,
            78,
            initial_indent="  ",
            subsequent_indent="  ",
            break_on_hyphens=False,
        )
        shown = self.diagnostics
        if "log_z" in shown:
            known = shown["khat"] < RELIABLE
            best = f"{_pair(shown['log_z'])} (corrected)" if known else f"at least {_pair(shown['log_z_lower'])}"
            lines.append(f"  log Z   {_pair(shown['elbo'])} (bound), {best}")
            lines.append(
                f"  gap     {_pair(shown['gap'])} nats;  k̂ {shown['khat']:.2f};  effective draws {shown['ess']:,.0f}"
            )
        return lines

    def _table(self) -> list[str]:
        if self.corrected is None:
            return []
        usable = self.corrected.reliable
        title = "Posterior, corrected by weights" if usable else "Of q, not corrected: k̂ is too large"
        title = title if "rhat" not in self.diagnostics else "Posterior, from draws by NUTS"
        return [title, *table(self.draws, self.corrected.weights if usable else None).splitlines()]


def _pair(estimate: Estimate) -> str:
    error = f" ± {estimate.standard_error:.2g}" if estimate.standard_error else ""
    bounds = {Guarantee.LOWER_BOUND: "at least ", Guarantee.UPPER_BOUND: "at most "}
    least = "" if estimate.quantity == "log Z" else bounds.get(estimate.guarantee, "")
    return f"{least}{estimate.value:.5g}{error}"


def _rng(key: jax.Array | int) -> np.random.Generator:
    return np.random.default_rng(np.asarray(jax.random.key_data(as_key(key))).ravel().astype(np.uint32))


def _mapped(function: Callable[[Named], Any], draws: Mapping[str, np.ndarray]) -> Shaped[np.ndarray, "n ..."]:
    """A function of one draw at every draw."""
    with jax.enable_x64(True):
        try:
            return np.asarray(jax.vmap(lambda one: jnp.asarray(function(one)))(dict(draws)))
        except UNTRACEABLE:
            size = len(next(iter(draws.values())))
            return np.stack([np.asarray(function({k: v[i] for k, v in draws.items()})) for i in range(size)])
        except Exception as error:
            said = (str(error) or "no message").splitlines()[0]
            raise InputError(
                f"of: called with a draw it raised {type(error).__name__}: {said}; pass a function from a dict of the "
                f"sites {', '.join(draws)} to a number or an array"
            ) from error
