"""The service's region: started, followed, taken over, mended, moved, and brought back from its images."""

import os
import threading
import time

import pytest

import ipcdatastore
from ipcdatastore import Service, engine, layout, lockfile


@pytest.fixture
def settings(load):
    return load("settings")


@pytest.fixture
def make(load, settings):
    """A region of the settings as they are now."""
    made = []

    def make():
        made.append(load("region").Region(settings.read()))
        return made[-1]

    yield make
    for region in made:
        if region.store is not None:
            assert region.store.check() == []
        region.close()


def backups(kodi, directory):
    """What those hold that were made of regions before something took their place."""
    found = []
    for path in kodi.home.glob("profile/addon_data/service.ipcdatastore/images/kodi.before/*.backup"):
        with ipcdatastore.open("look", directory=directory, mode="n") as store:
            store.restore(path)
            found.append(dict(store))
            assert str(path) in kodi.lines()
    return found


def release_locks():
    """As the kernel does when a process dies."""
    for lock in list(lockfile._held):
        lock.release()


def now(region):
    """Have it not wait until it tries again."""
    region._due = 0.0
    return region


class TestStart:
    def test_is_up_with_the_first_tick(self, make, kodi, directory):
        region = make()
        assert 0 < region.tick() <= 60
        assert region.is_keeper
        assert kodi.properties["ipcdatastore.region"].split("\n")[:2] == ["kodi", str(directory)]
        assert "kodi.region is up with 0 values" in kodi.lines()

    def test_options_are_the_settings(self, make, kodi):
        kodi.settings.update(maxsize="3", persist="true", data_name="den")
        region = make()
        region.tick()
        facts = region.store.stats()
        assert (facts["name"], facts["max_size"], facts["persist"]) == ("den", 3 << 20, "all")
        assert facts["snapshot_directory"].endswith(os.path.join("images", "den"))

    @pytest.mark.parametrize("setting", [{"data_name": "a/b"}, {"maxsize": "0"}, {"flush_interval": "0"}])
    def test_settings_that_cannot_be(self, make, kodi, setting):
        kodi.settings.update(setting)
        region = make()
        for _ in range(3):
            now(region).tick()
        assert region.store is None
        assert len(kodi.notifications) == 1
        assert str(next(iter(setting.values()))) in kodi.notifications[0]
        assert len(kodi.log) == 1

    def test_a_number_that_is_none(self, settings, kodi):
        kodi.settings.update(maxsize="", flush_interval="x")
        wishes = settings.read()
        assert (wishes.max_size, wishes.flush_interval) == (64 << 20, 60.0)

    def test_no_such_place(self, make, kodi, load, monkeypatch):
        monkeypatch.delenv("IPCDATASTORE_DIR")
        monkeypatch.setattr(load("ipc.places"), "has_memory", lambda: False)
        kodi.settings["place"] = "memory"
        region = make()
        assert region.tick() > 0
        assert "memory-backed" in kodi.notifications[0]

    def test_the_file_goes_while_it_runs(self, make, kodi, directory):
        region = make()
        region.tick()
        os.unlink(directory / "kodi.region")
        seen = region.store._engine.region
        seen.checked = seen.check_due = 0  # as if a while had passed
        with pytest.raises(ipcdatastore.RegionNotFoundError):
            region.store["a"] = 1
        region.close()
        now(region).tick()
        region.store["a"] = 2
        assert region.is_keeper

    def test_a_problem_with_images_is_told_once(self, make, kodi):
        kodi.settings.update(persist="true")
        region = make()
        region.tick()
        images = region.wishes.place.images
        os.makedirs(os.path.dirname(images), exist_ok=True)
        with open(images, "w", encoding="ascii"):  # a file where the directory should be
            pass
        region.store["a"] = 1
        for _ in range(3):
            region._service.flush()
        assert len(kodi.notifications) == 1
        assert "is not a directory" in kodi.notifications[0]


