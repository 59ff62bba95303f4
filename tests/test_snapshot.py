"""An image is the store at one instant, whoever writes meanwhile; a flush that fails or dies costs nothing."""

import errno
import os
import pickle
import random
import shutil
import subprocess
import sys
from zlib import crc32

import pytest

import ipcdatastore
from children import crew
from crash.tape import Killed, Tape, put_on_tape
from disks import Died, Disk, disk, holds, place  # noqa: F401 - fixtures
from ipcdatastore import (
    LockTimeoutError,
    ReadOnlyError,
    RegionDamagedError,
    SnapshotError,
    UntrustedRegionError,
    archive,
    flush,
    image,
    layout,
    snapshot,
)
from ipcdatastore.lockfile import LockFile
from ipcdatastore.snapshot import Snapshot, find_differences
from ipcdatastore.transaction import Write


def write(engine, key, value, flags=0):
    return Write(key, crc32(key, engine.seed), 1, flags, value)


# --- the contract -----------------------------------------------------------------------------------------
def test_every_record_of_a_persistent_region(place):  # noqa: F811
    store = place.open(persist=True)
    store.update({"a": 1, ("b", 2): "two", b"c": None})
    path = store.flush()
    assert len(holds(path)[0]) == 3
    assert path == str(place.images / "00000001.image")
    stats = store.stats()
    assert (stats["persist"], stats["image_number"], stats["unflushed"]) == ("all", 1, False)
    assert stats["snapshot_directory"] == str(place.images)
    assert stats["flushed_at"] > 0
    store["a"] = 2
    assert store.stats()["unflushed"] is True
    assert store.check() == []
    store.close()


def test_flagged_records_of_another(place):  # noqa: F811
    store = place.open()
    store["volatile"] = 1
    assert store.flush() is None
    assert not place.images.exists()
    store.set("kept", 2, persist=True)
    assert set(holds(store.flush())[0]) == {b"skept"}
    store.set("kept", 3, persist=False)
    assert holds(store.flush())[0] == {}, "nothing is flagged any more, and an image is there"
    assert store.check() == []
    store.close()


def test_nothing_changed_nothing_written(place, disk):  # noqa: F811
    store = place.open(persist=True)
    store["a"] = 1
    first = store.flush()
    calls = disk().calls
    assert store.flush() == first
    assert calls == []
    os.unlink(first)
    assert store.flush() != first, "it was gone"
    again = store.flush()
    store._engine.writer.set_policy(None, layout.EVICT_POLICIES["lru"])
    assert store.flush() != again, "the image carries the policies"
    assert store.check() == []
    store.close()


def test_two_are_kept_and_leftovers_go(place):  # noqa: F811
    store = place.open(persist=True)
    for number in range(5):
        store["a"] = number
        store.flush()
        (place.images / f"{number:08d}.image.77.abcdef01.tmp").write_bytes(b"half")
    assert place.numbers() == [5, 4]
    store["a"] = 9
    store.flush()
    assert place.leftovers() == []
    assert place.numbers() == [6, 5]
    assert store.check() == []
    store.close()


def test_after_clear_no_image_shows_what_was_there(place):  # noqa: F811
    store = place.open(persist=True)
    for number in range(3):
        store["secret"] = number
        store.flush()
    store.clear()
    path = store.flush()
    assert place.numbers() == [4]
    assert holds(path)[0] == {}
    store["new"] = 1
    store.flush()
    assert place.numbers() == [5, 4]
    assert store.check() == []
    store.close()


def test_a_read_only_handle_does_not_flush(place):  # noqa: F811
    place.open(persist=True).close()
    with place.open(mode="r", persist=None) as reader, pytest.raises(ReadOnlyError):
        reader.flush()


def test_one_flush_at_a_time(place):  # noqa: F811
    store = place.open(persist=True, timeout=0.05)
    store["a"] = 1
    path = store.stats()["path"] + flush.LOCK_SUFFIX
    with LockFile(path, 1):
        with pytest.raises(LockTimeoutError) as caught:
            store.flush()
        if sys.platform.startswith("linux"):
            assert caught.value.holder == os.getpid()
    store.flush()
    assert store.check() == []
    store.close()


