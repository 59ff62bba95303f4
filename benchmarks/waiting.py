"""Figures of waiting: how soon a waiter is awake, and what one costs that sleeps."""

import mmap
import multiprocessing
import statistics
import time

from ipcdatastore import futex
from ipcdatastore import open as open_store

from .figures import Figure

ROUNDS = 400
REST = 0.005  # seconds between two wake-ups, so that the waiter is asleep


def answer(directory, path, switch, result):
    """Wait by turns for a bare futex and for a key; tell how long each wake-up took from the call that caused it."""
    if switch == "poll":
        futex._prepared = None
    with open(path, "r+b") as file:
        data = mmap.mmap(file.fileno(), 4096)
    words, longs = memoryview(data).cast("I"), memoryview(data).cast("Q")
    with open_store("waiting", directory=directory) as store:
        bell = futex.bell(data, 0)
        bare, ours, version, number = [], [], store.get_entry("key").version, 0
        result.send(None)
        for _ in range(ROUNDS):
            if bell is not None:
                while words[0] == number:
                    bell.wait(number, 1.0)
                bare.append(time.perf_counter_ns() - longs[1])
                number = words[0]
            version = store.wait("key", since=version)
            ours.append(time.perf_counter_ns() - longs[1])
    result.send((bare, ours))


def stay_awake(seconds):
    """The waiter is to be asleep, not who wakes it."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


def wake_ups(directory, switch):
    """(bare, ours): nanoseconds from the waker's call to the waiter's return."""
    path = directory / "bare"
    path.write_bytes(bytes(4096))
    spawn = multiprocessing.get_context("spawn")
    mine, theirs = spawn.Pipe()
    with open(path, "r+b") as file:
        data = mmap.mmap(file.fileno(), 4096)
    words, longs = memoryview(data).cast("I"), memoryview(data).cast("Q")
    bell = futex.bell(data, 0)
    with open_store("waiting", directory=directory) as store:
        store["key"] = 0
        waiter = spawn.Process(target=answer, args=(directory, path, switch, theirs))
        waiter.start()
        mine.recv()
        for number in range(1, ROUNDS + 1):
            if switch != "poll":
                stay_awake(REST)
                longs[1] = time.perf_counter_ns()
                words[0] = number
                bell.ring()
            stay_awake(REST if switch != "poll" else 0.02 + 0.0137 * (number % 7))
            longs[1] = time.perf_counter_ns()
            store["key"] = number
        found = mine.recv()
        waiter.join()
    return found


def sleep_and_count(directory, switch, seconds, result):
    if switch == "poll":
        futex._prepared = None
    with open_store("waiting", directory=directory) as store:
        store.wait("key", timeout=0.5)  # imports
        begun = time.process_time()
        store.wait("key", timeout=seconds)
        result.send((time.process_time() - begun) / seconds * 100)


def idle(directory, switch, seconds=5.0):
    """Per cent of a core that a waiter takes while nothing happens."""
    with open_store("waiting", directory=directory) as store:
        store["key"] = 0
        spawn = multiprocessing.get_context("spawn")
        mine, theirs = spawn.Pipe()
        waiter = spawn.Process(target=sleep_and_count, args=(directory, switch, seconds, theirs))
        waiter.start()
        found = mine.recv()
        waiter.join()
    return found


def waiting(directory):
    if futex.available():
        bare, ours = (statistics.median(times) / 1e3 for times in wake_ups(directory, "futex"))
        detail = f"{ours:.1f} µs / {bare:.1f} µs, {ROUNDS} each, by turns, waiter asleep; from the call to the return"
        yield Figure("wake-up of a waiter by a set / a bare futex wake-up", ours / bare, 1.3, "", detail)
        yield Figure("a waiter that sleeps, of one core", idle(directory, "futex"), 0.5, "%", "5 s, nothing happens")
    _, ours = wake_ups(directory, "poll")
    longest = sorted(ours)[-len(ours) // 100] / 1e6
    detail = f"p99 {longest:.1f} ms; a change every 20 to 102 ms. Behind a second of silence: up to 45 ms"
    yield Figure("wake-up by polling, median", statistics.median(ours) / 1e6, 10, "ms", detail)
    yield Figure("a waiter that polls, of one core", idle(directory, "poll"), 0.5, "%", "5 s, nothing happens")
