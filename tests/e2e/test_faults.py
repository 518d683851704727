"""What befalls a run: the short form of tests/faults.py."""

from conftest import PROGRAM
from faults import FAULTS, meet_faults


def test_runs_go_on_after_faults():
    results = meet_faults(PROGRAM, runs=10, seconds=2, faults=FAULTS, jobs=2, seed="short")
    assert len(results) == 10
    assert [(name, fault, came) for name, fault, came in results if came["problem"]] == []
