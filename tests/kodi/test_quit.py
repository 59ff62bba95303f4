"""Kodi quits at once, whatever scripts are doing with the store."""

import pytest

import ipcdatastore

from .addon import Service
from .conftest import REGION, images_of, reboot, wait_until_up
from .staging import ONE, TWO

# Seconds; after 5 Kodi would kill scripts. Without any addon it takes 1.5, one of them due to the server by which the
# tests talk to it. What it takes on a machine that does nothing else, and whether that is below 2, is in the figures.
LIMIT = 4.0


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
EVERYBODY = [reads, writes, *WAITERS]


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
    [[], [reads, writes], WAITERS, EVERYBODY],
    ids=["nobody", "readers and writers", "waiters", "everybody"],
)
def test_kodi_quits_with_scripts_busy(booting, memory, note, functions):
    reboot(memory)  # or the images would go on being written where the last Kodi had its own
    kodi = booting()
    kodi.expected += ["Traceback", "EXCEPTION Thrown"]  # nobody catches what a wait ends with
    kodi.start()
    wait_until_up(kodi)
    Service(kodi).set("persist", "true")
    seconds = quit_with(kodi, memory, functions)
    assert "didn't stop in" not in kodi.log()
    note(f"Kodi quit in {seconds:.2f} s with {len(functions)} scripts busy")
    assert seconds < LIMIT
