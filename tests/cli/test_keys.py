"""`get`, `set`, `delete` and `list`, and values as text."""

import base64
import datetime
import json
import os
import pickle
import re
import subprocess
import sys
import time

import pytest

from cli.program import PROGRAM, on_terminal
from ipcdatastore.cli import text
from ipcdatastore.cli.root import FAILED, NOT_FOUND, OK, USAGE


# --- set and get ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value_type", "given", "value"),
    [
        ("str", "red", "red"),
        ("str", "", ""),
        ("str", "ünïcödé ✔", "ünïcödé ✔"),
        ("int", "42", 42),
        ("float", "2.5", 2.5),
        ("json", '{"a": [1, null, true]}', {"a": [1, None, True]}),
        ("json", '{"$bytes": "AAEC"}', b"\0\1\2"),
        ("bytes", "AAEC", b"\0\1\2"),
        ("raw", "abc", b"abc"),
    ],
)
def test_set_stores_a_value_of_the_type_that_it_is_told(run, store, value_type, given, value):
    assert run("set", "shop", "key", given, "--type", value_type).output == ""
    assert store["key"] == value
    assert type(store["key"]) is type(value)


def test_set_none_takes_no_value(run, store):
    run("set", "shop", "key", "--type", "none")
    assert store["key"] is None
    run("set", "shop", "key", "something", "--type", "none", code=USAGE)


@pytest.mark.parametrize(
    ("key_type", "given", "key"),
    [
        ("str", "a", "a"),
        ("int", "7", 7),
        ("bytes", "AAEC", b"\0\1\2"),
        ("json", '["skin", 7, {"$bytes": "AA=="}, ["x"]]', ("skin", 7, b"\0", ("x",))),
        ("json", '"a"', "a"),
    ],
)
def test_keys_of_every_type(run, store, key_type, given, key):
    run("set", "shop", given, "value", "--key-type", key_type)
    assert list(store) == [key]
    assert run("get", "shop", given, "--key-type", key_type).output == "value\n"
    run("delete", "shop", given, "--key-type", key_type)
    assert list(store) == []


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ("text", "text\n"),
        ("two\nlines", "two\nlines\n"),
        (b"\0\1\2", "AAEC\n"),
        (7, "7\n"),
        (None, "null\n"),
        (True, "true\n"),
        (2.5, "2.5\n"),
        ({"a": [1, b"x"]}, '{"a": [1, {"$bytes": "eA=="}]}\n'),
        ((1, "ü"), '[1, "ü"]\n'),
        ({1}, "{1}\n"),
        (datetime.date(2020, 1, 2), "datetime.date(2020, 1, 2)\n"),
    ],
)
def test_get_writes_one_line_to_a_pipe(run, store, value, line):
    store["key"] = value
    assert run("get", "shop", "key").output == line


def test_get_as_json_tells_all_about_the_key(run, store):
    version = store.set(("skin", 7), {"a": b"\0"}, expire=1000)
    told = json.loads(run("get", "shop", '["skin", 7]', "--key-type", "json", "--json").output)
    assert told.pop("written_at") == pytest.approx(time.time(), abs=900)
    assert told.pop("expires_at") == pytest.approx(time.time() + 1000, abs=900)
    assert told.pop("size") > 0
    rest = {"type": "dict", "version": version, "persistent": False}
    assert told == {"key": ["skin", 7], "value": {"a": {"$bytes": "AA=="}}, **rest}


def test_get_raw_writes_exactly_what_is_there(run, store):
    store.update(bytes=b"\0\xff\n", text="no line end", number=1)
    assert run("get", "shop", "bytes", "--raw").stdout_bytes == b"\0\xff\n"
    assert run("get", "shop", "text", "--raw").stdout_bytes == b"no line end"
    assert "int" in run("get", "shop", "number", "--raw", code=USAGE).stderr


@pytest.mark.parametrize("value_type", ["str", "json", "bytes", "int"])
def test_what_get_writes_set_reads(run, store, value_type):
    value = {"str": "a\nb\n", "json": {"a": [b"\0", {"$bytes": 1}, {2: 3}]}, "bytes": bytes(range(256)), "int": -5}
    store["one"] = value[value_type]
    run("set", "shop", "two", "-", "--type", value_type, stdin=run("get", "shop", "one").stdout_bytes)
    assert store["two"] == store["one"]