def test_a_value_whose_class_is_gone(place):  # noqa: F811
    """Nothing is unpickled on the way."""
    engine = place.engine()
    unknown = pickle.dumps(ValueError()).replace(b"ValueError", b"NoSuchName")
    engine.put(b"sx", 0, unknown)
    flush.flush(engine)
    engine.close()
    place.reboot()
    engine = place.engine()
    assert engine.get(b"sx").value == unknown
    assert engine.check() == []
    engine.close()


def test_a_damaged_record_is_not_made_an_image_of(place):  # noqa: F811
    engine = place.engine(persist=False)
    engine.commit([write(engine, b"sa", b"whole", 1), write(engine, b"sb", b"broken", 1)])
    record = engine.get(b"sb")
    words = engine.region.words
    block = words[record.slot + layout.SLOT_CELL + 2 * (record.word & 1)]
    engine.region.data[block * 16 + 40 : block * 16 + 42] = b"??"
    with pytest.raises(RegionDamagedError, match="repair"):
        flush.flush(engine)
    assert place.leftovers() == []
    engine.repair()
    assert set(holds(flush.flush(engine))[0]) == {b"sa"}
    assert engine.check() == []
    engine.close()


# --- one instant ------------------------------------------------------------------------------------------
class Rival:
    """Another handle that writes at chosen points of a snapshot, and knows what the store held at each version."""

    def __init__(self, place, seed):  # noqa: F811
        self.engine = place.engine()
        self.random = random.Random(seed)
        self.held = {}
        self.history = {}
        self.number = 0
        self.note()

    def note(self):
        self.history[self.engine.region.longs[layout.VERSION_LONG]] = dict(self.held)

    def set(self, key, size):
        self.number += 1
        value = b"%d" % self.number * size
        self.engine.put(key, 1, value)
        self.held[key] = value
        self.note()

    def write(self, times=20):
        for _ in range(times):
            self.one()

    def one(self):
        key = b"s%d" % self.random.randrange(120)
        choice = self.random.random()
        if choice < 0.5:
            self.set(key, self.random.choice([1, 5, 200]))
        elif choice < 0.7:
            if self.held.pop(key, None) is not None:
                self.engine.delete(key)
                self.note()
        elif choice < 0.97:
            self.number += 1
            keys = [b"spair%d" % self.number, b"spair%d" % (self.number - 3), b"sleft", b"sright"]
            value = b"both %d" % self.number
            self.engine.commit([write(self.engine, key, value) for key in keys])
            self.held.update(dict.fromkeys(keys, value))
            self.note()
        else:
            self.set(b"sbig%d" % self.random.randrange(3), 30_000)


def interfere(monkeypatch, rival, every):
    """Have the rival write before and after each part of a snapshot, and in the middle of the raw copy."""

    def around(function):
        def run(self, *args, **kwargs):
            inside = self.frame.coordinator.thread._is_owned()
            if not inside and rival.random.random() < every:
                rival.write(rival.random.choice([1, 5, 60]))
            result = function(self, *args, **kwargs)
            if not inside and rival.random.random() < every:
                rival.write(rival.random.choice([1, 5, 60]))
            return result

        return run

    undisturbed = Snapshot._undisturbed

    def undisturbed_late(self, work):  # after the first words were copied
        if rival.random.random() < every:
            rival.write(rival.random.choice([1, 5, 60]))
        return undisturbed(self, work)

    monkeypatch.setattr(Snapshot, "_undisturbed", undisturbed_late)
    for name in ("_copy_raw", "_copy_records", "_differences", "_copy_again"):
        monkeypatch.setattr(Snapshot, name, around(getattr(Snapshot, name)))
    raw = image.ImageWriter.raw

    def slowly(self, data):
        raw(self, data)
        if self._crc % 3 == 0:
            rival.write(2)

    monkeypatch.setattr(image.ImageWriter, "raw", slowly)


@pytest.mark.parametrize("mode", ["raw", "entries"])
@pytest.mark.parametrize("seed", range(12))
def test_is_the_store_at_one_instant(place, monkeypatch, seed, mode):  # noqa: F811
    monkeypatch.setattr(snapshot, "PIECE", 4096)
    monkeypatch.setattr(snapshot, "FEW", 3)
    monkeypatch.setattr(snapshot, "MOST", 10)
    rival = Rival(place, seed)
    rival.write(300)
    engine = place.engine()
    if mode == "entries":
        for number in range(60):
            engine.put(b"sroom%d" % number, 1, bytes(3000))
        for number in range(60):
            engine.delete(b"sroom%d" % number)
        rival.note()
    interfere(monkeypatch, rival, 0.9)
    for _ in range(3):
        records, version = holds(flush.flush(engine))
        assert records == rival.history[version], "not what the store held at any one version"
        assert records.get(b"sleft") == records.get(b"sright")
    assert engine.check() == []
    engine.close()
    rival.engine.close()


