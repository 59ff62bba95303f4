"""A client, or a server, is killed at every store of every step: nobody hangs, and nothing runs twice."""

import contextlib
import os
import signal

import pytest

import ipcdatastore
from ipcdatastore.calls import connection, server

from .served import PATIENCE, Thing, eventually, left_in, noted, swept

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
CLIENTS = ["connect", "call", "one-way", "submit", "batch", "big argument", "big result", "stream", "close"]
SERVERS = ["call", "one-way", "submit", "batch", "big argument", "big result", "stream", "closing client"]
MOST = 1000


def in_nursery():
    from calls import victims

    victims.nursery(hear, say)  # noqa: F821 - the child's


@pytest.fixture
def nursery(start):
    child = start(in_nursery)
    assert child.hear() == "ready"

    def order(*what):
        child.say(what)
        return child.hear()

    return order


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
    """Deaths are noticed within milliseconds; so are they here, a thousand times."""
    monkeypatch.setattr(server, "LOOK_AT_CLIENTS", 0.003)
    monkeypatch.setattr(server, "SERVER_TICK", 0.003)
    monkeypatch.setattr(connection, "CLIENT_TICK", 0.003)


def clients_in(directory):
    return [entry for entry in os.listdir(directory / "thing.object") if entry.endswith(".client")]


@pytest.mark.parametrize(
    ("operation", "workers"),
    [(operation, 1) for operation in CLIENTS] + [("call", 2), ("big result", 2), ("stream", 2)],
)
def test_a_client_is_killed_at_every_store(directory, tmp_path, nursery, operation, workers):
    most = 2 if operation == "batch" else 1
    ran = [0]
    with ipcdatastore.serve_object("thing", Thing(), directory=directory, workers=workers).start():
        witness = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
        witness.give(0)
        (mine,) = clients_in(directory)
        for last in range(1, MOST):
            log = str(tmp_path / f"log{last}")
            ended = nursery("client", str(directory), operation, last, log, "")
            assert ended in (0, signal.SIGKILL), f"at store {last}: it failed"
            assert witness.give(last) == last
            # One that died before it could say that it is there is found with the next one.
            ipcdatastore.link(ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)).close()
            eventually(lambda: clients_in(directory) == [mine])
            ran.append(len(noted(log)))
            if operation == "stream":
                assert noted(log + ".closed") == ["closed"], f"at store {last}"
            if ended == 0:
                break
        assert ended == 0
        assert last > 2, "nothing was killed"
        # How many stores a message takes that waits for room is a matter of time.
        assert ran == sorted(ran) or operation == "big argument", "what was asked for once is done, whenever its client died"
        assert max(ran) <= most
        if operation in ("call", "one-way", "submit", "batch", "big argument"):
            assert set(ran) == {0, most}
        ipcdatastore.link(witness).close()
    assert swept(directory) == []


def operate(thing, operation, log):
    if operation == "call":
        thing.note(log, "ran")
    elif operation == "one-way":
        thing.note.oneway(log, "ran")
        thing.give(1)
    elif operation == "submit":
        thing.note.submit(log, "ran").result()
    elif operation == "batch":
        with ipcdatastore.link(thing).batch() as batch:
            batch.note(log, "1")
            batch.note(log, "2")
    elif operation == "big argument":
        thing.note_big(log, "x" * 20000)
    elif operation == "big result":
        assert len(thing.make(20000)) == 20000
    elif operation == "stream":
        assert list(thing.count(20)) == list(range(20))
    elif operation == "closing client":
        other = ipcdatastore.connect("thing", directory=ipcdatastore.link(thing).directory, timeout=PATIENCE)
        other.give(0)
        ipcdatastore.link(other).close()
        thing.give(1)


@pytest.mark.parametrize("operation", SERVERS)
def test_a_server_is_killed_at_every_store(directory, tmp_path, nursery, operation, monkeypatch):
    monkeypatch.setattr(connection, "RING_SIZE", 4096)
    outcomes = set()
    for last in range(1, MOST):
        log = str(tmp_path / f"log{last}")
        word, pid = nursery("server", str(directory), 0)
        assert word == "ready"
        thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
        with contextlib.suppress(ipcdatastore.ServerUnavailableError):
            thing.arm(last)
        try:
            operate(thing, operation, log)
            outcome = "done"
        except ipcdatastore.ServerUnavailableError as error:
            outcome = error.started
            assert error.name == "thing"
            assert ("never ran" if not outcome else "outcome is unknown") in str(error) or "nobody serves" in str(error)
        ran = noted(log)
        outcomes.add((outcome, len(ran)))
        assert len(ran) <= (2 if operation == "batch" else 1), f"at store {last}"
        if operation == "batch":
            assert ran == ["1", "2"][: len(ran)]
        elif operation in ("call", "submit", "big argument"):
            assert ran == (["ran"] if outcome == "done" else []) or outcome is True, f"at store {last}: {outcome} {ran}"
        elif operation == "one-way" and outcome == "done":
            assert ran == ["ran"]
        if outcome == "done":
            nursery("kill", pid)
        else:
            assert nursery("reap", pid) == signal.SIGKILL
        # The next server takes its place, and the same proxy finds it.
        with ipcdatastore.serve_object("thing", Thing(), directory=directory).start():
            assert thing.give(last) == last
            assert noted(log) == ran, "it ran again"
            assert sorted(os.path.splitext(entry)[1] for entry in os.listdir(directory / "thing.object")) == [
                ".client",
                ".server",
            ]
            ipcdatastore.link(thing).close()
        assert left_in(directory) == []
        if outcome == "done":
            break
    assert outcome == "done"
    assert last > 5
    if operation == "call":
        assert {(False, 0), (True, 1), (True, 0), ("done", 1)} >= outcomes >= {(False, 0), (True, 1), ("done", 1)}


def test_a_server_is_killed_at_every_store_of_its_start(directory, nursery):
    for last in range(1, MOST):
        word, rest = nursery("server", str(directory), last)
        with contextlib.suppress(ipcdatastore.ServerUnavailableError):
            ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE).give(1)
        if word == "ready":
            break
        assert rest == signal.SIGKILL
        with ipcdatastore.serve_object("thing", Thing(), directory=directory).start():
            assert ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE).give(last) == last
    assert last > 5
    nursery("kill", rest)
    assert swept(directory) == []


def test_a_server_is_killed_at_every_store_of_its_end(directory, nursery):
    for last in range(1, MOST):
        word, pid = nursery("server", str(directory), 0)
        thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
        other = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
        other.give(1)
        with contextlib.suppress(ipcdatastore.ServerUnavailableError):
            thing.arm(last)
        with contextlib.suppress(ipcdatastore.ServerUnavailableError):
            thing.end()
        ended = nursery("reap", pid)
        for proxy in (thing, other):
            with pytest.raises(ipcdatastore.ServerUnavailableError) as caught:
                proxy.give(2)
            assert caught.value.started is False
        assert ipcdatastore.objects(directory) == []
        with ipcdatastore.serve_object("thing", Thing(), directory=directory).start():
            assert thing.give(last) == last
            assert other.give(last) == last
        assert swept(directory) == []
        if ended == 0:
            break
    assert ended == 0
    assert last > 5


def test_the_lists_are_those_of_the_victims():
    from . import victims

    assert victims.CLIENTS == CLIENTS