def test_raw_stdin_is_stored_to_the_byte(run, store):
    run("set", "shop", "key", "-", "--type", "raw", stdin=b"\xff\0\n\n")
    assert store["key"] == b"\xff\0\n\n"


def test_file_names_that_are_no_text_survive(directory, store):
    arguments = [*PROGRAM, "set", "shop", b"name\xff", b"value\xfe"]
    environment = {**os.environb, b"IPCDATASTORE_DIR": os.fsencode(directory)} if hasattr(os, "environb") else None
    if environment is None or sys.platform == "darwin":
        pytest.skip("arguments are text here")
    subprocess.run(arguments, env=environment, check=True)
    assert dict(store) == {"name\udcff": "value\udcfe"}
    got = subprocess.run([*PROGRAM, "get", "shop", b"name\xff"], env=environment, stdout=subprocess.PIPE, check=True)
    assert got.stdout == b"value\xfe\n"
    listed = subprocess.run([*PROGRAM, "list", "shop"], env=environment, stdout=subprocess.PIPE, check=True)
    assert listed.stdout.startswith(b"name\\udcff\tstr\t")


def test_negative_numbers_go_behind_two_dashes(run, store):
    run("set", "shop", "--type", "int", "--", "key", "-5")
    assert store["key"] == -5


def test_set_with_conditions(run, store):
    version = json.loads(run("set", "shop", "key", "one", "--add", "--json").output)["version"]
    assert "there already" in run("set", "shop", "key", "two", "--add", code=NOT_FOUND).stderr
    assert f"version {version + 9}" in run("set", "shop", "key", "2", "--version", str(version + 9), code=1).stderr
    assert store["key"] == "one"
    run("set", "shop", "key", "two", "--version", str(version))
    assert store["key"] == "two"
    run("set", "shop", "key", "three", "--version", "1", "--add", code=USAGE)


def test_set_with_expiry(run, store):
    run("set", "shop", "key", "value", "--expire", "1000")
    assert store.get_entry("key").expires_at == pytest.approx(time.time() + 1000, abs=900)
    assert "expire" in run("set", "shop", "key", "value", "--expire", "0", code=USAGE).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("get", "shop"),
        ("get", "shop", "x", "--key-type", "int"),
        ("get", "shop", "%", "--key-type", "bytes"),
        ("get", "shop", '{"$bytes": 5}', "--key-type", "json"),
        ("get", "shop", "[" * 100_000, "--key-type", "json"),
        ("set", "shop", "key"),
        ("set", "shop", "key", "x", "--type", "int"),
        ("set", "shop", "key", "{", "--type", "json"),
        ("set", "shop", "key", "x", "--type", "bytes"),
        ("set", "shop", "key", '{"$items": 5}', "--type", "json"),
        ("list",),
        ("list", "shop", "--timeout", "-1"),
    ],
)
def test_wrong_usage(run, store, arguments):
    run(*arguments, code=USAGE)
    assert len(store) == 0


def test_set_marks_a_key_to_be_kept_on_disk(run, store):
    run("set", "shop", "key", "value", "--persist")
    assert store.get_entry("key").persistent
    run("set", "shop", "key", "other")
    assert json.loads(run("get", "shop", "key", "--json").output)["persistent"]
    assert run("list", "shop").output.rstrip("\n").split("\t")[6] == "persistent"
    run("set", "shop", "key", "other", "--no-persist", "--version", str(store.get_entry("key").version))
    assert not store.get_entry("key").persistent


# --- delete --------------------------------------------------------------------------------------------
def test_delete(run, store):
    store["key"] = 1
    assert run("delete", "shop", "key").output == ""
    assert "key" not in store
    assert "no key 'key'" in run("delete", "shop", "key", code=NOT_FOUND).stderr
    result = run("delete", "shop", "key", "--json", code=NOT_FOUND)
    assert json.loads(result.stdout) == {"key": "key", "deleted": False}


# --- list ----------------------------------------------------------------------------------------------
def test_list_in_a_pipe_is_sorted_and_a_line_a_key(run, store):
    store.update({"b": 1, "a\tb\n": "x", 10: None, 9: None, b"\0": 1, ("n", "k"): 1, ("n", 2): 1})
    lines = [line.split("\t") for line in run("list", "shop", "--values").output.splitlines()]
    assert [line[0] for line in lines] == [
        "9", "10", "a\\tb\\n", "b", '{"$bytes": "AA=="}', '["n", 2]', '["n", "k"]',
    ]  # fmt: skip
    assert lines[3][1:4] == ["int", str(store.get_entry("b").size), str(store.get_entry("b").version)]
    assert lines[3][5:] == ["", "", "1"]
    assert {len(line) for line in lines} == {8}


