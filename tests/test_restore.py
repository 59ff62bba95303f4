"""What was kept comes back: in a new region exactly once, in a live one at one moment, and never half in silence."""

import os
import struct
import warnings
from zlib import crc32

import pytest

import ipcdatastore
from children import crew, go
from crash.tape import Killed, Tape, TapedData, TapedLongs, TapedWords, contents, put_on_tape
from disks import holds, place  # noqa: F401 - fixtures
from ipcdatastore import (
    ArgumentError,
    FormatError,
    RegionNotFoundError,
    RestoreWarning,
    SnapshotDamagedError,
    StoreFullError,
    TooLargeError,
    archive,
    flush,
    image,
    load,
    platform,
    restore,
)
from ipcdatastore.region import Region

DAY = 86_400 * 10**9


def damage(path, at=5000):
    with open(path, "r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 0xFF]))


def fill(store, count=40):
    for number in range(count):
        store[f"key{number}"] = {"number": number, "text": "x" * (number * 7 % 300)}


# --- a new region -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("persist", [True, False], ids=["raw", "entries"])
@pytest.mark.parametrize("count", [0, 1, 31, 32, 3000])
def test_comes_back(place, count, persist):  # noqa: F811
    with place.open(persist=persist, max_size=1 << 24, evict="lru") as store:
        for number in range(count):
            store.set(f"key{number}", [number] * (number % 40), persist=True)
        store.set("not this one", 1, persist=False)
        before = {entry.key: entry for entry in store.entries()}
        version = store.stats()["version"]
        path = store.flush()
    place.reboot()
    with place.open() as store:
        if not persist:
            del before["not this one"]
        assert {entry.key: entry for entry in store.entries()} == before, "values, versions, times and flags"
        stats = store.stats()
        assert stats["restored"] == {
            "path": path,
            "records": len(before),
            "lost": 0,
            "problems": (),
        } or (count == 0 and not persist)
        assert stats["version"] >= version + 2**32 or not before
        assert (stats["max_size"], stats["evict"], stats["persist"]) == (
            (1 << 24, "lru", "all" if persist else "keys") if before else (1 << 30, "none", "keys")
        )
        assert store.check() == []
        store["more"] = 1
        store.delete("key0")
        assert store.check() == []


def test_large_values_and_odd_keys(place):  # noqa: F811
    values = {("a", ("b", 1)): b"x" * 3_000_000, b"": "", "ü" * 1000: 1.5, -(10**30): None, "lone\ud800": [1]}
    with place.open(persist=True) as store:
        store.update(values)
        store.flush()
    place.reboot()
    with place.open() as store:
        assert dict(store) == values
        assert store.check() == []


def test_only_who_makes_the_region_restores(place):  # noqa: F811
    with place.open(persist=True) as store:
        store["a"] = 1
        store.flush()
        store["a"] = 2
        with place.open() as second:
            assert second["a"] == 2
            assert second.stats()["restored"] is None
    with place.open() as store:
        assert store["a"] == 2, "a live region beats every image"
        assert store.check() == []


@pytest.mark.parametrize("mode", ["r", "w"])
def test_modes_that_make_nothing_restore_nothing(place, mode):  # noqa: F811
    with place.open(persist=True) as store:
        store["a"] = 1
        store.flush()
    place.reboot()
    with pytest.raises(RegionNotFoundError):
        place.open(mode=mode)
    assert not (place.regions / "s.region").exists()


def test_after_a_reboot_with_the_file_still_there(place, monkeypatch):  # noqa: F811
    """A region on a disk survives; nobody can have it mapped, and what counts is the image."""
    if not any(platform.boot_id()):
        pytest.skip("this system does not tell one boot from another")
    with place.open(persist=True) as store:
        store.update({"a": 1, "soon": 1})
        store.flush()
        store["after the flush"] = 1
    monkeypatch.setattr(platform, "boot_id", lambda: b"another boot id.")
    with place.open(snapshot_directory=None) as store:  # the old file still says where the images are
        assert dict(store) == {"a": 1, "soon": 1}
        assert store.stats()["snapshot_directory"] == str(place.images)
        assert store.check() == []


def test_expiry_is_carried_by_the_wall_clock(place, monkeypatch):  # noqa: F811
    store = place.open(persist=True)
    store.set("short", 1, expire=1000)
    store.set("long", 2, expire=10 * 86_400)
    store.set("ever", 3)
    left = store.get_entry("long").expires_at
    store.flush()
    store.close()
    place.reboot()
    wall, clock = load.time.time_ns(), platform.now_ns()
    # A day has passed, and the boot clock has begun again.
    monkeypatch.setattr(load.time, "time_ns", lambda: wall + DAY)
    for module in (load, platform, restore):
        monkeypatch.setattr(module, "now_ns", lambda: clock // 1000)
    engine = place.engine()
    found = {record.key: record.expires_ns for record in map(engine.get, (b"slong", b"sever"))}
    assert engine.get(b"sshort") is None
    assert found[b"sever"] == 0
    assert abs(wall + DAY + found[b"slong"] - clock // 1000 - left * 1e9) < 10**9
    assert engine.check() == []
    engine.close()


def test_a_clock_that_was_set_back_lets_records_live_longer(place, monkeypatch):  # noqa: F811
    store = place.open(persist=True)
    store.set("a", 1, expire=100)
    store.flush()
    store.close()
    place.reboot()
    wall = load.time.time_ns()
    monkeypatch.setattr(load.time, "time_ns", lambda: wall - DAY)
    engine = place.engine()
    assert engine.get(b"sa").expires_ns > platform.now_ns() + DAY
    assert engine.check() == []
    engine.close()


def test_no_version_is_given_out_twice(place):  # noqa: F811
    seen = set()
    for _ in range(4):
        with place.open(persist=True) as store:
            seen.add(store.set("a", 1))
            store.flush()
            seen.add(store.set("a", 2))  # lost with the memory
        place.reboot()
    assert len(seen) == 8


def test_the_opener_decides_where_he_says_so(place):  # noqa: F811
    with place.open(persist=True, max_size=1 << 24) as store:
        store["a"] = 1
        store.flush()
    place.reboot()
    engine = place.engine(persist=False, evict="lru", max_size=1 << 25)
    facts = {**engine.facts(), **engine.image_facts()}
    assert (facts["persist"], facts["evict"], facts["max_size"]) == ("keys", "lru", 1 << 25)
    assert engine.check() == []
    engine.close()


def test_a_region_too_small_for_its_image_grows(place):  # noqa: F811
    with place.open(persist=True) as store:
        store["a"] = b"x" * 500_000
        store.flush()
    place.reboot()
    with place.open(max_size=1 << 16) as store:
        assert len(store["a"]) == 500_000
        assert store.check() == []


def test_serializers(place):  # noqa: F811
    with place.open(persist=True, serializer="json") as store:
        store["a"] = {"b": 1}
        store.flush()
    place.reboot()
    with pytest.raises(FormatError, match="serializer='json'"):
        place.open(serializer="pickle")
    with place.open() as store:
        assert store["a"] == {"b": 1}
        assert store.stats()["serializer"] == "json"


def test_another_stores_images(place):  # noqa: F811
    with place.open(persist=True) as store:
        store["a"] = 1
        path = store.flush()
    with pytest.raises(FormatError, match="of the store 's'"):
        place.open("other")
    with place.open("other", snapshot_directory=place.images / "own", persist=True) as store:
        assert store.restore(path).records == 1
        assert store.check() == []


# --- damage -----------------------------------------------------------------------------------------------
@pytest.fixture
def two(place):  # noqa: F811
    """Two images, and no region any more."""
    store = place.open(persist=True)
    for number in range(2):
        fill(store)
        store["number"] = number
        store.flush()
    store.close()
    place.reboot()
    return place


def test_the_older_is_taken_if_the_newest_is_damaged_and_that_is_said(two):
    damage(two.newest())
    with pytest.warns(RestoreWarning, match="00000002.image"):
        store = two.open()
    assert store["number"] == 0
    restored = store.stats()["restored"]
    assert restored["path"].endswith("00000001.image")
    assert restored["problems"]
    store["number"] = 5
    assert store.flush().endswith("00000003.image"), "a new number, past the damaged one"
    assert store.check() == []
    store.close()


def test_a_record_that_does_not_fit_its_seal_is_damage_too(two, monkeypatch):
    """The file is as it was written, but what was written was wrong."""
    path = two.newest()
    data = bytearray(path.read_bytes())
    at = data.index(b"number", 4096 + 30)
    data[at : at + 2] = b"NU"
    size = image.IMAGE_FOOTER.size
    fields = list(image.IMAGE_FOOTER.unpack(data[-size:]))
    fields[-3:-1] = crc32(data[:-size]), 0
    fields[-2] = crc32(image.IMAGE_FOOTER.pack(*fields))
    data[-size:] = image.IMAGE_FOOTER.pack(*fields)
    path.write_bytes(data)
    with image.Image(str(path)) as found:
        found.validate()
    with pytest.warns(RestoreWarning, match="seal"):
        store = two.open()
    assert store["number"] == 0
    assert store.check() == []
    store.close()


def test_if_none_is_whole_nothing_is_made(two):
    for _, path in archive.numbered(str(two.images)):
        damage(path)
    for _ in range(2):
        with pytest.raises(SnapshotDamagedError, match="salvage") as caught:
            two.open()
        assert len(caught.value.problems) == 2
        assert not list(two.regions.glob("*.region"))
        assert not list(two.regions.glob("*.new"))
    with two.open(mode="n", persist=True) as store:  # said explicitly: an empty store
        assert len(store) == 0
        assert two.numbers() == [3], "none of before is left"
        store["a"] = 1
        assert store.flush().endswith("00000004.image")
        assert store.check() == []


def test_a_damaged_image_does_not_cost_the_good_one(two):
    damage(two.newest())
    with pytest.warns(RestoreWarning, match="set aside"):
        store = two.open(persist=True)
    with store:
        for number in range(3):
            store["more"] = number
            store.flush()
            names = sorted(path.name for path in two.images.iterdir())
            assert "00000002.image.damaged" in names, "what is in it may still be salvaged"
            if number == 0:
                assert names[0] == "00000001.image", "the last good one is one of the last two"
        store.clear()
        assert len(two.numbers()) == len(list(two.images.iterdir())) == 1, "and a clear removes it"
        assert store.check() == []


def test_truncated_at_every_64th_byte(two):
    newest = two.newest()
    data = newest.read_bytes()
    for size in range(0, len(data), 64):
        newest.write_bytes(data[:size])
        with pytest.warns(RestoreWarning):
            store = two.open()
        assert store["number"] == 0
        store.close()
        two.reboot()


def test_an_image_of_a_later_release_is_not_passed_over(two):
    path = two.newest()
    data = bytearray(path.read_bytes())
    size = image.IMAGE_HEADER.size
    data[12:16] = struct.pack("=I", image.IMAGE_READ_VERSION + 1)
    data[size : size + 4] = struct.pack("=I", crc32(data[:size]))
    path.write_bytes(data)
    with pytest.raises(FormatError, match="upgrade"):
        two.open()


@pytest.mark.parametrize("way", ["mode n, a new region", "mode n, a live one", "clear"])
def test_what_was_emptied_does_not_come_back(two, way):
    if way != "mode n, a new region":
        with two.open() as store:
            if way == "clear":
                store.clear()
    if way != "clear":
        with two.open(mode="n") as store:
            assert len(store) == 0
            assert store.stats()["persist"] == "all"
    assert two.numbers() == [3], "nobody needed to flush"
    two.reboot()
    with two.open() as store:
        assert len(store) == 0
        assert store.check() == []


# --- who restores, and who dies meanwhile -----------------------------------------------------------------
def restore_together(regions, images):
    say("ready")  # noqa: F821
    hear()  # noqa: F821
    store = ipcdatastore.open("s", directory=regions, snapshot_directory=images)
    say([len(store), store.stats()["restored"] is not None, store.increment("opened")])  # noqa: F821
    hear()  # noqa: F821
    store.close()


def test_makers_race(two):
    for _ in range(3):
        with crew() as start:
            children = [start(restore_together, two.regions, two.images) for _ in range(4)]
            go(children)
            said = [child.hear() for child in children]
            assert sum(restored for _, restored, _ in said) == 1
            assert sorted(opened for _, _, opened in said) == [1, 2, 3, 4]
            assert {length for length, _, _ in said} <= {41, 42}
            for child in children:
                child.say("end")
                child.finish()
        with two.open() as store:
            assert store.check() == []
        two.reboot()


def test_dead_at_every_store_of_a_restore_into_a_new_region(place, monkeypatch):  # noqa: F811
    with place.open(persist=True) as store:
        fill(store, 3)
        store.flush()
    place.reboot()
    tape = Tape()

    class Taped(Region):
        def _install(self, data):
            taped = TapedData(self.file.fileno(), len(data))
            taped.tape = tape
            super()._install(taped)
            self.words, self.longs = TapedWords(self.words, tape), TapedLongs(self.longs, tape)

    monkeypatch.setattr(load, "Region", Taped)
    place.open().close()
    place.reboot()
    stores = tape.stores
    assert stores > 20
    for last in range(1, stores + 1, max(1, stores // 150)):
        tape = Tape(last)
        with pytest.raises(Killed):
            place.open()
        assert not (place.regions / "s.region").exists()
    tape = Tape()
    with place.open() as store:
        assert len(store) == 3
        assert store.check() == []
    assert not list(place.regions.glob("*.new"))


def test_no_room_for_what_comes_back(place, monkeypatch):  # noqa: F811
    with place.open(persist=True) as store:
        store["a"] = b"x" * 500_000
        store.flush()
    place.reboot()
    reserve = platform.reserve

    def full(fd, offset, length):
        if offset:
            raise OSError(28, "No space left on device")
        reserve(fd, offset, length)

    monkeypatch.setattr(platform, "reserve", full)
    with pytest.raises(StoreFullError):
        place.open()
    assert not list(place.regions.glob("s.region*new"))
    monkeypatch.undo()
    with place.open() as store:
        assert len(store["a"]) == 500_000


# --- a live region ----------------------------------------------------------------------------------------
def test_restore_replaces_everything(place, tmp_path):  # noqa: F811
    store = place.open()
    fill(store)
    store.set("flagged", 1, persist=True)
    store.set("mortal", 2, expire=1000)
    before = {entry.key: (entry.value, entry.persistent) for entry in store.entries()}
    expires = store.get_entry("mortal").expires_at
    store.backup(tmp_path / "copy")
    store.clear()
    store["other"] = 1
    assert store.get("other") == 1  # cached
    version = store.stats()["version"]
    result = store.restore(tmp_path / "copy")
    assert result == (str(tmp_path / "copy"), len(before), 0, ())
    assert "other" not in store
    assert {entry.key: (entry.value, entry.persistent) for entry in store.entries()} == before
    assert abs(store.get_entry("mortal").expires_at - expires) < 1
    assert all(entry.version > version for entry in store.entries()), "they are new writes"
    assert set(holds(store.flush())[0]) == {b"sflagged"}
    assert store.check() == []
    store.close()


def test_restore_of_a_damaged_image_changes_nothing(place, tmp_path):  # noqa: F811
    store = place.open()
    fill(store)
    path = tmp_path / "copy"
    store.backup(path)
    whole = path.read_bytes()
    data = bytearray(whole)
    at = data.index(b"key7", 4096)
    data[at] ^= 1
    path.write_bytes(data)
    store["other"] = 1
    with pytest.raises(SnapshotDamagedError):
        store.restore(path)
    assert len(store) == 41
    result = store.restore(path, salvage=True)
    assert (result.records, result.lost) == (39, 1)
    assert result.problems
    assert "key7" not in store
    assert store["key8"]["number"] == 8
    path.write_bytes(whole[: len(whole) * 9 // 10])
    result = store.restore(path, salvage=True)
    assert 0 < result.records < 40
    assert result.problems
    before = dict(store)
    path.write_bytes(whole[:5000])
    with pytest.raises(SnapshotDamagedError, match="nothing"):
        store.restore(path, salvage=True)
    assert dict(store) == before
    assert store.check() == []
    store.close()


def test_restore_killed_at_every_store(place, tmp_path):  # noqa: F811
    engine = place.engine()
    for number in range(3):
        engine.put(b"s%d" % number, 1, b"old")
    target = str(tmp_path / "copy")
    flush.backup(engine, target)
    before = contents(engine)
    engine.delete(b"s1")
    engine.put(b"s2", 1, b"changed")
    engine.put(b"s3", 1, b"added")
    after = contents(engine)
    engine.close()
    region = (place.regions / "s.region").read_bytes()

    def run(last):
        (place.regions / "s.region").write_bytes(region)
        engine = place.engine()
        tape = Tape(last)
        put_on_tape(engine, tape)
        try:
            engine.restore(target, salvage=False)
        finally:
            engine.close()
        return tape.stores

    seen = []
    for last in range(1, run(None) + 1):
        with pytest.raises(Killed):
            run(last)
        reader = place.engine(mode="r")
        frozen = contents(reader)
        reader.close()
        assert frozen in (before, after)
        seen.append(frozen == before)
        engine = place.engine()
        assert engine.check() == []
        assert contents(engine) == frozen
        engine.close()
    assert seen == sorted(seen)
    assert set(seen) == {True, False}


def test_restore_without_room_changes_nothing(place, tmp_path):  # noqa: F811
    with place.open("large", snapshot_directory=None) as large:
        large["a"] = b"x" * 3_000_000
        large.backup(tmp_path / "copy")
    with place.open(max_size=1 << 20) as store:
        store["b"] = 1
        with pytest.raises(TooLargeError):
            store.restore(tmp_path / "copy")
        assert dict(store) == {"b": 1}
        assert store.check() == []


def test_restore_without_room_for_several(place, tmp_path):  # noqa: F811
    with place.open("large", snapshot_directory=None) as large:
        large.update(dict.fromkeys(range(30), b"x" * 100000))
        large.backup(tmp_path / "copy")
    with place.open(max_size=1 << 20) as store:
        store["b"] = 1
        with pytest.raises(StoreFullError):
            store.restore(tmp_path / "copy")
        assert dict(store) == {"b": 1}
        assert store.check() == []


def test_restore_with_another_serializer(place, tmp_path):  # noqa: F811
    with place.open("json", snapshot_directory=None, serializer="json") as store:
        store["a"] = [1]
        store.backup(tmp_path / "copy")
    with place.open() as store, pytest.raises(FormatError, match="serializer"):
        store.restore(tmp_path / "copy")


def test_restore_of_what_has_expired(place, tmp_path, monkeypatch):  # noqa: F811
    store = place.open()
    store.set("a", 1, expire=100)
    store["b"] = 2
    store.backup(tmp_path / "copy")
    wall = restore.time.time_ns()
    monkeypatch.setattr(restore.time, "time_ns", lambda: wall + DAY)
    assert store.restore(tmp_path / "copy").records == 1
    monkeypatch.undo()
    assert dict(store) == {"b": 2}
    assert store.check() == []
    store.close()


# --- arguments --------------------------------------------------------------------------------------------
def test_where_images_are(place, monkeypatch):  # noqa: F811
    for bad in ("", 5, "a\0b", "x" * 500, b"bytes"):
        with pytest.raises(ArgumentError):
            ipcdatastore.open("s", directory=place.regions, snapshot_directory=bad)
    for bad in ("yes", 1, []):
        with pytest.raises(ArgumentError):
            ipcdatastore.open("s", directory=place.regions, persist=bad)
    monkeypatch.delenv("IPCDATASTORE_IMAGES")
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("XDG_DATA_HOME", "/nonexistent")
    base = platform.data_directory()
    if platform.sys.platform.startswith("linux"):
        assert not base.startswith("/nonexistent")
    assert archive.default_directory("s", platform.default_directory()) == os.path.join(base, "s")
    elsewhere = archive.default_directory("s", "/else/where")
    assert elsewhere.startswith(os.path.join(base, "s@"))
    assert elsewhere != archive.default_directory("s", "/else/there")
    monkeypatch.setenv("IPCDATASTORE_IMAGES", "/images")
    assert archive.default_directory("s", platform.default_directory()) == "/images/s"


def test_a_relative_directory_is_made_absolute(place, monkeypatch):  # noqa: F811
    monkeypatch.chdir(place.regions)
    with ipcdatastore.open("s", directory=place.regions, snapshot_directory="here") as store:
        assert store.stats()["snapshot_directory"] == str(place.regions / "here")


def test_nothing_is_made_where_nothing_is_kept(place):  # noqa: F811
    with place.open() as store:
        store["a"] = 1
    assert not place.images.exists()


def test_no_warning_where_all_is_well(two):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        two.open().close()