def test_a_writer_that_died_in_a_transaction(place):  # noqa: F811
    """Its marks are everywhere; the snapshot repairs first, and a read-only one asks the commit word."""
    engine = place.engine()
    for key in (b"sa", b"sb"):
        engine.put(key, 1, b"old")
    flush.flush(engine)
    commit = [write(engine, b"sa", b"new"), write(engine, b"sb", b"new"), write(engine, b"sc", b"new")]
    tape = Tape()
    put_on_tape(engine, tape)
    before = (place.regions / "s.region").read_bytes()
    engine.commit(commit)
    stores = tape.stores
    engine.close()
    seen = set()
    for last in range(1, stores + 1):
        (place.regions / "s.region").write_bytes(before)
        engine = place.engine()
        put_on_tape(engine, Tape(last))
        with pytest.raises(Killed):
            engine.commit(commit)
        engine.close()
        reader = place.engine(mode="r")
        frozen = {record.key: record.value for record in reader.reader.scan()}
        target = str(place.regions / "copy")
        flush.backup(reader, target)
        reader.close()
        assert holds(target)[0] == frozen, f"killed at store {last}"
        engine = place.engine(mode="w")
        flush.backup(engine, target)
        assert holds(target)[0] == frozen, f"killed at store {last}, repaired"
        assert engine.check() == []
        engine.close()
        seen.add(len(frozen))
    assert seen == {2, 3}


def test_differences_are_found():
    draw = random.Random(1)
    for count in (1, 31, 128, 129, 2047):
        old = bytes(draw.randrange(256) for _ in range(4 * count))
        for changes in (0, 1, 7, count):
            new = bytearray(old)
            positions = sorted(draw.sample(range(count), min(changes, count)))
            for position in positions:
                new[4 * position + draw.randrange(4)] ^= 1 + draw.randrange(255)
                new[4 * position] ^= 0
            found = []
            find_differences(old, bytes(new), 1000, found)
            assert found == [1000 + 8 * position for position in positions]


def write_for_ever(directory):
    store = ipcdatastore.open("s", directory=directory)
    number = 0
    say("ready")  # noqa: F821
    while True:
        number += 1
        with store.transaction() as batch:
            batch["left"] = batch["right"] = number
        for other in range(50):
            store[number * 31 % 500 + other] = "x" * (number % 90)


def test_with_a_real_writer_at_full_speed(place):  # noqa: F811
    store = place.open(persist=True)
    store.update(dict.fromkeys(range(600), "y" * 50))
    with crew() as start:
        child = start(write_for_ever, place.regions)
        assert child.hear() == "ready"
        for _ in range(10):
            records, _ = holds(store.flush())
            assert records.get(b"sleft") == records.get(b"sright")
            assert len(records) >= 600
    assert store.check() == []
    store.close()


# --- dying, failing ---------------------------------------------------------------------------------------
def prepared(place):  # noqa: F811
    """An engine with two images, and something to flush."""
    engine = place.engine()
    for number in range(3):
        engine.put(b"snumber", 1, b"%d" % number)
        engine.put(b"s%d" % number, 1, bytes(300))
        if number < 2:
            flush.flush(engine)
    return engine


def test_dead_at_every_file_system_call(place, disk):  # noqa: F811
    engine = prepared(place)
    plain = place.images.parent / "plain"
    shutil.copytree(str(place.images), str(plain))
    region = (place.regions / "s.region").read_bytes()
    calls = disk().calls
    flush.flush(engine)
    engine.close()
    kinds = [call[0] for call in calls]
    assert kinds.index("sync") < kinds.index("rename") < kinds.index("sync directory") < kinds.index("unlink")
    for last in range(1, len(calls) + 1):
        shutil.rmtree(str(place.images))
        shutil.copytree(str(plain), str(place.images))
        (place.regions / "s.region").write_bytes(region)
        engine = place.engine()
        disk(last)
        with pytest.raises(Died):
            flush.flush(engine)
        assert holds(place.newest())[0][b"snumber"] in (b"1", b"2")
        disk()
        assert holds(flush.flush(engine))[0][b"snumber"] == b"2"
        assert place.leftovers() == []
        assert len(place.numbers()) == 2
        assert engine.check() == []
        engine.close()


