"""`stats`, `check`, `repair` and `clear`."""

import json

import ipcdatastore
from cli.program import on_terminal
from ipcdatastore.cli.root import NOT_FOUND, OK, USAGE


def test_stats(run, store):
    store["key"] = 1
    facts = json.loads(run("stats", "shop", "--json").output)
    assert (facts["name"], facts["records"], facts["serializer"]) == ("shop", 1, "pickle")
    assert "uncached_reads" not in facts
    assert (facts["persist"], facts["flushed_at"], facts["coordinator"]) == ("keys", None, None)
    lines = dict(line.split("\t") for line in run("stats", "shop").output.splitlines())
    assert lines == {name: "" if value is None else str(value) for name, value in facts.items()}


def test_check_of_a_whole_store(run, store):
    store["key"] = 1
    assert run("check", "shop").output == ""
    told = json.loads(run("check", "shop", "--json").output)
    assert told == {"name": "shop", "whole": True, "problems": [], "records": 1}


def test_check_of_a_damaged_store(run, directory):
    with ipcdatastore.open("shop", directory=directory) as store:
        store["key"] = "value" * 100
    path = directory / "shop.region"
    data = path.read_bytes()
    path.write_bytes(data.replace(b"valuevalue", b"valueVALUE"))
    problems = run("check", "shop", code=NOT_FOUND).output.splitlines()
    assert problems
    told = json.loads(run("check", "shop", "--json", code=NOT_FOUND).output)
    assert told["problems"] == problems
    assert not told["whole"]


def test_stats_and_check_on_a_terminal(directory, store):
    store["a"] = 1
    assert "1 GiB" in on_terminal(directory, "stats", "shop")[1]
    code, shown = on_terminal(directory, "check", "shop")
    assert code == OK
    assert "shop is whole: 1 record" in shown


# --- repair ----------------------------------------------------------------------------------------------
def damage(directory):
    """A store of two records, one of them damaged."""
    with ipcdatastore.open("shop", directory=directory) as store:
        store["whole"] = "right"
        store["key"] = "value" * 100
    path = directory / "shop.region"
    path.write_bytes(path.read_bytes().replace(b"valuevalue", b"valueVALUE"))


def is_whole(directory):
    with ipcdatastore.open("shop", directory=directory, mode="r") as store:
        return store.check() == [] and dict(store) == {"whole": "right"}


def test_repair_gives_up_what_is_damaged_and_says_so(run, directory):
    damage(directory)
    assert "slot" in run("repair", "shop", code=NOT_FOUND).output
    assert is_whole(directory)
    assert run("repair", "shop").output == ""
    told = json.loads(run("repair", "shop", "--json").output)
    assert told == {"name": "shop", "whole": True, "given_up": [], "problems": [], "records": 1}


def test_repair_as_json(run, directory):
    damage(directory)
    told = json.loads(run("repair", "shop", "--json", code=NOT_FOUND).output)
    assert told["whole"]
    assert len(told["given_up"]) == 1
    assert is_whole(directory)


def test_check_and_repair_of_a_damaged_store_on_a_terminal(directory):
    damage(directory)
    code, shown = on_terminal(directory, "check", "shop")
    assert code == NOT_FOUND
    assert "ipcdatastore repair shop" in shown
    code, shown = on_terminal(directory, "repair", "shop")
    assert code == NOT_FOUND
    assert "shop is whole: 1 record, 1 record lost" in shown
    assert "nothing was lost" in on_terminal(directory, "repair", "shop")[1]
    assert is_whole(directory)


# --- clear -----------------------------------------------------------------------------------------------
def test_clear(run, store):
    store.update(a=1, b=2)
    assert run("clear", "shop", "--yes").output == ""
    assert len(store) == 0
    store["c"] = 3
    assert json.loads(run("clear", "shop", "--yes", "--json").output) == {"name": "shop", "deleted": 1}
    assert len(store) == 0


def test_clear_in_a_pipe_wants_to_be_told(run, store):
    store["a"] = 1
    assert "--yes" in run("clear", "shop", code=USAGE, stdin="y\n").stderr
    assert dict(store) == {"a": 1}


def test_clear_asks_on_a_terminal(directory, store):
    store["a"] = 1
    code, shown = on_terminal(directory, "clear", "shop", typed="n\n")
    assert code == NOT_FOUND
    assert "Delete 1 key of 'shop'?" in shown
    assert dict(store) == {"a": 1}
    code, shown = on_terminal(directory, "clear", "shop", typed="y\n")
    assert code == OK
    assert "shop is empty: 1 key deleted" in shown
    assert len(store) == 0
