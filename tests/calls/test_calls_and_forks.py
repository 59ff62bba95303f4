"""Forks, threads, interrupts and leaks: what one process does with its proxies and servers."""

import contextlib
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time

import pytest

import ipcdatastore
from children import hear, say
from ipcdatastore.calls import connection
from test_fork_threads import ended_well, in_child, needs_fork, needs_proc
from waiters import Catching, elsewhere

from .served import PATIENCE, Elsewhere, Thing, eventually, left_in, noted, polling, swept

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX processes and signals")
HELPERS = (in_child, ended_well)

# Before 3.11 a signal may come in between any two bytecodes.
between_calls = pytest.mark.skipif(sys.version_info < (3, 11), reason="a signal may come in between any two bytecodes")


def clients(directory):
    return ipcdatastore.objects(directory)[0].clients


def scenario(start, function, directory, *arguments):
    """Run it in a process of its own, with a server in another one."""
    server = Elsewhere(start, directory)
    said = start(function, directory, *arguments, uses=HELPERS).finish()
    eventually(lambda: clients(directory) == 0)
    server.stop()
    assert left_in(directory) == []
    return said


# --- forks of a client -------------------------------------------------------------------------------------
def fork_with_a_proxy_in_use(directory):
    thing = ipcdatastore.connect("thing", directory=directory, timeout=60)
    before = thing.give.submit("parent's")
    stream = thing.count(1000)
    assert next(stream) == next(stream) - 1 == 0
    unread = [thing.give.submit(number) for number in range(20)]
    unraised = []

    def child():
        assert thing.give("child") == "child"
        for call in (before.result, lambda: [next(stream) for _ in range(100)]):  # some items may be here already
            try:
                call()
            except ipcdatastore.ClosedError as error:
                assert "fork" in str(error)
                unraised.append(1)
            else:
                raise AssertionError("it used the parent's connection")
        stream.close()
        for number in range(200):
            thing.add.oneway(1)
            assert thing.give(number) == number
        assert len(thing.make(500_000)) == 500_000

    for _ in range(3):
        pid = in_child(child)
        for number in range(200):
            assert thing.give(-number) == -number
            thing.add.oneway(1)
        ended_well(pid)
    assert before.result() == "parent's"
    assert [call.result() for call in unread] == list(range(20))
    assert list(stream) == list(range(2, 1000))
    assert thing.add(0) == 6 * 200


@needs_fork
def test_a_proxy_and_its_streams_in_a_forked_child(directory, start):
    scenario(start, fork_with_a_proxy_in_use, directory)


def drops_everything(directory):
    thing = ipcdatastore.connect("thing", directory=directory, timeout=60)
    stream = thing.count(10_000)
    taken = [next(stream) for _ in range(3)]
    calls = [thing.make.submit(300_000) for _ in range(3)]

    def child():
        nonlocal stream, calls, thing
        del stream, calls, thing
        gc.collect()

    for _ in range(5):
        ended_well(in_child(child))
        taken.append(next(stream))
    assert taken == list(range(8))
    assert [len(call.result()) for call in calls] == [300_000] * 3
    assert list(stream) == list(range(8, 10_000))
    ipcdatastore.link(thing).close()


@needs_fork
def test_a_forked_child_drops_what_is_its_parents(directory, start):
    scenario(start, drops_everything, directory)


def fork_while_threads_call(directory):
    thing = ipcdatastore.connect("thing", directory=directory, timeout=60)
    ended = threading.Event()
    errors = []

    def work(number):
        try:
            turn = 0
            while not ended.is_set():
                turn += 1
                assert thing.give([number, turn]) == [number, turn]
        except BaseException as error:  # noqa: BLE001 - shown
            errors.append(repr(error))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for number in range(20):
        pid = in_child(lambda number=number: thing.add(number))
        ended_well(pid)
    ended.set()
    for thread in threads:
        thread.join()
    assert errors == [], errors
    assert thing.add(0) == sum(range(20))


@needs_fork
def test_forks_while_threads_call(directory, start):
    scenario(start, fork_while_threads_call, directory)


