"""`objects` and `call`: what is served, and calling it."""

import json
import subprocess
import sys
import time

import pytest

import ipcdatastore
from cli.program import PROGRAM, on_terminal, start
from cli.test_program import complete
from ipcdatastore.cli import live, objects
from ipcdatastore.cli.root import FAILED, INTERRUPTED, NOT_FOUND, OK, USAGE


class Library:
    def __init__(self):
        self.films = {}
        self.level = 3

    def add(self, title, year=None):
        """Remember a film.

        And more.
        """
        self.films[title] = year

    def find(self, title, /, *, wanted=None):
        return {"title": title, "year": self.films[title], "wanted": wanted}

    def echo(self, *arguments, **keywords):
        return [*arguments, keywords] if keywords else list(arguments)

    def same(self, value):
        return value

    def titles(self):
        """Every title."""
        yield from sorted(self.films)
        raise OverflowError("no more\nof them")

    def fail(self, text):
        raise ValueError(text)

    def end(self):
        raise SystemExit(7)


class Marked:
    @ipcdatastore.expose(oneway=True)
    def tell(self):
        """Say\x07so."""

    @ipcdatastore.expose
    @property
    def size(self):
        """How many."""
        return 5


@pytest.fixture
def library(directory):
    """An object that another thread of this process serves."""
    served = Library()
    with ipcdatastore.serve_object("library", served, directory=directory, attributes=["level"]) as server:
        server.start()
        yield served


# --- call ----------------------------------------------------------------------------------------------
def test_call_writes_what_the_method_returns(run, library):
    assert run("call", "library", "add", "Alien", "1979").output == "null\n"
    assert library.films == {"Alien": 1979}
    told = run("call", "library", "find", "Alien", "-k", "wanted=true").output
    assert told == '{"title": "Alien", "year": 1979, "wanted": true}\n'
    told = json.loads(run("call", "library", "same", "x", "--json").output)
    assert told == {"value": "x", "type": "str"}


@pytest.mark.parametrize(
    ("given", "options", "value"),
    [
        ("red", [], "red"),
        ("", [], ""),
        ("7", [], 7),
        ("2.5", [], 2.5),
        ("null", [], None),
        ('"7"', [], "7"),
        ("{", [], "{"),
        ("NaN", [], "NaN"),
        ("1e999", [], float("inf")),
        ('{"$bytes": "AAEC"}', [], b"\0\1\2"),
        ('[1, {"a": null}]', [], [1, {"a": None}]),
        ("[" * 100_000, [], "[" * 100_000),
        ("7", ["--type", "str"], "7"),
        ("7", ["--type", "float"], 7.0),
        ("AAEC", ["--type", "bytes"], b"\0\1\2"),
        ("abc", ["--type", "raw"], b"abc"),
    ],
)
def test_arguments_are_json_where_they_can_be_read_as_such(run, library, given, options, value, monkeypatch):
    seen = []
    monkeypatch.setattr(library, "same", seen.append)
    run("call", *options, "library", "same", given)
    run("call", *options, "library", "same", "-", stdin=given + "\n" if "raw" not in options else given)
    assert seen == [value, value]
    assert type(seen[0]) is type(value)


def test_names_and_dashes(run, library):
    run("call", "library", "echo", "-k", "a=1", "--keyword", "b=c=d")
    assert run("call", "library", "echo", "-k", "a=1", "-k", "b=c=d", "x").output == '["x", {"a": 1, "b": "c=d"}]\n'
    assert run("call", "--", "library", "echo", "-5", "--json").output == '[-5, "--json"]\n'
    assert run("call", "library", "echo").output == "[]\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("library", "echo", "-k", "a"),
        ("library", "echo", "-k", "a b=1"),
        ("library", "echo", "-k", "a=1", "-k", "a=2"),
        ("library", "-k", "a=1"),
        ("library", "echo", "-", "-"),
        ("library", "echo", "x", "--type", "int"),
        ("library", "echo", "-k", "a=x", "--type", "int"),
        ("library", "echo", '{"$bytes": "%"}'),
        ("library", "echo", "--timeout", "0"),
        ("library", "echo", "--type", "none"),
    ],
)
def test_wrong_usage(run, library, arguments):
    run("call", *arguments, code=USAGE)
    assert library.films == {}


