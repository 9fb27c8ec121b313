"""Each planted fault has its text exactly once in its file, and tests that are there."""

from pathlib import Path

import pytest
from tests.mutants.faults import FAULTS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.words)
def test_a_fault_can_be_planted(fault):
    assert (ROOT / "src/kullback" / fault.file).read_text("utf-8").count(fault.text) == 1
    assert fault.tests
    assert all((ROOT / "tests" / test.partition("::")[0]).is_file() for test in fault.tests)
