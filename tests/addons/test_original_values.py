"""Values by author and name, as scripts of 2014 store and read them: `IPCClientX`, `DataObjects` and their errors."""

import os
import pickle
import threading
import time

import pytest

import ipcdatastore

from .old import AUTHOR, serves_data, stores

VALUES = {
    "int": 5,
    "float": 1.5,
    "str": "abc",
    "tuple": (7, "hello"),
    "list": [0, 8.5, "bye"],
    "dict": {"name": "Ned", "gone": True},
    "none": None,
}


@pytest.fixture
def full(data, client):
    """A client of a server that has `VALUES`."""
    for name, value in VALUES.items():
        assert client.set(name, value, author=AUTHOR) is True
    return client


# --- each verb -----------------------------------------------------------------------------------------
def test_set_and_get(full):
    assert {name: full.get(name, author=AUTHOR, requestor="tests") for name in VALUES} == VALUES


def test_between_processes(old, child, client):
    server = child(serves_data, None)
    server.hear()
    writer = child(stores, AUTHOR, {"a": 1, "b": [2]}, False)
    assert writer.finish() == [[True, True]]
    assert (client.get("a", AUTHOR), client.get("b", AUTHOR)) == (1, [2])
    server.say("end")
    server.finish()


def test_the_tuple(old, full):
    before = time.time()
    full.set("x", 1)
    found = full.get("x", return_tuple=True)
    assert type(found).__name__ == "Data"
    assert found._fields == ("value", "ts", "cached")
    assert found.value == 1
    assert isinstance(found.ts, float)
    assert before - 1 < found.ts < time.time() + 1


def test_cached_is_what_was_not_transferred(old, full):
    def cached():
        return full.get("list", AUTHOR, return_tuple=True).cached

    assert [cached(), cached(), cached()] == [False, True, True]
    full.set("list", [1], AUTHOR)
    assert [cached(), cached()] == [False, True]
    other = old.ipcclientx.IPCClientX()
    other.set("list", [1], AUTHOR)  # the same value, set anew
    assert [cached(), cached()] == [False, True]
    assert not other.get("list", AUTHOR, return_tuple=True).cached  # each client has its own cache
    assert full.clearcache() is True
    assert [cached(), cached()] == [False, True]
    other.close()


def test_two_sets_in_one_tick_of_the_clock(full, monkeypatch):
    """The fault of old: the time of a set was its version."""
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now)
    monkeypatch.setattr(time, "time", lambda: now / 1e9)
    full.set("x", 1)
    first = full.get("x", return_tuple=True)
    full.set("x", 2)
    second = full.get("x", return_tuple=True)
    assert (first.value, second.value, second.cached) == (1, 2, False)


def test_a_mutable_value_is_the_callers_own(full):
    full.get("list", AUTHOR).append("mine")
    assert full.get("list", AUTHOR) == VALUES["list"]


def test_delete(full):
    assert full.delete("tuple", author=AUTHOR) == VALUES["tuple"]
    found = full.delete("dict", AUTHOR, return_tuple=True)
    assert (found.value, found.cached) == (VALUES["dict"], False)
    full.raise_exception = False
    assert full.get("tuple", author=AUTHOR) is None
    assert full.delete("tuple", author=AUTHOR) is None
    assert full.delete("tuple", author=AUTHOR, return_tuple=True) == (None, None, False)


def test_get_data_list(full):
    full.set("x", 1, author="other")
    assert {author: sorted(names) for author, names in full.get_data_list().items()} == {
        AUTHOR: sorted(VALUES),
        "other": ["x"],
    }
    assert full.get_data_list("other") == {"other": ["x"]}
    assert full.get_data_list("nobody") == {}


def test_clearall(full):
    assert full.clearall() is True
    assert full.get_data_list() == {}


def test_server_available(full, data):
    assert full.server_available() is True
    data.stop()
    assert full.server_available() is False


@pytest.mark.parametrize("text", ["a~b", "a/b", "~", "", "ü ☃ 𝄞", "\udcff", "a\nb", "..", "x" * 300, "@a~b.p.gz"])
def test_any_text_is_a_name_and_an_author(data, client, text):
    client.set(text, 1, author=text)
    client.set(text, 2, author="other")
    assert client.get_data_list() == {text: [text], "other": [text]}
    assert (client.get(text, text), client.get(text, "other")) == (1, 2)


def test_a_name_that_is_a_number(data, client):
    client.set(3, "three", author=4)
    assert client.get("3", "4") == client.get(3, 4) == "three"


def test_the_author_is_who_calls(old, data, client):
    client.set("x", 1)
    assert client.get_data_list() == {"script.caller" if old.fake else "service.ipcdatastore": ["x"]}


