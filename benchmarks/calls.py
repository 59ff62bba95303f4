"""Figures of calls: what a round trip costs, beside Pyro's, and what a server costs that nobody calls."""

import contextlib
import mmap
import multiprocessing
import os
import pickle
import statistics
import threading
import time

import ipcdatastore

from . import peers
from .figures import Figure, micros, ratio

CALLS = 2000
ROUNDS = 300
REST = 0.005  # seconds of silence before a call, so that the server is asleep, and so is its client
MIB = 1 << 20
CLIENTS = 8
KILLS = 10
IDLE = 10.0  # seconds


class Served:
    """What is called, here and at the peers'."""

    def __init__(self, pipe=None):
        self._pipe = pipe

    def echo(self, value):
        return value

    def cpu(self):
        return time.process_time()

    def hang(self):
        self._pipe.send(None)
        time.sleep(60)


def serve(directory, name, pipe):
    with ipcdatastore.serve_object(name, Served(pipe), directory=directory) as server:
        pipe.send(None)
        server.run_forever()


@contextlib.contextmanager
def process(target, *arguments):
    """(the process, this end of its pipe, what it said first), for as long as the block takes."""
    spawn = multiprocessing.get_context("spawn")
    mine, its = spawn.Pipe()
    started = spawn.Process(target=target, args=(*arguments, its), daemon=True)
    started.start()
    try:
        yield started, mine, mine.recv()
    finally:
        started.kill()
        started.join()


@contextlib.contextmanager
def served(directory, name="bench"):
    """A proxy of an object in a process of its own."""
    with process(serve, directory, name):
        yield ipcdatastore.connect(name, directory=directory)


def loop(echo, calls=CALLS):
    def run():
        for _ in range(calls):
            echo(7)

    return run


# --- beside Pyro -----------------------------------------------------------------------------------------
def busy(proxy, peer, limit, name):
    what = f"call, both ends busy / {name}"
    return ratio(what, limit, CALLS, loop(proxy.echo), loop(peer.echo), name.partition("'")[0], 15)


def asleep(proxy, peer, limit, name):
    """Each by turns, both after as long a rest."""
    ours, theirs = [], []
    for _ in range(ROUNDS):
        for echo, times in ((proxy.echo, ours), (peer.echo, theirs)):
            time.sleep(REST)
            begun = time.perf_counter()
            echo(7)
            times.append(time.perf_counter() - begun)
    mine, other = statistics.median(ours), statistics.median(theirs)
    detail = f"{mine * 1e6:.0f} µs / {other * 1e6:.0f} µs, medians of {ROUNDS}, each {REST * 1e3:g} ms after the last"
    return Figure(f"call, server asleep / {name}", mine / other, limit, "", detail)


@contextlib.contextmanager
def pyro(server, proxy):
    with process(server, Served) as (_, _, uri), proxy(uri) as peer:
        yield peer


def against_pyro(directory, progress, note):
    name = "Pyro4's (pickle, loopback)"
    if not peers.installed("Pyro4"):
        note(f'calls / {name}: left out, since there is no Pyro4 that works here: pip install "ipcdatastore[bench]"')
    else:
        with served(directory) as proxy, pyro(peers.serve_pyro4, peers.pyro4) as peer:
            progress("calls against Pyro4")
            yield busy(proxy, peer, 0.15, name)
            progress("calls against Pyro4, asleep")
            yield asleep(proxy, peer, 0.8, name)
    if peers.installed("Pyro5"):
        with served(directory) as proxy, pyro(peers.serve_pyro5, peers.pyro5) as peer:
            progress("calls against Pyro5")
            yield busy(proxy, peer, None, "Pyro5's (serpent, loopback)")


# --- by itself -------------------------------------------------------------------------------------------
def large(proxy):
    """A MiB there and back; the floor is to pickle it and to copy it twice, into memory that is there already."""
    value = os.urandom(MIB)
    memory = memoryview(mmap.mmap(-1, MIB))
    memory[:] = value

    def ours():
        for _ in range(10):
            proxy.echo(value)

    def floor():
        for _ in range(10):
            pickle.dumps(value, 5)
            memory[:] = value
            memory[:] = value

    return ratio("1 MiB of bytes echoed / pickled, and copied twice", 4, 10, ours, floor, "one process", 15)


def idle(proxy):
    """Per cent of a core that a server takes while its client does nothing."""
    begun, at = proxy.cpu(), time.monotonic()
    time.sleep(IDLE)
    used, taken = proxy.cpu() - begun, time.monotonic() - at
    detail = f"{IDLE:g} s, one client that is connected and does nothing"
    return Figure("a server that nobody calls, of one core", used / taken * 100, 0.5, "%", detail)


def same_process(directory):
    with ipcdatastore.serve_object("here", Served(), directory=directory) as server:
        server.start()
        run = loop(ipcdatastore.connect("here", directory=directory).echo)
        run()
        begun = time.perf_counter()
        run()
        taken = time.perf_counter() - begun
    return Figure("call within one process, one interpreter lock", micros(taken, CALLS), None, "µs", "two threads")


def call_for(directory, seconds, barrier, pipe):
    proxy = ipcdatastore.connect("bench", directory=directory)
    echo = proxy.echo
    echo(7)
    pipe.send(None)
    barrier.wait()
    calls = 0
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for _ in range(50):
            echo(7)
        calls += 50
    pipe.send(calls / seconds)
    pipe.recv()


def throughput(directory, count, seconds=1.0):
    """Calls a second of so many client processes of one server with one thread."""
    barrier = multiprocessing.get_context("spawn").Barrier(count)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(process(call_for, directory, seconds, barrier)) for _ in range(count)]
        return sum(pipe.recv() for _, pipe, _ in clients)


def several(directory):
    one, many = throughput(directory, 1), throughput(directory, CLIENTS)
    detail = f"{many:,.0f} / s; one alone {one:,.0f}; {os.cpu_count()} cores, a server with one thread"
    return Figure(f"{CLIENTS} client processes / one, calls a second", many / one, None, "", detail)


def killed(directory):
    """Milliseconds from the kill of a server in the middle of a call to its caller's error."""
    times = []
    for number in range(KILLS):
        name = f"killed{number}"
        with process(serve, directory, name) as (server, pipe, _):
            proxy = ipcdatastore.connect(name, directory=directory)
            told = []

            def call(proxy=proxy, told=told):
                try:
                    proxy.hang()
                except ipcdatastore.ServerUnavailableError as error:
                    told.append((time.perf_counter(), error.started))

            caller = threading.Thread(target=call)
            caller.start()
            pipe.recv()
            time.sleep(0.02 + 0.007 * number)  # asleep, and not always at the same point of its tick
            begun = time.perf_counter()
            server.kill()
            caller.join()
            ((at, started),) = told
            if not started:
                raise SystemExit("a call that had begun was said not to have")
            times.append((at - begun) * 1e3)
    detail = f"worst of {KILLS}, median {statistics.median(times):.1f} ms"
    return Figure("a killed server's caller has its error", max(times), 100, "ms", detail)


def everything(directory, progress, note):
    yield from against_pyro(directory, progress, note)
    with served(directory) as proxy:
        progress("a large argument")
        yield large(proxy)
        progress(f"{CLIENTS} clients")
        yield several(directory)
        progress("an idle server")
        yield idle(proxy)
    progress("calls within one process")
    yield same_process(directory)
    progress("killing servers")
    yield killed(directory)
