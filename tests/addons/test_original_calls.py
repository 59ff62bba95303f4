"""Objects that scripts of 2014 expose and call: `IPCServer` and `IPCClient`."""

import errno
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ipcdatastore
from ipcdatastore import place

from .old import Calculator, serves_calculator

TEXTS = st.text(max_size=60)
HOSTS = TEXTS.filter(lambda text: "@" not in text)


# --- one end and the other -----------------------------------------------------------------------------
def test_an_object_of_another_process(old, child):
    server = child(serves_calculator, uses=[Calculator])
    assert server.hear() == "PYRO:kodi-IPC@localhost:9099"
    client = old.ipcclient.IPCClient()
    assert client.server_available()
    there = client.get_exposed_object()
    assert (there.add(2), there.add(2, b=3), there.add("a", "b")) == (3, 5, "ab")
    assert there.who() == server.pid
    server.say("end")
    assert server.finish() == [[False, 1]]  # it does not run, and its object was closed
    assert not client.server_available()
    with pytest.raises(ipcdatastore.ServerUnavailableError):
        there.add(2)


def test_the_proxy_may_come_first(old, serve):
    there = old.ipcclient.IPCClient().get_exposed_object()
    serve(Calculator())
    assert there.add(1) == 2


def test_an_error_comes_with_its_traceback(old, serve):
    serve(Calculator())
    client = old.ipcclient.IPCClient()
    assert client.get_traceback() == ""
    try:
        client.get_exposed_object().divide(1, 0)
    except ZeroDivisionError:
        assert "in divide" in client.get_traceback()
    assert "in divide" in old.ipcclient.IPCClient.get_traceback()  # also after the block, as in Python 2


def test_the_traceback_is_of_this_thread(old, serve):
    serve(Calculator())
    client, found = old.ipcclient.IPCClient(), []
    with pytest.raises(ZeroDivisionError):
        client.get_exposed_object().divide(1, 0)
    thread = threading.Thread(target=lambda: found.append(client.get_traceback()))
    thread.start()
    thread.join()
    assert found == [""]


def test_a_call_takes_five_seconds_at_most(old):
    assert old.ipcclient.TIMEOUT == 5.0
    assert old.ipcclient.IPCClient()._link().timeout == 5.0


def test_a_call_that_takes_longer(old, serve, monkeypatch):
    release = threading.Event()
    serve(release)
    monkeypatch.setattr(old.ipcclient, "TIMEOUT", 0.05)
    with pytest.raises(ipcdatastore.CallTimeoutError):
        old.ipcclient.IPCClient().get_exposed_object().wait()
    release.set()


def test_private_things_are_not_reached(old, serve):
    serve(Calculator())
    with pytest.raises(AttributeError):
        old.ipcclient.IPCClient().get_exposed_object()._secret()


def test_one_call_waits_for_what_another_brings(old, serve):
    class Meeting:
        def __init__(self):
            self.there = threading.Event()

        def wait(self):
            return self.there.wait(60)

        def come(self):
            self.there.set()

    serve(Meeting())
    client, met = old.ipcclient.IPCClient(), []
    waits = threading.Thread(target=lambda: met.append(client.get_exposed_object().wait()))
    waits.start()
    client.get_exposed_object().come()
    waits.join()
    assert met == [True]


@pytest.mark.parametrize("serializer", ["pickle", "json", "serpent", "marshal", "marshall"])
def test_serializers(old, serve, serializer):
    serve(Calculator(), serializer=serializer)
    assert old.ipcclient.IPCClient(datatype=serializer).get_exposed_object().add(1, 2) == 3


# --- the server ----------------------------------------------------------------------------------------
def test_a_server_is_a_thread(old, serve):
    obj = Calculator()
    server = serve(obj, name="mine", host="here", port=7)
    assert isinstance(server, threading.Thread)
    assert (server.name, server.host, server.port, server.uri) == ("mine", "here", 7, "PYRO:mine@here:7")
    assert server.running
    assert server.is_alive()
    assert server.exception is None
    server.stop()
    assert not server.running
    assert not server.is_alive()
    assert obj.closed == 1


def test_an_object_need_not_close(serve):
    serve(threading.Event()).stop()


def test_an_address_that_is_taken(old, serve):
    first = serve(Calculator())
    second = old.ipcserver.IPCServer(Calculator())
    with pytest.raises(OSError, match="kodi-IPC") as raised:
        second.start()
    assert raised.value.errno == errno.EADDRINUSE
    assert second.exception is raised.value
    assert not second.running
    first.stop()
    second.start()  # now it may
    assert second.exception is None
    second.stop()


def test_start_up_is_over_when_start_returns(old, monkeypatch):
    """The fault of old: `start` looked at two flags, as fast as it could, until the thread had set one."""

    def fail(*arguments, **options):
        seen.append(threading.current_thread())
        raise ZeroDivisionError("no")

    seen = []
    monkeypatch.setattr(ipcdatastore, "serve_object", fail)
    server = old.ipcserver.IPCServer(Calculator())
    with pytest.raises(ZeroDivisionError):
        server.start()
    assert seen == [threading.current_thread()]
    assert not server.is_alive()
    assert isinstance(server.exception, ZeroDivisionError)


