"""What is there after Kodi has quit, was killed, or the machine was rebooted: whatever was promised to be kept."""

import signal

import pytest

import ipcdatastore

from .addon import Service
from .conftest import REGION, images_of, reboot, wait_until_up
from .staging import ONE, TWO

PLAIN, MARKED = (ONE, "plain"), (ONE, "marked")
WRITES = 300  # of each writer, before Kodi is killed in the middle of theirs


@pytest.fixture
def kodi(booting, memory):
    """A Kodi of the test's own, with a new home and no region. It is up."""
    reboot(memory)
    kodi = booting()
    kodi.start()
    wait_until_up(kodi)
    yield kodi
    kodi.close()
    reboot(memory)


@pytest.fixture
def use(memory):
    """``with use() as store``: this process's handle; the region is whole when it is closed."""

    class Use:
        def __enter__(self):
            self.store = ipcdatastore.open(REGION, directory=memory, mode="w")
            return self.store

        def __exit__(self, *exc):
            with self.store:
                assert self.store.check() == []

    return Use


def start_again(kodi):
    kodi.start()
    wait_until_up(kodi)


def stores_both():
    import ipc

    with ipc.open() as store:
        store.set("plain", {"a": 1})
        store.set("marked", [1, 2], persist=True)


@pytest.mark.parametrize("persist", ["true", "false"])
def test_a_clean_end_and_a_reboot(kodi, memory, use, persist):
    Service(kodi).set("persist", persist)
    kodi.run(ONE, stores_both)
    assert kodi.quit() == 0
    assert kodi.lines("[service.ipcdatastore] stopped")
    assert len(images_of(kodi)) == 1
    reboot(memory)
    start_again(kodi)
    with use() as store:
        expected = {MARKED: [1, 2], **({PLAIN: {"a": 1}} if persist == "true" else {})}
        assert dict(store) == expected
    assert f"is up with {len(expected)} values, {len(expected)} of them from" in kodi.lines(" is up with ")[0]


def test_a_clean_end_without_a_reboot(kodi, use):
    kodi.run(ONE, stores_both)
    assert kodi.quit() == 0
    start_again(kodi)
    with use() as store:
        assert dict(store) == {MARKED: [1, 2], PLAIN: {"a": 1}}


def test_a_kill_and_a_reboot(kodi, memory, use):
    Service(kodi).set("persist", "true")
    kodi.run(ONE, stores_both)
    with use() as store:
        store.flush()
        store[(ONE, "later")] = "not on the disk yet"
    kodi.kill()
    reboot(memory)
    start_again(kodi)
    with use() as store:
        assert dict(store) == {MARKED: [1, 2], PLAIN: {"a": 1}}


def test_a_kill_alone(kodi, use):
    kodi.run(ONE, stores_both)
    kodi.kill()
    with use() as store:
        store[(ONE, "meanwhile")] = 1
    start_again(kodi)
    with use() as store:
        assert dict(store) == {MARKED: [1, 2], PLAIN: {"a": 1}, (ONE, "meanwhile"): 1}


def writes_for_ever(name):
    import ipc

    number = 0
    with ipc.open("writers") as store:
        while True:
            number += 1
            with store.transaction() as unit:
                unit[name] = number
                unit[name + " too"] = bytes(number % 5000)
            store.increment("sum")


def writes_much(name):
    import ipc

    with ipc.open("writers") as store:
        for number in range(10**9):
            store[f"{name}{number % 50}"] = "x" * (number % 3000)


@pytest.mark.parametrize("persist", ["true", "false"])
def test_a_kill_in_the_middle_of_writing(kodi, use, persist):
    service = Service(kodi)
    service.set("flush_interval", "5")
    service.set("persist", persist)
    scripts = [
        kodi.start_script(ONE, writes_for_ever, "one"),
        kodi.start_script(TWO, writes_for_ever, "two"),
        kodi.start_script(TWO, writes_much, "three"),
    ]
    with use() as outside:
        store = outside.namespace("writers")
        kodi.wait_for(lambda: min(store.get("one", 0), store.get("two", 0)) > WRITES)
        kodi.kill()
        assert outside.check() == []
        count = {name: store[name] for name in ("one", "two")}
        for name, number in count.items():
            assert len(store[f"{name} too"]) == number % 5000
        # Each increment follows its transaction, and Kodi was killed between the two, or not.
        assert sum(count.values()) - store["sum"] in (0, 1, 2)
        before = store["sum"]
        for _ in range(WRITES):
            store.increment("sum")
        assert store["sum"] == before + WRITES
        found = dict(outside)
        start_again(kodi)
        assert dict(outside) == found
        outside[(ONE, "it")] = "goes on"
    assert not any(script.is_over for script in scripts)


def test_kodi_ends_by_a_signal_as_by_its_menu(kodi, memory, use):
    Service(kodi).set("persist", "true")
    kodi.run(ONE, stores_both)
    process = kodi.process
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    kodi.close()
    reboot(memory)
    start_again(kodi)
    with use() as store:
        assert dict(store) == {MARKED: [1, 2], PLAIN: {"a": 1}}