def test_dead_at_every_store_to_the_region(place):  # noqa: F811
    engine = prepared(place)
    region = (place.regions / "s.region").read_bytes()
    tape = Tape()
    put_on_tape(engine, tape)
    flush.flush(engine)
    engine.close()
    assert tape.stores
    for last in range(1, tape.stores + 1):
        (place.regions / "s.region").write_bytes(region)
        engine = place.engine()
        put_on_tape(engine, Tape(last, tear=True))
        with pytest.raises(Killed):
            flush.flush(engine)
        engine.close()
        engine = place.engine()
        assert engine.check() == []
        assert holds(flush.flush(engine))[0][b"snumber"] == b"2"
        engine.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_refused_at_every_file_system_call(place, disk, number):  # noqa: F811
    engine = prepared(place)
    images = {path.name: path.read_bytes() for path in place.images.iterdir()}
    region = (place.regions / "s.region").read_bytes()
    calls = disk().calls
    flush.flush(engine)
    renamed = [call[0] for call in calls].index("rename") + 1
    engine.close()
    for last in range(1, renamed + 1):
        for path in place.images.iterdir():
            path.unlink()
        for name, data in images.items():
            (place.images / name).write_bytes(data)
            (place.images / name).chmod(0o600)
        (place.regions / "s.region").write_bytes(region)
        engine = place.engine()
        disk(last, OSError(number, os.strerror(number)))
        with pytest.raises(SnapshotError, match=os.strerror(number)) as caught:
            flush.flush(engine)
        assert caught.value.path == str(place.images)
        assert str(place.images) in str(caught.value)
        assert {path.name: path.read_bytes() for path in place.images.iterdir()} == images
        disk()
        assert holds(flush.flush(engine))[0][b"snumber"] == b"2"
        assert engine.check() == []
        engine.close()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may mount")
def test_on_a_full_and_on_a_read_only_disk(place, tmp_path):  # noqa: F811
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs", str(mounted)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("mounts are not allowed here")
    try:
        store = place.open(persist=True, snapshot_directory=mounted)
        store["a"] = b"x" * 1000
        first = store.flush()
        store["b"] = os.urandom(400_000)
        with pytest.raises(SnapshotError, match="space"):
            store.flush()
        assert os.listdir(mounted) == [os.path.basename(first)]
        assert set(holds(first)[0]) == {b"sa"}
        del store["b"]
        store["c"] = 1
        assert set(holds(store.flush())[0]) == {b"sa", b"sc"}
        subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
        store["d"] = 1
        with pytest.raises(SnapshotError, match="Read-only"):
            store.flush()
        assert store.check() == []
        store.close()
    finally:
        subprocess.run(["umount", "-l", str(mounted)], check=False)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_in_a_directory_without_permission(place):  # noqa: F811
    store = place.open(persist=True)
    store["a"] = 1
    store.flush()
    place.images.chmod(0o500)
    store["a"] = 2
    with pytest.raises(SnapshotError, match="ermission"):
        store.flush()
    place.images.chmod(0o700)
    store.flush()
    store.close()


def test_where_a_file_is_in_the_way(place):  # noqa: F811
    place.images.write_bytes(b"")
    with pytest.raises(SnapshotError, match="not a directory"):
        place.open(persist=True)
    place.images.unlink()
    store = place.open(persist=True)
    store["a"] = 1
    place.images.write_bytes(b"")
    with pytest.raises(SnapshotError, match="not a directory"):
        store.flush()
    place.images.unlink()
    store.flush()
    store.close()


@pytest.mark.skipif(os.name == "nt", reason="no modes there")
def test_a_directory_that_others_can_write(place):  # noqa: F811
    store = place.open(persist=True)
    store["a"] = 1
    store.flush()
    place.images.chmod(0o777)
    store["a"] = 2
    with pytest.raises(UntrustedRegionError):
        store.flush()
    store.close()
    place.reboot()
    with pytest.raises(UntrustedRegionError):
        place.open()
    place.images.chmod(0o700)
    with place.open() as store:
        assert store["a"] == 1
        assert store.check() == []


