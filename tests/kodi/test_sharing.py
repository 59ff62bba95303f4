"""Two addons, each in its own sub-interpreter, and this process share values, both ways, and count together."""

import pytest

from .staging import ONE, TWO

TIMES = 2000
TRANSFERS = 300


def values():
    import datetime

    return {
        "nothing": None,
        "yes": True,
        "whole": -(2**70),
        "fraction": 0.1,
        "text": "Käse \U0001f9c0\n\0end",
        "bytes": bytes(range(256)),
        "list": [1, [2, (3,)], {"four": 4.0}],
        "dict": {(1, "a"): {b"x": None}},
        "set": {1, "two"},
        "date": datetime.datetime(2026, 1, 2, 3, 4, 5),
        "large": "0123456789abcdef" * 20_000,
    }


def store_them():
    import ipc

    with ipc.open() as store:
        store.set_many(values())
        return ipc.caller()


def differences(author):
    """The names of the values of `author` that are not as they should be."""
    import ipc

    with ipc.open(author) as store:
        return [name for name, value in values().items() if name not in store or store[name] != value]


@pytest.mark.parametrize(("writer", "reader"), [(ONE, TWO), (TWO, ONE)])
def test_what_one_addon_stores_the_other_and_a_process_outside_read(kodi, outside, writer, reader):
    assert kodi.run(writer, store_them, uses=[values]) == writer
    assert kodi.run(reader, differences, writer, uses=[values]) == []
    found = outside.namespace(writer)
    assert dict(found) == values()


def test_what_a_process_outside_stores_both_addons_read(kodi, outside):
    outside.namespace("outside").set_many(values())
    for addon in (ONE, TWO):
        assert kodi.run(addon, differences, "outside", uses=[values]) == []


def waits_for_news(author):
    """Read a value until it is cached; then wait, and read it again through the same handle."""
    import ipc

    with ipc.open(author) as store, ipc.open() as own:
        first = [store.get("news"), store.get("news")]
        entry = store.get_entry("news")
        own["ready"] = True
        changed = store.wait("news", since=entry.version, timeout=20)
        return [*first, entry.cached, changed > entry.version, store.get("news"), store.get("news")]


def reads_until_it_is_new(author):
    """The same without a wait: the cached value is read all the time."""
    import time

    import ipc

    with ipc.open(author) as store, ipc.open() as own:
        old, end, reads = store.get("news"), time.monotonic() + 20, 0
        own["ready"] = True
        while store.get("news") == old and time.monotonic() < end:
            reads += 1
            if reads % 1000 == 0:
                time.sleep(0.001)  # for the others: all scripts share one lock of the interpreter
        return store.get("news")


def stores_news(value):
    import ipc

    with ipc.open() as store:
        store["news"] = value


def test_a_change_reaches_a_handle_that_has_the_value_cached(kodi, outside):
    kodi.run(ONE, stores_news, ["old"])
    outside.pop((TWO, "ready"), None)
    script = kodi.start_script(TWO, waits_for_news, ONE)
    outside.wait((TWO, "ready"), since=0, timeout=20)
    kodi.run(ONE, stores_news, ["new"])
    assert script.result() == [["old"], ["old"], True, True, ["new"], ["new"]]


@pytest.mark.parametrize("inside", [True, False])
def test_a_change_reaches_who_reads_all_the_time(kodi, outside, inside):
    kodi.run(ONE, stores_news, "old")
    outside.pop((TWO, "ready"), None)
    script = kodi.start_script(TWO, reads_until_it_is_new, ONE)
    outside.wait((TWO, "ready"), since=0, timeout=20)
    if inside:
        kodi.run(ONE, stores_news, "new")
    else:
        outside[(ONE, "news")] = "new"
    assert script.result() == "new"


def waits_for_change(author):
    import ipc

    with ipc.open(author) as store:
        version = store.set("from inside", "hello")
        store.wait("from outside", since=0, timeout=20)
        return [store.get("from outside"), version]


def test_inside_and_outside_answer_each_other(kodi, outside):
    script = kodi.start_script(ONE, waits_for_change, "talk")
    assert outside.wait(("talk", "from inside"), since=0, timeout=20)
    assert outside[("talk", "from inside")] == "hello"
    outside[("talk", "from outside")] = {"answer": 42}
    assert script.result()[0] == {"answer": 42}


def increments(times):
    import ipc

    with ipc.open("count") as store:
        store.increment("ready")
        store.wait("go", since=0, timeout=20)
        for _ in range(times):
            store.increment("sum")
        return store["sum"]


def transfers(times):
    import ipc

    with ipc.open("bank") as store:
        store.increment("ready")
        store.wait("go", since=0, timeout=20)
        return move_money(store, times)


def move_money(store, times):
    def move(unit):
        unit["from"] = unit["from"] - 1
        unit["to"] = unit["to"] + 1
        unit["moves"] = unit.get("moves", 0) + 1

    torn = 0
    for _ in range(times):
        store.transact(move)
        seen = store.get_many(["from", "to"])
        torn += seen["from"] + seen["to"] != 0
    return torn


def together(kodi, outside, author, function, times, here, uses=()):
    """Two scripts run `function`, and this process `here`, all at once: what they return."""
    scripts = [kodi.start_script(addon, function, times, uses=uses) for addon in (ONE, TWO)]
    common = outside.namespace(author)
    kodi.wait_for(lambda: common.get("ready") == len(scripts))
    common["go"] = True
    return [here(common), *(script.result(60) for script in scripts)]


def test_writers_inside_and_outside_lose_no_increment(kodi, outside):
    def here(common):
        for _ in range(TIMES):
            common.increment("sum")
        return common["sum"]

    sums = together(kodi, outside, "count", increments, TIMES, here)
    assert max(sums) == outside[("count", "sum")] == 3 * TIMES


def test_transactions_inside_and_outside_are_all_or_nothing(kodi, outside):
    outside.namespace("bank").set_many({"from": 0, "to": 0})
    torn = together(
        kodi, outside, "bank", transfers, TRANSFERS, lambda common: move_money(common, TRANSFERS), uses=[move_money]
    )
    assert torn == [0, 0, 0]
    moved = 3 * TRANSFERS
    assert outside.namespace("bank").get_many(["from", "to", "moves"]) == {"from": -moved, "to": moved, "moves": moved}
