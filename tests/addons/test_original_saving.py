"""What scripts of 2014 have kept: values that survive their server, and one author's in a file."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ipcdatastore

from .old import AUTHOR, serves_data, stores


@pytest.fixture
def kept(old, serve, tmp_path):
    """``kept()``: a server whose values are kept; each is the next one of the same directory."""
    (tmp_path / "persist").mkdir()
    return lambda: serve(old.datastore.DataObjects(persist_dir=str(tmp_path / "persist")))


@pytest.fixture
def persist_dir(tmp_path):
    return tmp_path / "persist"


def values_of(client, author=AUTHOR):
    return {name: client.get(name, author) for name in client.get_data_list().get(author, ())}


def regions_in(directory):
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*.region"))


# --- values that are kept ------------------------------------------------------------------------------
def test_after_a_clean_stop(kept, client):
    server = kept()
    client.set("persist", 3.14159, author=AUTHOR, persist=True)
    client.set("fleeting", 1, author=AUTHOR)
    server.stop()
    kept()
    assert values_of(client) == {"persist": 3.14159}


def test_without_saving_at_the_end(kept, client):
    server = kept()
    client.set("persist", 3.14159, author=AUTHOR, persist=True)
    client.get_exposed_object().setautosave(False)
    server.stop()
    kept()
    assert values_of(client) == {"persist": 3.14159}


def test_after_a_crash(child, kept, client, tmp_path):
    server = child(serves_data, tmp_path / "persist")
    server.hear()
    client.set("a~b/ü", 1, AUTHOR, persist=True)
    client.set("fleeting", 1, AUTHOR)
    server.kill()
    server = kept()
    assert values_of(client) == {"a~b/ü": 1}
    assert server.expose_obj._records.store.check() == []


def test_after_a_boot(child, kept, client, directory, tmp_path):
    server = child(serves_data, tmp_path / "persist")
    server.hear()
    client.set("a", [1], AUTHOR, persist=True)
    server.kill()
    for path in directory.rglob("*.region"):
        path.unlink()  # what memory forgets
    kept()
    assert values_of(client) == {"a": [1]}


def test_set_by_another_process(child, kept, client, directory):
    kept()
    assert child(stores, AUTHOR, {"a": 1}, True).finish() == [[True]]
    assert values_of(client) == {"a": 1}
    kept_on_disk = [entry for entry in client._found.records.store.entries() if entry.persistent]
    assert [entry.key for entry in kept_on_disk] == [(AUTHOR, "a")]


def test_a_set_is_on_the_disk_when_it_returns(kept, client):
    server = kept()
    there = client.get_exposed_object()
    for number, store_it in enumerate([client.set, there.set]):
        store_it(f"n{number}", number, AUTHOR, True)
        assert server.expose_obj._records.store.stats()["unflushed"] is False


def test_clearall_takes_what_is_kept_too(kept, client):
    """The fault of old: the files of what was deleted stayed, and came back."""
    server = kept()
    client.set("a", 1, AUTHOR, persist=True)
    client.clearall()
    server.stop()
    server = kept()
    assert client.get_data_list() == {}
    client.set("b", 1, AUTHOR, persist=True)
    client.get_exposed_object().clearall()
    server.expose_obj.setautosave(False)
    server.stop()
    kept()
    assert client.get_data_list() == {}


@pytest.mark.parametrize("how", ["delete", "set again", "remove_persistence", "proxy"])
def test_what_is_not_kept_any_more_does_not_come_back(kept, client, how):
    server = kept()
    client.set("a", 1, AUTHOR, persist=True)
    client.set("b", 2, AUTHOR, persist=True)
    if how == "delete":
        client.delete("a", AUTHOR)
    elif how == "set again":
        client.set("a", 3, AUTHOR)
    elif how == "remove_persistence":
        assert client.remove_persistence("a", AUTHOR) is True
    else:
        assert client.get_exposed_object().remove_persistence("a", AUTHOR) is True
    client.get_exposed_object().setautosave(False)
    server.stop()
    kept()
    assert values_of(client) == {"b": 2}


def test_add_persistence(kept, client):
    server = kept()
    client.set("a", 1, AUTHOR)
    assert client.add_persistence("a", AUTHOR) is True
    client.get_exposed_object().setautosave(False)
    server.stop()
    kept()
    assert values_of(client) == {"a": 1}


def test_add_persistence_of_what_is_not_there(old, kept, client):
    """The fault of old: a ``KeyError`` of the server's dictionary."""
    kept()
    for verb in (client.add_persistence, client.remove_persistence):
        with pytest.raises(old.ipcclientxerrors.VarNotFoundError, match="garbage"):
            verb("garbage", AUTHOR)
    client.raise_exception = False
    assert client.add_persistence("garbage", AUTHOR) is False
    assert client.get_exposed_object().add_persistence("garbage", AUTHOR) is False


