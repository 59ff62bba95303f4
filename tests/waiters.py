"""What the tests of waiting, watching, named locks and asyncio share."""

import contextlib
import os
import threading

import pytest

from ipcdatastore import waiting

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX processes and signals")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
POLLING = "import os; os.environ['IPCDATASTORE_FUTEX'] = '0'"  # to run in a child before it opens a store
LONG = 60.0  # seconds after which a test gives up on what hangs
NEVER = 10 * LONG  # a time-out that must not be what ends a wait: at its end one looks again, and finds the change


BEFORE = {"futex": "", "polling": POLLING}  # of a child, by the fixture `how`


@contextlib.contextmanager
def held_by_a_thread(coordinator):
    """Another thread of this process is the writer."""
    inside, leave = threading.Event(), threading.Event()

    def hold():
        coordinator.take()
        inside.set()
        leave.wait()
        coordinator.release()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert inside.wait(LONG)
        yield
    finally:
        leave.set()
        holder.join()


class Catching(threading.Thread):
    """A thread that keeps what its function returned or raised."""

    def __init__(self, function):
        super().__init__(daemon=True)
        self.function = function
        self.value = self.error = None

    def run(self):
        try:
            self.value = self.function()
        except BaseException as error:  # noqa: BLE001 - raised again in `result`
            self.error = error

    def result(self):
        self.join(LONG)
        assert not self.is_alive(), "it hangs"
        if self.error is not None:
            raise self.error
        return self.value


class Asleep:
    """Says when a thread has looked and goes to sleep: what happens from then on must wake it."""

    def __init__(self, monkeypatch):
        self._reached = threading.Semaphore(0)
        sleep = waiting.Doze.sleep

        def announced(doze, seen, seconds):
            self._reached.release()
            sleep(doze, seen, seconds)

        monkeypatch.setattr(waiting.Doze, "sleep", announced)

    def start(self, function):
        """Run `function` in a thread; return when that sleeps."""
        thread = Catching(function)
        thread.start()
        assert self._reached.acquire(timeout=LONG)
        return thread


def elsewhere(function):
    """What `function` returns in a thread of its own."""
    thread = Catching(function)
    thread.start()
    return thread.result()
