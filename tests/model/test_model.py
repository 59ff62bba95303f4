"""Each scenario gives what the table expects: what must hold holds, and each broken variant is caught.

A broken variant that passes is a failure too: either the rule it breaks is not needed, or the model has lost
its teeth.
"""

import pytest

from . import events_reader, reader
from .all_scenarios import SCENARIOS
from .slow import SLOW

ANSWERING = (reader.reader, reader.get_many, reader.get_many_indexed, events_reader.watcher)

UNREDUCED = ("index/sc backward shift", "wait/", "wake/", "alert/BROKEN", "events/BROKEN", "events/weak set A")


def parameters():
    for scenario in SCENARIOS:
        marks = [pytest.mark.slow_model] if scenario.slow else []
        yield pytest.param(scenario, id=scenario.name, marks=marks)


@pytest.mark.parametrize("scenario", list(parameters()))
def test_scenario(scenario):
    model = scenario.build()
    result, _, _, why = model.run()
    if result == "FAIL" and scenario.expect == "ok":
        why = "\n".join([why] + model.counterexample())
    assert result == scenario.expect, why
    if result == "ok" and any(program in ANSWERING for program, _, _ in model.threads):
        assert model.returns > 0, "no reader ever answered: this proves nothing"


def test_names_are_unique():
    names = [scenario.name for scenario in SCENARIOS]
    assert len(set(names)) == len(names)


def test_slow_names_exist():
    assert {scenario.name for scenario in SCENARIOS} >= SLOW


def test_reduction_changes_no_result():
    """The reduced search and the plain one agree, on an example that holds and on one that is caught."""
    for scenario in SCENARIOS:
        if scenario.name.startswith(UNREDUCED):
            assert scenario.build(reduce=False).run()[0] == scenario.build().run()[0] == scenario.expect
