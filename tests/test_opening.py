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


@pytest.mark.parametrize("persist", [None, True])
@pytest.mark.parametrize("mode", ["c", "w", "n"])
def test_a_directory_with_images_that_the_store_lacks(directory, tmp_path, open_store, mode, persist):
    """It would be taken for the real one: made by somebody who did not know where the images are, it is empty."""
    images = tmp_path / "images"
    with open_store(snapshot_directory=images, persist=True) as store:
        store["precious"] = 1
    reboot(directory)
    with open_store() as store:
        store["other"] = 2
        before = store.stats()
    region = (directory / "s.region").read_bytes()
    with pytest.raises(ipcdatastore.SnapshotError, match="move them away") as caught:
        open_store(mode=mode, snapshot_directory=images, persist=persist)
    assert caught.value.path == str(images)
    assert (directory / "s.region").read_bytes() == region
    with pytest.raises(ipcdatastore.SnapshotError):
        ipcdatastore.Service("s", directory=directory, snapshot_directory=images).start()
    with open_store() as store:
        assert dict(store) == {"other": 2}
        assert store.stats()["snapshot_directory"] == before["snapshot_directory"] != str(images)
        assert store.stats()["coordinator"] is None
        restored = store.restore(images / "00000001.image")
        assert isinstance(restored, ipcdatastore.Restored)
    images.rename(tmp_path / "away")
    with open_store(snapshot_directory=images, persist=True) as store:
        assert dict(store) == {"precious": 1}
        assert store.check() == []
    assert [image.name for image in images.iterdir()] == ["00000001.image"]


def test_a_directory_of_its_own_images_by_another_path(directory, tmp_path, open_store):
    (tmp_path / "images").mkdir(mode=0o700)
    link = tmp_path / "link"
    try:
        link.symlink_to(tmp_path / "images", target_is_directory=True)
    except OSError:
        pytest.skip("no symbolic links here")
    with open_store(snapshot_directory=tmp_path / "images", persist=True) as store:
        store["a"] = 1
    reboot(directory)
    open_store(snapshot_directory=tmp_path / "images").close()
    with open_store(snapshot_directory=link, persist=True) as store:
        assert store["a"] == 1
        assert store.stats()["snapshot_directory"] == str(tmp_path / "images")
        assert store.check() == []


def test_a_read_only_handle_may_name_any_directory(directory, tmp_path, open_store):
    with open_store(snapshot_directory=tmp_path / "images", persist=True) as store:
        store["a"] = 1
    reboot(directory)
    open_store().close()
    with open_store(snapshot_directory=tmp_path / "images", mode="r") as store:
        assert len(store) == 0


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
