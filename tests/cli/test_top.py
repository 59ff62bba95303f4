"""`top`: what it counts, and that it looks only."""

import json
import os
import sys

import pytest

from cli.program import on_terminal
from ipcdatastore.cli import live
from ipcdatastore.cli.root import OK, USAGE
from ipcdatastore.cli.units import rate, size, span

FAST = ("--once", "--interval", "0.05")


def test_top_in_a_pipe_is_a_line_an_interval(run, store):
    store.update(a=1, b=2)
    row = run("top", "shop", *FAST).output.rstrip("\n").split("\t")
    assert len(row) == 11
    assert (row[1], row[3], row[4]) == ("2", str(1 << 30), "0.0")


def test_top_as_json(run, store):
    store.set("a", 1, expire=1000)
    told = json.loads(run("top", "shop", *FAST, "--json").output)
    assert (told["name"], told["keys"], told["expiring"], told["max_size"]) == ("shop", 1, 1, 1 << 30)
    assert told["writes_per_second"] == 0
    assert told["coordinator"] is None


def test_rates_are_what_happened_in_between(store):
    before = live.sample(store)
    store.update(a=1, b=2, c=3)
    now = live.sample(store)._replace(moment=before.moment + 2)
    facts = live.figures(before, now)
    assert facts["writes_per_second"] == 3 / 2
    wrapped = live.Sample(0, {**now.facts, "reads": 0xFFFFFFFF}, None)
    after = live.Sample(1, {**now.facts, "reads": 4}, None)
    assert live.figures(wrapped, after)["reads_per_second"] == 5


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells who has a file open")
def test_top_on_a_terminal(directory, store):
    store["a"] = 1
    code, shown = on_terminal(directory, "top", "shop", *FAST)
    assert code == OK
    for text in ("keys", "1 GiB", "writes/s", "never flushed", "nobody", str(os.getpid())):
        assert text in shown


def test_interrupting_it_is_its_end(run, store, monkeypatch):
    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(live.time, "sleep", interrupt)
    assert run("top", "shop").output == ""


def test_wrong_usage(run, store):
    run("top", "shop", "--interval", "0", code=USAGE)


def test_sparkline():
    assert live.sparkline([]) == ""
    assert live.sparkline([0, 0]) == "▁▁"
    assert live.sparkline([1, 8]) == "▂█"


def test_units():
    assert (size(0), size(1023), size(1 << 20), rate(0.0), rate(1234.5)) == (
        "0 bytes",
        "1023 bytes",
        "1 MiB",
        "0",
        "1,230",
    )
    assert (span(-1), span(61), span(90000)) == ("0 s", "1 min 1 s", "1 d 1 h")
