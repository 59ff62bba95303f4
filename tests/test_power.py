"""The power goes at any point of a flush: what was acknowledged is there, and nothing is half there."""

import warnings

import pytest

from disks import directories_after_a_cut, disk, holds, place, read_directory, write_directory  # noqa: F401 - fixtures
from ipcdatastore import RestoreWarning, SnapshotDamagedError, flush


def loaded(place):  # noqa: F811
    """What a store made from the images holds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RestoreWarning)
        engine = place.engine()
    found = {record.key: record.value for record in engine.reader.scan()}
    assert engine.check() == []
    engine.close()
    place.reboot()
    return found


def test_the_model_tells_a_flush_without_sync(place, disk, monkeypatch):  # noqa: F811
    """The model is worth something: without the sync before the rename it finds a state that loses everything."""
    engine = place.engine()
    engine.put(b"sa", 1, b"1")
    recorder = disk()
    monkeypatch.setattr(recorder, "sync", lambda fd: None)
    flush.flush(engine)
    engine.close()
    place.reboot()
    outcomes = set()
    for files in directories_after_a_cut({}, recorder.calls):
        write_directory(place.images, files)
        try:
            outcomes.add(len(loaded(place)))
        except SnapshotDamagedError:
            outcomes.add("damaged")
    assert "damaged" in outcomes


@pytest.mark.parametrize("kind", ["write", "clear"])
def test_power_cut_at_every_point(place, disk, kind):  # noqa: F811
    engine = place.engine()
    for number in range(1, 3):
        engine.put(b"snumber", 1, b"%d" % number)
        flush.flush(engine)
    before = read_directory(place.images)
    old = {b"snumber": b"2"}
    if kind == "write":
        engine.put(b"snumber", 1, b"3")
        engine.put(b"sother", 1, bytes(100))
    else:
        engine.clear()
    new = {record.key: record.value for record in engine.reader.scan()}
    recorder = disk()
    flush.flush(engine)
    engine.close()
    place.reboot()
    disk()
    calls = recorder.calls
    states = 0
    for cut in range(len(calls) + 1):
        for files in directories_after_a_cut(before, calls[:cut]):
            states += 1
            write_directory(place.images, files)
            found = loaded(place)
            if cut == len(calls):
                assert found == new, "it was acknowledged"
                if kind == "clear":
                    assert all(holds(place.images / name)[0] == {} for name in files if name.endswith(".image"))
            assert found in (old, new), "not one of the last two images"
    assert states > 50
    # Whatever the power cut left, the next flush is as any other.
    engine = place.engine()
    engine.put(b"sz", 1, b"z")
    assert holds(flush.flush(engine))[0][b"sz"] == b"z"
    assert place.leftovers() == []
    engine.close()


def test_power_cut_in_the_first_flush(place, disk):  # noqa: F811
    engine = place.engine()
    engine.put(b"sa", 1, b"1")
    recorder = disk()
    flush.flush(engine)
    engine.close()
    place.reboot()
    disk()
    for cut in range(len(recorder.calls) + 1):
        for files in directories_after_a_cut({}, recorder.calls[:cut]):
            write_directory(place.images, files)
            assert loaded(place) in ({b"sa": b"1"},) if cut == len(recorder.calls) else ({}, {b"sa": b"1"})
