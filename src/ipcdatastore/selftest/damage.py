"""Bytes that somebody else changed."""

from __future__ import annotations

from .bench import Bench, expect, expect_equal

RECORDS = 20


def region(bench: Bench) -> str:
    """A flipped byte in a value is noticed by a check, and a repair gives up that record only."""
    with bench.open("damaged") as store:
        for number in range(RECORDS):
            store[number] = _value(number)
    with open(bench.path("damaged.region"), "r+b") as file:
        data = file.read()
        file.seek(data.index(b"<value 07>"))
        file.write(b"<VALUE")
    store = bench.open("damaged")
    problems = store.check()
    expect(problems, "the damage was not found")
    given_up = store.repair()
    expect_equal(len(given_up), 1, "records given up")
    expect_equal(sorted(store), [number for number in range(RECORDS) if number != 7], "the keys that are left")
    for number in range(RECORDS):
        expect_equal(store.get(number), None if number == 7 else _value(number), f"value {number}")
    return f"1 of {RECORDS} records damaged, the other {RECORDS - 1} kept"


def _value(number: int) -> str:
    return f"<value {number:02}>" * 10