def test_an_attribute_is_written(run, library):
    assert run("call", "library", "level").output == "3\n"
    assert "exposes no 'level'" in run("call", "library", "level", "4", code=NOT_FOUND).stderr


def test_items_of_a_generator_come_line_by_line_until_it_raises(run, library):
    library.films.update(b=1, a=2)
    result = run("call", "library", "titles", code=NOT_FOUND)
    assert result.stdout == "a\nb\n"
    assert result.stderr == "ipcdatastore: library.titles raised OverflowError: no more of them\n"
    lines = run("call", "library", "titles", "--json", code=NOT_FOUND).stdout.splitlines()
    assert [json.loads(line)["value"] for line in lines] == ["a", "b"]


def test_an_item_is_written_before_the_next_is_made(directory):
    seen = []

    class Slow:
        def count(self):
            yield "first"
            seen.append(process.stdout.readline())
            yield "second"

    with ipcdatastore.serve_object("slow", Slow(), directory=directory) as server:
        process = start(directory, "call", "slow", "count", stdout=subprocess.PIPE)
        server.start()
        assert process.wait() == OK
        assert [*seen, process.stdout.read()] == [b"first\n", b"second\n"]
        process.stdout.close()


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (("fail", "what\n\x1b[2Jit is"), "library.fail raised ValueError: what \\x1b[2Jit is"),
        (("fail", '""'), "library.fail raised ValueError"),
        (("find", "x"), "library.find raised KeyError: 'x'"),
        (("nothing",), "Library exposes no 'nothing'"),
        (("_secret",), "Library exposes no '_secret'"),
        (("add", "1", "2", "3"), "library.add raised TypeError: "),
    ],
)
def test_what_the_method_raises_is_one_line(run, library, call, complaint):
    assert run("call", "library", *call, code=NOT_FOUND).stderr.startswith(f"ipcdatastore: {complaint}")


def test_a_method_that_exits_ends_nobody_else(directory):
    with ipcdatastore.serve_object("library", Library(), directory=directory).start() as server:
        process = start(directory, "call", "library", "end", stderr=subprocess.PIPE)
        told = process.communicate()[1]
        assert server.running
    assert told == b"ipcdatastore: library.end raised SystemExit: 7\n"
    assert process.returncode == NOT_FOUND


def test_the_traceback_on_demand(directory, library):
    process = start(directory, "call", "library", "fail", "--traceback", "no", stderr=subprocess.PIPE)
    error = process.communicate()[1].decode()
    assert process.returncode == NOT_FOUND
    assert error.startswith("Traceback (most recent call last):\n")
    assert "in fail\n" in error
    assert error.endswith("\nValueError: no\nipcdatastore: library.fail raised ValueError: no\n")


def test_nobody_serves_it(run, directory):
    assert "nobody serves library" in run("call", "library", "find", code=FAILED).stderr
    assert "nobody serves library" in run("call", "library", code=FAILED).stderr
    run("call", "no/name", "find", code=FAILED)
    assert list(directory.iterdir()) == []


def test_not_in_time(run, directory):
    with ipcdatastore.serve_object("library", Library(), directory=directory):  # and nobody runs it
        error = run("call", "library", "echo", "--timeout", "0.05", code=FAILED).stderr
        assert "did not answer within 0.05 s" in error


