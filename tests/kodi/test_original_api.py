"""Scripts of 2014 in a real Kodi: one addon exposes an object, another calls it, and values by author and name."""

import json
import statistics

import pytest

import ipcdatastore
from addons.old import BEFORE
from children import crew

from .conftest import REGION, wait_until_up
from .staging import ONE, TWO

CALLS = 1000
LIMIT = 2.0  # milliseconds for one call, the median
QUIT_LIMIT = 4.0  # seconds; after 5 Kodi would kill scripts


def serves(name):
    """An addon with a server of its own object; whoever calls `end` ends it."""
    import threading

    import xbmc
    from ipc.ipcserver import IPCServer

    class Shared:
        def __init__(self):
            self.ended = threading.Event()
            self.closed = 0

        def add(self, a, b):
            return a + b

        def fail(self, number):
            return 1 / number

        def end(self):
            self.ended.set()

        def close(self):
            self.closed += 1

    server = IPCServer(Shared(), name=name)
    server.start()
    monitor = xbmc.Monitor()
    while not server.expose_obj.ended.is_set() and not monitor.waitForAbort(0.05):
        pass
    server.stop()
    return [server.uri, server.running, server.expose_obj.closed]


def calls(name, times):
    """The other addon: results, the remote traceback, and seconds of each call."""
    import time

    import xbmc
    from ipc.ipcclient import IPCClient

    client, monitor = IPCClient(name=name), xbmc.Monitor()
    while not client.server_available() and not monitor.waitForAbort(0.01):
        pass
    there = client.get_exposed_object()
    found = [there.add(1, 2), there.add("a", "b")]
    try:
        there.fail(0)
    except ZeroDivisionError:
        found.append("return 1 / number" in client.get_traceback() or "in fail" in client.get_traceback())
    seconds = []
    for number in range(times):
        begun = time.perf_counter()
        there.add(number, 1)
        seconds.append(time.perf_counter() - begun)
    return [found, seconds]


