"""Each setting does what it says, at once: changed by a script, as Kodi's own dialog does, and by keys."""

import pytest

import ipcdatastore

from .addon import SERVICE
from .conftest import REGION, images_of
from .harness import ScriptError
from .staging import ONE, TWO


def what_is_there():
    """(whether the service runs, where the region is, what this addon has in it)"""
    import ipc

    with ipc.open_all() as store:
        own = store.namespace(ipc.caller())
        return [ipc.is_running(), store.stats()["path"], dict(own)]


def stores(name, value):
    import ipc

    with ipc.open() as store:
        store[name] = value


def stores_much(size):
    import ipc

    import ipcdatastore

    with ipc.open() as store:
        try:
            store["much"] = bytes(size)
        except ipcdatastore.TooLargeError as error:
            return str(error)
        try:
            for number in range(1000):
                store[number] = bytes(10_000)
        except ipcdatastore.StoreFullError:
            return "full"
        finally:
            store.clear()
        return "stored"


def is_running(kodi):
    return kodi.run(ONE, what_is_there)[0]


# --- the region --------------------------------------------------------------------------------------
def test_startserver_stops_and_starts_the_service(kodi, service, outside):
    outside[(ONE, "kept")] = "through it all"
    service.log_since(lambda: service.set("startserver", "false"), "stopped, as the settings say")
    running, _, found = kodi.run(ONE, what_is_there)
    assert (running, found["kept"]) == (False, "through it all")
    assert outside.stats()["coordinator"] is None
    service.set("startserver", "true")
    running, _, found = kodi.run(ONE, what_is_there)
    assert (running, found["kept"]) == (True, "through it all")


def test_data_name_is_the_name_of_the_region(kodi, service, outside, memory):
    outside[(ONE, "here")] = 1
    line = service.log_since(lambda: service.set("data_name", "other"), "other.region is up with")
    assert line.endswith("other.region is up with 0 values")
    kodi.run(ONE, stores, "there", 2)
    assert kodi.run(TWO, what_is_there)[1] == str(memory / "other.region")
    with ipcdatastore.open("other", directory=memory, mode="w") as other:
        assert dict(other.namespace(ONE)) == {"there": 2}
        assert other.check() == []
    service.log_since(service.restore, "kodi.region is up with")
    assert "there" not in kodi.run(ONE, what_is_there)[2]


def test_a_name_that_cannot_be_is_said_and_can_be_mended(kodi, service):
    kodi.expected.append("the name 'a/b' has characters")
    kodi.expected += ["Traceback", "EXCEPTION Thrown"]
    service.log_since(lambda: service.set("data_name", "a/b"), "the name 'a/b' has characters")
    with pytest.raises(ScriptError, match="InvalidNameError"):
        kodi.run(ONE, what_is_there)
    service.log_since(service.restore, "kodi.region is up with")
    assert is_running(kodi)


def test_place_takes_all_values_along(kodi, service, memory):
    outside = ipcdatastore.open(REGION, directory=memory, mode="w")
    outside.set_many({(ONE, "a"): [1, 2], (TWO, "b"): None})
    before = dict(outside)
    service.log_since(lambda: service.set("place", "data"), "moved from")
    path = kodi.home.addon_data(SERVICE) / "region" / "kodi.region"
    assert kodi.run(ONE, what_is_there)[:2] == [True, str(path)]
    assert not (memory / "kodi.region").exists()
    with pytest.raises(ipcdatastore.RegionNotFoundError):
        outside["c"] = 1
    outside.close()
    with ipcdatastore.open(REGION, directory=path.parent, mode="w") as moved:
        assert dict(moved) == before
        moved["c"] = 3
        assert moved.check() == []
    service.log_since(lambda: service.set("place", "auto"), "moved from")
    assert not path.exists()
    with ipcdatastore.open(REGION, directory=memory, mode="w") as back:
        assert dict(back) == {**before, "c": 3}
        assert back.check() == []
    service.write("place", "memory")  # which is what `auto` has chosen: nothing moves
    assert kodi.run(ONE, what_is_there)[:2] == [True, str(memory / "kodi.region")]
    service.write("place", "auto")


def test_maxsize_is_the_limit(kodi, service):
    service.set("maxsize", "2")
    assert "more than the region" in kodi.run(ONE, stores_much, 3 << 20)
    assert kodi.run(ONE, stores_much, 1000) == "full"
    service.set("maxsize", "32")
    assert kodi.run(ONE, stores_much, 3 << 20) == "stored"


# --- keeping -----------------------------------------------------------------------------------------
def test_persist_keeps_everything_within_the_interval(kodi, service, outside, content_of):
    service.set("flush_interval", "5")
    service.set("persist", "true")
    before = images_of(kodi)
    outside[(ONE, "everything")] = "is kept"
    kodi.wait_for(lambda: images_of(kodi) and images_of(kodi) != before, 20, "an image")
    kodi.wait_for(lambda: content_of(images_of(kodi)[-1]).get((ONE, "everything")) == "is kept", 20, "the value in it")


def test_without_persist_only_marked_values_are_kept(kodi, service, outside, content_of):
    service.set("flush_interval", "5")
    outside.set((ONE, "marked"), 1, persist=True)
    outside.set((ONE, "plain"), 2)
    kodi.wait_for(
        lambda: images_of(kodi) and content_of(images_of(kodi)[-1]) == {(ONE, "marked"): 1}, 20, "an image of it"
    )
    assert outside[(ONE, "plain")] == 2
    outside.remove_persistence((ONE, "marked"))


# --- the dialog --------------------------------------------------------------------------------------
def test_scaling_out_cannot_be_set_yet(service):
    service.open()
    labels = service.reachable()
    names = ["Start with Kodi", "Name of the region", "Place", "Maximum size", "Keep everything", "Save after a change"]
    assert [label for label, name in zip(labels, names) if not label.startswith(name)] == []
    assert len(labels) == len(names)  # the server's address and port are there, but nobody gets to them


def test_what_depends_on_a_switch_is_enabled_by_it(service):
    service.open()
    service.category("Skin and video")
    assert not service.is_enabled("Show it as a notification")
    service.focus("Share what is playing")
    service.select()
    service.kodi.wait_for(lambda: service.focused().endswith("(*)"))
    service.kodi.wait_for(lambda: service.is_enabled("Show it as a notification"))  # the dialog is in no hurry
    assert service.is_enabled("Which values")
    service.focus("Show values in the skin")
    service.select()
    service.kodi.wait_for(lambda: service.focused().endswith("( )"))
    service.kodi.wait_for(lambda: not service.is_enabled("Which values"))


def test_the_service_is_switched_off_and_on_by_keys(kodi, service):
    for state, line in (("( )", "stopped, as the settings say"), ("(*)", "is up with")):
        service.open()
        assert service.focus("Start with Kodi").endswith("(*)" if state == "( )" else "( )")
        service.select()
        kodi.wait_for(lambda state=state: service.focused().endswith(state))
        service.log_since(service.accept, line)
        assert is_running(kodi) is (state == "(*)")


def test_every_setting_has_a_label_and_a_help(kodi, service):
    service.open()
    for category in ("Store", "Skin and video", "Tests and tools"):
        service.category(category)
        for label in service.reachable():
            assert label
            service.focus(label)
            kodi.wait_for(lambda: len(kodi.label("Control.GetLabel(6)")) > 20, 5, f"help for {label}")