def test_the_author_under_run_script(kodi, load, tmp_path, monkeypatch):
    """The fault of old: the author was guessed from the name of the file that runs."""
    addon = tmp_path / "script.mine"
    (addon / "resources").mkdir(parents=True)
    (addon / "addon.xml").write_text('<?xml version="1.0"?><addon id="script.mine" version="1"/>')
    script = addon / "resources" / "default.py"
    monkeypatch.setattr("sys.argv", [str(script)])
    monkeypatch.delattr("__main__.__file__", raising=False)
    kodi.caller = None  # Kodi does not know whose script that is
    assert load("ipc.ipcclientx").IPCClientX().addonname == "script.mine"
    monkeypatch.setattr("sys.argv", [str(tmp_path / "elsewhere.py")])
    assert load("ipc.ipcclientx").IPCClientX().addonname == "service.ipcdatastore"
    kodi.caller = "plugin.video.its"
    assert load("ipc.ipcclientx").IPCClientX().addonname == "plugin.video.its"


def test_threads_share_a_client(full):
    def work(number):
        for step in range(50):
            full.set(f"t{number}", step, AUTHOR)
            assert full.get(f"t{number}", AUTHOR) == step
        done.append(number)

    done = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(done) == [0, 1, 2, 3]


# --- what goes wrong -----------------------------------------------------------------------------------
def failure(function, *arguments):
    with pytest.raises(Exception) as raised:
        function(*arguments)
    try:
        return raised.value
    finally:
        del raised  # its traceback has this frame


def test_the_numbers(old):
    errors = old.ipcclientxerrors
    made = {
        errors.VarNotFoundError(): 1,
        errors.UseCachedCopyError(): 2,
        errors.ServerUnavailableError("PYRO:a@b:1", "tb"): 3,
        errors.ServerReconnectFailedError("PYRO:a@b:1", "tb"): 4,
        errors.ObjectNotSerializableError(): 5,
        errors.SaveFailedError(): 6,
        errors.RestoreFailedError(): 7,
        errors.UnknownError(ValueError("why"), "tb"): 0,
        errors.NoError(): -1,
    }
    for error, number in made.items():
        assert isinstance(error, errors.IPCClientError)
        assert error.errno == number
        assert str(error) == error.message
        copy = pickle.loads(pickle.dumps(error))
        assert (type(copy), copy.errno, copy.message) == (type(error), number, error.message)
        if number in (0, 3, 4):
            assert error.tb == copy.tb == "tb"
    assert errors.UnknownError(ValueError("why"), "").message == "why"
    assert (errors.IPCERROR_UKNOWN, errors.IPCERROR_RESTOREFAILED) == (0, 7)


def test_the_messages_can_be_updated(old):
    errors = old.ipcclientxerrors
    for error, arguments, shown in [
        (errors.VarNotFoundError(), ("x", "me"), ["'x'", "'me'"]),
        (errors.ObjectNotSerializableError(), (3,), ["builtins.int"]),
        (errors.SaveFailedError(), ("me", "/a/b"), ["'me'", "/a/b"]),
        (errors.RestoreFailedError(), ("me", "/a/b"), ["'me'", "/a/b"]),
    ]:
        error.updatemessage(*arguments)
        assert all(text in error.message for text in shown)


def test_a_name_that_is_not_there(old, data, client):
    for verb in (client.get, client.delete):
        error = failure(verb, "garbage")
        assert type(error) is old.ipcclientxerrors.VarNotFoundError
        assert error.errno == 1
        assert "garbage" in error.message
        assert client.addonname in error.message


def test_what_cannot_be_pickled(old, data, client):
    error = failure(client.set, "x", client.get)
    assert type(error) is old.ipcclientxerrors.ObjectNotSerializableError
    assert "method" in error.message
    assert isinstance(error.__cause__, ipcdatastore.EncodeError)
    assert client.get_data_list() == {}


def test_what_this_process_cannot_read(old, data, client):
    store = data.expose_obj._records.store
    store[(AUTHOR, "x")] = Mine()
    with pytest.MonkeyPatch.context() as patch:
        patch.delattr(f"{__name__}.Mine")
        error = failure(client.get, "x", AUTHOR)
        assert type(error) is old.ipcclientxerrors.ObjectNotSerializableError
        assert "Mine" in error.message
        assert isinstance(error.__cause__, ipcdatastore.DecodeError)
    assert isinstance(client.get("x", AUTHOR), Mine)


