"""Processes that die at their N-th store to the files of calls, by SIGKILL: what a kill between two stores leaves.

A nursery is a process that has imported everything, and forks a victim for each order: that takes milliseconds. The
victim's views are replaced by ones that count, as `crash.tape` does it; calls of the system that make, rename or
remove files count as stores.
"""

import os
import signal
import types

import ipcdatastore
from calls.served import Thing
from crash.tape import Tape, TapedData, TapedWords
from ipcdatastore.calls import connection, files

SMALL_RING = 4096  # a message need not be large to go through it in many frames


class Deadly(Tape):
    def kill_now(self):
        self.stores += 1
        if self.stores == self.last:
            os.kill(os.getpid(), signal.SIGKILL)
        return False

    def arm(self, stores):
        self.last = self.stores + stores


TAPE = Deadly()


class DeadlyData(TapedData):
    """Dies half way through a store."""

    def __setitem__(self, index, value):
        TAPE.stores += 1
        if TAPE.stores == TAPE.last:
            half = len(value) // 2
            if half:
                super(TapedData, self).__setitem__(slice(index.start, index.start + half), value[:half])
            os.kill(os.getpid(), signal.SIGKILL)
        super(TapedData, self).__setitem__(index, value)


class DeadlySystem:
    """The module `os`, with calls that are a victim's last."""

    def __getattr__(self, name):
        function = getattr(os, name)
        if name not in ("open", "rename", "unlink", "write", "rmdir"):
            return function

        def counted(*arguments, **options):
            TAPE.kill_now()
            return function(*arguments, **options)

        return counted


def put_on_tape():
    make = files.Shared.__init__

    def taped(self, path, raw, lock, function, *, mine):
        make(self, path, raw, lock, function, mine=mine)
        self.data = raw
        self.words = TapedWords(self.words, TAPE)
        self.longs = TapedWords(self.longs, TAPE)

    files.Shared.__init__ = taped
    files.mmap = types.SimpleNamespace(mmap=DeadlyData)
    files.os = DeadlySystem()
    connection.RING_SIZE = SMALL_RING


# --- clients that die ----------------------------------------------------------------------------------
def client(directory, operation, last, log, gate):
    if operation == "connect":
        TAPE.arm(last)
        ipcdatastore.connect("thing", directory=directory)
        return
    thing = ipcdatastore.connect("thing", directory=directory, timeout=60)
    thing.give(0)
    stream = thing.iterator(100, log + ".closed") if operation == "stream" else None
    TAPE.arm(last)
    if operation == "call":
        thing.note(log, "ran")
    elif operation == "one-way":
        thing.note.oneway(log, "ran")
    elif operation == "submit":
        thing.note.submit(log, "ran").result()
    elif operation == "batch":
        with ipcdatastore.link(thing).batch() as batch:
            batch.note(log, "ran")
            batch.note(log, "ran")
    elif operation == "big argument":
        thing.note_big(log, "x" * (5 * SMALL_RING))
    elif operation == "big result":
        thing.make(5 * SMALL_RING)
    elif operation == "stream":
        for _ in range(5):
            next(stream)
        stream.close()
        thing.give(1)
    elif operation == "close":
        ipcdatastore.link(thing).close()
    else:
        raise ValueError(operation)


CLIENTS = ["connect", "call", "one-way", "submit", "batch", "big argument", "big result", "stream", "close"]


# --- servers that die ----------------------------------------------------------------------------------
class Victim(Thing):
    server = None

    def arm(self, last):
        TAPE.arm(last)

    def end(self):
        self.server.stop()


def server(directory, from_the_start, ready):
    if from_the_start:
        TAPE.arm(from_the_start)
    victim = Victim()
    victim.server = made = ipcdatastore.serve_object("thing", victim, directory=directory)
    os.write(ready, b".")
    made.run_forever()


# --- the nursery ---------------------------------------------------------------------------------------
def fork(function, *arguments):
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        signal.alarm(60)  # ends a hang
        put_on_tape()
        function(*arguments)
        code = 0
    finally:
        os._exit(code)


def how_it_ended(pid):
    """0: well; otherwise the signal, or what it was."""
    _, status = os.waitpid(pid, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status) << 8


def nursery(hear, say):
    say("ready")
    while True:
        order, *arguments = hear()
        if order == "client":
            say(how_it_ended(fork(client, *arguments)))
        elif order == "server":
            reading, writing = os.pipe()
            pid = fork(server, *arguments, writing)
            os.close(writing)
            alive = os.read(reading, 1)
            os.close(reading)
            say(["ready", pid] if alive else ["ended", how_it_ended(pid)])
        elif order == "reap":
            say(how_it_ended(arguments[0]))
        elif order == "kill":
            os.kill(arguments[0], signal.SIGKILL)
            say(how_it_ended(arguments[0]))
        else:
            return