# --- forks of a server -------------------------------------------------------------------------------------
def fork_of_a_server(directory):
    from calls.served import Thing

    server = ipcdatastore.serve_object("thing", Thing(), directory=directory).start()
    thing = ipcdatastore.connect("thing", directory=directory, timeout=60)
    assert thing.give(1) == 1
    reading, _ = os.pipe()
    told, tell = os.pipe()

    def child():
        assert not server.running
        server.stop()
        server.run_forever()  # which is over at once
        for use in (server.poll, server.start):
            try:
                use()
            except ipcdatastore.ClosedError:
                continue
            raise AssertionError("the child serves")
        assert thing.pid() == os.getppid()
        assert thing.give(2) == 2
        os.write(tell, b".")
        os.read(reading, 1)  # lives on

    pid = in_child(child)
    assert os.read(told, 1) == b".", "the child failed"
    for number in range(100):
        assert thing.give(number) == number
    say([pid, os.getpid()])
    hear()
    assert server.running
    assert thing.pid() == os.getpid()
    os.kill(os.getpid(), signal.SIGKILL)


@needs_fork
def test_a_fork_of_a_server_neither_serves_nor_keeps_the_lock(directory, start):
    server = start(fork_of_a_server, directory, uses=HELPERS)
    child, parent = server.hear()
    thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
    assert thing.pid() == parent
    server.say("die")
    server.process.wait()
    os.kill(child, 0)  # it lives, and with it every descriptor that it has
    assert not ipcdatastore.link(thing).available()
    with pytest.raises(ipcdatastore.ServerUnavailableError):
        thing.give(1)
    with ipcdatastore.serve_object("thing", Thing(), directory=directory).start():
        assert thing.give(2) == 2
    os.kill(child, signal.SIGKILL)
    eventually(lambda: swept(directory) == [])  # the child was a client as well


def method_that_forks(directory):
    from calls.served import Thing

    class Forking(Thing):
        def fork(self, path):
            pid = os.fork()
            if pid == 0:
                return "child"  # as careless programs do
            os.waitpid(pid, os.WNOHANG)
            return "parent"

    server = ipcdatastore.serve_object("thing", Forking(), directory=directory)
    say("ready")
    server.run_forever()
    os._exit(0)  # the watchdog of a test's process does not survive a fork, and an orderly end waits for it


@needs_fork
def test_a_child_that_is_forked_in_a_call_does_not_answer_it(directory, start):
    server = start(method_that_forks, directory)
    assert server.hear() == "ready"
    thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
    for number in range(5):
        assert thing.fork("") == "parent"
        assert thing.give(number) == number
    assert thing.pid() == server.pid
    ipcdatastore.link(thing).close()
    server.kill()


# --- other processes ---------------------------------------------------------------------------------------
def use_it(proxy, number):
    return proxy.add(number), os.getpid() != proxy.pid()


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_a_proxy_goes_to_other_processes(directory, start, method):
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip("this system has no such way to start a process")
    server = Elsewhere(start, directory)
    thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
    with multiprocessing.get_context(method).Pool(2) as pool:
        results = pool.starmap(use_it, [(thing, 1)] * 10)
        pool.close()
        pool.join()
    assert sorted(results) == [(number, True) for number in range(1, 11)]
    again = pickle.loads(pickle.dumps(thing))
    assert again.add(0) == 10
    server.stop()
    assert left_in(directory) == []


# --- threads -----------------------------------------------------------------------------------------------
def test_each_thread_has_a_connection_that_goes_with_it(directory):
    with ipcdatastore.serve_object("thing", Thing(), directory=directory).start():
        thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
        for _ in range(10):
            assert elsewhere(lambda: thing.give(1)) == 1
        inside, leave = threading.Event(), threading.Event()

        def stay():
            thing.give(1)
            inside.set()
            leave.wait()

        thread = Catching(stay)
        thread.start()
        assert inside.wait(PATIENCE)
        eventually(lambda: clients(directory) == 2)
        leave.set()
        thread.result()
        eventually(lambda: clients(directory) == 1)
        del thread
        ipcdatastore.link(thing).close()
        eventually(lambda: clients(directory) == 0)


def test_a_proxy_that_is_collected_is_gone(directory):
    with ipcdatastore.serve_object("thing", Thing(), directory=directory).start():
        for ring in (False, True):
            thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
            thing.give(1)
            stream = thing.count(10)
            next(stream)
            if ring:
                cycle = [thing, stream]
                cycle.append(cycle)
                del cycle
            del thing, stream
            gc.collect()
            eventually(lambda: clients(directory) == 0)
            eventually(lambda: len(os.listdir(directory / "thing.object")) == 1)


