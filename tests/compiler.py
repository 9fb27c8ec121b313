"""Whether XLA optimises, as it does for users; conftest.py says when it does not."""

import os

OPTIMISED = "--xla_backend_optimization_level=0" not in os.environ.get("XLA_FLAGS", "")
