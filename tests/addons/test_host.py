"""The service's loop: what it does when settings change, when Kodi ends, and when something fails."""

import pytest

import ipcdatastore
from ipcdatastore import Service, layout
from ipcdatastore.selftest import step_names


@pytest.fixture
def host(load, kodi):
    host = load("host").Host()
    yield host
    host.close()


def run(load, kodi, *steps):
    """The whole service; each of `steps` happens in one wait for Kodi's end."""
    kodi.steps = list(steps)
    load("host").main(load("monitor").Monitor())


def changed(kodi, **settings):
    """The user changes settings."""

    def step():
        kodi.settings.update(settings)
        for monitor in kodi.monitors:
            if hasattr(monitor, "onSettingsChanged"):
                monitor.onSettingsChanged()

    return step


def pause():
    """One more round of the loop."""


def test_up_tested_and_down(load, kodi, outside):
    run(load, kodi, pause, lambda: outside().set(("script.one", "a"), 1))
    lines = kodi.lines()
    steps = len(step_names(quick=True))
    passed = lines.index(f"self-test: {steps} of {steps} steps passed")
    assert lines.index("is up with") < passed < lines.index("stopped")
    assert kodi.properties == {}
    assert {level for level, _ in kodi.log} == {1}
    with Service("kodi", directory=outside()._engine.directory, persist=None):  # its lock is free
        pass


def test_kodi_ends_during_the_self_test(load, kodi):
    kodi.aborted = True
    load("host").main(load("monitor").Monitor())
    assert "self-test" not in kodi.lines()
    assert "stopped" in kodi.lines()


def test_off_and_on_again(load, kodi, outside):
    seen = []
    run(
        load,
        kodi,
        changed(kodi, startserver="false"),
        lambda: seen.append(dict(kodi.properties)),
        changed(kodi, startserver="true"),
        lambda: seen.append(dict(kodi.properties)),
    )
    assert seen[0] == {}
    assert seen[1]["ipcdatastore.region"].startswith("kodi\n")
    assert "stopped, as the settings say" in kodi.lines()


def test_off_from_the_start(load, kodi, directory):
    kodi.settings["startserver"] = "false"
    run(load, kodi, pause, pause)
    assert not (directory / "kodi.region").exists()


def test_another_name(load, kodi, outside):
    seen = []
    run(load, kodi, changed(kodi, data_name="den"), lambda: seen.append(kodi.properties["ipcdatastore.region"]))
    assert seen[0].startswith("den\n")


def test_another_size(load, kodi, outside):
    run(load, kodi, changed(kodi, maxsize="2"), pause)
    assert outside().stats()["max_size"] == 2 << 20


def test_a_move(load, kodi, outside):
    store = outside()
    run(load, kodi, lambda: store.set("a", 1), changed(kodi, place="data"), pause)
    store.close()
    moved = load("settings").read().place.directory
    with ipcdatastore.open("kodi", directory=moved, mode="w") as there:
        assert there["a"] == 1
        assert there.check() == []


def test_a_value_is_answered(host, outside, load):
    host.tick()
    checks = load("checks")
    outside().set(checks.PING, "token")
    host.tick()
    assert outside()[checks.PONG] == "token"


def test_damage_while_it_runs_is_mended(host, kodi, outside):
    host.tick()
    store = outside()
    store["a"] = 1
    words = store._engine.region.words
    words[layout.STATE], words[layout.DIRTY] = (
        layout.STATE_DAMAGED,
        0x7FFFFFFF,
    )  # a writer died, and could not be undone
    host.wishes = host.wishes._replace(serve_video=True)  # something to write
    host.tick()
    host.region._due = 0.0
    host.tick()
    host.tick()
    assert store.check() == []
    store["a"] = 2
    assert "repaired" in kodi.lines()


def test_a_full_store_is_told_and_harms_nothing(host, kodi, outside):
    host.wishes = host.wishes._replace(max_size=1 << 20, serve_video=True)
    host.region.wishes = host.wishes
    host.tick()
    store = outside()
    for size in (2000, 0):
        try:
            for number in range(100_000):
                store[(number, size)] = bytes(size)
        except ipcdatastore.StoreFullError:
            continue
        pytest.fail("it never was full")
    host.video.close(None)
    for _ in range(3):
        host.tick()
    assert host.region.is_keeper
    assert len(kodi.notifications) <= 1


def test_the_addon_is_disabled_before_it_has_begun(load, kodi):
    kodi.has_service = False
    load("host").main(load("monitor").Monitor())
    assert "not started" in kodi.lines()


def test_the_addon_is_disabled_while_it_runs(load, kodi):
    def disabled():
        kodi.has_service = False
        changed(kodi)()

    run(load, kodi, disabled, pause)
    assert "no settings any more" in kodi.lines()
    assert kodi.lines().endswith("stopped")


def test_a_fault_of_ours_is_survived(host, kodi, monkeypatch):
    host.tick()

    def fail(*arguments):
        raise ZeroDivisionError("a fault")

    with monkeypatch.context() as patch:
        patch.setattr(host.bridge, "tick", fail)
        for _ in range(3):
            host._not_before = 0.0
            host.tick()
    assert kodi.lines().count("ZeroDivisionError: a fault") == 1
    host._not_before = host.region._due = 0.0
    host.tick()
    assert host.region.is_keeper


def test_what_plays_is_not_left_behind(host, kodi, outside):
    host.wishes = host.wishes._replace(serve_video=True)
    host.tick()
    key = ("service.ipcdatastore", "videodata")
    outside()[key] = {"pwidth": 1}
    host.close()
    assert outside()[key] is None