def test_a_stream_is_collected_in_the_middle_of_a_call(directory, monkeypatch):
    """A collection may come anywhere, also while this thread has the connection's locks."""
    with ipcdatastore.serve_object("thing", Thing(), directory=directory).start():
        thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
        put = connection.Writer.put

        def collecting(writer, *message):
            gc.collect()
            return put(writer, *message)

        gc.disable()
        try:
            stream = thing.count(1000)
            next(stream)
            cycle = [stream]
            cycle.append(cycle)
            del cycle, stream
            monkeypatch.setattr(connection.Writer, "put", collecting)
            call = Catching(lambda: thing.give(1))
            call.start()
            assert call.result() == 1
            assert thing.give(2) == 2
        finally:
            gc.enable()


def test_a_response_that_is_there_before_the_caller_looks(directory, monkeypatch):
    """Another thread takes in what comes, and this one's answer is quicker than it is."""
    with ipcdatastore.serve_object("thing", Thing(), directory=directory).start():
        thing = ipcdatastore.connect("thing", directory=directory, timeout=5)
        other = thing.give.submit(0)
        assert other.result() == 0
        pending = thing.give.submit(1)
        put = connection.Writer.put

        def slow(writer, kind, number, payload):
            done = put(writer, kind, number, payload)
            if threading.current_thread() is threading.main_thread() and kind == 1:
                mine = pending._connection
                mine._ring()
                eventually(lambda: mine._words[81] != mine._responses.tail or mine._arrived)
                elsewhere(pending.done)
            return done

        eventually(pending.done)
        monkeypatch.setattr(connection.Writer, "put", slow)
        assert thing.give(2) == 2
        assert pending.result() == 1


def test_a_closed_link_and_its_pending_calls(directory):
    with ipcdatastore.serve_object("thing", Thing(), directory=directory).start():
        thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
        calls = [thing.make.submit(size) for size in (10, 500_000, 20)]
        ipcdatastore.link(thing).close()
        for call in calls:
            try:
                assert len(call.result(timeout=5)) in (10, 500_000, 20)
            except ipcdatastore.CallTimeoutError:
                raise AssertionError("it would wait for ever") from None
            except ipcdatastore.DatastoreError:
                continue
        assert thing.give(1) == 1


# --- calls to oneself --------------------------------------------------------------------------------------
class Selfish(Thing):
    proxy = None

    def call_myself(self):
        return self.proxy.give(1)

    def stop_me(self):
        self.server.stop()
        return "stopping"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_calls_itself(directory, workers):
    selfish = Selfish()
    with ipcdatastore.serve_object("thing", selfish, directory=directory, workers=workers).start():
        selfish.proxy = thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
        if workers == 1:
            with pytest.raises(ipcdatastore.ServerUnavailableError, match="could never answer itself.*workers"):
                thing.call_myself()
        else:
            assert thing.call_myself() == 1
        assert thing.give(2) == 2


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("hosted", [False, True])
def test_a_method_that_stops_its_server(directory, workers, hosted):
    selfish = Selfish()
    selfish.server = server = ipcdatastore.serve_object("thing", selfish, directory=directory, workers=workers)
    thing = ipcdatastore.Link("thing", directory, PATIENCE).proxy
    host = Catching(server.run_forever) if hosted else None
    if hosted:
        host.start()
    else:
        server.start()
    call = Catching(thing.stop_me)
    call.start()
    assert call.result() == "stopping"
    if hosted:
        host.result()
    else:
        server._thread.join(PATIENCE)
        assert not server._thread.is_alive()
    eventually(lambda: not server.running)
    with pytest.raises(ipcdatastore.ServerUnavailableError):
        thing.give(1)
    server.stop()
    assert left_in(directory) == []


# --- the life of a server ----------------------------------------------------------------------------------
def test_the_life_of_a_server(directory):
    server = ipcdatastore.serve_object("thing", Thing(), directory=directory)
    assert server.name == "thing"
    assert os.path.isdir(server.path)
    assert not server.running
    assert server.poll() == 0
    assert server.poll(0.01) == 0
    assert server.start() is server
    server.start()
    eventually(lambda: server.running)
    for use in (server.poll, server.run_forever):
        with pytest.raises(ipcdatastore.ArgumentError, match="another thread serves"):
            use()
    server.stop()
    server.stop()
    assert not server.running
    server.run_forever()  # which is over at once
    for use in (server.poll, server.start):
        with pytest.raises(ipcdatastore.ClosedError, match="was stopped"):
            use()
    assert left_in(directory) == []