class TestTwo:
    """Another Kodi of the same user, or a program, looks after the region already."""

    def test_is_followed_and_taken_over(self, make, kodi, directory, tmp_path):
        with Service("kodi", directory=directory, snapshot_directory=tmp_path / "theirs") as service:
            service.store["a"] = 1
            service.flush()
            region = make()
            region.tick()
            assert not region.is_keeper
            assert region.store["a"] == 1
            assert f"process {os.getpid()}: followed" in kodi.lines()
            region.store["b"] = 2
            now(region).tick()
            assert not region.is_keeper
            assert kodi.lines().count("followed") == 1
        now(region).tick()
        assert region.is_keeper
        assert dict(region.store) == {"a": 1, "b": 2}
        # That one's images stay the region's: there is one store.
        assert region.store.stats()["snapshot_directory"] == str(tmp_path / "theirs")

    def test_images_of_another_kodi_are_right(self, make, kodi, directory, tmp_path, settings):
        """Ours are of an older store: what lives counts."""
        images = settings.read().place.images
        with Service("kodi", directory=directory, snapshot_directory=images) as service:
            service.store["old"] = 1
        os.unlink(directory / "kodi.region")
        with Service("kodi", directory=directory, snapshot_directory=tmp_path / "theirs") as service:
            service.store["new"] = 2
        region = make()
        region.tick()
        assert dict(region.store) == {"new": 2}
        assert region.store.stats()["snapshot_directory"] == str(tmp_path / "theirs")
        assert len(os.listdir(images)) >= 1

    def test_a_program_was_first_after_a_boot(self, make, kodi, directory, outside, settings):
        kodi.settings["persist"] = "true"
        images = settings.read().place.images
        with Service("kodi", directory=directory, snapshot_directory=images) as service:
            service.store["kept"] = 1
        os.unlink(directory / "kodi.region")
        other = outside()
        other["of the program"] = 2
        region = make()
        region.tick()
        assert dict(region.store) == {"kept": 1} == dict(other)
        other.close()
        assert region.store.stats()["snapshot_directory"] == images
        assert kodi.notifications == []
        assert backups(kodi, directory) == [{"of the program": 2}]
        region.store["later"] = 3
        region.close()
        os.unlink(directory / "kodi.region")
        now(region).tick()
        assert region.store["later"] == 3


class TestMending:
    @pytest.mark.parametrize("words", [{layout.STATE: layout.STATE_DAMAGED}, {layout.DIRTY: 0x7FFFFFFF}])
    def test_a_damaged_region_is_repaired(self, make, kodi, outside, words):
        store = outside()
        store["a"] = 1
        for word, value in words.items():
            store._engine.region.words[word] = value
        region = make()
        region.tick()
        assert region.is_keeper
        assert region.store["a"] == 1
        assert kodi.notifications == []

    def test_values_come_back_after_a_boot(self, make, kodi, directory):
        kodi.settings["persist"] = "true"
        region = make()
        region.tick()
        region.store["a"] = 1
        region.close()
        os.unlink(directory / "kodi.region")
        again = make()
        again.tick()
        assert again.store["a"] == 1
        assert "1 of them from" in kodi.lines()

    def test_marked_values_only(self, make, kodi, directory):
        region = make()
        region.tick()
        region.store.set("a", 1, persist=True)
        region.store["b"] = 2
        region.close()
        os.unlink(directory / "kodi.region")
        now(region).tick()
        assert dict(region.store) == {"a": 1}


class Killed(BaseException):
    """Kodi was killed."""


