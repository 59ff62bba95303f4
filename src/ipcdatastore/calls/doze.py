"""Waiting for the other end: a short spin where another core can answer, then sleep on the word that it will ring.

Who sleeps says so first (ASLEEP), then looks at the bell, then sleeps only if the bell is still the same; who rings
stores the bell first, then looks whether somebody sleeps. A full fence on both sides makes sure that one of the two
sees the other: the kernel's own, where it compares the word, and a lock taken and given back. Were a wake-up lost after
all (who rings died), the sleep ends with its tick.

Two ends in one process may share one interpreter lock, as Kodi's addons do: then a spin would keep the other from
answering, and the processor is yielded instead.
"""

from __future__ import annotations

import os
import time
from _thread import RLock, allocate_lock
from itertools import repeat

from ..futex import bell
from ..platform import fence, look_up

TYPE_CHECKING = False  # importing `typing` would be a third of the import time
if TYPE_CHECKING:
    from typing import Any

CLIENT_TICK = 0.05  # seconds between two looks whether the server lives: its death is noticed in half a tenth
SERVER_TICK = 0.1  # and of a server that has nothing to do
FEW_SPINS = 150  # some 6 µs: an end that is awake answers within that
MORE_SPINS = 4000  # and 150 µs, what a sleeper takes to wake up
TOO_LONG = 0.0005  # seconds for them: the processor was taken away meanwhile, so somebody else needs it
FIRST_REST = 8  # waits without a spin after one in vain; twice as many after the next,
LONGEST_REST = 256  # up to that
YIELDS = 50
FIRST_PAUSE = 0.00005  # where nobody can be woken: seconds between two looks,
LONGEST_PAUSE = 0.008  # and at most; after
QUIET = 1.0  # seconds without a change
QUIET_PAUSE = 0.045


def cores() -> int:
    """How many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def full_fence() -> None:
    """Have every store before be seen before any load after it is done, also where ``fence`` has nothing to do."""
    lock = allocate_lock()
    lock.acquire()
    fence()


class Bell:
    """One word to ring, and another that says whether somebody sleeps by it."""

    __slots__ = ("_asleep", "_futex", "word", "words")

    def __init__(self, shared: Any, word: int, asleep: int) -> None:
        self.words = shared.words
        self.word = word
        self._asleep = asleep
        self._futex = bell(shared.raw, word)

    def can_wake(self) -> int:
        """1 where a sleeper can be woken, 0 where he has to look by himself."""
        return int(self._futex is not None)

    def ring(self, value: int) -> None:
        """Store `value`, which must be another than what was there, and wake who sleeps."""
        fence()  # what it is rung for is seen by whoever sees the bell
        self.words[self.word] = value
        full_fence()
        if self.words[self._asleep] and self._futex is not None:
            self._futex.ring()


class Sleeper:
    """The end that waits by that word."""

    __slots__ = (
        "_asleep",
        "_changed",
        "_futex",
        "_last",
        "_next_rest",
        "_pause",
        "_rest",
        "_sleepers",
        "_sleeping",
        "_tick",
        "_word",
        "_yields",
        "words",
    )

    def __init__(self, shared: Any, word: int, asleep: int, tick: float) -> None:
        self.words = shared.words
        self._word = word
        self._asleep = asleep
        self._tick = tick
        self._futex = bell(shared.raw, word)
        self._yields = cores() == 1
        self._rest = 0  # how many waits go without a spin,
        self._next_rest = FIRST_REST  # and how many will after the next in vain
        self._sleepers = 0  # threads: one may lead while another one waits for room
        self._sleeping = RLock()  # a signal handler may sleep as well
        self._last = -1  # what the bell was when it was last looked at in vain
        self._pause = FIRST_PAUSE
        self._changed = time.monotonic()

    def poll_instead(self) -> None:
        """Never sleep long from now on: the other end cannot wake this one."""
        self._futex = None

    def yield_instead(self) -> None:
        """Never spin from now on: the other end may wait for this one's interpreter lock."""
        self._yields = True

    def spin(self, seen: int) -> bool:
        """Whether the bell rings at once. Not tried a second time if nothing has happened since the first."""
        if seen == self._last:
            return False
        words, word = self.words, self._word
        if self._yields:
            for _ in repeat(None, YIELDS):
                if words[word] != seen:
                    return True
                time.sleep(0)
        elif self._rest:
            self._rest -= 1
        else:
            for _ in repeat(None, FEW_SPINS):
                if words[word] != seen:
                    self._next_rest = FIRST_REST
                    return True
            began = time.perf_counter()
            for _ in repeat(None, MORE_SPINS):
                if words[word] != seen:
                    break
            if words[word] != seen and time.perf_counter() - began < TOO_LONG:
                self._next_rest = FIRST_REST
                return True
            # In vain. Where the other end waits for this very processor, it will always be.
            self._rest = self._next_rest
            self._next_rest = min(2 * self._rest, LONGEST_REST)
        self._last = seen
        return False

    def sleep(self, seen: int, seconds: float) -> None:
        """Sleep until the bell is not `seen` any more, for at most `seconds`, and at most a tick."""
        look_up()
        words, word = self.words, self._word
        seconds = min(seconds, self._tick)
        if self._futex is None:
            self._poll(seen, seconds)
            return
        with self._sleeping:
            self._sleepers += 1
            words[self._asleep] = 1
        try:
            fence()
            if words[word] == seen:
                self._futex.wait(seen, seconds)
        finally:
            with self._sleeping:
                self._sleepers -= 1
                if not self._sleepers:
                    words[self._asleep] = 0

    def _poll(self, seen: int, seconds: float) -> None:
        words, word = self.words, self._word
        until = time.monotonic() + seconds
        while words[word] == seen:
            now = time.monotonic()
            if now >= until:
                return
            time.sleep(min(self._pause, until - now))
            self._pause = min(self._pause * 1.5, LONGEST_PAUSE if now - self._changed < QUIET else QUIET_PAUSE)
        self._pause = FIRST_PAUSE
        self._changed = time.monotonic()