def test_poll_counts_calls(directory):
    with ipcdatastore.serve_object("thing", Thing(), directory=directory) as server:
        thing = ipcdatastore.Link("thing", directory, PATIENCE).proxy
        calls = Catching(lambda: [thing.give(number) for number in range(5)])
        calls.start()
        done = 0
        while done < 6:  # and a question for what there is
            done += server.poll(PATIENCE)
        assert calls.result() == list(range(5))
        assert done == 6
        assert server.calls == 6
        ended = Catching(lambda: thing.give(1))
        ended.start()
        assert server.poll(PATIENCE) >= 1
        assert ended.result() == 1


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"workers": 0}, "workers"),
        ({"workers": True}, "workers"),
        ({"workers": 1.5}, "workers"),
        ({"max_message": 1}, "max_message"),
        ({"max_message": 1 << 40}, "max_message"),
        ({"serializer": "raw"}, "serializer"),
        ({"serializer": "yaml"}, "serializer"),
        ({"attributes": ["_hidden"]}, "attributes"),
        ({"attributes": ["a b"]}, "attributes"),
    ],
)
def test_options_that_are_none(directory, options, word):
    with pytest.raises(ipcdatastore.ArgumentError, match=word):
        ipcdatastore.serve_object("thing", Thing(), directory=directory, **options)
    assert left_in(directory) == []


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a\\b", "a:b", "a*", "x" * 101, " a", None, 5, b"a"])
def test_names_that_are_none(directory, name):
    for use in (
        lambda: ipcdatastore.serve_object(name, Thing(), directory=directory),
        lambda: ipcdatastore.connect(name, directory=directory),
        lambda: ipcdatastore.Link(name, directory),
    ):
        with pytest.raises(ipcdatastore.InvalidNameError):
            use()
    assert left_in(directory) == []


@pytest.mark.parametrize("name", ["a", "x" * 100, "ключ", "a b", "a.b", "a.object", "a-b_c,d;e"])
def test_names_that_are_some(directory, name):
    with ipcdatastore.serve_object(name, Thing(), directory=directory).start():
        assert ipcdatastore.connect(name, directory=directory, timeout=PATIENCE).give(1) == 1
        assert [info.name for info in ipcdatastore.objects(directory)] == [name]
    assert left_in(directory) == []


def test_objects_that_have_nothing_to_expose(directory):
    class Empty:
        _hidden = 1

    with pytest.raises(ipcdatastore.ArgumentError, match="nothing to expose"):
        ipcdatastore.serve_object("thing", Empty(), directory=directory)
    for wrong in (5, "text", int):
        with pytest.raises(ipcdatastore.ArgumentError, match="expose"):
            ipcdatastore.expose(wrong)
    assert left_in(directory) == []


def test_attributes_by_choice(directory):
    target = Thing()
    target.extra = 5
    with ipcdatastore.serve_object(
        "thing", target, directory=directory, attributes=["level", "extra", "secret"]
    ).start():
        thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
        assert (thing.level, thing.extra, thing.secret) == (7, 5, "a property is an attribute")
        thing.extra = [6]
        assert thing.extra == target.extra == [6]
        with pytest.raises(ipcdatastore.NotExposedError):
            thing.secret = 1
        with pytest.raises(ipcdatastore.NotExposedError):
            thing.total  # noqa: B018
        assert thing.give(1) == 1


def test_no_server_thread_is_left(directory):
    before = threading.active_count()
    for workers in (1, 4):
        server = ipcdatastore.serve_object("thing", Thing(), directory=directory, workers=workers).start()
        assert ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE).give(1) == 1
        server.stop()
        assert threading.active_count() == before


# --- leaks ---------------------------------------------------------------------------------------------------
def resources():
    gc.collect()
    with open("/proc/self/maps", encoding="ascii") as file:
        maps = sum(".object/" in line for line in file)
    return len(os.listdir("/proc/self/fd")), maps, threading.active_count()