def serves_who_goes():
    from ipc.ipcserver import IPCServer

    class Going:
        def region(self):
            os._exit(1)

    IPCServer(Going()).start()
    say("ready")
    hear()


def say(value):
    """Of the child."""


hear = say


class Mine:
    pass


def test_a_full_store(old, serve, client, outside):
    store = outside("small", max_size=1 << 20)
    serve(old.datastore.DataObjects(store=store))
    error = failure(client.set, "x", bytes(2 << 20))
    assert type(error) is old.ipcclientxerrors.UnknownError
    assert isinstance(error.__cause__, (ipcdatastore.StoreFullError, ipcdatastore.TooLargeError))
    assert client.set("x", b"small")


def test_a_name_that_is_too_long(old, data, client):
    error = failure(client.set, "x" * 100_000, 1)
    assert type(error) is old.ipcclientxerrors.UnknownError
    assert isinstance(error.__cause__, ipcdatastore.TooLargeError)


VERBS = [
    ("set", ("x", 1), False),
    ("get", ("x",), None),
    ("delete", ("x",), None),
    ("get_data_list", (), None),
    ("clearall", (), False),
    ("clearcache", (), False),
    ("savedata", (), False),
    ("restoredata", (), False),
    ("add_persistence", ("x",), False),
    ("remove_persistence", ("x",), False),
]


@pytest.mark.parametrize(("verb", "arguments", "otherwise"), VERBS, ids=[verb for verb, _, _ in VERBS])
def test_no_server(old, client, verb, arguments, otherwise):
    error = failure(getattr(client, verb), *arguments)
    assert type(error) is old.ipcclientxerrors.ServerUnavailableError
    assert error.errno == 3
    assert "PYRO:kodi-IPC@localhost:9099" in error.message
    assert isinstance(error.__cause__, ipcdatastore.ServerUnavailableError)
    client.raise_exception = False
    assert getattr(client, verb)(*arguments) == otherwise


def test_the_server_goes_and_every_verb_notices(old, full, data):
    assert full.get("int", AUTHOR) == 5
    data.stop()
    for verb, arguments, _ in VERBS:
        assert type(failure(getattr(full, verb), *arguments)) is old.ipcclientxerrors.ServerUnavailableError


def test_the_server_is_killed(old, child, client):
    server = child(serves_data, None)
    server.hear()
    client.set("x", 1)
    assert client.get("x") == 1
    server.kill()
    assert not client.server_available()
    assert type(failure(client.get, "x")) is old.ipcclientxerrors.ServerUnavailableError


@pytest.mark.parametrize("tries", [1, 5])
def test_the_server_goes_in_the_middle_of_a_call(old, child, client, tries):
    server = child(serves_who_goes)
    server.hear()
    client.num_of_server_retries = tries
    # Not the error itself: it has frames that have a connection, which would outlive the test.
    kind, number, message, traceback = facts_of_failure(client.get, "x")
    assert kind is old.ipcclientxerrors.ServerReconnectFailedError
    assert number == 4
    assert "PYRO:kodi-IPC@localhost:9099" in message
    assert traceback


def facts_of_failure(function, *arguments):
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001 - which one is what the test looks at
        return type(error), error.errno, error.message, error.tb


def test_another_server_at_the_same_address(old, full, data, serve):
    assert full.get("int", AUTHOR) == 5
    data.stop()
    serve(old.datastore.DataObjects())
    assert full.get_data_list() == {}
    assert full.set("int", 6, AUTHOR)
    assert full.get("int", AUTHOR) == 6


def test_the_same_server_has_another_region(old, serve, client, outside):
    one, two = outside("one"), outside("two")
    one[("me", "x")], two[("me", "x")] = 1, 2
    server = serve(old.datastore.DataObjects(store=one))
    assert client.get("x", "me") == 1
    server.stop()
    server = serve(old.datastore.DataObjects(store=two))  # and the other region is still there
    assert client.get("x", "me") == 2
    server.stop()


def test_the_region_is_made_anew(old, serve, client, outside, directory):
    store = outside("one")
    serve(old.datastore.DataObjects(store=store))
    client.set("x", 1, "me")
    os.rename(directory / "one.region", directory / "aside.region")
    with ipcdatastore.open("one", directory=directory) as anew:
        anew[("me", "x")] = 2
        assert client.get("x", "me") == 2
    store.close()


def test_another_uri(old, full, serve):
    serve(old.datastore.DataObjects(), name="other", port=9990)
    uri, full.uri = full.uri, "PYRO:other@localhost:9990"
    assert full.get_data_list() == {}
    full.uri = "PYRO:kodi-IGA@localhost:9990"
    full.num_of_server_retries = 1
    assert not full.server_available()
    assert type(failure(full.get, "int", AUTHOR)) is old.ipcclientxerrors.ServerUnavailableError
    full.uri = uri
    assert full.get("int", AUTHOR) == 5


