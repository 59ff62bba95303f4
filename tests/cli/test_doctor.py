"""`doctor`: it finds what is wrong, says what to do, and changes nothing."""

import contextlib
import json
import os
import subprocess

import pytest

import ipcdatastore
from cli.program import on_terminal, start
from ipcdatastore import platform
from ipcdatastore.cli import diagnosis, regions
from ipcdatastore.cli.root import NOT_FOUND, OK

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX owners and modes")


def findings(result):
    return {line.split("\t")[1]: line.split("\t") for line in result.output.splitlines()}


def test_a_machine_on_which_all_is_well(run, directory, store):
    store["key"] = 1
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    found = findings(run("doctor", "shop"))
    for topic in (
        "Python",
        "library",
        "clock",
        "waiting",
        "directory",
        "locks",
        "mappings",
        "store",
        "integrity",
        "images",
    ):
        assert found[topic][0] in ("good", "note"), found[topic]
    assert found["stores"][2] == "1: shop"
    assert "1 record" in found["contents"][2]
    assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_as_json_and_on_a_terminal(run, directory, store):
    told = json.loads(run("doctor", "shop", "--json").output)
    assert told["good"]
    assert set(told["findings"][0]) == {"topic", "state", "text", "advice"}
    code, shown = on_terminal(directory, "doctor", "shop")
    assert code == OK
    assert "The store shop" in shown
    assert "✔" in shown


def test_no_directory_yet(run, tmp_path):
    place = tmp_path / "none"
    found = findings(run("doctor", "--directory", str(place)))
    assert found["directory"][0] == "note"
    assert not place.exists()


def test_no_such_store(run, directory):
    found = findings(run("doctor", "shop", code=NOT_FOUND))
    assert found["store"][0] == "bad"
    assert "ipcdatastore set shop" in found["store"][3]
    assert list(directory.iterdir()) == []


@posix
def test_a_directory_that_others_can_write(run, tmp_path):
    place = tmp_path / "open"
    place.mkdir()
    place.chmod(0o777)
    found = findings(run("doctor", "--directory", str(place), code=NOT_FOUND))
    assert found["directory"][0] == "bad"
    assert "chmod 700" in found["directory"][2]


@posix
def test_a_store_that_others_can_write(run, directory, store):
    (directory / "shop.region").chmod(0o666)
    try:
        assert findings(run("doctor", "shop", code=NOT_FOUND))["store"][0] == "bad"
    finally:
        (directory / "shop.region").chmod(0o600)


def test_a_file_that_is_no_store(run, directory):
    (directory / "shop.region").write_bytes(b"nothing of the kind")
    assert findings(run("doctor", "shop", code=NOT_FOUND))["store"][0] == "bad"


def test_damage(run, directory):
    with ipcdatastore.open("shop", directory=directory) as store:
        store["key"] = "value" * 100
    path = directory / "shop.region"
    path.write_bytes(path.read_bytes().replace(b"valuevalue", b"valueVALUE"))
    found = findings(run("doctor", "shop", code=NOT_FOUND))
    assert found["integrity"][0] == "bad"
    assert found["integrity"][3] == "ipcdatastore repair shop"


def test_nearly_full(run, directory):
    with ipcdatastore.open("shop", directory=directory, max_size=65536) as store:
        with contextlib.suppress(ipcdatastore.StoreFullError):
            for number in range(1000):
                store[number] = b"x" * 500
        assert store.check() == []
    assert findings(run("doctor", "shop"))["contents"][0] == "warning"


def test_a_store_of_an_earlier_boot(run, directory, monkeypatch):
    monkeypatch.setattr(platform, "boot_id", lambda: b"1" * 16)
    ipcdatastore.open("shop", directory=directory).close()
    monkeypatch.setattr(platform, "boot_id", lambda: b"2" * 16)
    found = findings(run("doctor", "shop"))
    assert found["store"][0] == "note"
    assert "earlier boot" in found["store"][2]


def test_leftovers(run, directory, store):
    (directory / "other.region.123.abcd.new").write_bytes(b"")
    assert findings(run("doctor"))["leftovers"][0] == "note"


def test_images_are_read_to_the_end(run, directory, tmp_path):
    with ipcdatastore.open("shop", directory=directory, snapshot_directory=tmp_path / "images") as store:
        store.set("key", "<value>" * 10, persist=True)
        path = store.flush()
        assert store.check() == []
    found = findings(run("doctor", "shop"))
    assert (found["image"][0], found["images"][0]) == ("good", "good")
    assert "1 record" in found["image"][2]
    with open(path, "r+b") as file:
        data = file.read()
        file.seek(data.index(b"<value>"))
        file.write(b"<VALUE>")
    lines = run("doctor", "shop", code=NOT_FOUND).output.splitlines()
    assert [line.split("\t")[:2] for line in lines if "image" in line.split("\t")[1]] == [
        ["good", "images"], ["warning", "image"], ["bad", "images"],
    ]  # fmt: skip


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="/proc tells who has a file open")
def test_who_has_it_open_and_who_writes(run, directory, store):
    process = start(directory, "watch", "shop", stdout=subprocess.PIPE)
    while not regions.users(str(directory / "shop.region")):
        assert process.poll() is None
    found = findings(run("doctor", "shop"))
    process.kill()
    process.communicate()
    assert f"1: {process.pid} (" in found["open in"][2]


def test_locks_that_lock_nobody_out_are_found(run, directory, monkeypatch):
    monkeypatch.setattr(platform, "lock_function", lambda fd: lambda fd, operation: None)
    assert findings(run("doctor", code=NOT_FOUND))["locks"][0] == "bad"
    monkeypatch.setattr(platform, "lock_function", lambda fd: None)
    assert findings(run("doctor", code=NOT_FOUND))["locks"][0] == "bad"


def test_the_least_limit_of_the_control_groups_counts(tmp_path, monkeypatch):
    groups = {"inner": "max", "outer": "104857600", "root": "209715200"}
    for name, text in groups.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(diagnosis, "_control_groups", lambda: (str(tmp_path / name) for name in groups))
    assert diagnosis.container_limit() == 104857600
    assert any(finding.state == "warning" for finding in diagnosis.memory())