@needs_proc
def test_nothing_leaks(directory):
    with ipcdatastore.serve_object("thing", Thing(), directory=directory, workers=2).start():
        found = []
        for number in range(200):
            thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
            assert thing.give(number) == number
            stream = thing.count(5)
            next(stream)
            if number % 2:
                ipcdatastore.link(thing).close()
            del thing, stream
            if number in (20, 199):
                gc.collect()
                eventually(lambda: clients(directory) == 0)
                found.append(resources())
        # A thread of the server may still have the last client in a local variable.
        assert all(abs(one - other) <= 3 for one, other in zip(*found)), found
    with pytest.raises(ipcdatastore.ServerUnavailableError):
        ipcdatastore.connect("thing", directory=directory)
    nothing = resources()
    for number in range(30):
        with ipcdatastore.serve_object("thing", Thing(), directory=directory, workers=1 + number % 2).start():
            assert ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE).give(1) == 1
    assert resources() == nothing
    assert nothing[1] == 0


# --- signals -------------------------------------------------------------------------------------------------
def interrupted(directory, kind, calls):
    """A signal at a random moment of each call; the next call is answered with its own result."""
    import random

    rng = random.Random(7)
    thing = ipcdatastore.connect("thing", directory=directory, timeout=60)
    armed = False

    def strike(*_):
        nonlocal armed
        if armed:
            armed = False
            raise KeyboardInterrupt

    signal.signal(signal.SIGALRM, strike)
    jobs = {
        "call": thing.give,
        "big": lambda number: len(thing.give("x" * 300_000)) and number,
        "submit": lambda number: thing.give.submit(number).result(),
        "stream": lambda number: sum(1 for _ in thing.count(100)) and number,
        "one-way": lambda number: thing.give.oneway("x" * 3000) or number,
    }
    job = jobs[kind]
    began = time.perf_counter()
    for number in range(20):
        job(number)
    usual = (time.perf_counter() - began) / 20
    hits = 0
    for number in range(calls):
        try:
            armed = True
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.000001, 1.3 * usual + 0.00001))
            assert job(number) == number
            armed = False
        except KeyboardInterrupt:
            hits += 1
        finally:
            armed = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        assert thing.give(-number) == -number
        if number % 7 == 0:
            assert thing.length("y" * 200_000) == 200_000
            assert list(thing.count(5)) == [0, 1, 2, 3, 4]
    say(hits)