def test_retries(old, client, monkeypatch):
    tries = []
    monkeypatch.setattr(old.kodi, "pause", tries.append)
    client.num_of_server_retries = 3
    failure(client.get, "x")
    assert len(tries) == 2
    client.num_of_server_retries = 0  # one at least
    failure(client.get, "x")
    assert len(tries) == 2


def test_a_server_that_comes_between_two_tries(old, client, serve, monkeypatch):
    monkeypatch.setattr(old.kodi, "pause", lambda seconds: serve(old.datastore.DataObjects()))
    client.set("x", 1)
    assert client.get("x") == 1


def test_what_is_served_there_is_something_else(old, serve, client):
    serve(threading.Event())
    error = failure(client.get, "x")
    assert type(error) is old.ipcclientxerrors.UnknownError


def test_every_failure_is_in_the_log(old, data, client, monkeypatch, caplog):
    """The fault of old: a list of failures, those of saving first, was told to nobody."""
    client.raise_exception = False
    with caplog.at_level("INFO"):
        client.get("garbage")
        client.set("x", len.__class__.__subclasses__)
        client.set("y", client.get)
        client.restoredata("never saved")
        client.delete_data("never saved")
        client.add_persistence("garbage")
    lines = old.fake.lines() if old.fake else caplog.text
    for text in ("garbage", "cannot be serialized", "could not be restored", "was not deleted", "cannot be kept"):
        assert text in lines


# --- the object itself ---------------------------------------------------------------------------------
def test_the_object_through_a_proxy(old, data, client):
    there = client.get_exposed_object()
    assert there.set("x", [1], "me") is None
    found = there.get("one", "x", "me")
    assert type(found) is old.datastore.DataObject
    assert found.value == [1]
    assert isinstance(found.ts, float)
    assert there.get("one", "x", "me") == "\x02"  # it has that already
    assert there.get("one", "x", "me", True).value == [1]
    assert there.get("two", "x", "me").value == [1]
    there.clearcache("two")
    assert there.get("two", "x", "me").value == [1]
    there.set("x", [2], "me")
    assert there.get("one", "x", "me").value == [2]
    assert client.get("x", "me") == [2]  # the same values, from the region
    assert there.get_data_list() == there.get_data_list("me") == {"me": ["x"]}
    assert there.delete("x", "me").value == [2]
    assert there.delete("x", "me") == there.get("one", "x", "me") == "\x01"
    client.set("x", 3, "me")
    assert there.get("one", "x", "me").value == 3
    there.clearall()
    assert there.get_data_list() == client.get_data_list() == {}


def test_the_version_counts_not_the_time(old, data, monkeypatch):
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now)
    monkeypatch.setattr(time, "time", lambda: now / 1e9)
    values = data.expose_obj
    values.set("x", 1, "me")
    values.get("one", "x", "me")
    values.set("x", 2, "me")
    assert values.get("one", "x", "me").value == 2


def test_keys_of_other_shapes_are_left_alone(old, serve, client, outside):
    store = outside("mixed")
    store.update({"plain": 1, ("a", "b", "c"): 2, ("a", 3): 3, ("a", "b"): 4})
    serve(old.datastore.DataObjects(store=store))
    assert client.get_data_list() == {"a": ["b"]}


def test_a_store_that_is_none(old):
    with pytest.raises(ValueError, match="Datastore"):
        old.datastore.DataObjects(store={})


# --- the modules ---------------------------------------------------------------------------------------
def test_classes_are_the_same_wherever_they_are_imported(old, monkeypatch):
    import resources.lib.datastore
    import resources.lib.ipcclientx
    import resources.lib.ipcclientxerrors

    monkeypatch.syspath_prepend(os.path.dirname(resources.lib.datastore.__file__))
    import datastore
    import ipcclientx
    import ipcclientxerrors

    for module in (datastore, resources.lib.datastore):
        assert module.DataObjects is old.datastore.DataObjects
        assert module.DataObject is old.datastore.DataObject
    for module in (ipcclientx, resources.lib.ipcclientx):
        assert module.IPCClientX is old.ipcclientx.IPCClientX
    for module in (ipcclientxerrors, resources.lib.ipcclientxerrors):
        for name in ("IPCClientError", "VarNotFoundError", "UnknownError", "NoError", "IPCERROR_SAVEFAILED"):
            assert getattr(module, name) is getattr(old.ipcclientxerrors, name)
