"""Objects whose methods others call: within one process here, between two in :func:`other_process`."""

from __future__ import annotations

import time
from typing import Any, Dict, Iterator, List

import ipcdatastore

from .bench import Bench, expect, expect_equal, expect_error, until
from .crowd import process

NAME = "object"
TIMES = 200
KILLS = 3


class Ledger:
    """What is served."""

    def __init__(self) -> None:
        self.items: Dict[str, Any] = {}
        self.closed = False

    def put(self, key: str, value: Any) -> int:
        """Keep a value. How many there are."""
        self.items[key] = value
        return len(self.items)

    def get(self, key: str) -> Any:
        """A value that was kept."""
        return self.items[key]

    def count(self, most: int) -> Iterator[int]:
        """Numbers; whether it was closed can be told."""
        try:
            yield from range(most)
        finally:
            self.closed = True

    def pause(self, seconds: float) -> None:
        """Take so long."""
        time.sleep(seconds)


def one_process(bench: Bench) -> str:
    """Results, exceptions, what does not wait, and items one by one; a new server is found by an old proxy."""
    ledger = Ledger()
    with ipcdatastore.serve_object(NAME, ledger, directory=bench.directory).start() as server:
        proxy: Any = ipcdatastore.connect(NAME, directory=bench.directory, timeout=bench.patience)
        _plain(proxy, ledger)
        _without_waiting(proxy)
        expect_equal(sum(proxy.count(TIMES)), sum(range(TIMES)), "the items of a generator")
        ledger.closed = False
        with proxy.count(10**9) as numbers:
            expect_equal([next(numbers), next(numbers)], [0, 1], "the first items of a long generator")
        until(lambda: ledger.closed, "a generator that nobody reads is closed")
        with expect_error(ipcdatastore.CallTimeoutError, "a call that takes too long"):
            proxy.pause.within(0.01)(0.1)
        expect_equal(proxy.get("one"), 1, "a call behind one that took too long")
        with expect_error(ipcdatastore.ObjectServedError, "a second server of one name"):
            ipcdatastore.serve_object(NAME, ledger, directory=bench.directory)
        calls = server.calls
    with expect_error(ipcdatastore.ServerUnavailableError, "a call after the server's end"):
        proxy.get("one")
    with ipcdatastore.serve_object(NAME, ledger, directory=bench.directory).start():
        expect_equal(proxy.get("one"), 1, "a call of the next server")
    expect_equal(ipcdatastore.objects(bench.directory), [], "what is served in the end")
    return f"{calls} calls"


def _plain(proxy: Any, ledger: Ledger) -> None:
    expect_equal(proxy.put("one", 1), 1, "the result of a call")
    for value in ("ünïcödé ✔ \0", [1, {"a": (2, b"\0")}], b"x" * 300_000, None):
        proxy.put(key="value", value=value)
        expect_equal(ledger.items["value"], value, "an argument")
        expect_equal(proxy.get("value"), value, "a result")
    try:
        proxy.get("nothing")
        expect(False, "an exception did not come back")
    except KeyError as error:
        expect_equal(error.args, ("nothing",), "the exception's arguments")
        expect("in get" in ipcdatastore.remote_traceback(error), "the exception has no traceback of the server's")
    with expect_error(ipcdatastore.NotExposedError, "a private name"):
        proxy.items  # noqa: B018 - an attribute that was not chosen


def _without_waiting(proxy: Any) -> None:
    for number in range(TIMES):
        proxy.put.oneway("last", number)
    expect_equal(proxy.get("last"), TIMES - 1, "a call behind those that nobody waited for")
    pending: List[Any] = [proxy.put.submit("last", number) for number in range(TIMES)]
    expect_equal({call.result() for call in pending}, {3}, "results that were waited for later")
    with ipcdatastore.link(proxy).batch() as batch:
        batch.put("last", "batch")
        found, missing = batch.get("last"), batch.get("nothing")
    expect_equal(found.result(), "batch", "a result out of a batch")
    with expect_error(KeyError, "an exception out of a batch"):
        missing.result()


def other_process(bench: Bench) -> str:
    """A server is killed again and again: its caller is told at once, no call runs twice, and the next one is found."""
    store = bench.open("calls")
    link = ipcdatastore.Link(NAME, bench.directory, bench.patience)
    proxy: Any = link.proxy
    slowest = 0.0
    for number in range(1, KILLS + 1):
        with process(bench, "server") as server:
            until(lambda: link.available() or server.poll() is not None, "a server in another process")
            expect_equal(server.poll(), None, "the server ended by itself")
            for _ in range(TIMES):
                proxy.add(1)
            expect_equal(store["sum"], number * TIMES + (number - 1), "the calls that ran")
            pending = proxy.add.submit(1, pause=60)
            until(lambda: store["sum"] == number * (TIMES + 1), "a call begins")  # noqa: B023
            server.kill()
            begun = time.perf_counter()
            error = pending.exception()
            slowest = max(slowest, time.perf_counter() - begun)
        expect(isinstance(error, ipcdatastore.ServerUnavailableError), f"a call of a killed server gave {error!r}")
        expect(getattr(error, "started", False), "a call that had begun was said not to have")
        with expect_error(ipcdatastore.ServerUnavailableError, "a call of nobody"):
            proxy.add(1)
    expect_equal(store["sum"], KILLS * (TIMES + 1), "the sum of all calls")
    link.close()
    return f"{KILLS} kills, told after {slowest * 1000:.0f} ms at most"