@between_calls
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no setitimer")
@pytest.mark.parametrize("kind", ["call", "big", "submit", "stream", "one-way"])
def test_interrupted_calls(directory, start, kind):
    (hits,) = scenario(start, interrupted, directory, kind, int(os.environ.get("INTERRUPTS", "1500")) // 6)
    assert hits > 20


def waits_for_ever(directory, gate):
    thing = ipcdatastore.connect("thing", directory=directory)
    armed = False

    def strike(*_):
        nonlocal armed
        if armed:
            armed = False
            raise KeyboardInterrupt

    signal.signal(signal.SIGUSR1, strike)
    for number in range(3):
        say("waits")
        try:
            armed = True
            thing.hold(gate + str(number))
            say("it came back")
        except KeyboardInterrupt:
            say("interrupted")
        hear()
        assert thing.give(number) == number, "not what the interrupted call returned"
    say("done")


def test_an_interrupt_in_the_middle_of_a_wait(directory, start, tmp_path):
    server = Elsewhere(start, directory)
    child = start(waits_for_ever, directory, str(tmp_path / "gate"))
    for number in range(3):
        assert child.hear() == "waits"
        os.kill(child.pid, signal.SIGUSR1)
        heard = Catching(child.hear)
        heard.start()
        while heard.is_alive():  # the first one may have come too early
            os.kill(child.pid, signal.SIGUSR1)
            heard.join(0.05)
        assert heard.result() == "interrupted"
        open(tmp_path / f"gate{number}", "w").close()
        child.say("go on")
    assert child.hear() == "done"
    child.finish()
    server.stop()


def serves_until_a_signal(directory, workers):
    from calls.served import Thing

    server = ipcdatastore.serve_object("thing", Thing(), directory=directory, workers=workers)
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    say("ready")
    server.run_forever()
    say("ended")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_handler_stops_a_server(directory, start, tmp_path, workers):
    for busy in (False, True):
        child = start(serves_until_a_signal, directory, workers)
        assert child.hear() == "ready"
        thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
        assert thing.give(1) == 1, "it runs"
        log, gate = str(tmp_path / f"log{busy}"), str(tmp_path / f"gate{busy}")
        call = thing.hold_marked.submit(log, 1, gate) if busy else None
        if busy:
            eventually(lambda log=log: noted(log) == ["1"])
        os.kill(child.pid, signal.SIGTERM)
        if busy:
            os.kill(child.pid, signal.SIGTERM)  # the handler is there as long as the call runs
        open(gate, "w").close()
        assert child.hear() == "ended"
        assert child.finish() == []
        if busy:
            assert call.result() == 1, "a call that runs is finished first"
        with pytest.raises(ipcdatastore.ServerUnavailableError):
            thing.give(1)
        del call
        ipcdatastore.link(thing).close()
        assert left_in(directory) == []


def test_ctrl_c_ends_a_server(directory, start):
    child = start(serves_until_a_signal, directory, 1)
    assert child.hear() == "ready"
    os.kill(child.pid, signal.SIGINT)
    child.process.wait()
    with pytest.raises(ipcdatastore.ServerUnavailableError):
        ipcdatastore.connect("thing", directory=directory)
    ipcdatastore.serve_object("thing", Thing(), directory=directory).stop()
    assert left_in(directory) == []


# --- the host ends -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["call", "result", "wait", "room"])
def test_waits_end_with_the_host(directory, start, tmp_path, kind):
    gate = str(tmp_path / "gate")
    server = Elsewhere(start, directory)
    thing = ipcdatastore.connect("thing", directory=directory)
    thing.give(0)

    def host_ends():
        raise ipcdatastore.WaitEndedError("the host is about to end")

    call = thing.hold.submit(gate)
    ipcdatastore.on_wait(host_ends)
    try:
        with pytest.raises(ipcdatastore.WaitEndedError):
            if kind == "call":
                thing.hold(gate)
            elif kind == "result":
                call.result()
            elif kind == "wait":
                ipcdatastore.connect("nobody", directory=directory, wait=PATIENCE)
            else:
                for _ in range(1000):
                    thing.give.oneway("x" * 10_000)
    finally:
        ipcdatastore.on_wait(None)
        open(gate, "w").close()
    assert thing.give(5) == 5
    assert call.result() is None
    server.stop()


def test_a_hosted_server_and_the_host(directory):
    """Where the thread that serves is the host's own, its waits end with the host as well."""

    def host_ends():
        raise ipcdatastore.WaitEndedError("the host is about to end")

    with polling(ipcdatastore.serve_object("thing", Thing(), directory=directory)):
        thing = ipcdatastore.connect("thing", directory=directory, timeout=PATIENCE)
        assert thing.give(1) == 1
        ipcdatastore.link(thing).close()
    server = ipcdatastore.serve_object("thing", Thing(), directory=directory)
    ipcdatastore.on_wait(host_ends)
    try:
        with pytest.raises(ipcdatastore.WaitEndedError):
            server.poll(PATIENCE)
        with pytest.raises(ipcdatastore.WaitEndedError):
            server.run_forever()
    finally:
        ipcdatastore.on_wait(None)
    server.stop()
    assert left_in(directory) == []


# --- calls in the middle of calls ----------------------------------------------------------------------------
def handler_that_calls(directory):
    thing = ipcdatastore.connect("thing", directory=directory, timeout=30)
    pending = thing.give.submit("pending")
    seen = []

    def strike(*_):
        seen.append(thing.give(len(seen)))
        thing.give.oneway(1)
        assert len(thing.make(200_000)) == 200_000
        with contextlib.suppress(ipcdatastore.LockTimeoutError):
            assert pending.result() == "pending"

    signal.signal(signal.SIGALRM, strike)
    number = 0
    while len(seen) < 100:
        number += 1
        signal.setitimer(signal.ITIMER_REAL, 0.0001 * (number % 20 + 1))
        assert thing.give(number) == number
        assert len(thing.give("x" * 100_000)) == 100_000
        assert thing.give.submit(number).result() == number
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert pending.result() == "pending"
    assert seen == list(range(len(seen)))


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no setitimer")
def test_a_signal_handler_calls_in_the_middle_of_a_call(directory, start):
    scenario(start, handler_that_calls, directory)
