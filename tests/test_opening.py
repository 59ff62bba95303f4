"""Who opens a store to be kept has it kept, or is told that it is not."""

import warnings

import pytest

import ipcdatastore


@pytest.fixture
def open_store(directory):
    return lambda **options: ipcdatastore.open("s", directory=directory, **options)


def reboot(directory):
    (directory / "s.region").unlink()


def test_a_wider_policy_is_kept_though_nobody_writes(directory, tmp_path, open_store):
    """The last image shows the newest version, and yet not all that is to be kept from now on."""
    with open_store(snapshot_directory=tmp_path / "images") as store:
        store.set("marked", 1, persist=True)
        store["other"] = 2
        store.flush()
    with open_store(persist=True) as store:
        assert store.stats()["unflushed"] is True
    reboot(directory)
    with open_store(snapshot_directory=tmp_path / "images") as store:
        assert dict(store) == {"marked": 1, "other": 2}
        assert store.check() == []


def test_another_directory_gets_an_image_though_nobody_writes(directory, tmp_path, open_store):
    with open_store(snapshot_directory=tmp_path / "one", persist=True) as store:
        store["a"] = 1
    open_store(snapshot_directory=tmp_path / "two", persist=True).close()
    reboot(directory)
    with open_store(snapshot_directory=tmp_path / "two") as store:
        assert dict(store) == {"a": 1}
        assert store.check() == []


def test_a_store_that_cannot_be_kept_says_so(tmp_path, open_store):
    (tmp_path / "file").touch()
    store = open_store(snapshot_directory=tmp_path / "file" / "images", persist=True)
    store["a"] = 1
    with pytest.warns(RuntimeWarning, match="no image could be written: .*choose another"):
        store.close()
    with open_store() as store:
        assert dict(store) == {"a": 1}
        assert store.check() == []


def test_a_warning_made_an_error_does_not_keep_the_handle_open(tmp_path, open_store):
    (tmp_path / "file").touch()
    store = open_store(snapshot_directory=tmp_path / "file" / "images", persist=True)
    store["a"] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.close()
    with pytest.raises(ipcdatastore.ClosedError):
        store["a"]
