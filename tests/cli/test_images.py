"""`backup` and `restore`."""

import json

import pytest

import ipcdatastore
from cli.program import on_terminal
from ipcdatastore.cli.root import FAILED, NOT_FOUND, USAGE


@pytest.fixture
def file(tmp_path):
    return tmp_path / "shop.image"


def fill(store):
    store.update({"a": 1, ("b", 2): [3], "text": "<value>" * 10})
    return dict(store)


def test_what_backup_wrote_restore_brings_back(run, store, file):
    contents = fill(store)
    assert run("backup", "shop", str(file)).output == ""
    store.clear()
    store["new"] = 1
    assert run("restore", "shop", str(file)).output == ""
    assert dict(store) == contents


def test_as_json(run, store, file):
    fill(store)
    told = json.loads(run("backup", "shop", str(file), "--json").output)
    assert told == {"name": "shop", "path": str(file), "records": 3, "bytes": file.stat().st_size}
    told = json.loads(run("restore", "shop", str(file), "--json").output)
    assert told == {"name": "shop", "path": str(file), "records": 3, "lost": 0, "problems": []}


def test_on_a_terminal(directory, store, file):
    fill(store)
    assert "3 records of shop in " in on_terminal(directory, "backup", "shop", str(file), columns=200)[1]
    assert "shop holds 3 records of " in on_terminal(directory, "restore", "shop", str(file), columns=200)[1]


def test_restore_makes_a_store_only_when_told(run, directory, store, file):
    contents = fill(store)
    run("backup", "shop", str(file))
    assert "--create" in run("restore", "new", str(file), code=FAILED).stderr
    assert not (directory / "new.region").exists()
    run("restore", "new", str(file), "--create")
    with ipcdatastore.open("new", directory=directory, mode="r") as new:
        assert dict(new) == contents
        assert new.check() == []


def test_a_damaged_file_changes_nothing_unless_it_is_salvaged(run, directory, store, file):
    contents = fill(store)
    run("backup", "shop", str(file))
    file.write_bytes(file.read_bytes().replace(b"<value>", b"<VALUE>", 1))
    store["new"] = 1
    assert "damaged" in run("restore", "shop", str(file), code=FAILED).stderr
    assert store["new"] == 1
    result = run("restore", "shop", str(file), "--salvage", code=NOT_FOUND)
    assert result.output
    assert "2 records restored" in result.stderr
    del contents["text"]
    assert dict(store) == contents
    told = json.loads(run("restore", "shop", str(file), "--salvage", "--json", code=NOT_FOUND).stdout)
    assert told["records"] == 2
    assert told["problems"]
    code, shown = on_terminal(directory, "restore", "shop", str(file), "--salvage", columns=200)
    assert code == NOT_FOUND
    assert "shop holds 2 records" in shown


def test_wrong_usage(run, store, tmp_path):
    run("restore", "shop", str(tmp_path / "missing"), code=USAGE)
    run("restore", "shop", code=USAGE)
    run("backup", "shop", code=USAGE)
    run("backup", "shop", str(tmp_path), code=USAGE)


def test_a_backup_that_cannot_be_written(run, store, tmp_path):
    assert "missing" in run("backup", "shop", str(tmp_path / "missing" / "file"), code=FAILED).stderr


def test_a_store_that_comes_from_an_older_image_says_so_in_one_line(run, directory, tmp_path):
    images = tmp_path / "images"
    for value in ("old", "new"):
        with ipcdatastore.open("shop", directory=directory, snapshot_directory=images) as store:
            store.set("key", value, persist=True)
            newest = store.flush()
    (directory / "shop.region").unlink()
    with open(newest, "r+b") as file:
        file.truncate(5000)

    # Only `serve` says where images are: here in a place of its own, and told to end as soon as it has begun.
    def end(self, stop):
        assert self.store["key"] == "old"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ipcdatastore.Service, "run", end)
        result = run("serve", "shop", "--images", str(images))
    (line,) = [line for line in result.stderr.splitlines() if "damaged" in line]
    assert line.startswith("ipcdatastore: ")
    assert ".py" not in line