def test_where_nothing_can_be_kept(old, data, client):
    assert client.set("a", 1, AUTHOR, persist=True) is True
    with pytest.raises(old.ipcclientxerrors.SaveFailedError, match="no directory"):
        client.add_persistence("a", AUTHOR)
    assert data.expose_obj.add_persistence("a", AUTHOR) is False
    assert client.get("a", AUTHOR) == 1


def test_a_directory_that_cannot_be_written(old, kept, client, persist_dir):
    kept()
    client.set("a", 1, AUTHOR)
    (persist_dir / "dataobjects").write_text("in the way")
    with pytest.raises(old.ipcclientxerrors.SaveFailedError) as raised:
        client.set("b", 2, AUTHOR, persist=True)
    assert isinstance(raised.value.__cause__, ipcdatastore.SnapshotError)
    (persist_dir / "dataobjects").unlink()
    assert client.set("b", 2, AUTHOR, persist=True)


def test_one_server_has_a_directory(old, kept, persist_dir):
    server = kept()
    with pytest.raises(ipcdatastore.ServiceRunningError):
        old.datastore.DataObjects(persist_dir=persist_dir)
    server.stop()
    old.datastore.DataObjects(persist_dir=persist_dir).close()


def test_the_directory_may_be_moved(old, kept, client, serve, persist_dir, tmp_path):
    server = kept()
    client.set("a", 1, AUTHOR, persist=True)
    server.stop()
    persist_dir.rename(tmp_path / "elsewhere")
    serve(old.datastore.DataObjects(persist_dir=tmp_path / "elsewhere"))
    assert values_of(client) == {"a": 1}


def test_no_region_is_left_behind(old, kept, data, client, directory):
    client.set("a", 1)
    data.stop()
    server = kept()
    client.set("a", 1, persist=True)
    assert len(regions_in(directory)) == 1
    server.stop()
    assert regions_in(directory) == []


def test_an_object_that_is_dropped_is_closed(old, directory):
    values = old.datastore.DataObjects()
    assert len(regions_in(directory)) == 1
    del values
    assert regions_in(directory) == []


def test_a_closed_object_says_so(old):
    values = old.datastore.DataObjects()
    values.close()
    values.close()
    with pytest.raises(ipcdatastore.ClosedError):
        values.get("me", "x", "me")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_closes_nothing(old, data, client):
    client.set("a", 1)
    pid = os.fork()
    if not pid:
        data.expose_obj.close()
        os._exit(0)
    os.waitpid(pid, 0)
    assert client.get("a") == 1


# --- what a killed process leaves ----------------------------------------------------------------------
def test_leftovers_go_when_nobody_has_them(old, child, directory):
    server = child(serves_data, None)
    server.hear()
    mine = old.datastore.DataObjects()
    assert len(regions_in(directory)) == 2
    old.scratch.clean(str(directory))
    assert len(regions_in(directory)) == 2  # both are alive
    server.kill()
    old.scratch.clean(str(directory))
    assert regions_in(directory) == [f"{os.path.basename(mine._home._scratch.directory)}/dataobjects.region"]
    mine.set("a", 1, "me")
    mine.close()


def test_what_is_somebody_elses_stays(old, directory, tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "owner.lock").write_text("")
    (directory / "dataobjects-link").symlink_to(tmp_path / "precious")
    (directory / "dataobjects-new").mkdir()
    old.scratch.clean(str(directory))
    assert (tmp_path / "precious" / "owner.lock").exists()
    assert (directory / "dataobjects-new").exists()


# --- one author's, in a file ---------------------------------------------------------------------------
@pytest.mark.parametrize("author", [AUTHOR, "a~b", "a/b", "../up", "", "Ü ☃", "\udcff", "x" * 500, "CON", "."])
def test_save_and_restore(old, data, client, author):
    """The fault of old: a ``~`` in an author or a name damaged the file."""
    for name in ("x", "a~b", "~", "ü/ö"):
        client.set(name, [name], author)
    client.set("x", "theirs", "other")
    assert client.savedata(author) is True
    client.clearall()
    client.set("later", 1, author)
    client.set("x", "newer", author)
    assert client.restoredata(author) is True
    wanted = {"later": 1, "x": ["x"], "a~b": ["a~b"], "~": ["~"], "ü/ö": ["ü/ö"]}
    assert values_of(client, author) == wanted
    assert set(client.get_data_list()) == {author}
    assert client.delete_data(author) is True
    client.raise_exception = False
    assert client.delete_data(author) is False
    assert client.restoredata(author) is False