def test_a_serializer_that_is_none(old):
    with pytest.raises(ValueError, match="yaml"):
        old.ipcserver.IPCServer(Calculator(), serializer="yaml").start()


def test_stop_by_a_call(old, serve):
    class Ending:
        def end(self):
            server.stop()
            return "ended"

    server = serve(Ending())
    old.ipcclient.IPCClient().get_exposed_object().end.oneway()
    server.join(60)
    assert not server.running
    assert not server.is_alive()


def test_stop_goes_on_when_a_call_does_not_end(old, serve, monkeypatch):
    class Slow:
        def __init__(self):
            self.begun, self.release = threading.Event(), threading.Event()

        def wait(self):
            self.begun.set()
            return self.release.wait(60)

    monkeypatch.setattr(old.ipcserver, "JOIN", 0.05)
    server = serve(Slow())
    pending = old.ipcclient.IPCClient().get_exposed_object().wait.submit()
    server.expose_obj.begun.wait(60)
    server.stop()
    assert not server.running
    server.expose_obj.release.set()
    server.join(60)
    assert pending.result(60) is True


def test_stop_of_what_never_ran(old):
    obj = Calculator()
    old.ipcserver.IPCServer(obj).stop()
    assert obj.closed == 1


def test_two_servers_side_by_side(old, serve):
    serve(Calculator(), port=1)
    serve(Calculator(), port=2)
    assert old.ipcclient.IPCClient(port=1).get_exposed_object().add(1) == 2
    assert old.ipcclient.IPCClient(port=2).get_exposed_object().add(2) == 3


@pytest.mark.parametrize(
    ("value", "expected"), [({"a": [1]}, True), (len, True), (lambda: 0, False), (threading.Lock(), False)]
)
def test_test_pickle(old, value, expected):
    assert old.ipcserver.IPCServer.test_pickle(value) is expected


# --- addresses -----------------------------------------------------------------------------------------
def test_the_uri_may_be_another_at_any_time(old, serve):
    serve(Calculator(), name="other", port=9990)
    client = old.ipcclient.IPCClient()
    assert not client.server_available()
    client.uri = "PYRO:other@localhost:9990"
    assert client.server_available()
    assert client.get_exposed_object().add(1) == 2
    client.uri = "PYRO:kodi-IGA@localhost:9990"
    assert not client.server_available()


@pytest.mark.parametrize("uri", ["", "PYRO:", "PYRONAME:x", "PYRO:x@y", "kodi-IPC@localhost:9099", None])
def test_a_uri_that_is_none(old, uri):
    client = old.ipcclient.IPCClient()
    client.uri = uri
    assert not client.server_available()
    with pytest.raises(ValueError, match="PYRO:kodi-IPC@localhost:9099"):
        client.get_exposed_object()


def test_settings_that_are_read_are_used(kodi, load, directory):
    """The fault of old: the settings of the addon were read, and the address was made of the arguments."""
    kodi.settings.update(data_name="den", host="box", port="77")
    server = load("ipc.ipcserver").IPCServer(Calculator(), add_on_id="service.ipcdatastore", name="not", port=1)
    assert (server.name, server.host, server.port, server.uri) == ("den", "box", 77, "PYRO:den@box:77")
    server.start()
    try:
        client = load("ipc.ipcclient").IPCClient(add_on_id="service.ipcdatastore")
        assert client.uri == server.uri
        assert client.get_exposed_object().add(1) == 2
        assert not load("ipc.ipcclient").IPCClient(name="not", port=1).server_available()
    finally:
        server.stop()


@pytest.mark.parametrize("settings", [{"port": ""}, {"port": "many"}])
def test_settings_that_are_of_no_use(kodi, load, settings):
    kodi.settings.update(settings)
    client = load("ipc.ipcclient").IPCClient(add_on_id="service.ipcdatastore", name="mine", host="here", port=3)
    assert client.uri == "PYRO:mine@here:3"


def test_an_addon_that_is_not_there(kodi, load):
    kodi.has_service = False
    client = load("ipc.ipcclient").IPCClient(add_on_id="service.ipcdatastore")
    assert client.uri == "PYRO:kodi-IPC@localhost:9099"


def test_names_of_objects_are_readable(old):
    assert old.address.object_name("PYRO:kodi-IPC@localhost:9099") == "kodi-IPC@localhost~9099"
    assert old.address.object_name("PYRO:a b/c~@::1:80") == "a%20b%2fc%7e@%3a%3a1~80"
    assert old.address.object_name("PYRO:.x@h:1") == "%2ex@h~1"


def test_every_address_is_an_object_of_its_own(kodi, load):
    address = load("ipc.address")
    seen = {}

    @given(TEXTS, HOSTS, st.integers(0, 70000))
    def check(name, host, port):
        found = address.object_name(address.uri_of(name, host, port))
        assert place.check_name(found) == found
        assert seen.setdefault(found, (name, host, port)) == (name, host, port)

    check()


def test_a_long_name(old, serve):
    name = "ä" * 200
    serve(Calculator(), name=name)
    assert old.ipcclient.IPCClient(name=name).get_exposed_object().add(1) == 2
    assert not old.ipcclient.IPCClient(name=name + "ä").server_available()
