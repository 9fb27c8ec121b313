"""The exceptions of this library: one sentence that names the argument, what is wrong, and what would do."""


class KullbackError(Exception):
    """Any error that this library raises on purpose."""


class InputError(KullbackError, ValueError):
    """An argument's value is not usable: NaN in the data, negative weights, mismatched shapes."""


class UnknownSideError(KullbackError, TypeError):
    """An object that no adaptor knows how to read as one side of a divergence."""


class PlanError(KullbackError):
    """No rule answers the question with what is known of the two sides."""


class NotExactError(KullbackError, NotImplementedError):
    """There is no exact rule for this pair."""


class FitError(KullbackError, ArithmeticError):
    """A minimisation that could not produce any usable fit."""


class FileError(KullbackError, OSError):
    """A saved fit or a checkpoint that cannot be read, written or resumed."""


class EstimateError(KullbackError, ArithmeticError):
    """An estimate that could not be made: a log-probability that is NaN, an integral that was not resolved."""


class EnvironmentFault(KullbackError, RuntimeError):
    """An environment that raises, hangs, or gives rewards or observations that are not finite."""
