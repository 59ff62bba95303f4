"""The package `ipc`: which region, whose names, and when waits end."""

import os
import sys

import pytest

import ipcdatastore
from ipcdatastore import Service


@pytest.fixture
def ipc(load):
    return load("ipc")


@pytest.fixture
def places(load):
    return load("ipc.places")


class TestOpen:
    def test_the_names_are_the_callers(self, ipc, kodi, outside):
        kodi.caller = "script.one"
        with ipc.open() as store:
            store["progress"] = 40
        assert outside()[("script.one", "progress")] == 40

    def test_another_author(self, ipc, kodi, outside):
        kodi.caller = "script.two"
        outside()[("script.one", "progress")] = 41
        with ipc.open("script.one") as store:
            assert dict(store) == {"progress": 41}

    def test_everything(self, ipc, outside):
        outside().update({("script.one", "a"): 1, "odd": 2})
        with ipc.open_all() as store:
            assert dict(store) == {("script.one", "a"): 1, "odd": 2}

    def test_a_script_of_no_addon(self, ipc, kodi):
        kodi.caller = None
        with pytest.raises(ipcdatastore.ArgumentError, match=r"ipc\.open\(\"script\.mine\"\)"):
            ipc.open()
        with ipc.open("script.mine") as store:
            assert store == {}

    @pytest.mark.parametrize("author", ["", 3, b"script", ("a",)])
    def test_what_is_no_author(self, ipc, author):
        with pytest.raises(ipcdatastore.ArgumentError, match="author"):
            ipc.open(author)

    def test_nothing_is_left_open(self, ipc, kodi):
        if not os.path.isdir("/proc/self/fd"):
            pytest.skip("this system does not list descriptors")
        before = len(os.listdir("/proc/self/fd"))
        ipc.open("script.one").close()
        assert len(os.listdir("/proc/self/fd")) == before

    def test_without_the_service_images_come_back(self, ipc, places, kodi, directory):
        place = places.configured()
        with Service("kodi", directory=directory, snapshot_directory=place.images) as service:
            service.store[("script.one", "a")] = "kept"
        os.unlink(directory / "kodi.region")  # a boot
        with ipc.open("script.one") as store:
            assert store["a"] == "kept"
            assert store.stats()["snapshot_directory"] == place.images
            assert store.check() == []

    def test_a_region_that_is_there_knows_its_images(self, ipc, outside, tmp_path):
        other = outside(snapshot_directory=tmp_path / "other")
        other.set("a", 1, persist=True)
        other.flush()
        with ipc.open("script.one") as store:
            assert store.stats()["snapshot_directory"] == str(tmp_path / "other")


class Counter:
    def __init__(self):
        self.value = 0

    def add(self, number):
        self.value += number
        return self.value


class TestObjects:
    def test_served_and_called(self, ipc, kodi, directory):
        kodi.settings["place"] = "data"  # of values; objects are in memory all the same
        with ipc.serve_object("counter", Counter()).start():
            assert ipc.connect("counter", timeout=5).add(2) == 2
            assert ipcdatastore.connect("counter", directory=directory).add(3) == 5
        with pytest.raises(ipcdatastore.ServerUnavailableError):
            ipc.connect("counter")

    def test_a_server_ends_with_kodi(self, ipc, kodi):
        server = ipc.serve_object("counter", Counter())
        kodi.aborted = True
        with pytest.raises(ipcdatastore.WaitEndedError):
            server.run_forever()
        server.stop()

    def test_a_server_ends_with_its_script(self, ipc, kodi, monkeypatch):
        """Kodi sets a flag of old, and then waits for the threads of the script."""
        server = ipc.serve_object("counter", Counter())
        monkeypatch.setattr(sys.modules["xbmc"], "abortRequested", True, raising=False)
        with pytest.raises(ipcdatastore.WaitEndedError):
            server.run_forever()
        server.stop()


class TestWaits:
    def test_end_when_kodi_does(self, ipc, kodi):
        with ipc.open("script.one") as store:
            kodi.aborted = True
            with pytest.raises(ipcdatastore.WaitEndedError, match="Kodi"):
                store.wait("never")

    def test_one_monitor_a_script(self, ipc, kodi):
        for _ in range(3):
            ipc.open("script.one").close()
        assert len(kodi.monitors) == 1

    def test_grace(self, ipc, kodi):
        ends = ipc.KodiEnds(grace=1000.0)
        kodi.aborted = True
        ends()
        ends()
        ends.until -= 2000
        with pytest.raises(ipcdatastore.WaitEndedError):
            ends()


class TestPlaces:
    def test_defaults(self, places, kodi):
        place = places.configured()
        assert (place.name, place.directory) == ("kodi", None)
        assert place.images == os.path.abspath(kodi.home / "profile/addon_data/service.ipcdatastore/images/kodi")

    def test_without_the_service_addon(self, places, kodi):
        with_it = places.configured()
        kodi.has_service = False
        assert places.configured() == with_it

    def test_the_settings_count(self, places, kodi):
        kodi.settings.update(data_name="den", place="data")
        place = places.configured()
        assert place.name == "den"
        assert place.directory.endswith(os.path.join("service.ipcdatastore", "region"))
        assert place.images.endswith(os.path.join("images", "den"))

    def test_the_running_service_counts_more(self, places, ipc, kodi):
        assert not ipc.is_running()
        places.publish(places.Place("other", "/a b/c", "/d"))
        assert ipc.is_running()
        assert places.current() == places.Place("other", "/a b/c", "/d")
        places.publish(None)
        assert places.current() == places.configured()
        assert kodi.properties == {}

    @pytest.mark.skipif(not os.path.isdir("/proc"), reason="memory is where the library says")
    def test_no_memory_here(self, places, kodi, monkeypatch):
        monkeypatch.delenv("IPCDATASTORE_DIR")
        monkeypatch.setattr(places, "MEMORY_DIRECTORIES", ("/nonexistent/shm",))
        kodi.settings["place"] = "memory"
        with pytest.raises(ipcdatastore.PlaceError, match="automatic"):
            places.configured()
        kodi.settings["place"] = "auto"
        assert places.configured().directory == os.path.abspath(kodi.home / "temp/ipcdatastore")

    def test_memory(self, places, kodi, monkeypatch, tmp_path):
        monkeypatch.delenv("IPCDATASTORE_DIR")
        monkeypatch.setattr(places, "MEMORY_DIRECTORIES", (str(tmp_path),))
        kodi.settings["place"] = "memory"
        assert places.configured().directory is None


def test_import_is_lean(load):
    before = set(sys.modules)
    load("ipc")
    new = {name.split(".")[0] for name in set(sys.modules) - before}
    assert not new & {"typing", "json", "threading", "ctypes", "selectors", "subprocess", "contextlib", "filelock"}
