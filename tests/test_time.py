"""Clocks that jump: set back, set forward, started anew. What counts is the clock that nobody sets."""

import importlib
import time

import pytest

import ipcdatastore
from disks import place  # noqa: F401 - a fixture
from ipcdatastore import platform

DAY = 86400 * 10**9


@pytest.fixture
def wall(monkeypatch):
    """``wall(by)`` sets the wall clock so many nanoseconds forward, or back."""
    real = time.time_ns

    def jump(by):
        monkeypatch.setattr(time, "time_ns", lambda: real() + by)
        monkeypatch.setattr(time, "time", lambda: (real() + by) / 1e9)

    return jump


@pytest.mark.parametrize("by", [-10000 * DAY, -DAY, -1, 1, DAY, 10000 * DAY])
def test_a_wall_clock_that_jumps(place, wall, by):  # noqa: F811
    with place.open(persist=True) as store:
        store.set("mortal", 1, expire=1000)
        store["immortal"] = 1
        first = store.set("a", 1)
        with store.watch(timeout=0) as events:
            wall(by)
            assert store["mortal"] == 1, "the wall clock lets nothing expire"
            assert store.get("uncached", 5) == 5
            assert store.set("a", 2) > first
            with store.transaction() as unit:
                unit["b"] = unit["a"]
            store.set("mortal too", 1, expire=1000)
            assert store.wait("a", 0, 0) is not None
            assert [event.key for event in events.poll()] == ["a", "b", "mortal too"]
        entry = store.get_entry("mortal")
        assert 0 < entry.expires_at - time.time() <= 1000
        store.flush()
        store["a"] = 3
        store.flush()
        assert store.check() == []
        held = dict(store)
    place.reboot()
    with place.open() as store:
        assert dict(store) == held
        assert store.check() == []


@pytest.mark.parametrize("by", [-10 * DAY, 10 * DAY])
def test_the_clock_of_another_boot(place, monkeypatch, by):  # noqa: F811
    """After a reboot the clock that nobody sets begins anew: what was to expire expires as the wall clock says."""
    with place.open(persist=True) as store:
        store.set("soon", 1, expire=100)
        store.set("later", 1, expire=10**6)
        store["never"] = 1
        store.flush()
    place.reboot()
    real = platform.now_ns
    for name in ("load", "reader", "frame", "restore", "store", "snapshot", "space", "platform", "waiting"):
        module = importlib.import_module(f"ipcdatastore.{name}")
        if hasattr(module, "now_ns"):
            monkeypatch.setattr(module, "now_ns", lambda: max(real() + by, 1))
    with place.open() as store:
        assert dict(store) == {"soon": 1, "later": 1, "never": 1}
        assert 0 < store.get_entry("soon").expires_at - time.time() <= 100
        assert store.check() == []


def test_a_region_that_an_earlier_boot_left(place, monkeypatch):  # noqa: F811
    """It is not the live one: its locks and its clock are of another time."""
    with place.open(persist=True) as store:
        store["kept"] = 1
        store.flush()
        store["unflushed"] = 1
    monkeypatch.setattr(platform, "boot_id", lambda: b"another boot id!")
    for mode in ("r", "w"):
        with pytest.raises(ipcdatastore.RegionNotFoundError):
            place.open(mode=mode)
    with place.open() as store:
        assert dict(store) == {"kept": 1}
        assert store.check() == []
