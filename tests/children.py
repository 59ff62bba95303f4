"""Real processes for the tests: a child runs one function of a test module, and talks to it line by line.

The function's source goes to the child, not its module, so a child starts in a few dozen milliseconds; it may use
the names that are imported here, `say` and `hear`, and whatever functions are named in `uses`.
"""

import contextlib
import gc
import inspect
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

HERE = str(Path(__file__).parent)
FUSE = 120  # seconds after which a child that hangs prints every thread's stack and ends
BOOT = f"import sys; sys.path.insert(0, {HERE!r}); import children; children.main()"
NAMES = {
    module.__name__: module
    for module in (contextlib, gc, json, os, random, signal, sys, threading, time)  # what children may use
}


# --- in the child ------------------------------------------------------------------------------------
def say(value):
    """Tell the test something."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def hear():
    """Wait for what the test says."""
    return json.loads(sys.stdin.readline())


def main():
    import faulthandler

    faulthandler.dump_traceback_later(FUSE, exit=True)
    order = json.loads(sys.argv[1])
    names = dict(NAMES, say=say, hear=hear)
    exec(compile(order["before"], "<before>", "exec"), names)
    import ipcdatastore

    names["ipcdatastore"] = ipcdatastore
    exec(compile(order["source"], "<child>", "exec"), names)
    names[order["function"]](*order["arguments"])


def increments(directory, key, times):
    """What `multiprocessing` runs: it wants something that it can import."""
    import ipcdatastore

    with ipcdatastore.open("region", directory=directory) as store:
        for _ in range(times):
            store.increment(key)


# --- in the test -------------------------------------------------------------------------------------
def source_of(*functions):
    return "\n".join(textwrap.dedent(inspect.getsource(function)) for function in functions)


class Child:
    """A process that runs `function`; see the module."""

    def __init__(self, function, arguments, uses=(), before=""):
        order = {
            "source": source_of(*uses, function),
            "function": function.__name__,
            "arguments": [os.fspath(a) if isinstance(a, os.PathLike) else a for a in arguments],
            "before": before,
        }
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the child
        self.process = subprocess.Popen(
            [sys.executable, "-c", BOOT, json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            universal_newlines=True,
        )
        self.pid = self.process.pid

    def hear(self):
        """What the child says next; an error if it ends instead."""
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"child ended with {self.process.wait()}:\n{self._complaint()}")
        return json.loads(line)

    def say(self, value):
        self.process.stdin.write(json.dumps(value) + "\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def finish(self):
        """Wait for the end, which has to be a good one. What the child said and nobody has heard yet."""
        rest = [json.loads(line) for line in self.process.stdout]
        code = self.process.wait()
        if code:
            raise AssertionError(f"child ended with {code}, after {rest!r}:\n{self._complaint()}")
        return rest

    def _complaint(self):
        self._errors.seek(0)
        return self._errors.read().decode("utf-8", "replace")[-6000:]

    def close(self):
        if self.process.poll() is None:
            self.kill()
        for pipe in (self.process.stdin, self.process.stdout, self._errors):
            with contextlib.suppress(OSError):  # what was not flushed has nobody to read it
                pipe.close()


@contextlib.contextmanager
def crew():
    """Yields ``start(function, *arguments, uses=(), before="")``. Nobody who was started outlives the block."""
    children = []

    def start(function, *arguments, uses=(), before=""):
        child = Child(function, arguments, uses, before)
        children.append(child)
        return child

    try:
        yield start
    finally:
        for child in children:
            child.close()


def go(children):
    """Let children that all said "ready" begin together."""
    for child in children:
        assert child.hear() == "ready"
    for child in children:
        child.say("go")
