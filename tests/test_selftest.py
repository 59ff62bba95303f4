"""The self-test proves what it says, and notices when that is not so."""

import json
import os

import pytest

import ipcdatastore
from ipcdatastore import selftest
from ipcdatastore.selftest.__main__ import main


@pytest.fixture
def told():
    return []


def test_everything_is_proved_and_nothing_left(directory, told):
    report = selftest.run(told.append, directory=directory)
    assert [(step.name, step.detail) for step in report.steps if not step.ok] == []
    assert report.ok
    assert told == report.steps
    assert [step.name for step in told] == selftest.step_names()
    assert list(directory.iterdir()) == []


def test_quick_starts_no_process(directory, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("no processes here")

    monkeypatch.setattr("subprocess.Popen", refuse)
    if hasattr(os, "fork"):
        monkeypatch.setattr(os, "fork", refuse)
    report = selftest.run(quick=True, directory=directory)
    assert [(step.name, step.detail) for step in report.steps if not step.ok] == []
    assert [step.name for step in report.steps] == selftest.step_names(quick=True)
    assert set(selftest.step_names()) > set(selftest.step_names(quick=True))


@pytest.mark.parametrize(
    ("method", "broken", "name"),
    [
        ("get", lambda self, key, default=None: default, "keys expire"),
        ("compare_and_set", lambda self, *arguments, **options: 1, "compare-and-set lets one win"),
        ("check", lambda self: ["something"], "versions only grow"),
        ("check", lambda self: [], "damage is found and repaired"),
        ("flush", lambda self: None, "a flushed store comes back"),
        ("wait", lambda self, *arguments: None, "a waiter is woken"),
        ("clear", lambda self: None, "namespaces are apart"),
    ],
)
def test_what_does_not_work_is_noticed(directory, monkeypatch, method, broken, name):
    monkeypatch.setattr("ipcdatastore.selftest.bench.PATIENCE", 0.2)
    monkeypatch.setattr(ipcdatastore.Datastore, method, broken)
    report = selftest.run(quick=True, directory=directory)
    assert not report.ok
    (step,) = [step for step in report.steps if step.name == name]
    assert not step.ok
    assert step.detail
    assert json.loads(json.dumps(report.as_dict()))["ok"] is False
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize(
    ("owner", "method", "broken"),
    [
        ("ipcdatastore.calls.exposed.Exposed", "method", lambda self, name: self.object.pause),
        ("ipcdatastore.calls.stream.RemoteIterator", "close", lambda self: None),
        ("ipcdatastore.calls.links.Link", "tell", lambda self, *arguments: None),
        ("ipcdatastore.calls.files", "find_server", lambda path: None),
    ],
)
def test_calls_that_do_not_work_are_noticed(directory, monkeypatch, owner, method, broken):
    monkeypatch.setattr("ipcdatastore.selftest.bench.PATIENCE", 0.2)
    monkeypatch.setattr(f"{owner}.{method}", broken)
    report = selftest.run(quick=True, directory=directory)
    assert [step.name for step in report.steps if not step.ok] == ["objects can be called"]
    assert list(directory.iterdir()) == []


def test_without_the_command_line(directory, capsys):
    assert main(["--quick", "--directory", str(directory)]) == 0
    assert [line.split("\t")[2] for line in capsys.readouterr().out.splitlines()] == selftest.step_names(quick=True)
    assert main(["--quick", "--json", "--directory", str(directory)]) == 0
    assert json.loads(capsys.readouterr().out)["ok"]


def test_a_place_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ipcdatastore.PlaceError):
        selftest.run(directory=tmp_path / "file")