def test_interrupted(run, library, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(ipcdatastore.Link, "ask", interrupt)
    assert run("call", "library", "echo", code=INTERRUPTED).stderr == "ipcdatastore: interrupted\n"


def test_without_a_method_it_lists_them(run, directory, library):
    rows = [line.split("\t") for line in run("call", "library").output.splitlines()]
    assert rows[:3] == [
        ["method", "add", "(title, year=None)", "Remember a film."],
        ["method", "echo", "(*arguments, **keywords)", ""],
        ["method", "end", "()", ""],
    ]
    assert rows[-1] == ["attribute", "level", "", ""]
    told = json.loads(run("call", "library", "--json").output)
    assert (told["name"], told["class"]) == ("library", "Library")
    assert told["members"][0] == dict(zip(("kind", "name", "signature", "doc"), rows[0]))
    code, shown = on_terminal(directory, "call", "library")
    assert code == OK
    assert "(title, year=None)" in shown
    assert "Remember a film." in shown


def test_marked_members_and_their_docstrings(run, directory):
    with ipcdatastore.serve_object("marked", Marked(), directory=directory) as server:
        server.start()
        told = run("call", "marked").output
    assert told == "oneway\ttell\t()\tSay\\x07so.\nattribute\tsize\t\tHow many.\n"


def test_signatures_that_nobody_knows():
    class Odd:
        here = max

        def refuses(self, value=type("", (), {"__repr__": lambda self: 1 / 0})()):  # noqa: B008 - no default shows itself
            """Does."""

    told = ipcdatastore.calls.exposed.Exposed(Odd()).describe(True)
    assert told["signatures"]["refuses"] == ""
    assert told["docs"]["refuses"] == "Does."
    assert set(told["signatures"]) == {"here", "refuses"}


def test_values_on_a_terminal(directory, library):
    code, shown = on_terminal(directory, "call", "library", "same", '{"evil": "\\u001b[2J"}')
    assert code == OK
    assert "'evil'" in shown
    assert "\x1b[2J" not in shown


# --- objects -------------------------------------------------------------------------------------------
def test_objects_in_a_pipe_are_a_line_each(run, directory, library):
    proxy = ipcdatastore.connect("library", directory=directory)
    proxy.echo()
    with pytest.raises(ValueError):
        proxy.fail("x")
    with ipcdatastore.serve_object("other", Library(), directory=directory):
        rows = [line.split("\t") for line in run("objects", "--interval", "0").output.splitlines()]
    assert [row[0] for row in rows] == ["library", "other"]
    command, since, clients, calls, rate, median, slowest, errors = rows[0][2:]
    assert (int(clients), calls, rate, errors) == (1, "3", "", "1")
    assert 0 < float(median) <= float(slowest)
    assert abs(float(since) - time.time()) < 900
    assert rows[1][5:] == ["0", "", "", "", "0"]
    if sys.platform.startswith("linux"):
        assert "py" in command
    ipcdatastore.link(proxy).close()


def test_objects_as_json_with_rates(run, directory, library):
    told = json.loads(run("objects", "--json", "--interval", "0.01").output)
    assert [one["name"] for one in told] == ["library"]
    assert (told[0]["calls_per_second"], told[0]["calls"], told[0]["median_seconds"]) == (0.0, 0, None)
    assert told[0]["path"] == str(directory / "library.object")
    assert json.loads(run("objects", "--json", "--interval", "0").output)[0]["calls_per_second"] is None


def test_where_there_are_none(run, directory):
    for options in ([], ["--interval", "0"]):
        result = run("objects", *options)
        assert result.stdout == ""
        assert "`ipcdatastore.serve_object(name, obj)`" in result.stderr
    assert json.loads(run("objects", "--json").output) == []
    code, shown = on_terminal(directory, "objects")
    assert code == OK
    assert "serve_object" in shown
    (directory / "gone.object").mkdir(mode=0o700)
    (directory / "torn.object").write_bytes(b"")
    assert json.loads(run("objects", "--json").output) == []
    (directory / "torn.object").unlink()


def test_a_full_counter_begins_anew(directory, library):
    proxy = ipcdatastore.connect("library", directory=directory)
    found = ipcdatastore.calls.files.find_server(str(directory / "library.object"))[0]
    words, first = found.words, ipcdatastore.calls.layout.HISTOGRAM
    for number in range(64):
        words[first + number] = 0xFFFFFFFF
    assert proxy.echo(1) == [1]
    assert proxy.echo(2) == [2]
    found.close()
    (told,) = ipcdatastore.objects(directory)
    assert min(told.histogram) <= 1
    ipcdatastore.link(proxy).close()


def info(**changes):
    facts = {"name": "a", "pid": 1, "since": 5.0, "clients": 1, "calls": 0, "errors": 0, "busy": 0.0}
    facts.update(histogram=(0,) * 64, serializer="pickle", workers=1, path="a.object")
    return ipcdatastore.ObjectInfo(**{**facts, **changes})


def histogram(**counts):
    return tuple(counts.get(f"at{number}", 0) for number in range(64))


def test_rates_and_times_are_those_of_the_interval():
    before = objects.Look(10.0, [info(calls=100, histogram=histogram(at10=0xFFFFFFFF))])
    now = objects.Look(12.0, [info(calls=110, histogram=histogram(at10=3, at20=6))])
    (facts,) = objects.figures(before, now)
    assert facts["calls_per_second"] == 5
    assert 2**9 / 1e9 < objects.quantile(histogram(at10=1), 0.5) < 2**10 / 1e9
    assert 2**19 / 1e9 < facts["median_seconds"] < facts["p99_seconds"] < 2**20 / 1e9
    (quiet,) = objects.figures(now, now._replace(moment=13.0))
    assert quiet["calls_per_second"] == 0
    assert quiet["median_seconds"] == objects.quantile(histogram(at10=3, at20=6), 0.5)


def test_another_server_of_that_name_has_no_rate_yet():
    before = objects.Look(10.0, [info(calls=100)])
    for changes in ({"pid": 2}, {"since": 6.0}):
        (facts,) = objects.figures(before, objects.Look(12.0, [info(calls=3, **changes)]))
        assert (facts["calls_per_second"], facts["calls"]) == (None, 3)


def test_on_a_terminal_it_is_a_table(directory, library):
    for columns in (120, 80):
        code, shown = on_terminal(directory, "objects", "--interval", "0.01", columns=columns)
        assert code == OK
        assert "library" in shown
        assert "1 object in" in shown
        lines = shown.splitlines()
        assert max(len(line) for line in lines if "calls/s" not in line and "library" not in line) <= columns + 20


def test_watching_ends_with_an_interrupt(run, library, monkeypatch):
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) % 3 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(objects.time, "sleep", pause)
    rows = [line.split("\t") for line in run("objects", "--watch").output.splitlines()]
    assert [row[1] for row in rows] == ["library", "library"]
    assert {len(row) for row in rows} == {11}
    told = [json.loads(line) for line in run("objects", "--watch", "--json", "--interval", "7").output.splitlines()]
    assert [one["objects"][0]["name"] for one in told] == ["library", "library"]
    assert pauses == [1.0] * 3 + [7.0] * 3
    run("objects", "--watch", "--interval", str(live.LEAST_INTERVAL / 2), code=USAGE)