def test_authors_do_not_share_a_file(kodi, load):
    path, seen = load("ipc.kodi").saved_path, {}

    @given(st.text(max_size=200))
    def check(author):
        found = path(author).lower()  # on some systems that is the same file
        assert seen.setdefault(found, author) == author
        assert os.path.dirname(found) == os.path.dirname(path("a")).lower()
        assert len(os.path.basename(found).encode()) < 255

    check()
    assert path("A") != path("a")


def test_in_kodi_the_file_is_among_the_services_data(kodi, load):
    wanted = kodi.home / "masterprofile/addon_data/service.ipcdatastore/saved/script.mine.backup"
    assert load("ipc.kodi").saved_path("script.mine") == str(wanted)


def test_marks_and_expiry_are_kept(kept, client):
    server = kept()
    client.set("kept", 1, AUTHOR, persist=True)
    store = server.expose_obj._records.store
    store.set((AUTHOR, "short"), 2, expire=1000)
    store.set((AUTHOR, "fleeting"), 3)
    client.savedata(AUTHOR)
    client.clearall()
    client.restoredata(AUTHOR)
    entries = {entry.key[1]: entry for entry in store.entries()}
    assert {name: entry.persistent for name, entry in entries.items()} == {
        "kept": True,
        "short": False,
        "fleeting": False,
    }
    assert {name: entry.expires_at is not None for name, entry in entries.items()} == {
        "kept": False,
        "short": True,
        "fleeting": False,
    }
    assert store.stats()["unflushed"] is False


def test_nothing_to_save_is_saved_too(data, client):
    assert client.savedata("nobody") is True
    assert client.restoredata("nobody") is True
    assert client.get_data_list() == {}


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "of another kind"])
def test_a_damaged_file_changes_nothing(old, data, client, damage):
    client.set("x", list(range(1000)), AUTHOR)
    client.savedata(AUTHOR)
    path = old.kodi.saved_path(AUTHOR)
    with open(path, "rb") as file:
        content = bytearray(file.read())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    else:
        content = {"cut": content[: len(content) // 2], "empty": b"", "of another kind": b"\x80\x04N."}[damage]
    with open(path, "wb") as file:
        file.write(content)
    client.set("x", "newer", AUTHOR)
    with pytest.raises(old.ipcclientxerrors.RestoreFailedError) as raised:
        client.restoredata(AUTHOR)
    assert raised.value.errno == 7
    assert path in raised.value.message
    assert isinstance(raised.value.__cause__, ipcdatastore.DatastoreError)
    assert values_of(client) == {"x": "newer"}


@pytest.mark.skipif(os.name == "nt", reason="modes are of other systems")
def test_a_file_that_others_can_write_is_not_read(old, data, client):
    client.set("x", 1, AUTHOR)
    client.savedata(AUTHOR)
    os.chmod(old.kodi.saved_path(AUTHOR), 0o666)
    with pytest.raises(old.ipcclientxerrors.RestoreFailedError) as raised:
        client.restoredata(AUTHOR)
    assert isinstance(raised.value.__cause__, ipcdatastore.UntrustedRegionError)


def test_a_file_that_cannot_be_written(old, data, client):
    """The fault of old: all errors of saving were swallowed."""
    path = old.kodi.saved_path(AUTHOR)
    os.makedirs(path)
    client.set("x", 1, AUTHOR)
    with pytest.raises(old.ipcclientxerrors.SaveFailedError) as raised:
        client.savedata(AUTHOR)
    assert raised.value.__cause__ is not None
    assert path in raised.value.message
    assert data.expose_obj.savedata(AUTHOR, path) is False


def test_the_object_saves_where_it_is_told(data, client, tmp_path):
    there = client.get_exposed_object()
    client.set("x", 1, AUTHOR)
    path = str(tmp_path / "mine.p")
    assert there.savedata(AUTHOR, path) is True
    there.clearall()
    assert there.restoredata("other", path) is True  # who has no values there
    assert there.get_data_list() == {}
    assert there.restoredata(AUTHOR, path) is True
    assert values_of(client) == {"x": 1}
    assert there.restoredata(AUTHOR, path + ".gone") is False
    (tmp_path / "precious.txt").write_text("mine")
    assert there.savedata(AUTHOR, str(tmp_path / "precious.txt")) is False
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_what_is_restored_is_not_cached(data, client):
    client.set("x", 1, AUTHOR)
    client.savedata(AUTHOR)
    client.get("x", AUTHOR)
    client.restoredata(AUTHOR)
    assert not client.get("x", AUTHOR, return_tuple=True).cached
