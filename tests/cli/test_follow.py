"""`wait` and `watch`: what they say, and when they end."""

import json
import subprocess

import pytest

from cli.program import start
from ipcdatastore.cli.root import NOT_FOUND, OK, USAGE


# --- wait ------------------------------------------------------------------------------------------------
def test_wait_ends_at_once_when_it_has_changed_since(run, store):
    version = store.set("key", {"a": 1})
    assert run("wait", "shop", "key", "--since", "0").output == f"{version}\n"
    assert run("wait", "shop", "key", "--since", "0", "--value").output == f'{version}\t{{"a": 1}}\n'
    told = json.loads(run("wait", "shop", "key", "--since", "0", "--json").output)
    assert told == {"key": "key", "version": version}
    told = json.loads(run("wait", "shop", "key", "--since", "0", "--json", "--value").output)
    assert told == {"key": "key", "version": version, "value": {"a": 1}}


def test_wait_for_a_key_that_went_away(run, store):
    assert run("wait", "shop", "gone", "--since", "7").output == "0\n"
    assert run("wait", "shop", "gone", "--since", "7", "--value").output == "0\t\n"
    told = json.loads(run("wait", "shop", "[1]", "--key-type", "json", "--since", "7", "--value", "--json").output)
    assert told == {"key": [1], "version": 0, "value": None}


def test_wait_in_vain(run, store):
    version = store.set("key", 1)
    for since in ([], ["--since", str(version)]):
        error = run("wait", "shop", "key", "--timeout", "0.01", *since, code=NOT_FOUND).stderr
        assert error == "ipcdatastore: 'key' did not change within 0.01 s\n"


def test_wait_is_woken_by_another_process(directory, store):
    version = store.set("key", 1)
    process = start(directory, "wait", "shop", "key", "--since", str(version), "--value", stdout=subprocess.PIPE)
    newer = store.set("key", 2)
    assert process.communicate()[0].decode() == f"{newer}\t2\n"
    assert process.returncode == OK


@pytest.mark.parametrize("arguments", [("wait", "shop"), ("wait", "shop", "key", "--since", "-1"), ("watch",)])
def test_wrong_usage(run, store, arguments):
    run(*arguments, code=USAGE)


# --- watch -----------------------------------------------------------------------------------------------
def watching(directory, store, *arguments):
    """The program, when it is surely watching; its lines."""
    process = start(directory, "watch", "shop", *arguments, stdout=subprocess.PIPE, universal_newlines=True)
    with store.watch() as events:  # as long as somebody else does, each set is logged
        number = 0
        line = ""
        lines = iter(process.stdout.readline, "")

        def knock():
            nonlocal number
            number += 1
            store["knock"] = number
            return list(events.poll())

        import threading

        heard = threading.Event()

        def listen():
            nonlocal line
            line = next(lines, "")
            heard.set()

        listener = threading.Thread(target=listen)
        listener.start()
        while not heard.wait(0.005):
            knock()
        listener.join()
    assert "knock" in line
    return process, lines


def until_key(lines, key):
    """The lines from the first that speaks of `key`."""
    for line in lines:
        if key in line:
            return line
    raise AssertionError(f"no line about {key}")


def test_watch_writes_each_event_at_once(directory, store):
    process, lines = watching(directory, store, "--values")
    version = store.set("colour", "red")
    assert until_key(lines, "colour") == f"set\t{version}\tcolour\tred\n"
    del store["colour"]
    assert next(lines).startswith("delete\t")
    version = store.set(("skin", 7), {"a": [1]})
    assert next(lines) == f'set\t{version}\t["skin", 7]\t{{"a": [1]}}\n'
    store.clear()
    assert next(lines).split("\t")[::2] == ["clear", ""]
    process.terminate()
    process.communicate()


def test_watch_as_json_lines(directory, store):
    process, lines = watching(directory, store, "--values", "--json")
    version = store.set("colour", b"red")
    wanted = {"kind": "set", "key": "colour", "version": version, "value": {"$bytes": "cmVk"}}
    assert json.loads(until_key(lines, "colour")) == wanted
    store.delete("colour")
    assert json.loads(next(lines))["kind"] == "delete"
    process.terminate()
    process.communicate()


class Events:
    """Stands for a watch: what there is to be seen, and then nothing."""

    def __init__(self, *events):
        self.left = list(events)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def next(self, timeout):
        return self.left.pop(0) if self.left else None


@pytest.fixture
def seen(monkeypatch):
    """What the next `watch` sees."""
    from ipcdatastore import Datastore
    from ipcdatastore.watching import Event

    def see(*events):
        monkeypatch.setattr(Datastore, "watch", lambda self: Events(*(Event(*event) for event in events)))

    return see


def test_watch_counts(run, store, seen):
    seen(("set", "a", 1), ("set", "b", 2), ("set", "c", 3))
    assert run("watch", "shop", "--count", "2").output == "set\t1\ta\nset\t2\tb\n"
    assert run("watch", "shop", "--timeout", "0").output.count("\n") == 3
    error = run("watch", "shop", "--count", "9", "--timeout", "0", code=NOT_FOUND).stderr
    assert error == "ipcdatastore: 3 of 9 events within 0 s\n"


def test_watch_means_the_keys_that_list_means(run, store, seen):
    seen(("set", "skin.a", 1), ("set", "other", 2), ("delete", ("skin", 1), 3), ("set", 5, 4), ("overflow", None, 5))
    lines = run("watch", "shop", "skin", "--timeout", "0").output.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["set", "delete", "overflow"]


def test_a_value_that_is_gone_again_ends_no_watch(run, store, seen):
    seen(("set", "gone", 1), ("expire", "x", 2))
    assert run("watch", "shop", "--values", "--timeout", "0").output == "set\t1\tgone\t\nexpire\t2\tx\t\n"
    told = run("watch", "shop", "--values", "--json", "--timeout", "0").output.splitlines()
    assert json.loads(told[0]) == {"kind": "set", "key": "gone", "version": 1}
