"""Kodi quits at once, whatever scripts are doing with the store."""

import pytest

import ipcdatastore

from .addon import Service
from .conftest import REGION, images_of, reboot, wait_until_up
from .staging import ONE, TWO

# Seconds. A Kodi without any addon takes 1.5, one of them because of the server by which the tests talk to it.
LIMIT = 2.0
ATTEMPTS = 3  # the machine may be busy with other things


def is_here(store):
    store.increment("here")


def reads():
    import ipc
    import xbmc

    monitor = xbmc.Monitor()
    with ipc.open("busy") as store:
        is_here(store)
        while not monitor.abortRequested():
            for _ in range(1000):
                store.get("here")
            monitor.waitForAbort(0.001)


def writes():
    import ipc
    import xbmc

    monitor = xbmc.Monitor()
    number = 0
    with ipc.open("busy") as store:
        is_here(store)
        while not monitor.abortRequested():
            number += 1
            store["number"] = number
            store.increment("sum")


def waits_for_a_key():
    import ipc

    with ipc.open("busy") as store:
        is_here(store)
        store.wait("never", since=0)


def waits_for_a_lock():
    import ipc

    with ipc.open("busy") as store:
        is_here(store)
        with store.lock("taken"):
            pass


def watches():
    import ipc

    with ipc.open("quiet") as quiet, ipc.open("busy") as store:
        is_here(store)
        for _ in quiet.watch():
            pass


def waits_for_a_value():
    import ipc

    with ipc.open("busy") as store:
        is_here(store)
        store.get_or_set("never", lambda: store.wait("never either", since=0))


WAITERS = [waits_for_a_key, waits_for_a_lock, watches, waits_for_a_value]


def quit_with(kodi, memory, functions):
    """Quit while scripts run these functions: seconds."""
    with ipcdatastore.open(REGION, directory=memory, mode="w") as store:
        busy = store.namespace("busy")
        busy["here"] = 0
        with store.lock(("busy", "taken")):
            for index, function in enumerate(functions):
                kodi.start_script((ONE, TWO)[index % 2], function, uses=[is_here])
            kodi.wait_for(lambda: busy["here"] == len(functions))
            before = images_of(kodi)
            assert kodi.quit() == 0
        assert store.check() == []
        assert kodi.lines("[service.ipcdatastore] stopped")
        assert images_of(kodi)
        assert images_of(kodi) != before
    return kodi.quit_seconds


@pytest.mark.parametrize(
    "functions",
    [[], [reads, writes], WAITERS, [reads, writes, *WAITERS]],
    ids=["nobody", "readers and writers", "waiters", "everybody"],
)
def test_kodi_quits_with_scripts_busy(booting, memory, capsys, functions):
    reboot(memory)  # or the images would go on being written where the last Kodi had its own
    kodi = booting()
    kodi.expected += ["Traceback", "EXCEPTION Thrown"]  # nobody catches what a wait ends with
    times = []
    while not times or (times[-1] >= LIMIT and len(times) < ATTEMPTS):
        kodi.start()
        wait_until_up(kodi)
        Service(kodi).set("persist", "true")
        times.append(quit_with(kodi, memory, functions))
        assert "didn't stop in" not in kodi.log()
    with capsys.disabled():
        print(f"\nKodi quit in {', '.join(f'{seconds:.2f} s' for seconds in times)} with {len(functions)} scripts busy")
    assert times[-1] < LIMIT