def test_one_addon_calls_an_object_of_another(kodi, memory, note):
    server = kodi.start_script(ONE, serves, "shared")
    found, seconds = kodi.run(TWO, calls, "shared", CALLS, seconds=60)
    assert found == [3, "ab", True]
    there = ipcdatastore.connect("shared@localhost~9099", directory=memory)  # and so does a program
    assert there.add([1], [2]) == [1, 2]
    there.end()
    assert server.result() == ["PYRO:shared@localhost:9099", False, 1]
    median = statistics.median(seconds) * 1e3
    most = sorted(seconds)[-CALLS // 100] * 1e3
    note(f"a call of another addon's object: median {median:.3f} ms, 99 of 100 {most:.3f} ms")
    assert median < LIMIT


def values_of_old(author):
    """All verbs, as a script of another addon uses them."""
    import sys

    import xbmcaddon

    sys.path.insert(0, xbmcaddon.Addon("service.ipcdatastore").getAddonInfo("path"))
    from ipc.ipcclientx import IPCClientX as FromTheModule
    from resources.lib import ipcclientxerrors
    from resources.lib.ipcclientx import IPCClientX

    client = IPCClientX(addon_id="service.ipcdatastore")
    default = IPCClientX()
    found = {"same class": IPCClientX is FromTheModule, "available": client.server_available()}
    found["set"] = client.set("x", {"a": [1]})
    first, second = (client.get("x", return_tuple=True) for _ in range(2))
    found["got"] = [first.value, first.cached, second.cached, isinstance(first.ts, float)]
    found["default"] = default.get("x")
    found["other"] = client.get("from outside", author="outside")
    found["list"] = client.get_data_list(author)
    found["saved"] = [client.savedata(), client.delete("x"), client.restoredata(), client.get("x")]
    found["deleted"] = [client.delete_data(), client.delete_data()]
    found["kept"] = [client.add_persistence("x"), client.remove_persistence("x")]
    client.raise_exception = True
    try:
        client.get("garbage")
    except ipcclientxerrors.VarNotFoundError as error:
        found["error"] = [error.errno, "garbage" in error.message]
    return found


@pytest.mark.parametrize("addon", [ONE, TWO])
def test_values_at_the_service(kodi, outside, addon):
    outside[("outside", "from outside")] = (1, 2)
    found = kodi.run(addon, values_of_old, addon)
    assert found == {
        "same class": True,
        "available": True,
        "set": True,
        "got": [{"a": [1]}, False, True, True],
        "default": {"a": [1]},
        "other": [1, 2],
        "list": {addon: ["x"]},
        "saved": [True, {"a": [1]}, True, {"a": [1]}],
        "deleted": [True, False],
        "kept": [True, True],
        "error": [1, True],
    }
    assert outside[(addon, "x")] == {"a": [1]}


def runs_script(path, order):
    import xbmc

    xbmc.executebuiltin(f"RunScript({path},{order})")


def says_who_it_is():
    from ipc.ipcclientx import IPCClientX

    return IPCClientX().addonname


def test_the_author_under_run_script(kodi, tmp_path):
    """The fault of old: it was guessed from the name of the file, and wrong for a script that is run by its path."""
    assert kodi.run(TWO, says_who_it_is) == TWO
    answer = kodi.home.path / "answer-of-a-path.json"
    order = kodi.home.path / "order-of-a-path.json"
    source = f"import sys; sys.path.insert(0, {module_path(kodi)!r})\n" + textwrap_of(says_who_it_is)
    order.write_text(
        json.dumps({"source": source, "function": "says_who_it_is", "arguments": [], "answer": str(answer)}), "utf-8"
    )
    kodi.run(ONE, runs_script, path_of(kodi, TWO, "default.py"), str(order))
    kodi.wait_for(answer.exists)
    assert json.loads(answer.read_text("utf-8")) == {"result": TWO}


def path_of(kodi, addon, file):
    return str(kodi.home.path / ".kodi" / "addons" / addon / file)


def module_path(kodi):
    return path_of(kodi, "script.module.ipc", "lib")


def textwrap_of(function):
    import inspect

    return inspect.getsource(function)


def uses_the_client_all_the_time():
    """Sets and gets until it is told to end: what it could not do, and how often it did."""
    import xbmc
    from ipc.ipcclientx import IPCClientX

    client, monitor = IPCClientX(), xbmc.Monitor()
    client.set("end", False)
    number = wrong = failed = 0
    client.set("here", True)
    while not client.get("end") and not monitor.waitForAbort(0.005):
        number += 1
        if not client.set("number", number):
            failed += 1
        elif client.get("number") != number:
            wrong += 1
    return [number, failed, wrong, client.get("number")]


def tells_it_to_end(author):
    from ipc.ipcclientx import IPCClientX

    return IPCClientX().set("end", True, author=author)


def test_a_client_goes_on_when_the_store_moves(kodi, service, memory):
    script = kodi.start_script(ONE, uses_the_client_all_the_time)
    with ipcdatastore.open(REGION, directory=memory, mode="w") as store:
        kodi.wait_for(lambda: store.get((ONE, "here")))
    service.log_since(lambda: service.set("place", "data"), "moved from")
    assert kodi.run(TWO, tells_it_to_end, ONE)
    number, failed, wrong, last = script.result()
    assert (failed, wrong, last) == (0, 0, number)
    service.log_since(service.restore, "moved from")


def is_available():
    from ipc.ipcclientx import IPCClientX

    return [IPCClientX().server_available(), IPCClientX(addon_id="service.ipcdatastore").server_available()]


def test_the_server_is_there_as_long_as_the_service(kodi, service, outside):
    assert kodi.run(ONE, is_available) == [True, True]
    service.log_since(lambda: service.set("startserver", "false"), "stopped, as the settings say")
    assert kodi.run(ONE, is_available) == [False, False]
    service.log_since(service.restore, "is up with")
    assert kodi.run(ONE, is_available) == [True, True]


def reads_of_old(author, name):
    from ipc.ipcclientx import IPCClientX

    client = IPCClientX()
    client.raise_exception = True
    say(client.get(name, author))


def say(value):
    """Of the child."""


def test_a_program_outside(kodi, outside, memory, monkeypatch):
    outside[("me", "x")] = [1]
    monkeypatch.setenv("IPCDATASTORE_DIR", str(memory))
    with crew() as start:
        assert start(reads_of_old, "me", "x", before=BEFORE).finish() == [[1]]


def serves_for_ever():
    import ipc
    import xbmc
    from ipc.datastore import DataObjects
    from ipc.ipcserver import IPCServer

    IPCServer(DataObjects(), name="for ever").start()
    with ipc.open("busy") as store:
        store.increment("here")
    xbmc.Monitor().waitForAbort()


def falls_off_its_end():
    """A server ends with its script, as Kodi has it: a thread that outlives that one is waited for, and killed."""
    import ipc
    from ipc.datastore import DataObjects
    from ipc.ipcserver import IPCServer

    IPCServer(DataObjects(), name="for ever").start()
    with ipc.open("busy") as store:
        store.increment("here")


def waits_in_a_call():
    import ipc
    from ipc.ipcclient import IPCClient

    with ipc.open("busy") as store:
        store.increment("here")
    there = IPCClient(name="for ever").get_exposed_object()
    while True:
        there.get_data_list()


@pytest.mark.parametrize("server", [serves_for_ever, falls_off_its_end])
def test_kodi_quits_with_a_server_that_nobody_stopped(booting, memory, note, server):
    kodi = booting()
    kodi.expected += ["Traceback", "EXCEPTION Thrown"]  # nobody catches what a call ends with
    with kodi:
        wait_until_up(kodi)
        with ipcdatastore.open(REGION, directory=memory, mode="w") as store:
            store.pop(("busy", "here"), None)
            for number, (addon, function) in enumerate([(ONE, server), (TWO, waits_in_a_call)], 1):
                kodi.start_script(addon, function)
                kodi.wait_for(lambda number=number: store.get(("busy", "here")) == number)
            assert kodi.quit() == 0
        assert "didn't stop in" not in kodi.log()
        note(f"Kodi quit in {kodi.quit_seconds:.2f} s with a server that nobody stopped")
        assert kodi.quit_seconds < QUIT_LIMIT
