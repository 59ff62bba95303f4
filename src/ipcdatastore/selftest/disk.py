"""What is kept on disk: written while in use, read back after everything in memory is gone, and refused if damaged."""

from __future__ import annotations

import os

import ipcdatastore

from .bench import Bench, expect, expect_equal, expect_error

RECORDS = 100


def images(bench: Bench) -> str:
    """After a flush the region may vanish: whoever opens it next has all back, to the version."""
    place = bench.path("images")
    with bench.open("kept", persist=True, snapshot_directory=place) as store:
        for number in range(RECORDS):
            store[number] = {"number": number}
        entries = {entry.key: (entry.value, entry.version) for entry in store.entries()}
        path = store.flush()
        expect(path is not None and os.path.exists(path), "flush left no image")
    os.unlink(bench.path("kept.region"))
    store = bench.open("kept", snapshot_directory=place)
    found = {entry.key: (entry.value, entry.version) for entry in store.entries()}
    expect_equal(len(found), RECORDS, "records that came back")
    expect_equal(found, entries, "values and versions that came back")
    expect(store.set("new", 1) > max(version for _, version in entries.values()), "a version was given out twice")
    return f"{RECORDS} records came back with their versions"


def damaged(bench: Bench) -> str:
    """A backup brings everything back; a damaged one changes nothing, unless what is whole of it is asked for."""
    store = bench.open("saved")
    for number in range(RECORDS):
        store[number] = f"<value {number:03}>"
    path = bench.path("backup.image")
    expect_equal(store.backup(path), RECORDS, "records in the backup")
    store.clear()
    store["only"] = "this"
    expect_equal(store.restore(path).records, RECORDS, "records restored")
    expect_equal(sorted(store), list(range(RECORDS)), "the keys after restoring")
    with open(path, "r+b") as file:
        data = file.read()
        file.seek(data.index(b"<value 007>"))
        file.write(b"<VALUE")
    store["only"] = "this"
    with expect_error(ipcdatastore.SnapshotDamagedError, "a damaged backup"):
        store.restore(path)
    expect("only" in store, "a damaged backup changed the store")
    salvaged = store.restore(path, salvage=True)
    expect_equal(
        (salvaged.records, store.get(7), store.get(8)), (RECORDS - 1, None, "<value 008>"), "what was salvaged"
    )
    return f"refused; {salvaged.records} of {RECORDS} salvaged when asked"
