"""The service's region: started, followed, taken over, mended, moved, and brought back from its images."""

import os

import pytest

import ipcdatastore
from ipcdatastore import Service, layout


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
        backup = os.path.join(images + ".before", "made-without-images.backup")
        assert backup in kodi.lines()
        with ipcdatastore.open("look", directory=directory) as store:
            store.restore(backup)
            assert dict(store) == {"of the program": 2}
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


class TestMove:
    def test_everything_goes_along(self, make, kodi, load, settings, directory):
        region = make()
        region.tick()
        old = region.wishes
        region.store.set("a", 1, persist=True)
        region.store["b"] = [2]
        kodi.settings["place"] = "data"
        new = settings.read()
        module = load("region")
        assert module.wants_move(old, new)
        moved = module.move(region, new)
        assert moved.is_keeper
        assert dict(moved.store) == {"a": 1, "b": [2]}
        assert moved.store.stats()["path"] == os.path.join(new.place.directory, "kodi.region")
        assert moved.store.check() == []
        assert not os.path.exists(directory / "kodi.region")
        assert not os.path.exists(kodi.home / "temp/ipcdatastore.move")
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