class TestMove:
    @pytest.fixture(autouse=True)
    def _at_once(self, load, monkeypatch):
        monkeypatch.setattr(load("region"), "NOTICED", 0.0)

    @pytest.fixture
    def begun(self, make, kodi, settings):
        """A region with two values; and the settings that move it."""
        region = make()
        region.tick()
        region.store.set("a", 1, persist=True)
        region.store["b"] = [2]
        kodi.settings["place"] = "data"
        return region, settings.read()

    def there(self, kodi):
        return kodi.home / "profile/addon_data/service.ipcdatastore/region"

    def test_everything_goes_along(self, begun, kodi, load, directory):
        region, wishes = begun
        module = load("region")
        assert module.wants_move(region.wishes, wishes)
        moved = module.move(region, wishes)
        assert moved.is_keeper
        assert dict(moved.store) == {"a": 1, "b": [2]}
        assert moved.store.stats()["path"] == str(self.there(kodi) / "kodi.region")
        assert moved.store.check() == []
        assert list(directory.glob("*.region")) == []
        assert not (self.there(kodi).parent / "moving").exists()
        assert list((kodi.home / "temp").iterdir()) == []
        assert kodi.properties["ipcdatastore.region"].split("\n")[1] == str(self.there(kodi))
        moved.close()

    def test_and_back(self, begun, kodi, load, settings):
        region, wishes = begun
        moved = load("region").move(region, wishes)
        moved.store["c"] = 3
        kodi.settings["place"] = "auto"
        back = load("region").move(moved, settings.read())
        assert dict(back.store) == {"a": 1, "b": [2], "c": 3}
        back.close()

    def test_what_the_new_place_held_is_kept(self, begun, kodi, load, directory):
        region, wishes = begun
        self.there(kodi).mkdir(parents=True, mode=0o700)
        with ipcdatastore.open("kodi", directory=self.there(kodi)) as store:
            store["old"] = "there"
        moved = load("region").move(region, wishes)
        assert dict(moved.store) == {"a": 1, "b": [2]}
        moved.close()
        assert {"old": "there"} in backups(kodi, directory)

    def test_no_room_there(self, begun, kodi, load, directory):
        region, wishes = begun
        region.store["large"] = bytes(2 << 20)
        stays = load("region").move(region, wishes._replace(max_size=1 << 20))
        assert stays.is_keeper
        assert sorted(stays.store) == ["a", "b", "large"]
        assert stays.store.stats()["path"] == str(directory / "kodi.region")
        assert "the store stays where it was" in kodi.notifications[0]
        assert kodi.properties["ipcdatastore.region"].split("\n")[1] == str(directory)
        stays.close()

    def test_another_program_has_the_new_place(self, begun, kodi, load, directory):
        region, wishes = begun
        self.there(kodi).mkdir(parents=True, mode=0o700)
        with Service("kodi", directory=self.there(kodi), persist=None) as other:
            other.store["theirs"] = 1
            stays = load("region").move(region, wishes)
            assert dict(stays.store) == {"a": 1, "b": [2]}
            assert dict(other.store) == {"theirs": 1}
            stays.close()

    @pytest.mark.parametrize("step", ["rename", "unlink", "backup", "restore"])
    @pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
    def test_killed_in_the_middle(self, begun, kodi, load, make, monkeypatch, step, late):
        """Whatever was done: the next start has everything, in the new place."""
        region, wishes = begun
        kind, name = (os, step) if hasattr(os, step) else (ipcdatastore.Datastore, step)
        real = getattr(kind, name)

        def killed(*arguments):
            if late:
                real(*arguments)
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(kind, name, killed)
            with pytest.raises(Killed):
                load("region").move(region, wishes)
        forgotten = [handle() for handle in engine._handles.values()]
        for handle in forgotten:
            handle.close()
        release_locks()
        if step == "rename" and not late:  # nothing has happened yet: it is where it was
            kodi.settings["place"] = "auto"
        again = make()
        again.tick()
        assert again.is_keeper, kodi.lines()
        assert dict(again.store) == {"a": 1, "b": [2]}
        assert not (self.there(kodi).parent / "moving").exists()

    def test_no_acknowledged_write_is_lost(self, begun, load, kodi, directory, monkeypatch):
        """Two programs count on, and open the store again where it is, while it moves."""
        monkeypatch.setattr(load("region"), "NOTICED", 0.3)
        region, wishes = begun
        counted, stop = [0, 0], threading.Event()

        def count(number):
            place = directory
            while not stop.is_set():
                try:
                    with ipcdatastore.open("kodi", directory=place, mode="w") as store:
                        while not stop.is_set():
                            store.increment("sum")
                            counted[number] += 1
                except (ipcdatastore.RegionNotFoundError, ipcdatastore.ClosedError):
                    place = self.there(kodi) if "moved from" in kodi.lines() else directory

        threads = [threading.Thread(target=count, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        while not all(counted):
            time.sleep(0.001)
        moved = load("region").move(region, wishes)
        before = sum(counted)
        while sum(counted) < before + 10:
            time.sleep(0.001)
        stop.set()
        for thread in threads:
            thread.join()
        assert moved.store["sum"] == sum(counted)
        moved.close()

    @pytest.mark.parametrize(
        ("before", "after"),
        [({}, {"data_name": "den"}), ({}, {"startserver": "false", "place": "data"}), ({}, {"maxsize": "5"})],
    )
    def test_other_changes_are_no_moves(self, kodi, load, settings, before, after):
        kodi.settings.update(before)
        old = settings.read()
        kodi.settings.update(after)
        assert not load("region").wants_move(old, settings.read())
