"""The service, for scripts of 2014: `IPCClientX` reaches its store at both addresses, whatever becomes of it."""

import pytest

import ipcdatastore

from .old import Calculator, serves_calculator
from .test_host import changed, pause, run


@pytest.fixture
def host(load, kodi):
    host = load("host").Host()
    host.tick()
    yield host
    host.close()


@pytest.fixture
def client_of(load, kodi):
    """``client_of(...)``: an ``IPCClientX`` of another addon, which raises what is wrong."""
    made = []

    def client_of(*arguments, **options):
        kodi.caller = "script.one"
        made.append(load("ipc.ipcclientx").IPCClientX(*arguments, **options))
        made[-1].raise_exception = True
        kodi.caller = "service.ipcdatastore"
        return made[-1]

    yield client_of
    for client in made:
        client.close()


def test_both_addresses(host, client_of, outside):
    default, by_settings = client_of(), client_of(addon_id="service.ipcdatastore")
    assert default.uri == "PYRO:kodi-IPC@localhost:9099"
    assert by_settings.uri == "PYRO:kodi@localhost:6379"
    default.set("x", 20)
    assert by_settings.get("x", author="script.one", requestor="testclient") == 20
    assert outside()[("script.one", "x")] == 20
    outside()[("script.two", "y")] = 21
    assert default.get("y", author="script.two") == 21


def test_both_apis_see_the_same(host, client_of, load, kodi):
    client = client_of()
    kodi.caller = "script.one"
    with load("ipc").open() as store:
        store.set("kept", 1, persist=True)
        assert client.get("kept") == 1
        client.set("kept", 2, persist=True)
        assert store["kept"] == 2
        assert store.get_entry("kept").persistent
        client.remove_persistence("kept")
        assert not store.get_entry("kept").persistent


def test_what_is_kept_comes_back(load, kodi, client_of, outside):
    def first():
        client_of().set("kept", 1, persist=True)
        client_of().set("fleeting", 2)

    run(load, kodi, first)
    assert outside()[("script.one", "kept")] == 1
    (image,) = (kodi.home / "profile/addon_data/service.ipcdatastore/images/kodi").glob("*.image")
    with ipcdatastore.open("scratch", directory=kodi.home / "scratch") as scratch:
        (kodi.home / "scratch").chmod(0o700)
        scratch.restore(image)
        assert [key for key in scratch if key[0] == "script.one"] == [("script.one", "kept")]


def test_it_stops_with_the_service(load, kodi, client_of):
    client = client_of()
    seen = []
    run(load, kodi, lambda: seen.append(client.server_available()))
    assert seen == [True]
    assert not client.server_available()


def test_off(load, kodi, client_of):
    client, seen = client_of(), []
    run(
        load,
        kodi,
        changed(kodi, startserver="false"),
        lambda: seen.append(client.server_available()),
        changed(kodi, startserver="true"),
        lambda: seen.append(client.server_available()),
    )
    assert seen == [False, True]


def test_off_from_the_start(load, kodi, client_of):
    kodi.settings["startserver"] = "false"
    seen = []
    run(load, kodi, pause, lambda: seen.append(client_of().server_available()))
    assert seen == [False]


def test_a_move(load, kodi, client_of, directory):
    client, seen = client_of(), []

    def before():
        client.set("x", [1])
        seen.append(client.get("x", return_tuple=True).cached)

    def after():
        seen.append(client.get("x"))
        client.set("x", [2])
        seen.append(client.get("x"))

    run(load, kodi, before, changed(kodi, place="data"), after)
    assert seen == [False, [1], [2]]
    assert not (directory / "kodi.region").exists()


def test_another_name_of_the_store(load, kodi, client_of, outside):
    client, seen = client_of(), []

    def after():
        seen.append(client.get_data_list("script.one"))
        client.set("y", 2)

    run(load, kodi, lambda: client.set("x", 1), changed(kodi, data_name="den"), after)
    assert seen == [{}]
    assert outside()[("script.one", "x")] == 1
    assert outside("den")[("script.one", "y")] == 2


def test_another_address(load, kodi, client_of):
    seen = []

    def look():
        seen.append(client_of(name="kodi", host="box", port=7).server_available())
        seen.append(client_of(name="kodi", host="localhost", port=6379).server_available())
        seen.append(client_of().server_available())

    run(load, kodi, look, changed(kodi, host="box", port="7"), look)
    assert seen == [False, True, True, True, False, True]


def test_the_address_of_old_in_the_settings(load, kodi, client_of):
    kodi.settings.update(data_name="kodi-IPC", port="9099")
    run(load, kodi, lambda: client_of().set("x", 1))


def test_another_program_serves_there(host, load, kodi, client_of, child, monkeypatch):
    host.close()
    other = child(serves_calculator, uses=[Calculator])
    other.hear()
    host = load("host").Host()
    try:
        host.tick()
        for _ in range(3):
            host.objects._due = 0.0
            host.tick()
        assert kodi.lines().count("is served by another program") == 1
        client_of(addon_id="service.ipcdatastore").set("x", 1)  # at the other address it is served all the same
        other.say("end")
        other.finish()
        host.objects._due = 0.0
        host.tick()
        assert client_of().get("x") == 1
    finally:
        host.close()


def test_a_server_that_fails_is_replaced(host, client_of, kodi):
    client = client_of()
    client.set("x", 1)
    for server in host.objects._servers.values():
        server.stop()
    assert not client.server_available()
    host.objects._due = 0.0
    host.tick()
    assert client.get("x") == 1


def test_damage_is_mended_and_it_serves_again(host, client_of, kodi, outside):
    client = client_of()
    client.set("x", 1)
    host._fail(ZeroDivisionError("a fault"))
    assert not client.server_available()
    host._not_before = host.region._due = 0.0
    host.tick()
    host.tick()
    assert client.get("x") == 1


def test_without_the_service_there_is_no_server(load, kodi, client_of, directory):
    client = client_of(addon_id="service.ipcdatastore")
    client.raise_exception = False
    assert client.server_available() is False
    assert client.set("x", 1) is False
    assert client.get("x") is None
    assert not (directory / "kodi.region").exists()


def test_a_script_outside_of_kodi(host, client_of, child):
    client_of().set("x", [1], author="me")
    script = child(reads, "me", "x")
    assert script.finish() == [[1]]


def reads(author, name):
    from resources.lib.ipcclientx import IPCClientX

    client = IPCClientX()
    client.raise_exception = True
    say(client.get(name, author))


def say(value):
    """Of the child."""
