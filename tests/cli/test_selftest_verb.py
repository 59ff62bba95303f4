"""`selftest`: the verb. What it runs has a test of its own."""

import json

import pytest

from cli.program import on_terminal
from ipcdatastore.cli import prove
from ipcdatastore.cli.root import NOT_FOUND, OK
from ipcdatastore.selftest import Report, Step, step_names


def test_a_line_a_step(run, directory):
    rows = [line.split("\t") for line in run("selftest", "--quick").output.splitlines()]
    assert [row[2] for row in rows] == step_names(quick=True)
    assert {row[0] for row in rows} == {"ok"}
    assert list(directory.iterdir()) == []


def test_as_json_and_on_a_terminal(run, directory):
    told = json.loads(run("selftest", "--quick", "--json").output)
    assert told["ok"]
    assert len(told["steps"]) == len(step_names(quick=True))
    code, shown = on_terminal(directory, "selftest", "--quick")
    assert code == OK
    assert f"all {len(step_names(quick=True))} steps" in shown


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_failure(run, monkeypatch, options):
    report = Report([Step("one", True, 0.1, "fine"), Step("two", False, 0.2, "wrong")])

    def fail(progress=None, quick=False, directory=None):
        for step in report.steps if progress else ():
            progress(step)
        return report

    monkeypatch.setattr(prove, "run", fail)
    result = run("selftest", *options, code=NOT_FOUND)
    assert result.stderr == "ipcdatastore: selftest: 1 of 2 steps failed: two: wrong\n"
    if options:
        assert json.loads(result.stdout) == report.as_dict()
    else:
        assert result.stdout == "ok\t0.100\tone\tfine\nFAILED\t0.200\ttwo\twrong\n"
