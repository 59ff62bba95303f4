"""What a close reading found: each of these went wrong once, or could have."""

import asyncio
import functools
import os
import pickle
import subprocess
import sys
import threading
import time

import pytest

import ipcdatastore
from ipcdatastore.calls import files, layout

from .served import BRIEFLY, PATIENCE, eventually, left_in


class Odd:
    """What is served here, in a thread of this process."""

    def __init__(self):
        self.calls = 0
        self.go_on = threading.Event()

    def unavailable(self):
        self.calls += 1
        raise ipcdatastore.ServerUnavailableError("another server has gone", name="another", started=False)

    def end(self, kind):
        raise {"exit": SystemExit(3), "cancelled": asyncio.CancelledError(), "generator": GeneratorExit()}[kind]

    def odd(self, kind):
        raise ODD[kind]()

    def give(self, value):
        return value

    def count(self, number, pause=None):
        for each in range(number):
            if pause is not None and each == pause:
                self.go_on.wait(PATIENCE)
            yield each

    def large(self, number, size):
        for _ in range(number):
            yield bytes(size)

    def wait(self, seconds):
        time.sleep(seconds)
        return seconds

    @functools.cached_property
    def expensive(self):
        raise AssertionError("looked at")


class _Text(str):
    __slots__ = ()

    def __reduce__(self):
        raise SystemExit(4)


class OddText(Exception):
    def __str__(self):
        return _Text("odd")


class OddCause(Exception):
    def __getattribute__(self, name):
        if name in ("__cause__", "__context__", "__dict__"):
            raise RuntimeError(name)
        return super().__getattribute__(name)


class OddReduce(Exception):
    def __reduce__(self):
        raise SystemExit(4)


def odd_syntax():
    error = SyntaxError("odd")
    error.text = 5
    return error


ODD = {"text": OddText, "cause": OddCause, "reduce": OddReduce, "syntax": odd_syntax}


@pytest.fixture
def odd():
    return Odd()


@pytest.fixture
def thing(directory, odd):
    with ipcdatastore.serve_object("odd", odd, directory=directory).start():
        proxy = ipcdatastore.connect("odd", directory=directory, timeout=PATIENCE)
        yield proxy
        ipcdatastore.link(proxy).close()
    eventually(lambda: left_in(directory) == [])


def test_a_method_that_lacks_its_own_server_runs_once(thing, odd):
    """The error is the method's: it does not say that this call never ran, also when this server goes just then."""
    link = ipcdatastore.link(thing)
    link.connection().lost = True
    with pytest.raises(ipcdatastore.ServerUnavailableError, match="another server") as caught:
        thing.unavailable()
    assert caught.value.__cause__ is not None
    assert odd.calls == 1


@pytest.mark.parametrize("kind", ["cancelled", "generator"])
@pytest.mark.parametrize("way", ["call", "submit", "await"])
def test_what_is_no_exception_ends_nobody(thing, kind, way):
    with pytest.raises(ipcdatastore.RemoteError) as caught:
        if way == "call":
            thing.end(kind)
        elif way == "submit":
            thing.end.submit(kind).result()
        else:

            async def wait():
                await thing.end.submit(kind)

            asyncio.run(wait())
    assert "in end" in ipcdatastore.remote_traceback(caught.value)
    assert thing.give(1) == 1


def test_a_method_that_exits_ends_neither_end(thing):
    pending = thing.end.submit("exit")
    for _ in range(2):
        with pytest.raises(ipcdatastore.RemoteError, match=r"odd\.end raised SystemExit: 3") as caught:
            pending.result()
    assert caught.value.type_name == "SystemExit"
    assert thing.give(1) == 1


@pytest.mark.parametrize("kind", ODD)
def test_exceptions_with_odd_innards(thing, kind):
    with pytest.raises(Exception) as caught:
        thing.odd(kind)
    assert isinstance(
        caught.value, (ODD[kind] if isinstance(ODD[kind], type) else SyntaxError, ipcdatastore.RemoteError)
    )
    assert thing.give(kind) == kind


def test_a_time_out_holds_for_items_too(thing, odd):
    stream = thing.count.within(BRIEFLY)(10, 1)
    assert next(stream) == 0
    with pytest.raises(ipcdatastore.CallTimeoutError):
        next(stream)
    with pytest.raises(ipcdatastore.ServerUnavailableError, match="given up"):
        next(stream)
    odd.go_on.set()


