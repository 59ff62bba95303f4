"""Server and client in sub-interpreters of one process, as Kodi runs its addons."""

import os
import threading
import time

import pytest

from children import crew, say
from test_interpreters import gils, in_threads, interpreters

from .served import left_in

SERVE = """
import os, threading, ipcdatastore
from calls.served import Thing
server = ipcdatastore.serve_object("thing", Thing(), directory={directory!r}, workers={workers})
open({ready!r}, "w").close()
if {hosted}:
    while not os.path.exists({end!r}):
        server.poll(0.02)
    server.stop()
else:
    server.start()
    while not os.path.exists({end!r}):
        threading.Event().wait(0.005)
    server.stop()
"""
CALL = """
import ipcdatastore, threading
thing = ipcdatastore.connect("thing", directory={directory!r}, timeout=60, wait=60)
for number in range(300):
    assert thing.give(number) == number
assert thing.give([None, 10**30, "x" * 100_000]) == [None, 10**30, "x" * 100_000]
for size in (0, 1, 65_535, 65_536, 131_072, 1_000_000):
    assert len(thing.make(size)) == size
try:
    thing.fail("ValueError", "as it should")
except ValueError as error:
    assert "in fail" in ipcdatastore.remote_traceback(error)
else:
    raise AssertionError("no error")
try:
    thing.absent
except ipcdatastore.NotExposedError:
    pass
else:
    raise AssertionError("no error")
for _ in range(100):
    thing.add.oneway(1)
    thing.add(1)
calls = [thing.give.submit(number) for number in range(50)]
assert [call.result() for call in calls] == list(range(50))
with ipcdatastore.link(thing).batch() as batch:
    one, two = batch.give(1), batch.give(2)
assert (one.result(), two.result()) == (1, 2)
assert list(thing.count(200)) == list(range(200))
stream = thing.count(1000)
next(stream)
try:
    thing.hold.within(0.05)({gate!r})
except ipcdatastore.CallTimeoutError:
    pass
open({gate!r}, "w").close()
assert thing.give("mine") == "mine"
assert [info.name for info in ipcdatastore.objects({directory!r})] == ["thing"]
"""


def meet(directory, own_gil, where, workers, hosted):
    """`where`: which end is in a sub-interpreter, or whether both are."""
    interpreter = interpreters(own_gil)
    if type(interpreter) is str:
        say("skip: " + interpreter)
        return
    names = {"directory": directory, "workers": workers, "hosted": hosted}
    for name in ("ready", "end", "gate"):
        names[name] = os.path.join(directory, name)
    first, second, third = interpreter(), interpreter(), interpreter()
    for one in (first, second, third):
        one.run("import threading")  # or this thread could not end it: Python waits for the one that imported it first
    errors = []

    def run(inside, one, code):
        try:
            one.run(code) if inside else exec(code, {"__name__": "elsewhere"})
        except BaseException as error:
            errors.append(error)
            raise

    server = threading.Thread(target=run, args=("server" in where, first, SERVE.format(**names)))
    server.start()
    try:
        while not os.path.exists(names["ready"]):
            assert not errors, errors
            time.sleep(0.002)
        clients = 2 if "client" in where and "server" not in where else 1
        jobs = []
        for number in range(clients):
            code = CALL.format(**dict(names, gate=names["gate"] + str(number)))
            jobs.append(lambda code=code, one=(second, third)[number]: run("client" in where, one, code))
        in_threads(jobs)
        second.destroy()  # with its connection and its stream
        third.destroy()
        import ipcdatastore

        thing = ipcdatastore.connect("thing", directory=directory, timeout=60)
        assert thing.give("still there") == "still there"
        assert thing.add(0) == 200 * clients
        ipcdatastore.link(thing).close()
    finally:
        open(names["end"], "w").close()
        server.join()
    assert not errors, errors
    first.destroy()
    for name in os.listdir(directory):
        if name != "thing.object":
            os.unlink(os.path.join(directory, name))
    say("done")


@gils
@pytest.mark.parametrize(("workers", "hosted"), [(1, False), (1, True), (3, False)])
@pytest.mark.parametrize("where", ["server", "client", "server and client"])
def test_calls_between_interpreters(directory, own_gil, where, workers, hosted):
    with crew() as start:
        said = start(
            meet, directory, own_gil, where, workers, hosted, uses=(interpreters, in_threads), before=NAMES
        ).finish()
    for line in said:
        if type(line) is str and line.startswith("skip: "):
            pytest.skip(line[6:])
    assert said == ["done"]
    assert left_in(directory) == []


NAMES = f"SERVE = {SERVE!r}\nCALL = {CALL!r}\n"


def destroyed_in_the_middle(directory):
    """An interpreter that ends with its server running: whoever calls is told."""
    interpreter = interpreters(False)
    if type(interpreter) is str:
        say("skip: " + interpreter)
        return
    import ipcdatastore

    one = interpreter()
    one.run(
        "import ipcdatastore\nfrom calls.served import Thing\n"
        f"server = ipcdatastore.serve_object('thing', Thing(), directory={directory!r})\nserver.poll()"
    )
    link = ipcdatastore.Link("thing", directory, 60)
    assert link.available()
    one.destroy()
    try:
        link.proxy.give(1)
    except ipcdatastore.ServerUnavailableError:
        pass
    else:
        raise AssertionError("no error")
    two = interpreter()
    two.run(
        "import ipcdatastore\nfrom calls.served import Thing\n"
        f"server = ipcdatastore.serve_object('thing', Thing(), directory={directory!r})\nserver.stop()"
    )
    two.destroy()
    say("done")


def test_an_interpreter_that_ends_with_its_server(directory, start):
    said = start(destroyed_in_the_middle, directory, uses=(interpreters,)).finish()
    if said[0].startswith("skip: "):
        pytest.skip(said[0][6:])
    assert said == ["done"]
    assert left_in(directory) == []