def flush_for_ever(directory):
    store = ipcdatastore.open("s", directory=directory)
    while True:
        store.increment("number")
        say([store.flush(), store["number"]])  # noqa: F821


def test_killed_in_the_middle_of_a_flush(place):  # noqa: F811
    store = place.open(persist=True)
    store.update({number: os.urandom(100) for number in range(3000)})
    acknowledged = 0
    for _ in range(6):
        with crew() as start:
            child = start(flush_for_ever, place.regions)
            for _ in range(3):
                acknowledged = child.hear()[1]
            child.kill()
        records, _ = holds(place.newest())
        assert int.from_bytes(records[b"snumber"], "little") >= acknowledged
    store["done"] = 1
    store.flush()
    assert place.leftovers() == []
    assert store.check() == []
    store.close()


# --- whose images they are --------------------------------------------------------------------------------
def test_images_that_a_region_does_not_know_are_not_rotated_away(place):  # noqa: F811
    """Made by somebody who did not know of the directory, the region would push out the data it lacks."""
    store = place.open(persist=True)
    store["precious"] = 1
    store.flush()
    store.close()
    place.reboot()
    away = place.images.with_name("away")
    place.images.rename(away)
    store = place.open(persist=True)
    away.rename(place.images)
    store["other"] = 1
    with pytest.raises(SnapshotError, match="restore") as refused:
        store.flush()
    assert holds(place.newest())[0].keys() == {b"sprecious"}
    with pytest.raises(SnapshotError) as caught:
        place.open()
    assert (str(caught.value), caught.value.path) == (str(refused.value), str(place.images))
    store.restore(place.newest())
    assert store["precious"] == 1
    store.flush()
    assert store.check() == []
    store.close()


def test_the_region_remembers_its_directory(place, tmp_path):  # noqa: F811
    first, second = tmp_path / "one", tmp_path / "two"
    with place.open(snapshot_directory=first, persist=True) as store:
        store["a"] = 1
        store.flush()
    with place.open(snapshot_directory=None) as store:
        assert store.stats()["snapshot_directory"] == str(first)
        store.flush()
    with place.open(snapshot_directory=second) as store:
        assert os.path.dirname(store.flush()) == str(second)
    with place.open(snapshot_directory=None) as store:
        assert store.stats()["snapshot_directory"] == str(second)
        assert store.check() == []


def test_a_path_stored_by_halves(place):  # noqa: F811
    """A death between any two stores leaves the old path or the new one."""
    engine = place.engine(snapshot_directory="/first/of/all")
    region = (place.regions / "s.region").read_bytes()
    tape = Tape()
    put_on_tape(engine, tape)
    archive.store_directory_locked(engine.region.words, engine.region.data, "/the/second/which/is/longer")
    engine.close()
    for last in range(1, tape.stores + 2):
        (place.regions / "s.region").write_bytes(region)
        engine = place.engine(snapshot_directory=None)
        put_on_tape(engine, Tape(last, tear=True))
        try:
            archive.store_directory_locked(engine.region.words, engine.region.data, "/the/second/which/is/longer")
        except Killed:
            expected = "/first/of/all"
        else:
            expected = "/the/second/which/is/longer"
        engine.close()
        engine = place.engine(snapshot_directory=None, mode="r")
        assert engine.image_directory() == expected
        engine.close()


@pytest.mark.parametrize("what", ["text", "region", "lock", "image of its own", "symlink", "FIFO"])
def test_a_backup_replaces_nothing_but_a_backup(directory, tmp_path, what):
    images = tmp_path / "images"
    with ipcdatastore.open("s", directory=directory, snapshot_directory=images) as store:
        store.set("a", 1, persist=True)
        store.flush()
        target = tmp_path / "target"
        if what == "text":
            target.write_text("no backup")
        elif what == "region":
            target = directory / "s.region"
        elif what == "lock":
            target = directory / "s.region.flush.lock"
        elif what == "image of its own":
            target = images / "00000002.image"
        elif what == "symlink":
            target.symlink_to(tmp_path / "elsewhere")
        else:
            os.mkfifo(str(target))
        with pytest.raises(SnapshotError, match="name another"):
            store.backup(target)
        assert target.exists() == (what not in ("image of its own", "symlink"))
        assert store.backup(tmp_path / "fine") == store.backup(tmp_path / "fine") == 1
        assert store.check() == []
    with ipcdatastore.open("s", directory=directory, mode="r") as store:
        assert store["a"] == 1