@pytest.mark.parametrize("size", [0, 1, 1000, 2000, 2046, 2047, 2048])
def test_every_item_that_is_small_enough_comes(directory, size):
    with ipcdatastore.serve_object("odd", Odd(), directory=directory, max_message=4096).start():
        thing = ipcdatastore.connect("odd", directory=directory, timeout=PATIENCE)
        assert [len(item) for item in thing.large(40, size)] == [size] * 40
        with pytest.raises(ipcdatastore.TooLargeError, match="an item of a generator"):
            next(thing.large(1, 2049))
        ipcdatastore.link(thing).close()


def test_a_stream_that_the_server_does_not_know_is_an_error(thing):
    stream = thing.count(10)
    stream._number += 1
    with pytest.raises(ipcdatastore.ClosedError, match="no stream"):
        next(stream)


def test_a_closed_link_leaves_nobody_waiting(thing):
    stream, pending = thing.count(10), thing.wait.submit(0.01)
    ipcdatastore.link(thing).close()
    with pytest.raises(ipcdatastore.ClosedError):
        next(stream)
    with pytest.raises(ipcdatastore.ClosedError):
        pending.result()
    assert thing.give(1) == 1


def test_awaited_calls_time_out_each_by_itself(directory):
    class Slow:
        def wait(self, gate):
            while not os.path.exists(gate):
                time.sleep(0.001)

        def give(self, value):
            return value

    gate = os.path.join(directory, "gate")
    with ipcdatastore.serve_object("slow", Slow(), directory=directory).start():
        thing = ipcdatastore.connect("slow", directory=directory, timeout=BRIEFLY)

        async def wait():
            calls = [thing.wait.submit(gate) for _ in range(4)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            open(gate, "w").close()
            ipcdatastore.link(thing).timeout = PATIENCE
            last, first = thing.give.submit("last"), thing.give.submit("first")
            return results, await first, await last

        results, first, last = asyncio.run(wait())
        assert [type(result) for result in results] == [ipcdatastore.CallTimeoutError] * 4
        assert (first, last) == ("first", "last")
        ipcdatastore.link(thing).close()
    os.unlink(gate)


def test_methods_and_links_can_be_pickled(thing):
    assert pickle.loads(pickle.dumps(thing.give))(1) == 1
    assert pickle.loads(pickle.dumps(thing.give.within(5)))(1) == 1
    assert pickle.loads(pickle.dumps(ipcdatastore.link(thing))).proxy.give(2) == 2


def test_nothing_that_is_computed_is_looked_at(thing):
    assert "expensive" not in dir(thing)


def test_attributes_that_are_not_there_are_refused(directory):
    with pytest.raises(ipcdatastore.ArgumentError, match="no attribute 'absent'"):
        ipcdatastore.serve_object("odd", Odd(), directory=directory, attributes=["absent"])


def test_a_dead_server_of_another_release_is_in_nobodys_way(directory):
    path = files.directory_of("odd", directory)
    files.prepare(path)
    facts = files.ServerFacts("pickle", 1, 1 << 20)
    shared = files.make_server(path, facts)
    shared.data[8:12] = (77).to_bytes(4, sys.byteorder)
    with pytest.raises(ipcdatastore.FormatError):  # it lives
        ipcdatastore.serve_object("odd", Odd(), directory=directory)
    shared.close()
    garbage = os.path.join(path, "ab" * 16 + layout.SERVER_SUFFIX)
    with open(garbage, "w") as file:
        file.write("cut off")
    os.chmod(garbage, 0o600)
    with ipcdatastore.serve_object("odd", Odd(), directory=directory).start():
        assert ipcdatastore.connect("odd", directory=directory, timeout=PATIENCE).give(1) == 1
    os.unlink(garbage)
    os.rmdir(path)


def test_json_brings_the_librarys_errors_and_arguments(directory):
    class Refusing:
        def refuse(self):
            raise KeyError("x", 1)

    with ipcdatastore.serve_object("odd", Refusing(), directory=directory, serializer="json").start():
        thing = ipcdatastore.connect("odd", directory=directory, timeout=PATIENCE)
        with pytest.raises(KeyError) as caught:
            thing.refuse()
        assert caught.value.args == ("x", 1)
        with pytest.raises(ipcdatastore.NotExposedError):
            ipcdatastore.link(thing).ask(layout.CALL, "absent", (), {}, PATIENCE)
        ipcdatastore.link(thing).close()


def test_poll_counts_with_workers_too(directory):
    with ipcdatastore.serve_object("odd", Odd(), directory=directory, workers=4) as server:
        link = ipcdatastore.Link("odd", directory, PATIENCE)
        caller = threading.Thread(target=link.describe)
        caller.start()
        assert server.poll(PATIENCE) == 1
        caller.join()
        link.close()


POLLS = """
import ipcdatastore, sys
proxy = ipcdatastore.connect("odd", directory=sys.argv[1], timeout=60)
for number in range(50):
    assert proxy.give(number) == number
print(ipcdatastore.link(proxy).connection()._sleeper._futex)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nobody is woken here")
def test_an_end_that_cannot_wake_is_not_waited_for(directory, odd):
    """The server polls from the moment that a client has come who cannot wake it, and the other way round."""
    with ipcdatastore.serve_object("odd", odd, directory=directory).start() as server:
        assert server._sleeper._futex is not None
        environment = {**os.environ, "IPCDATASTORE_FUTEX": "0"}
        run = [sys.executable, "-c", POLLS, str(directory)]
        subprocess.run(run, env=environment, check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL)
        assert server._sleeper._futex is None
        server._shared.words[layout.WAKES] = 0
        assert subprocess.run(run, check=True, timeout=PATIENCE, stdout=subprocess.PIPE).stdout == b"None\n"
    eventually(lambda: left_in(directory) == [])


# --- what a new user found --------------------------------------------------------------------------------
def test_a_stream_whose_server_goes_has_begun(directory):
    with ipcdatastore.serve_object("odd", Odd(), directory=directory).start():
        link = ipcdatastore.Link("odd", directory, PATIENCE)
        stream = link.proxy.count(1000)
        assert next(stream) == 0
    for _ in range(2):
        with pytest.raises(ipcdatastore.ServerUnavailableError) as caught:
            while True:
                next(stream)
        assert caught.value.started
    link.close()


def test_a_stream_in_a_coroutine(thing):
    async def read():
        return [number async for number in thing.count(1000)]

    assert asyncio.run(read()) == list(range(1000))

    async def fail():
        async for _ in thing.large(1, -1):
            raise AssertionError("an item")

    with pytest.raises(ValueError, match="negative"):
        asyncio.run(fail())


def test_a_stream_that_threads_share(thing):
    stream, found = thing.count(2000), []
    threads = [threading.Thread(target=lambda: found.extend(stream)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(2000))


@pytest.mark.parametrize(("name", "value"), [("portion", 0), ("portion", "a"), ("timeout", 0), ("timeout", "5")])
def test_settings_of_a_link_are_checked(thing, name, value):
    with pytest.raises(ipcdatastore.ArgumentError, match=name):
        setattr(ipcdatastore.link(thing), name, value)


@pytest.mark.parametrize("wait", [None, "a", -1])
def test_a_wait_that_is_none(directory, wait):
    with pytest.raises(ipcdatastore.ArgumentError, match="`wait`"):
        ipcdatastore.connect("odd", directory=directory, wait=wait)


def test_what_is_no_proxy_has_no_link():
    with pytest.raises(ipcdatastore.ArgumentError, match="not 5"):
        ipcdatastore.link(5)


def test_a_batch_sets_nothing(thing):
    with pytest.raises(ipcdatastore.ArgumentError, match="methods only"):
        ipcdatastore.link(thing).batch().volume = 9


def test_a_portion_goes_along(thing):
    ipcdatastore.link(thing).portion = 7
    assert ipcdatastore.link(pickle.loads(pickle.dumps(thing))).portion == 7


def test_every_keyword_is_the_methods(directory):
    class Named:
        def names(this, **names):  # noqa: N805 - that is what it is about
            return names

    with ipcdatastore.serve_object("named", Named(), directory=directory).start():
        thing = ipcdatastore.connect("named", directory=directory, timeout=PATIENCE)
        assert thing.names(self=1, name=2, kind=3) == {"self": 1, "name": 2, "kind": 3}
        assert thing.names.submit(self=1).result() == {"self": 1}
        ipcdatastore.link(thing).close()


def test_coroutine_functions_are_not_exposed(directory):
    class Later:
        async def later(self):
            return 1

        async def items(self):
            yield 1

        def now(self):
            return 1

    with ipcdatastore.serve_object("later", Later(), directory=directory).start():
        thing = ipcdatastore.connect("later", directory=directory, timeout=PATIENCE)
        assert dir(thing) == ["now"]
        ipcdatastore.link(thing).close()
