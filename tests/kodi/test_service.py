"""The service starts with Kodi; what scripts use of the library is gone when they end."""

import os
import re
from pathlib import Path

import pytest

from .harness import ScriptError
from .staging import ONE


def test_the_service_is_up_and_has_tested_itself(kodi):
    (line,) = kodi.lines("[service.ipcdatastore] the store ")
    assert "kodi.region is up with 0 values" in line
    (line,) = kodi.lines("[service.ipcdatastore] self-test: ")
    passed, steps = re.search(r"self-test: (\d+) of (\d+) steps passed in \d+ ms", line).groups()
    assert passed == steps
    assert int(steps) > 10


def import_and_open():
    import _thread
    import threading

    def threads():
        return [_thread._count(), threading.active_count()]

    found = [threads()]
    import ipcdatastore

    found.append(threads())
    import ipc

    with ipc.open() as store:
        store["a"] = 1
        store.wait("a", timeout=0.01)
        found.append(threads())
    return [*found, threads(), ipcdatastore.__name__]


def test_no_thread_is_started_by_importing_and_using_it(kodi):
    *threads, _ = kodi.run(ONE, import_and_open)
    assert all(found == threads[0] for found in threads)


def closes():
    import ipc

    with ipc.open() as store:
        store["a"] = 1
        return store["a"]


def does_not_close():
    import ipc

    store = ipc.open()
    store["a"] = 1
    return store["a"]


def ends_in_the_middle_of_everything():
    import ipc

    store = ipc.open()
    events = store.watch()
    store["a"] = 1
    transaction = store.transaction()
    transaction.__enter__()
    transaction["b"] = 2
    store.lock("held").acquire()
    iterator = iter(store)
    next(iterator)
    raise RuntimeError(f"on purpose, with {len(events.poll())} event")


def ends_at_once():
    import sys

    import ipc

    store = ipc.open()
    store["a"] = 1
    store.lock("held").acquire()
    sys.exit(3)


def held_by(kodi, memory):
    """What Kodi has of the region's directory: descriptors, mappings, and the kernel's locks."""
    process = Path(f"/proc/{kodi.pid}")
    files = []
    for descriptor in (process / "fd").iterdir():
        try:
            files.append(os.readlink(descriptor))
        except OSError:  # closed meanwhile
            continue
    maps = [line.split()[-1] for line in (process / "maps").read_text().splitlines() if str(memory) in line]
    inodes = {str(path.stat().st_ino) for path in memory.iterdir()}
    locks = [line.split(None, 1)[1] for line in Path("/proc/locks").read_text().splitlines()]
    return (
        sorted(path for path in files if str(memory) in path),
        sorted(maps),
        sorted(line for line in locks if line.split()[4].split(":")[-1] in inodes),
    )


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (closes, None),
        (does_not_close, None),
        (ends_in_the_middle_of_everything, "on purpose, with 1 event"),
        (ends_at_once, "SystemExit: 3"),
    ],
)
def test_a_script_that_ended_leaves_nothing(kodi, outside, memory, function, error):
    kodi.run(ONE, closes)
    before = None

    def is_still():
        nonlocal before
        seen, before = before, held_by(kodi, memory)
        return seen == before

    kodi.wait_for(is_still)
    if error is None:
        assert kodi.run(ONE, function) == 1
    else:
        kodi.expected += ["Traceback", "EXCEPTION Thrown"]
        with pytest.raises(ScriptError, match=error):
            kodi.run(ONE, function)
    kodi.wait_for(lambda: held_by(kodi, memory) == before, 10, "what it held to be let go")
    with outside.lock((ONE, "held"), timeout=0):
        pass
    assert (ONE, "b") not in outside


def test_disabled_and_enabled_again_and_again(kodi, outside):
    """Also before it has begun, or while it tests itself: nothing is killed, and in the end it is up."""
    ups = len(kodi.lines("is up with"))
    for number in range(12):
        kodi.rpc("Addons.SetAddonEnabled", addonid="service.ipcdatastore", enabled=False)
        kodi.rpc("Addons.SetAddonEnabled", addonid="service.ipcdatastore", enabled=True)
        if number % 3 == 0:
            kodi.wait_for(lambda before=ups: len(kodi.lines("is up with")) > before, 20, "the service to be up")
            ups = len(kodi.lines("is up with"))
    skin = outside.namespace("skin")
    skin["again"] = "there"
    kodi.wait_for(lambda: kodi.label("Window(Home).Property(ipc.skin.again)") == "there")
    del skin["again"]
