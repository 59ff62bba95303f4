"""An image says the truth or is refused: formats, versions, and damage of every kind."""

import os
import struct
from zlib import crc32

import pytest

import ipcdatastore
from disks import disk, holds, place  # noqa: F401 - fixtures
from ipcdatastore import FormatError, PlaceError, SnapshotDamagedError, UntrustedRegionError, image, layout


@pytest.fixture(params=["raw", "entries"])
def path(request, place):  # noqa: F811
    """An image of ten records, one of them deleted and one replaced while it was taken."""
    store = place.open(persist=request.param == "raw")
    for number in range(10):
        store.set(f"key{number}", f"value {number}", persist=True)
    flushed = store.flush()
    assert store.check() == []
    store.close()
    return flushed


def read(path):
    with image.Image(str(path)) as found:
        found.validate()
        return sorted(found.records())


def reseal(data, offset, text):
    """`data` with other header bytes, and the header's checksum made right again."""
    changed = bytearray(data)
    changed[offset : offset + len(text)] = text
    size = image.IMAGE_HEADER.size
    changed[size : size + 4] = struct.pack("=I", crc32(changed[:size]))
    return bytes(changed)


def test_holds_every_record(path):
    found, version = holds(path)
    assert found == {b"skey%d" % n: b"value %d" % n for n in range(10)}
    assert version == 10


def test_is_for_this_user_only(path):
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700


def test_records_keep_their_seals(path):
    with image.Image(path) as found:
        found.validate()
        for record in found.records():
            assert layout.RECORD.unpack_from(record)[3] == layout.FLAG_PERSIST


def test_truncated_anywhere(path, tmp_path):
    with open(path, "rb") as file:
        data = file.read()
    cut = tmp_path / "cut.image"
    for size in [*range(0, len(data), 64), len(data) - 1]:
        cut.write_bytes(data[:size])
        cut.chmod(0o600)
        with pytest.raises(SnapshotDamagedError) as caught:
            read(cut)
        assert caught.value.path == str(cut)
        assert caught.value.problems
        with image.Image(str(cut)) as found:
            records, problems = found.salvage()
        assert problems
        assert {record[36:41] for record in records} <= {b"skey%d" % n for n in range(10)}
    whole = {record[:36] for record in read(path)}
    with image.Image(str(cut)) as found:  # all but the last byte of the footer
        assert {record[:36] for record in found.salvage()[0]} == whole


@pytest.mark.parametrize("damage", ["zeroed", "flipped"])
def test_damaged_anywhere(path, tmp_path, damage):
    with open(path, "rb") as file:
        data = file.read()
    bad = tmp_path / "bad.image"
    for at in range(0, len(data), 61 if damage == "flipped" else 512):
        changed = bytearray(data)
        if damage == "flipped":
            changed[at] ^= 1 << at % 8
        else:
            changed[at : at + 512] = bytes(min(512, len(data) - at))
        if changed == data or (image.IMAGE_HEADER.size + 4 <= at < 4000 and damage == "zeroed"):
            continue
        bad.write_bytes(changed)
        bad.chmod(0o600)
        with pytest.raises((SnapshotDamagedError, FormatError)):
            read(bad)
        with image.Image(str(bad)) as found:
            records, problems = found.salvage()
        assert problems
        assert all(record in read(path) for record in records), "salvage gave out something that was never written"


def test_salvage_of_one_damaged_record_loses_that_one(path, tmp_path):
    with open(path, "rb") as file:
        data = file.read()
    bad = tmp_path / "bad.image"
    bad.write_bytes(data.replace(b"value 7", b"VALUE 7"))
    bad.chmod(0o600)
    with image.Image(str(bad)) as found:
        records, problems = found.salvage()
    assert sorted(record[36:41] for record in records) == [b"skey%d" % n for n in range(10) if n != 7]
    assert problems


def test_newer_write_version_is_read(path):
    """The whole's checksum does not mind: a header and its own CRC leave any CRC over both in one state."""
    with open(path, "rb") as file:
        data = file.read()
    before = read(path)
    with open(path, "wb") as file:
        file.write(reseal(data, 8, struct.pack("=I", 9)))
    assert read(path) == before


@pytest.mark.parametrize(
    ("offset", "text", "message"),
    [
        (0, b"\x89PNG\r\n\x1a\n", "is no image"),
        (12, struct.pack("=I", 2), "upgrade"),
        (16, struct.pack("=I", 0x04030201), "byte order"),
        (20, struct.pack("=I", 99), "serializer"),
        (24, struct.pack("=I", 99), "clock"),
    ],
    ids=["magic", "version", "byte order", "serializer", "clock"],
)
def test_other_formats_are_refused(path, offset, text, message):
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(reseal(data, offset, text))
    with pytest.raises(FormatError, match=message) as caught:
        read(path)
    assert caught.value.path == path


def test_no_file_and_no_image(tmp_path):
    with pytest.raises(PlaceError):
        image.Image(str(tmp_path / "missing"))
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    empty.chmod(0o600)
    with pytest.raises(SnapshotDamagedError):
        read(empty)
    with image.Image(str(empty)) as found:
        assert found.salvage()[0] == []


@pytest.mark.skipif(os.name == "nt", reason="no modes there")
def test_who_can_write_it_matters(path, tmp_path):
    os.chmod(path, 0o620)
    with pytest.raises(UntrustedRegionError):
        image.Image(path)
    os.chmod(path, 0o600)
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(UntrustedRegionError, match="symbolic link"):
        image.Image(str(link))


def test_backup_holds_everything(place, tmp_path):  # noqa: F811
    store = place.open(persist=False)
    store.update({f"k{n}": n for n in range(50)})
    target = tmp_path / "copy"
    assert store.backup(target) == 50
    assert len(holds(target)[0]) == 50
    store.clear()
    store["other"] = 1
    assert store.backup(str(target)) == 1, "in place of the older one"
    assert os.listdir(tmp_path) == ["copy"]
    assert store.check() == []
    store.close()
    with place.open(mode="r") as reader:
        assert reader.backup(target) == 1, "a read-only handle can do that"


def test_backup_that_fails_leaves_the_older_one(place, disk, tmp_path):  # noqa: F811
    store = place.open()
    store["a"] = 1
    target = tmp_path / "copy"
    store.backup(target)
    before = target.read_bytes()
    store["b"] = 2
    calls = disk()
    store.backup(tmp_path / "other")
    for last in range(1, len(calls.calls)):
        disk(last, OSError(28, "No space left on device"))
        with pytest.raises(ipcdatastore.SnapshotError, match="No space left"):
            store.backup(target)
        disk()
        assert target.read_bytes() == before
        assert sorted(os.listdir(tmp_path)) == ["copy", "other"]
    assert store.check() == []
    store.close()