def test_list_with_a_prefix_finds_text_and_namespaces(run, store):
    store.update({"skin.a": 1, "skinny": 1, "other": 1, b"skin": 1, 5: 1})
    store.namespace("skin")["accent"] = "red"
    listed = json.loads(run("list", "shop", "skin", "--json").output)
    assert [one["key"] for one in listed] == ["skin.a", "skinny", ["skin", "accent"]]
    assert run("list", "shop", "nothing").output == ""
    assert json.loads(run("list", "shop", "nothing", "--json").output) == []


class Gone:
    pass


def test_a_value_that_cannot_be_read_ends_no_list(run, store, monkeypatch):
    store.update(a=1, gone=Gone(), z=1)
    monkeypatch.delattr(sys.modules[__name__], "Gone")
    lines = run("list", "shop", "--values").output.splitlines()
    assert [line.split("\t")[0] for line in lines] == ["a", "gone", "z"]
    assert "Gone" in lines[1]
    listed = json.loads(run("list", "shop", "--json").output)
    assert "Gone" in listed[1]["error"]
    assert "Gone" in run("get", "shop", "gone", code=FAILED).stderr


def test_values_that_no_json_holds(run, store):
    loop = []
    loop.append(loop)
    store.update(nan=float("nan"), long=1 << 20_000, loop=loop, lone="\ud800", shape=pickle.PickleBuffer)
    listed = {one["key"]: one["value"] for one in json.loads(run("list", "shop", "--json", "--values").output)}
    assert listed["nan"] == {"$float": "nan"}
    assert listed["long"] == {"$repr": hex(1 << 20_000)}
    assert listed["lone"] == "\ud800"
    assert "PickleBuffer" in listed["shape"]["$repr"]
    for key in store:
        run("get", "shop", key)
        run("get", "shop", key, "--json")


# --- values as text ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "value",
    [
        {"a": {"$bytes": "not base64"}},
        {"$items": []},
        {1: {2: 3}, ("a", b"x"): [None, True, 1.5]},
        {"$float": 1, "more": float("-inf")},
        [b"", "", {}, []],
    ],
)
def test_json_brings_back_what_it_was_made_from(value):
    assert text.from_json(json.loads(text.dumps(value))) == value


def test_a_tuple_comes_back_as_a_list():
    assert text.from_json(json.loads(text.dumps((1, (2,))))) == [1, [2]]


def test_bytes_are_base64(store):
    assert text.to_json(b"\xff\0") == {"$bytes": base64.b64encode(b"\xff\0").decode()}


# --- on a terminal ---------------------------------------------------------------------------------------
def test_list_on_a_terminal_is_a_table(directory, store):
    store.update({"a": 1, "evil\x1b[2J[red]": "line\nline\x07"})
    code, shown = on_terminal(directory, "list", "shop", "--values")
    assert code == OK
    assert "version" in shown
    assert "2 keys in shop" in shown
    assert "evil\\x1b[2J[red]" in shown
    assert "line\\nline\\x07" in shown
    assert "\x1b[2J" not in shown
    assert "\x1b[36m" in shown


def test_list_fits_on_a_narrow_terminal(directory, store):
    store.set("a key that is longer than there is room for", "value " * 1000, expire=1000)
    store.set("other", 1, persist=True)
    for columns in (100, 80):
        for values in ([], ["--values"]):
            _, shown = on_terminal(directory, "list", "shop", *values, columns=columns)
            assert max(len(re.sub("\x1b\\[[0-9;]*m", "", line)) for line in shown.splitlines()) <= columns
            assert "version" in shown
            assert "in 16 min" in shown
            assert "kept" in shown
            assert ("bytes" in shown) != bool(values)


def test_get_on_a_terminal(directory, store):
    store.update(text="C:\\dir\nsecond\x1b[2J", data={"a": [1, 2]}, gone="")
    assert on_terminal(directory, "get", "shop", "text") == (OK, "C:\\dir\r\nsecond\\x1b[2J\r\n")
    assert "'a'" in on_terminal(directory, "get", "shop", "data")[1]
    assert on_terminal(directory, "get", "shop", "nothing")[0] == NOT_FOUND