def test_watching_on_a_terminal(library, monkeypatch):
    drawn = []
    monkeypatch.setattr(objects.output, "on_terminal", lambda: True)
    monkeypatch.setattr(objects.live, "draw", lambda first, pictures: drawn.extend([first, next(pictures)]))
    objects.keep_looking("nowhere", 0.01, as_json=False)
    assert len(drawn) == 2


# --- completion ----------------------------------------------------------------------------------------
def test_names_and_methods_are_completed(directory, library):
    assert complete(directory, "call", "li") == ["library"]
    assert complete(directory, "call", "x") == []
    assert complete(directory, "call", "library", "e") == ["echo", "end"]
    assert complete(directory, "call", "library", "le") == ["level"]
    assert complete(directory, "call", "nobody", "") == []
    with ipcdatastore.serve_object("busy", Library(), directory=directory):
        assert complete(directory, "call", "busy", "") == []


def test_a_pipe_never_imports_rich(directory, library):
    script = "import sys; from ipcdatastore.cli.root import root; root(sys.argv[1:], standalone_mode=False)"
    script += "; print('rich' in sys.modules)"
    for verb in (["objects", "--interval", "0"], ["call", "library"], ["call", "library", "echo"]):
        command = [PROGRAM[0], "-c", script, *verb, "--directory", str(directory)]
        assert subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.endswith(b"False\n")
